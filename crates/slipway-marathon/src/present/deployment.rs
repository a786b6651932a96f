//! Deployments under way (MA-15).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use slipway_model::app::{GroupAction, GroupActionKind, GroupDeployment, PathId};
use slipway_model::unit::Timestamp;

use crate::timestamp;

/// What a change is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentResult {
    /// The version that it leads to.
    #[serde(serialize_with = "timestamp::as_text")]
    pub version: Timestamp,
    /// Which.
    pub deployment_id: String,
}

/// A deployment and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentInfo {
    /// Which.
    pub id: String,
    /// The version that it leads to.
    #[serde(serialize_with = "timestamp::as_text")]
    pub version: Timestamp,
    /// Everything that it changes.
    pub affected_apps: BTreeSet<PathId>,
    /// There are none.
    pub affected_pods: [(); 0],
    /// One after the other.
    pub steps: Vec<Step>,
    /// What is done now.
    pub current_actions: Vec<ActionInfo>,
    /// Which step that is, from 1; 0 before the first.
    pub current_step: usize,
    /// How many there are.
    pub total_steps: usize,
}

impl DeploymentInfo {
    /// A deployment whose step `current` is under way, the first being 0. `readiness` has what checks said
    /// of the apps of that step.
    pub fn new(
        deployment: &GroupDeployment,
        current: usize,
        mut readiness: BTreeMap<PathId, Vec<ReadinessResult>>,
    ) -> Self {
        let actions = deployment.steps.get(current).map(Vec::as_slice).unwrap_or_default();
        let current_actions = actions.iter().map(|action| ActionInfo {
            action: action.kind,
            app: action.app.clone(),
            readiness_check_results: readiness.remove(&action.app).unwrap_or_default(),
        });
        let total_steps = deployment.steps.len();
        Self {
            id: deployment.id.to_string(),
            version: deployment.version,
            affected_apps: deployment.steps.iter().flatten().map(|action| action.app.clone()).collect(),
            affected_pods: [],
            steps: steps(&deployment.steps),
            current_actions: current_actions.collect(),
            current_step: (current + 1).min(total_steps),
            total_steps,
        }
    }
}

/// A deployment as events tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeploymentPlan {
    /// Which.
    pub id: String,
    original: Root,
    target: Root,
    /// One after the other.
    pub steps: Vec<Step>,
    /// The version that it leads to.
    #[serde(serialize_with = "timestamp::as_text")]
    pub version: Timestamp,
}

impl From<&GroupDeployment> for DeploymentPlan {
    fn from(deployment: &GroupDeployment) -> Self {
        Self {
            id: deployment.id.to_string(),
            original: Root { id: PathId::root() },
            target: Root { id: PathId::root() },
            steps: steps(&deployment.steps),
            version: deployment.version,
        }
    }
}

/// Before 1.8 the whole tree stood here. Nobody reads it, but marathon-python fails where there is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Root {
    id: PathId,
}

/// What is done at once. Also the answer of a dry run is a list of them (MA-12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Each.
    pub actions: Vec<Action>,
}

impl Step {
    /// A step of a deployment, the first being 0; one without actions when there is none such.
    pub fn of(deployment: &GroupDeployment, step: usize) -> Self {
        let actions = deployment.steps.get(step).map(Vec::as_slice).unwrap_or_default();
        Self { actions: actions.iter().map(Action::of).collect() }
    }

    /// The steps of a plan.
    pub fn all(plan: &[Vec<GroupAction>]) -> Vec<Self> {
        steps(plan)
    }
}

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What.
    pub action: GroupActionKind,
    /// To which app.
    pub app: PathId,
}

impl Action {
    fn of(action: &GroupAction) -> Self {
        Self { action: action.kind, app: action.app.clone() }
    }
}

/// One thing that is done now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionInfo {
    /// What.
    pub action: GroupActionKind,
    /// To which app.
    pub app: PathId,
    /// What readiness checks said of its new tasks.
    pub readiness_check_results: Vec<ReadinessResult>,
}

/// What a readiness check said of a task (MA-46).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadinessResult {
    /// The check's name.
    pub name: String,
    /// Of which task.
    pub task_id: String,
    /// What it said.
    pub ready: bool,
    /// The answer, when the check says that it is to be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_response: Option<HttpResponse>,
}

/// An answer to a readiness check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpResponse {
    /// Its status.
    pub status: u16,
    /// Its type.
    pub content_type: String,
    /// Its beginning.
    pub body: String,
}

fn steps(plan: &[Vec<GroupAction>]) -> Vec<Step> {
    plan.iter().map(|step| Step { actions: step.iter().map(Action::of).collect() }).collect()
}
