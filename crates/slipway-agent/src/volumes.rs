//! Directories that outlive the instances which use them (MA-70).
//!
//! ```text
//! <state>/volumes/<tenant>/<id>/disk       an ext4 with a journal, in a sparse file
//! <state>/volumes/<tenant>/<id>/disk.new   being made
//! <state>/volumes/gone-…/                  on its way out; swept at start
//! ```
//!
//! A volume is a disk of its own, so that its size is a limit that the kernel enforces. The shim mounts
//! it in its own mount namespace and shows it under the tenant's ids, so what is stored in it are container
//! ids, and nothing of it is mounted where the agent, or its end, could leave it behind.
//!
//! That no two living instances have one volume is seen to twice: here, by whoever claims it first, and
//! by a lock on the image that lasts as long as any mount of it ([`slipway_shim::disk::mount_volume`]).
//!
//! A volume is deleted when a list says which ones are to be kept and it is not among them. It is out of
//! sight at once, by a rename; what is deleted then is a file and the directory around it, since the
//! tenant's own files are inside of the image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use slipway_model::id::{InstanceId, VolumeId};
use slipway_model::instance::VolumeMount;
use slipway_model::limit::INSTANCE_VOLUMES_MAX;
use slipway_model::name::TenantName;
use slipway_model::unit::Bytes;

use crate::error::Error;
use crate::image::User;
use crate::options::Paths;
use crate::scratch::{self, check_room};

/// Longest path of a mount: the kernel's limit for one name, ample for a path.
const PATH_BYTES_MAX: usize = 255;
/// Name of the image in a volume's directory.
const DISK: &str = "disk";
/// Of directories that are on their way out. No tenant's name has a capital letter.
const GONE_PREFIX: &str = "GONE-";

/// The volumes of a node.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    state: Mutex<State>,
    sweeping: Mutex<()>,
    sequence: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// What the newest list that said anything wants to be kept.
    wanted: Option<BTreeSet<VolumeId>>,
    /// Who has which; from before its launch until nothing of it is left.
    used: BTreeMap<VolumeId, InstanceId>,
}

/// What the volumes of an agent with that state directory occupy on the node's disk: their files are
/// sparse, so it is less than what was promised. What cannot be read counts as nothing.
pub fn occupied(state_dir: &Path) -> Bytes {
    let folders = |place: &Path| fs::read_dir(place).into_iter().flatten().flatten();
    let tenants = folders(&Paths::volumes_in(state_dir));
    let volumes = tenants.flat_map(|tenant| folders(&tenant.path()));
    let disks = volumes.filter_map(|volume| fs::symlink_metadata(volume.path().join(DISK)).ok());
    Bytes(disks.map(|disk| disk.blocks() * 512).sum())
}

impl Volumes {
    /// Opens the directory and removes what a crash has left.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(GONE_PREFIX.as_bytes()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self {
            root: root.to_owned(),
            state: Mutex::default(),
            sweeping: Mutex::new(()),
            sequence: AtomicU64::new(0),
        })
    }

    /// Takes volumes for an instance that is about to start, or that an earlier agent has started.
    pub(crate) fn claim(&self, instance: &InstanceId, mounts: &[VolumeMount]) -> Result<(), Error> {
        if mounts.len() > INSTANCE_VOLUMES_MAX {
            return Err(Error::Launch { why: format!("it has more than {INSTANCE_VOLUMES_MAX} volumes") });
        }
        let mut state = self.state();
        for (index, mount) in mounts.iter().enumerate() {
            let refuse = |why: String| Err(Error::Volume { id: mount.id.clone(), why });
            if mounts[..index].iter().any(|other| other.id == mount.id) {
                return refuse("it is named twice".into());
            }
            if let Some(owner) = state.used.get(&mount.id).filter(|owner| *owner != instance) {
                return refuse(format!("the instance {owner} has it"));
            }
        }
        state.used.extend(mounts.iter().map(|mount| (mount.id.clone(), instance.clone())));
        Ok(())
    }

    /// Gives up what an instance has, of which nothing lives any more.
    pub(crate) fn release(&self, instance: &InstanceId) {
        self.state().used.retain(|_, owner| owner != instance);
    }

    /// Makes the volumes that do not exist and says what the shim shall mount. Blocks.
    pub(crate) fn prepare(
        &self,
        tenant: &TenantName,
        mounts: &[VolumeMount],
        working_directory: &str,
        user: User,
    ) -> Result<Vec<slipway_shim::spec::Volume>, Error> {
        let mut volumes: Vec<slipway_shim::spec::Volume> = Vec::with_capacity(mounts.len());
        for mount in mounts {
            let refuse = |why: String| Error::Volume { id: mount.id.clone(), why };
            let target = target(&mount.path, working_directory).map_err(refuse)?;
            let overlaps = |other: &slipway_shim::spec::Volume| {
                Path::new(&target).starts_with(&other.target) || Path::new(&other.target).starts_with(&target)
            };
            if volumes.iter().any(overlaps) {
                return Err(refuse(format!("another volume is at {target} already, or below or above it")));
            }
            let image = self.ensure(tenant, mount).map_err(refuse)?;
            volumes.push(slipway_shim::spec::Volume { image, target, uid: user.uid, gid: user.gid });
        }
        Ok(volumes)
    }

    /// The image of a volume, made when it is used for the first time.
    fn ensure(&self, tenant: &TenantName, mount: &VolumeMount) -> Result<PathBuf, String> {
        let place = self.root.join(tenant.as_str()).join(mount.id.as_str());
        let image = place.join(DISK);
        if image.exists() {
            return Ok(image);
        }
        let said = |error: io::Error| format!("it cannot be made: {error}");
        check_room(&self.root, mount.size.0)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&place).map_err(said)?;
        let new = place.join("disk.new");
        // Only a crash can have left one.
        let _ = fs::remove_file(&new);
        let made = format(&new, mount.size)
            .and_then(|file| file.sync_all().and_then(|()| fs::rename(&new, &image)).map_err(said));
        if let Err(why) = made {
            let _ = fs::remove_file(&new);
            return Err(why);
        }
        // The way to it must be on the disk before anybody relies on what is in it.
        for directory in [&place, &self.root.join(tenant.as_str()), &self.root] {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(said)?;
        }
        Ok(image)
    }

    /// From now on these are kept and no others.
    pub(crate) fn keep_only(&self, wanted: BTreeSet<VolumeId>) {
        self.state().wanted = Some(wanted);
    }

    /// Deletes what is neither wanted nor used. Blocks; safe to call at any time.
    pub(crate) fn sweep(&self) {
        let _turn = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, place) in self.existing() {
            let gone = {
                // Held over the rename, so that nobody claims it meanwhile; and asked anew for each.
                let state = self.state();
                let Some(wanted) = &state.wanted else { return };
                if wanted.contains(&id) || state.used.contains_key(&id) {
                    continue;
                }
                let number = self.sequence.fetch_add(1, Ordering::Relaxed);
                let gone = self.root.join(format!("{GONE_PREFIX}{id}-{number}"));
                match fs::rename(&place, &gone) {
                    Ok(()) => gone,
                    Err(error) => {
                        tracing::warn!(volume.id = %id, %error, "a volume could not be deleted");
                        continue;
                    }
                }
            };
            tracing::info!(volume.id = %id, "deleted a volume that nobody wants any more");
            if let Err(error) = fs::remove_dir_all(&gone) {
                tracing::warn!(volume.id = %id, %error, "a deleted volume still takes room");
            }
        }
    }

    /// Every volume on this node, with its directory.
    fn existing(&self) -> Vec<(VolumeId, PathBuf)> {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let is_tenant = |entry: &fs::DirEntry| {
            entry.file_name().to_str().is_some_and(|name| name.parse::<TenantName>().is_ok())
        };
        entries(&self.root)
            .filter(is_tenant)
            .flat_map(|tenant| entries(&tenant.path()).collect::<Vec<_>>())
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here can be half-changed by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a volume appears: an absolute path, or one segment below the working directory (MA-32).
fn target(path: &str, working_directory: &str) -> Result<String, String> {
    let refuse = |why: &str| Err(format!("its path {path:?} {why}"));
    if path.len() > PATH_BYTES_MAX || path.contains('\0') {
        return refuse("is too long or has a NUL in it");
    }
    if !path.starts_with('/') && path.contains('/') {
        return refuse("must be absolute, or one segment below the working directory");
    }
    let whole = Path::new(working_directory).join(path);
    let mut parts = Vec::new();
    for part in whole.to_str().unwrap_or_default().split('/').filter(|part| !part.is_empty()) {
        if matches!(part, "." | "..") {
            return refuse("must not have '.' or '..' in it");
        }
        parts.push(part);
    }
    match parts.first() {
        None => refuse("is the whole file system"),
        Some(&("proc" | "sys" | "dev")) => refuse("is the kernel's"),
        Some(_) if path.is_empty() => refuse("is the working directory itself"),
        Some(_) => Ok(format!("/{}", parts.join("/"))),
    }
}

/// Makes the image. It is larger than what it shall hold by what an ext4 needs for itself.
fn format(image: &Path, size: Bytes) -> Result<File, String> {
    let journal_mib = if size.0 < 1 << 30 { 4 } else { 32 };
    let overhead = size.0 / 24 + ((journal_mib + 2) << 20);
    let journal = format!("size={journal_mib}");
    scratch::format(
        image,
        Bytes(size.0.saturating_add(overhead).next_multiple_of(4096)),
        &[
            "-O",
            "none,has_journal,ext_attr,extent,filetype,sparse_super,large_file,huge_file,dir_nlink,\
             extra_isize,metadata_csum,64bit,dir_index,flex_bg",
            "-J",
            &journal,
        ],
    )
}

#[cfg(test)]
mod tests;
