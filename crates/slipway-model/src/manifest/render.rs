//! The first `slipway.yaml` of a project, as `slipway projects create` writes it.

use crate::name::ProjectPath;

/// A commented manifest for a new project. What is commented out is valid as it stands, so that a
/// newcomer learns the format by removing a `#`.
pub fn render_new(project: &ProjectPath, credential: &str) -> String {
    format!(
        "\
# What this repository says of itself to Slipway. Read at every push.
project: {project}

# Proves that this tree belongs to the project. Safe to commit: a push needs your own key as well.
credential: {credential}

# Services are found in the Procfile or by the builder. Say here what should differ.
# services:
#   web:
#     command: gunicorn app:app
#     instances: 2
#     cpus: 0.5
#     mem: 256M
#     health: {{ http: /healthz, interval: 5s }}
#   worker: {{ command: python worker.py }}

# Runs once before a new release takes over.
# release: python manage.py migrate

# What differs in an environment.
# environments:
#   prod:
#     services: {{ web: {{ instances: 4 }} }}
#     domains: [shop.example.com]
"
    )
}
