//! Counts and ages of an app's tasks by version (MA-30).

use serde::Serialize;
use slipway_model::unit::Timestamp;

use super::{Task, TaskState, VersionInfo};

/// What the figures need of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskFact {
    /// The version of the app that it runs.
    pub version: Timestamp,
    /// How it is.
    pub state: TaskState,
    /// Whether its checks pass, if it has any.
    pub is_healthy: Option<bool>,
    /// When its program was started.
    pub started_at: Option<Timestamp>,
}

impl From<&Task> for TaskFact {
    fn from(task: &Task) -> Self {
        Self {
            version: task.version,
            state: task.state,
            is_healthy: task.health(),
            started_at: task.started_at,
        }
    }
}

/// The figures. A kind of which there are no tasks is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatsByVersion {
    #[serde(skip_serializing_if = "Option::is_none")]
    started_after_last_scaling: Option<Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    with_latest_config: Option<Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    with_outdated_config: Option<Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_summary: Option<Stats>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Stats {
    stats: Figures,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    life_time: Option<LifeTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Counts {
    staged: usize,
    running: usize,
    healthy: usize,
    unhealthy: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct LifeTime {
    average_seconds: f64,
    median_seconds: f64,
}

impl TaskStatsByVersion {
    /// The figures at a point in time.
    pub fn new(tasks: &[TaskFact], versions: VersionInfo, now: Timestamp) -> Self {
        let those = |wanted: &dyn Fn(&TaskFact) -> bool| {
            let tasks: Vec<_> = tasks.iter().copied().filter(wanted).collect();
            Stats::of(&tasks, now)
        };
        Self {
            started_after_last_scaling: those(&|task| task.version >= versions.last_scaling_at),
            with_latest_config: those(&|task| task.version >= versions.last_config_change_at),
            with_outdated_config: those(&|task| task.version < versions.last_config_change_at),
            total_summary: those(&|_| true),
        }
    }
}

impl Stats {
    fn of(tasks: &[TaskFact], now: Timestamp) -> Option<Self> {
        if tasks.is_empty() {
            return None;
        }
        let count = |wanted: &dyn Fn(&TaskFact) -> bool| tasks.iter().copied().filter(wanted).count();
        let counts = Counts {
            staged: count(&|task| task.state.is_of_status("staging")),
            running: count(&|task| task.state == TaskState::TaskRunning),
            healthy: count(&|task| task.is_healthy == Some(true)),
            unhealthy: count(&|task| task.is_healthy == Some(false)),
        };
        let started = tasks.iter().filter_map(|task| task.started_at);
        let mut ages: Vec<f64> = started.map(|at| now.since(at).millis() as f64 / 1000.0).collect();
        ages.sort_by(f64::total_cmp);
        Some(Self { stats: Figures { counts, life_time: LifeTime::of(&ages) } })
    }
}

impl LifeTime {
    fn of(sorted: &[f64]) -> Option<Self> {
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) { sorted[middle - 1] } else { upper };
        let average_seconds = sorted.iter().sum::<f64>() / sorted.len() as f64;
        Some(Self { average_seconds, median_seconds: f64::midpoint(lower, upper) })
    }
}
