//! A deployment moves an environment from one release to the next. It is a stored state machine
//! whose steps have deadlines, so that "running for ever" cannot be written down.

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentNumber, InstanceId, ReleaseNumber};
use crate::name::{EnvironmentPath, UserName};
use crate::unit::Timestamp;

/// Written by the leader only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Where it belongs.
    pub environment: EnvironmentPath,
    /// Its number there.
    pub number: DeploymentNumber,
    /// What ran before; a failed deployment goes back to it.
    pub from: Option<ReleaseNumber>,
    /// What shall run. Equal to `from` for a restart.
    pub to: ReleaseNumber,
    /// The [`crate::release::ReleaseRequest`] that asked for it, if one did.
    pub request: Option<String>,
    /// Who caused it.
    pub by: UserName,
    /// When it was made.
    pub created_at: Timestamp,
    /// The environment's `resume_generation` when it was made: once that is higher, a deployment that
    /// paused after its canaries goes on (AU-05).
    #[serde(default)]
    pub resume_generation: u64,
    /// How far it is.
    pub state: DeploymentState,
    /// What has happened, oldest first, for the pusher's terminal and the history. Bounded.
    pub events: Vec<DeploymentEvent>,
}

/// How far a deployment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum DeploymentState {
    /// The release command runs in an instance of its own.
    ReleaseCommand {
        /// That instance.
        instance: InstanceId,
        /// It has failed if it has not ended by then.
        deadline: Timestamp,
    },
    /// New instances replace the old ones, service by service.
    Rollout {
        /// It has failed if the new release is not healthy by then.
        deadline: Timestamp,
    },
    /// The new release is being taken back.
    Rollback {
        /// Why, in one sentence.
        reason: String,
        /// Last output of the program at fault.
        tail: Vec<String>,
        /// It is abandoned, with whatever runs, by then.
        deadline: Timestamp,
    },
    /// The new release is live and healthy, the old one is gone.
    Live {
        /// Since when.
        at: Timestamp,
    },
    /// The new release is not running; the old one is, if there was one.
    Failed {
        /// Why, in one sentence.
        reason: String,
        /// Last output of the program at fault.
        tail: Vec<String>,
        /// Since when.
        at: Timestamp,
    },
    /// A newer deployment took over before this one ended.
    Superseded {
        /// Which.
        by: DeploymentNumber,
        /// When.
        at: Timestamp,
    },
}

impl DeploymentState {
    /// True when nothing more will happen.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            DeploymentState::Live { .. }
                | DeploymentState::Failed { .. }
                | DeploymentState::Superseded { .. }
        )
    }
}

/// One line of a deployment's story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentEvent {
    /// When.
    pub at: Timestamp,
    /// What, in words for the pusher.
    pub text: String,
}

/// Events kept in one deployment; the middle is dropped, the first and last are what people read.
pub const EVENTS_MAX: usize = 100;
