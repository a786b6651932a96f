//! What an agent is told: everything that its node should have.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Goal, InstanceRole, Variables};
use crate::cluster::Peer;
use crate::id::{Epoch, InstanceId, ReleaseNumber, VolumeId};
use crate::name::{EnvironmentPath, TenantName};
use crate::push::ImageRef;
use crate::service::{Fetch, HealthCheck, PortProtocol};
use crate::unit::{Bytes, Cpus, Span};

/// Everything a node should have, as one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The leader's; an agent refuses a lower one than it has seen (S2).
    pub epoch: Epoch,
    /// Rises with each list of one leader; an agent ignores an older list.
    pub generation: u64,
    /// The list.
    pub instances: Vec<DesiredInstance>,
    /// Every volume that shall be kept. Any other on the node is deleted; `None`: nothing is said, and
    /// nothing is deleted.
    #[serde(default)]
    pub volumes: Option<BTreeSet<VolumeId>>,
    /// The other nodes, whose instances those of the same tenant may reach. `None`: nothing is said,
    /// and what was said before stays.
    #[serde(default)]
    pub peers: Option<Arc<[Peer]>>,
}

/// One entry of a [`Desired`] list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredInstance {
    /// What to run.
    pub spec: InstanceSpec,
    /// Whether it should run or end.
    pub goal: Goal,
}

/// All that an agent needs to know to run an instance.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Its id.
    pub id: InstanceId,
    /// Whose it is: instances of one tenant may reach each other, and no one else's.
    pub tenant: TenantName,
    /// Picks the user id range, see [`uid_range`].
    pub tenant_index: u32,
    /// Where it belongs, for logs and names.
    pub environment: EnvironmentPath,
    /// What it is for.
    pub role: InstanceRole,
    /// The release, for logs.
    pub release: ReleaseNumber,
    /// The image.
    pub image: ImageRef,
    /// What to start in it.
    pub program: Program,
    /// Environment variables, secrets opened. The type prints no values.
    pub env: Variables,
    /// Processor limit.
    pub cpus: Cpus,
    /// Memory limit, swap included.
    pub mem: Bytes,
    /// What it may write.
    pub disk: Bytes,
    /// The port it shall answer on, when it listens.
    pub port: Option<u16>,
    /// Ports of the node that lead to it.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// Directories that outlive it.
    #[serde(default)]
    pub volumes: Vec<VolumeMount>,
    /// Files to be fetched before it starts.
    #[serde(default)]
    pub fetch: Vec<Fetch>,
    /// What is asked of it while a deployment waits for it.
    #[serde(default)]
    pub readiness: Option<ReadinessProbe>,
    /// More checks beside `health`.
    #[serde(default)]
    pub health_also: Vec<HealthCheck>,
    /// How to tell that it works.
    pub health: Option<HealthCheck>,
    /// How long it may take to become healthy.
    pub start_timeout: Span,
    /// Between TERM and KILL.
    pub stop_grace: Span,
}

impl std::fmt::Debug for InstanceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceSpec")
            .field("id", &self.id)
            .field("environment", &self.environment)
            .field("role", &self.role)
            .field("release", &self.release)
            .field("image", &self.image.digest)
            .finish_non_exhaustive()
    }
}

/// A port of the node that leads to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// On the node; 0: none, the port is reached at the instance's own address only.
    pub host: u16,
    /// In the sandbox.
    pub container: u16,
    /// What is forwarded.
    pub protocol: PortProtocol,
}

/// A volume in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Which; its directory is made when it is first used.
    pub id: VolumeId,
    /// Where.
    pub path: String,
    /// How much it may hold.
    pub size: Bytes,
}

/// A [`ReadinessCheck`](crate::service::ReadinessCheck) with its port looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessProbe {
    /// `GET` of this path.
    pub path: String,
    /// At this port of the instance.
    pub port: u16,
    /// Between two questions.
    pub interval: Span,
    /// An answer that takes longer is none.
    pub timeout: Span,
    /// The statuses that mean ready.
    pub codes: Vec<u16>,
}

/// What to start in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "program", rename_all = "kebab-case")]
pub enum Program {
    /// What the image's config says.
    Image,
    /// A command line as in a Procfile. Appended as the only argument to the image's entrypoint when
    /// that is our launcher (`/slipway/launch`), else to the image's own `/bin/sh -c`, inside the
    /// sandbox. The host never interprets it.
    CommandLine {
        /// The line.
        line: String,
    },
    /// These words after the image's entrypoint, in the place of its own: Marathon's `args`. Alone when the
    /// image has no entrypoint.
    Argv {
        /// The words.
        argv: Vec<String>,
    },
}
