//! Who an end of a link is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The scheme of the URI in a certificate.
const SCHEME: &str = "slipway://";

/// What a certificate lets its holder be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A `slipwayd server` process: may accept links, lead, and speak for callers.
    Server,
    /// A machine that runs instances or a router: only dials, and only for itself.
    Node,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Server => "server",
            Role::Node => "node",
        })
    }
}

/// Who the other end is, from its verified certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Of which cluster.
    pub cluster: String,
    /// What it may be.
    pub role: Role,
    /// Its name; a node's is a [`NodeName`](slipway_model::name::NodeName).
    pub name: String,
    /// The serial number of its certificate, in hexadecimal, lower case.
    pub serial: String,
}

impl Identity {
    /// What stands in the certificate.
    pub(crate) fn uri(cluster: &str, role: Role, name: &str) -> String {
        format!("{SCHEME}{cluster}/{role}/{name}")
    }

    pub(crate) fn parse(uri: &str, serial: String) -> Option<Self> {
        let mut parts = uri.strip_prefix(SCHEME)?.split('/');
        let (cluster, role, name) = (parts.next()?, parts.next()?, parts.next()?);
        let role = match role {
            "server" => Role::Server,
            "node" => Role::Node,
            _ => return None,
        };
        if cluster.is_empty() || name.is_empty() || parts.next().is_some() {
            return None;
        }
        Some(Self { cluster: cluster.to_owned(), role, name: name.to_owned(), serial })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}
