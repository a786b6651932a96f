//! The first `slipway.yaml` of a project, as `slipway projects create` writes it.

use crate::name::ProjectPath;

/// A commented manifest for a new project.
pub fn render_new(project: &ProjectPath, credential: &str) -> String {
    format!("project: {project}\ncredential: {credential}\n")
}
