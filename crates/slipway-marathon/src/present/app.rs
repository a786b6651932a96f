//! An app with what is observed of it (MA-30).

use serde::Serialize;
use serde_json::value::RawValue;
use slipway_model::app::App;
use slipway_model::unit::Timestamp;

use super::{ReadinessResult, Task, TaskCounts, TaskFailure, TaskStatsByVersion};
use crate::error::Error;
use crate::timestamp;

/// Everything that an answer says of an app beyond its definition. What was not asked for is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppExtras {
    /// Which version this is.
    #[serde(serialize_with = "timestamp::as_text")]
    pub version: Timestamp,
    /// When what was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_info: Option<VersionInfo>,
    /// How many tasks there are.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub counts: Option<TaskCounts>,
    /// Deployments that have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployments: Option<Vec<Identifiable>>,
    /// What readiness checks said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_check_results: Option<Vec<ReadinessResult>>,
    /// The tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<Task>>,
    /// The last end that was a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_task_failure: Option<TaskFailure>,
    /// By version.
    #[serde(rename = "tasksStats", skip_serializing_if = "Option::is_none")]
    pub task_stats: Option<TaskStatsByVersion>,
}

impl AppExtras {
    /// Nothing but the version.
    pub fn of(version: Timestamp, version_info: Option<VersionInfo>) -> Self {
        Self {
            version,
            version_info,
            counts: None,
            deployments: None,
            readiness_check_results: None,
            tasks: None,
            last_task_failure: None,
            task_stats: None,
        }
    }

    /// What the record of an app says.
    pub fn of_app(app: &App) -> Self {
        let info =
            VersionInfo { last_scaling_at: app.scaled_version, last_config_change_at: app.config_version };
        Self::of(app.version, Some(info))
    }
}

/// When what was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// The number of copies.
    #[serde(serialize_with = "timestamp::as_text")]
    pub last_scaling_at: Timestamp,
    /// Anything else.
    #[serde(serialize_with = "timestamp::as_text")]
    pub last_config_change_at: Timestamp,
}

/// `{"id": …}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identifiable {
    /// The id.
    pub id: String,
}

/// The answer for one app: the stored definition ([`AppDefinition::to_json`]) and the extras in one
/// object. The definition is neither parsed nor written anew, so that a list of thousands of apps costs
/// little more than its bytes.
///
/// [`AppDefinition::to_json`]: crate::app::AppDefinition::to_json
///
/// # Errors
/// When the definition is no JSON object, and so was not written by this crate.
pub fn app_info(definition: &str, extras: &AppExtras) -> Result<Box<RawValue>, Error> {
    let bad = |what: String| Error::NotJson { what };
    let front = definition.trim_end().strip_suffix('}').ok_or_else(|| bad("it is no object".to_owned()))?;
    let extras = serde_json::to_string(extras).expect("answers become JSON");
    let more = &extras[1..];
    let comma = if front.trim_end().ends_with('{') { "" } else { "," };
    RawValue::from_string(format!("{front}{comma}{more}")).map_err(|error| bad(error.to_string()))
}

/// The answer for one version of an app (MA-10).
///
/// # Errors
/// As [`app_info`].
pub fn stored_app(app: &App) -> Result<Box<RawValue>, Error> {
    app_info(&app.definition, &AppExtras::of_app(app))
}
