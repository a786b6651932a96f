//! What one instance takes.

use std::borrow::Cow;

use slipway_model::instance::InstanceRole;
use slipway_model::release::Release;
use slipway_model::service::ServiceSpec;

use crate::cluster::Resources;
use crate::port::{self, Asked};

/// What one instance takes of its node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Need {
    /// What is counted.
    pub amount: Resources,
    /// Ports of the node; empty when it asks for none.
    pub ports: Vec<Asked>,
}

impl Need {
    /// Of a copy of a service.
    pub fn of(spec: &ServiceSpec) -> Self {
        Self { amount: Resources::of(spec), ports: port::asked(spec) }
    }
}

/// One that asks for no ports.
impl From<Resources> for Need {
    fn from(amount: Resources) -> Self {
        Self { amount, ports: Vec::new() }
    }
}

/// The size and times of an instance. A release command or a one-off run is sized as the service `web`,
/// else as the release's first: it runs the same program with the same libraries.
pub fn spec_of<'a>(release: &'a Release, role: &InstanceRole) -> Cow<'a, ServiceSpec> {
    let own = match role {
        InstanceRole::Service { service } | InstanceRole::Scheduled { service, .. } => {
            release.services.get(service)
        }
        InstanceRole::ReleaseCommand | InstanceRole::OneOff { .. } => {
            let web = release.services.iter().find(|(name, _)| name.as_str() == "web");
            web.or_else(|| release.services.iter().next()).map(|(_, spec)| spec)
        }
    };
    own.map_or_else(|| Cow::Owned(ServiceSpec::default()), Cow::Borrowed)
}

/// What an instance takes of its node. Only copies of a service have its volumes.
pub fn needs(release: Option<&Release>, role: &InstanceRole) -> Resources {
    let Some(release) = release else { return Resources::of(&ServiceSpec::default()) };
    let spec = spec_of(release, role);
    match role {
        InstanceRole::Service { .. } => Resources::of(&spec),
        InstanceRole::Scheduled { .. } | InstanceRole::ReleaseCommand | InstanceRole::OneOff { .. } => {
            Resources { disk: spec.disk, ..Resources::of(&spec) }
        }
    }
}
