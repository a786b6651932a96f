//! What a start of the agent finds on its node, and what it makes of it.
//!
//! | in the instance's directory | shim lives | then |
//! |---|---|---|
//! | `ended.json` | – | it is reported as ended until nobody wants to know any more |
//! | a bundle in the run directory | yes | it is adopted |
//! | no bundle: the run directory was wiped | yes | it is killed, and lost |
//! | `exit.json` | no | it ended while no agent was there |
//! | `shim.json` names a program | no | it is lost, as by a reboot |
//! | only the intent | no | it never began; the next list starts it |
//!
//! Then everything that the kernel and the run directory hold under our names and that was not
//! adopted goes: cgroups with their processes, bundles, the runtime's records, scratch disks,
//! networks (S6, F37…F39).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_model::id::InstanceId;
use slipway_model::instance::{ExitReason, InstanceSpec};
use slipway_model::unit::Timestamp;

use crate::cgroup::Cgroups;
use crate::instance::{self, Ending};
use crate::network::Network;
use crate::options::Paths;
use crate::shim::{self, Shim};
use crate::{logs, scratch};

/// Name of [`Intent`] in an instance's directory.
pub(crate) const INTENT: &str = "intent.json";

/// How long a shim that was being started may take to get its program going.
const STARTING_PATIENCE: Duration = Duration::from_secs(10);
const KILLING_PATIENCE: Duration = Duration::from_secs(5);

/// What an agent writes down before it starts anything (S6). Not forced to disk: after a crash of
/// the machine there is nothing left to be found again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "kebab-case")]
pub(crate) enum Intent {
    /// Without its environment and what it fetches, which hold secrets.
    Instance { spec: Box<InstanceSpec> },
    /// Never adopted: whoever wanted it is gone too.
    Build,
}

/// What is known of an instance when the agent learns of it.
pub(crate) enum Found {
    /// It is on the list and nothing of it is here.
    Wanted { spec: InstanceSpec },
    /// It runs.
    Running { spec: InstanceSpec, shim: Shim, since: Timestamp },
    /// It has ended.
    Ended { spec: InstanceSpec, reason: ExitReason, tail: Vec<String>, at: Timestamp },
}

/// Looks at everything and removes what nobody knows. Blocks.
pub(crate) fn recover(paths: &Paths, cgroups: &Cgroups, network: Option<&Network>) -> Vec<Found> {
    let mut found = Vec::new();
    for name in names_in(&paths.instances()) {
        let directory = paths.instances().join(&name);
        let outcome = name.parse().ok().and_then(|id| look_at(&id, &directory, paths, cgroups));
        match outcome {
            Some(instance) => found.push(instance),
            None => {
                shim::kill(&directory, KILLING_PATIENCE);
                let _ = cgroups.destroy(&name, KILLING_PATIENCE);
                let _ = fs::remove_dir_all(&directory);
            }
        }
    }
    let adopted: BTreeSet<InstanceId> = found
        .iter()
        .filter_map(|found| match found {
            Found::Running { spec, .. } => Some(spec.id.clone()),
            _ => None,
        })
        .collect();
    remove_unknown(paths, cgroups, network, &adopted);
    let ended = found.len() - adopted.len();
    if !found.is_empty() {
        tracing::info!(adopted = adopted.len(), ended, "instances of an earlier agent were found");
    }
    found
}

/// `None` when nothing of it is worth keeping.
fn look_at(id: &InstanceId, directory: &Path, paths: &Paths, cgroups: &Cgroups) -> Option<Found> {
    let intent = serde_json::from_slice(&fs::read(directory.join(INTENT)).ok()?).ok()?;
    let Intent::Instance { spec } = intent else { return None };
    let spec = *spec;
    if let Some(ending) = Ending::read(directory) {
        return Some(Found::Ended { spec, reason: ending.reason, tail: ending.tail, at: ending.at });
    }
    let bundle_is_there = paths.bundle(id).join("config.json").exists();
    if bundle_is_there && let Some((shim, process)) = shim::find(directory, STARTING_PATIENCE) {
        return Some(Found::Running { spec, shim, since: Timestamp(process.at) });
    }
    let began = instance::has_begun(directory);
    // Its cgroup first: the shim then sees the program's end and writes it down.
    let _ = cgroups.destroy(id.as_str(), KILLING_PATIENCE);
    std::thread::sleep(Duration::from_millis(20));
    shim::kill(directory, KILLING_PATIENCE);
    let reason = match shim::read_exit(directory) {
        Some(exit) if bundle_is_there => instance::reason_of(directory, exit),
        _ if began => ExitReason::Lost,
        _ => return None,
    };
    let tail = logs::tail(&paths.log(&spec), slipway_model::limit::CRASH_TAIL_LINES);
    let ending = Ending { reason, tail, at: instance::now() };
    ending.write(directory);
    Some(Found::Ended { spec, reason: ending.reason, tail: ending.tail, at: ending.at })
}

fn remove_unknown(
    paths: &Paths,
    cgroups: &Cgroups,
    network: Option<&Network>,
    adopted: &BTreeSet<InstanceId>,
) {
    let is_adopted = |name: &str| name.parse().is_ok_and(|id: InstanceId| adopted.contains(&id));
    for name in cgroups.existing().into_iter().filter(|name| !is_adopted(name)) {
        if let Err(left) = cgroups.destroy(&name, KILLING_PATIENCE) {
            tracing::error!(instance.id = name, ?left, "processes of an unknown instance cannot be killed");
        }
    }
    for root in [paths.bundles(), paths.runtime_root(), paths.fetches()] {
        for name in names_in(&root).into_iter().filter(|name| !is_adopted(name)) {
            let _ = fs::remove_dir_all(root.join(name));
        }
    }
    scratch::sweep(&paths.scratch(), paths.state());
    if let Some(network) = network
        && let Err(error) = network.sweep(adopted)
    {
        tracing::warn!(error = crate::error::chain(&error), "networks of unknown instances remain");
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
