//! What happens, as it happens, for whoever follows it.
//!
//! Events are told from memory, after what they tell of was stored, to whoever listens at that moment:
//! nothing is kept and nothing repeated, so an event means "look again" (MA-65). The channel is bounded.
//! A follower that falls behind learns from the channel that it did, and how far; the leader never waits
//! for one. The words are ours; the handlers of `/v2` put Marathon's names on them (MA-64).

use std::sync::Arc;

use slipway_model::app::{GroupDeployment, PathId};
use slipway_model::deployment::DeploymentState;
use slipway_model::id::{DeploymentNumber, Epoch, InstanceId};
use slipway_model::instance::CheckStatus;
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName, TenantName};
use slipway_model::service::HealthCheck;
use slipway_model::unit::Timestamp;
use tokio::sync::broadcast;

use super::snapshot::InstanceSnapshot;

/// Events that wait for the slowest follower, all tenants' together: some seconds of a large cluster's.
pub const EVENTS_WAITING_MAX: usize = 8192;

/// Something has happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Whose business it is; `None`: everybody's.
    pub tenant: Option<TenantName>,
    /// When the leader saw it.
    pub at: Timestamp,
    /// What.
    pub what: Happened,
}

/// Which service an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOf {
    /// Where it runs.
    pub environment: EnvironmentPath,
    /// Its app's id, when it is one that was made through `/v2`.
    pub app: Option<PathId>,
    /// Its name; `None` for a release command or a one-off run.
    pub service: Option<ServiceName>,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// A leader begins to decide.
    LeaderBegan {
        /// Its epoch.
        epoch: Epoch,
    },
    /// An instance has changed as clients see it: each change is told once, its health apart.
    Instance(Box<InstanceEvent>),
    /// An instance passes its checks, or does not pass them any more.
    Health {
        /// Of which service.
        of: ServiceOf,
        /// The instance, as it is now.
        instance: Box<InstanceSnapshot>,
        /// Whether it passes.
        is_alive: bool,
    },
    /// A check of an instance has failed. Told when the node says so, which is not at each question.
    CheckFailed {
        /// Of which service.
        of: ServiceOf,
        /// The instance.
        instance: Box<InstanceSnapshot>,
        /// Which of its checks, counted from 0.
        index: usize,
        /// How it stands.
        status: CheckStatus,
    },
    /// An instance ended because its checks failed.
    KilledForHealth {
        /// Of which service.
        of: ServiceOf,
        /// The instance, as it was.
        instance: Box<InstanceSnapshot>,
        /// What its check saw.
        reason: String,
    },
    /// A service has other checks with its new version.
    ChecksChanged {
        /// Of which service.
        of: ServiceOf,
        /// The version.
        version: Timestamp,
        /// What it has now and had not.
        added: Vec<HealthCheck>,
        /// What it had.
        removed: Vec<HealthCheck>,
    },
    /// A node had an instance that belongs nowhere; it was told to end it.
    UnknownInstance {
        /// Which.
        instance: InstanceId,
        /// Where.
        node: NodeName,
    },
    /// A deployment of one environment has got on.
    Deployment {
        /// Where.
        environment: EnvironmentPath,
        /// Which.
        number: DeploymentNumber,
        /// How far it is.
        state: DeploymentState,
    },
    /// A group deployment has got on.
    GroupDeployment {
        /// Which.
        deployment: Arc<GroupDeployment>,
        /// How far it is.
        stage: GroupStage,
    },
    /// An app is gone, and so is the last of its instances.
    AppTerminated {
        /// Which.
        app: PathId,
    },
    /// Somebody asked the API for a change.
    Posted {
        /// The address of the client.
        client: String,
        /// The path that it asked.
        uri: String,
        /// The app as it is defined now, as JSON.
        definition: Arc<str>,
    },
    /// A group has a new version.
    GroupChanged {
        /// Which.
        group: PathId,
        /// The version.
        version: Timestamp,
        /// Why it was refused, if it was.
        error: Option<String>,
    },
    /// Somebody follows the events.
    StreamAttached {
        /// The address of the client.
        client: String,
    },
    /// Somebody follows them no longer.
    StreamDetached {
        /// The address of the client.
        client: String,
    },
}

/// What an instance has done.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceEvent {
    /// Of which service.
    pub of: ServiceOf,
    /// The instance after it; for [`InstanceChange::Removed`] as it last was.
    pub instance: InstanceSnapshot,
    /// What has changed.
    pub change: InstanceChange,
}

/// What has changed of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceChange {
    /// It has been given to a node.
    Assigned,
    /// Its node tells another state.
    State,
    /// It has been told to end.
    Stopped,
    /// Its node cannot be reached.
    Unreachable,
    /// Its node can be reached again.
    Reachable,
    /// It is gone and forgotten.
    Removed,
}

/// How far a group deployment is. Steps count from 1, as in Marathon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupStage {
    /// The leader has taken it up, at this step.
    Began {
        /// The step.
        step: usize,
    },
    /// A step is done.
    StepDone {
        /// The step.
        step: usize,
    },
    /// Every step is done.
    Succeeded,
    /// An app of it has gone back by itself.
    Failed {
        /// The step at which it was.
        step: usize,
        /// Which app.
        app: PathId,
        /// Why.
        reason: String,
    },
    /// Somebody has broken it off.
    Cancelled {
        /// The step at which it was.
        step: usize,
    },
}

/// Tells whoever listens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events(broadcast::Sender<Arc<Event>>);

impl Events {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(EVENTS_WAITING_MAX))
    }

    /// Everything from now on. [`broadcast::error::RecvError::Lagged`] says that some were lost.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.subscribe()
    }

    /// True when nobody listens, so that an event need not be made.
    pub fn has_followers(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Tells one event.
    pub fn tell(&self, tenant: Option<TenantName>, at: Timestamp, what: Happened) {
        // Nobody may listen.
        let _ = self.0.send(Arc::new(Event { tenant, at, what }));
    }
}
