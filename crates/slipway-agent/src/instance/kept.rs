//! What an instance's directory tells whoever comes after its task: the next agent, and those who ask how it
//! ended.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use slipway_model::instance::{CheckStatus, ExitReason, InstanceState, Readiness};
use slipway_model::unit::Timestamp;
use slipway_shim::spec::{Ended, ExitRecord};

use crate::shim;

/// Names in an instance's directory.
pub(super) const STOP: &str = "stop.json";
const ENDED: &str = "ended.json";
pub(super) const HEALTHY: &str = "healthy";
pub(super) const READY: &str = "ready.json";

/// What a shim saw, in the words of the model.
pub(crate) fn reason_of(directory: &Path, record: ExitRecord) -> ExitReason {
    if let Some(reason) = read(&directory.join(STOP)) {
        return reason;
    }
    let killed_for_memory = record.oom_kills > 0;
    match record.ended {
        Ended::LaunchFailed { error } => ExitReason::LaunchFailed { error },
        // A child of it may have been killed and the program may have gone on to end well.
        Ended::Exited { code: 0 } => ExitReason::Status { code: 0 },
        Ended::Exited { .. } | Ended::Signaled { signal: libc::SIGKILL } if killed_for_memory => {
            ExitReason::OutOfMemory
        }
        Ended::Exited { code } => ExitReason::Status { code },
        Ended::Signaled { signal } => ExitReason::Signal { signal },
    }
}

/// How an instance that was found running is, by how its checks stood: what was healthy stays so until a
/// check says otherwise, because its routes must not blink when the agent is restarted (F32), and what was
/// ill stays so, or it would get requests until the next check.
pub(crate) fn adopted_state(known: Option<&[CheckStatus]>) -> InstanceState {
    match known.map(|checks| checks.iter().find(|check| !check.alive)) {
        None => InstanceState::Starting,
        Some(None) => InstanceState::Healthy,
        Some(Some(ill)) => InstanceState::Unhealthy {
            reason: ill.last_failure_cause.clone().unwrap_or_else(|| "it failed its check".into()),
        },
    }
}

/// How its checks stood when that last made it healthy or not; `None` when it never was.
pub(crate) fn known_checks(directory: &Path) -> Option<Vec<CheckStatus>> {
    let path = directory.join(HEALTHY);
    path.exists().then(|| read(&path).unwrap_or_default())
}

/// What it said last of being ready.
pub(crate) fn readiness(directory: &Path) -> Option<Readiness> {
    read(&directory.join(READY))
}

/// Whether the shim has ever had a program.
pub(crate) fn has_begun(directory: &Path) -> bool {
    let process: Option<slipway_shim::spec::ShimProcess> = read(&directory.join(shim::PROCESS));
    process.is_some_and(|process| process.init_pid != 0)
}

/// How an instance ended, as it is remembered until nobody wants to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) reason: ExitReason,
    pub(crate) tail: Vec<String>,
    pub(crate) at: Timestamp,
}

impl Ending {
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        read(&directory.join(ENDED))
    }

    pub(crate) fn write(&self, directory: &Path) {
        if !directory.is_dir() {
            // It ended before anything was written down about it.
            return;
        }
        if let Err(error) = slipway_shim::spec::write_durably(&directory.join(ENDED), self) {
            tracing::warn!(%error, directory = %directory.display(), "how an instance ended is not kept");
        }
    }
}

/// Nothing when it is not there, or cannot be understood.
pub(super) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
