//! What the front serves.

use slipway_link::Service;

/// Which port somebody came to: each server has the same ones, whoever leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The API, both of them.
    Api,
    /// The registry, for `docker push` and the like. Nodes pull over links of their own.
    Registry,
    /// Git over SSH.
    Ssh,
}

impl Door {
    /// Each of them.
    pub const ALL: [Self; 3] = [Door::Api, Door::Registry, Door::Ssh];

    /// To which door another server brings somebody; `None` for what only nodes ask for.
    pub fn of(service: Service) -> Option<Self> {
        match service {
            Service::Api => Some(Door::Api),
            Service::Registry => Some(Door::Registry),
            Service::Ssh => Some(Door::Ssh),
            Service::Join | Service::Renew | Service::Node | Service::Routes => None,
        }
    }

    /// As what somebody who came to it is passed on.
    pub fn service(self) -> Service {
        match self {
            Door::Api => Service::Api,
            Door::Registry => Service::Registry,
            Door::Ssh => Service::Ssh,
        }
    }
}

#[cfg(test)]
mod tests;
