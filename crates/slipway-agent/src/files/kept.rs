//! What is kept of a sandbox, and for how long (ME-18).
//!
//! ```text
//! <state>/sandboxes/<instance>/about.json   whose it is; written before it starts
//! <state>/sandboxes/<instance>/files/       copied there by the shim when it ends
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use slipway_model::id::InstanceId;
use slipway_model::instance::{InstanceRole, InstanceSpec};
use slipway_model::name::{EnvironmentPath, TenantName};

use crate::agent::Shared;
use crate::error::Error;
use crate::options::Paths;
use crate::sandbox;

/// Of what one instance has written, at its end.
const KEPT_BYTES_MAX: u64 = 16 << 20;
/// Files and directories of that.
const KEPT_ENTRIES_MAX: u64 = 2_000;
/// Sandboxes of ended instances of one environment, and of all on a node; each tenant that has some may have
/// an equal part of those, so that nobody pushes out what is somebody else's.
const ENDED_OF_ENVIRONMENT_MAX: usize = 20;
const ENDED_MAX: usize = 200;
/// How long one is kept on an empty disk; sooner gone when it fills (ME-18).
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// A disk that is as full as this keeps none.
const USED_MAX: f64 = 0.9;

/// Name of [`About`] in a sandbox's directory.
const ABOUT: &str = "about.json";

/// Whose a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) environment: EnvironmentPath,
    pub(super) role: InstanceRole,
    pub(super) tenant_index: u32,
}

/// Writes down whose the sandbox is, before it starts; says where the shim shall keep its files. Blocks.
pub(crate) fn begin(shared: &Shared, spec: &InstanceSpec) -> Result<slipway_shim::spec::Keep, Error> {
    let place = shared.paths.sandbox(&spec.id);
    sandbox::make_dir(&place, 0o700)?;
    let about = About {
        environment: spec.environment.clone(),
        role: spec.role.clone(),
        tenant_index: spec.tenant_index,
    };
    let path = place.join(ABOUT);
    slipway_shim::spec::write_whole(&path, &about).map_err(Error::file("write", &path))?;
    let has_room = used(shared.paths.state()) < USED_MAX;
    Ok(slipway_shim::spec::Keep {
        directory: place,
        bytes_max: if has_room { KEPT_BYTES_MAX } else { 0 },
        entries_max: if has_room { KEPT_ENTRIES_MAX } else { 0 },
    })
}

/// Removes what was kept of ended instances for long enough, or is too much. Blocks.
pub(crate) fn collect(paths: &Paths, known: &BTreeSet<InstanceId>) {
    let kept_for = kept_for(used(paths.state()));
    let mut ended: Vec<(SystemTime, InstanceId)> = ids_in(&paths.sandboxes())
        .into_iter()
        .filter(|id| !known.contains(id))
        .filter_map(|id| Some((ended_at(&paths.sandbox(&id))?, id)))
        .collect();
    // The last first.
    ended.sort_by(|a, b| b.cmp(a));
    let about = |id: &InstanceId| -> Option<About> {
        let text = fs::read(paths.sandbox(id).join(ABOUT)).ok()?;
        serde_json::from_slice(&text).ok()
    };
    let ended: Vec<_> = ended.into_iter().map(|(at, id)| (at, about(&id), id)).collect();
    let tenants: BTreeSet<_> =
        ended.iter().filter_map(|(_, about, _)| Some(&about.as_ref()?.environment.tenant)).collect();
    let of_tenant_max = ENDED_MAX / tenants.len().max(1);
    let mut of_tenants: BTreeMap<&TenantName, usize> = BTreeMap::new();
    let mut of_environments: BTreeMap<&EnvironmentPath, usize> = BTreeMap::new();
    for (at, about, id) in &ended {
        let place = paths.sandbox(id);
        let is_over = at.elapsed().is_ok_and(|age| age >= kept_for);
        let too_many = about.as_ref().is_none_or(|about| {
            let of_environment = of_environments.entry(&about.environment).or_default();
            *of_environment += 1;
            if *of_environment > ENDED_OF_ENVIRONMENT_MAX {
                return true;
            }
            let of_tenant = of_tenants.entry(&about.environment.tenant).or_default();
            *of_tenant += 1;
            *of_tenant > of_tenant_max
        });
        if (is_over || too_many)
            && let Err(error) = fs::remove_dir_all(&place)
        {
            tracing::warn!(instance.id = %id, %error, "an old sandbox is still there");
        }
    }
}

/// Whose a sandbox is; `None` when there is none.
pub(super) fn about(shared: &Shared, id: &InstanceId) -> Option<About> {
    serde_json::from_slice(&fs::read(shared.paths.sandbox(id).join(ABOUT)).ok()?).ok()
}

/// The directory was last changed when the copy was put into it.
pub(super) fn ended_at(place: &Path) -> Option<SystemTime> {
    fs::metadata(place).ok()?.modified().ok()
}

pub(super) fn ids_in(directory: &Path) -> Vec<InstanceId> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Mesos' rule: a week on an empty disk, nothing on one that is nine tenths full.
fn kept_for(used: f64) -> Duration {
    KEPT_FOR.mul_f64((USED_MAX - used).max(0.0))
}

/// Which part of the disk is used.
fn used(path: &Path) -> f64 {
    match rustix::fs::statvfs(path) {
        // As df(1) counts: what is kept back for root is neither used nor to be had.
        Ok(stat) if stat.f_blocks > 0 => {
            let used = stat.f_blocks.saturating_sub(stat.f_bfree) as f64;
            used / (used + stat.f_bavail as f64).max(1.0)
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests;
