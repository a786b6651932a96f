//! Answers of `/v2`, as values that serialise to what Marathon 1.11 says. Handlers fill them from records
//! and from what is observed.

mod embed;

mod app;

pub mod task;

mod stats;

mod deployment;

mod queue;

mod info;

mod mesos;

pub use app::{AppExtras, Identifiable, VersionInfo, app_info, stored_app};
pub use deployment::{
    Action, ActionInfo, DeploymentInfo, DeploymentPlan, DeploymentResult, HttpResponse, ReadinessResult, Step,
};
pub use embed::{AppEmbed, GroupEmbed};
pub use info::{HttpConfig, Info, MarathonConfig, VERSION, ZooKeeperConfig};
pub use mesos::{MesosFramework, MesosResources, MesosSlave, MesosState, MesosStatus, MesosTask};
pub use queue::{Delay, OffersSummary, QueueItem, Refusals, RejectReason, RejectStep};
pub use stats::{TaskFact, TaskStatsByVersion};
pub use task::{Task, TaskCounts, TaskFailure, TaskState};

#[cfg(test)]
mod tests;
