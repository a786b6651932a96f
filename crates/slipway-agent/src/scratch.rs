//! Disks with a hard limit, for builds: a sparse file, an ext4 in it, a loop mount.
//!
//! Neither quotas of the host's file system nor a count by `du` hold on every host and at every
//! moment; a file system of its own does. It has no journal, because it is thrown away after any
//! crash. The file is unlinked as soon as it is mounted, and the loop device is told to go with the
//! mount, so that a mount is all that a killed agent can leave, and [`sweep`] finds those.
//!
//! Making one costs about 10 ms, half of it `mkfs.ext4`: a pool would not be worth its bookkeeping.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::mount::{MntFlags, umount2};
use slipway_model::instance::APP_UID;
use slipway_model::unit::Bytes;
use slipway_shim::disk;

use crate::agent::Agent;
use crate::error::Error;

/// One inode for so many bytes: a tree of `node_modules` has files of 10 KiB on average.
const BYTES_PER_INODE: &str = "8192";
/// Left free on the node's own disk for everything else (F42).
const HOST_RESERVE: u64 = 512 << 20;
/// The same for inodes: a disk without any is as full.
const HOST_RESERVE_INODES: u64 = 10_000;
/// Of the files that become disks.
const IMAGE_PREFIX: &str = "scratch-";
/// No journal, because it is thrown away after any crash.
const FEATURES: &[&str] = &[
    "-O",
    "none,extent,filetype,sparse_super,large_file,dir_nlink,extra_isize,uninit_bg,64bit,dir_index,flex_bg",
];
/// Nothing on it has to survive anything; so nothing waits for the disk.
const MOUNT_OPTIONS: &str = "nobarrier,delalloc,noinit_itable";

/// A disk of its own. Dropping it unmounts and deletes it.
#[derive(Debug)]
pub struct Scratch {
    mount_point: PathBuf,
    data: PathBuf,
    bytes: Bytes,
}

impl Scratch {
    /// An empty directory on it, owned by the application's user (as a container id: what a build
    /// sees through a bind of it). What a build has left in it may be anything: open nothing in it
    /// through links.
    pub fn path(&self) -> &Path {
        &self.data
    }

    /// Its size.
    pub fn bytes(&self) -> Bytes {
        self.bytes
    }

    /// Where a sandbox writes what it writes outside its binds.
    pub(crate) fn system(&self) -> PathBuf {
        self.mount_point.join("system")
    }

    /// True when there is next to no room left. Not "none": a write of a megabyte fails as a whole.
    pub fn is_full(&self) -> bool {
        let little = (self.bytes.0 / 64).max(2 << 20);
        rustix::fs::statvfs(&self.mount_point)
            .is_ok_and(|stat| stat.f_bavail * stat.f_frsize < little || stat.f_ffree < 8)
    }
}

impl Agent {
    /// Makes a disk of that size.
    ///
    /// # Errors
    /// When the node's disk has not that much room, or it cannot be made.
    pub async fn scratch(&self, bytes: Bytes) -> Result<Scratch, Error> {
        let directory = self.shared.paths.scratch();
        let images = self.shared.paths.state().to_owned();
        tokio::task::spawn_blocking(move || make(&directory, &images, bytes))
            .await
            .map_err(|error| Error::Scratch { bytes: bytes.0, why: error.to_string() })?
    }
}

impl Agent {
    /// A disk whose content stays: `image` is its file, made when there is none or when it cannot be
    /// mounted any more. For caches, which may be lost at any time.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn kept_disk(&self, image: PathBuf, bytes: Bytes) -> Result<Scratch, Error> {
        let directory = self.shared.paths.scratch();
        tokio::task::spawn_blocking(move || keep(&directory, &image, bytes))
            .await
            .map_err(|error| Error::Scratch { bytes: bytes.0, why: error.to_string() })?
    }
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn keep(directory: &Path, image: &Path, bytes: Bytes) -> Result<Scratch, Error> {
    let failed = |why: String| Error::Scratch { bytes: bytes.0, why };
    let folder = image.parent().unwrap_or(directory);
    fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
    // The file is sparse: what it has not taken of the node's disk, it may still take.
    let taken = fs::metadata(image).map_or(0, |data| data.blocks() * 512);
    check_room(folder, bytes.0.saturating_sub(taken)).map_err(failed)?;
    let mount_point = mount_point_in(directory).map_err(|error| failed(error.to_string()))?;
    let mounted =
        open_image(image, bytes).and_then(|file| disk::mount_image(&file, &mount_point, MOUNT_OPTIONS));
    let mounted = mounted.or_else(|_unusable| {
        // Absent, of another size, or damaged: a cache is made anew.
        let _ = fs::remove_file(image);
        format(image, bytes, FEATURES).and_then(|file| disk::mount_image(&file, &mount_point, MOUNT_OPTIONS))
    });
    if let Err(why) = mounted {
        remove(&mount_point);
        return Err(failed(why));
    }
    let scratch = Scratch { data: mount_point.join("data"), mount_point, bytes };
    prepare(&scratch).map_err(|error| failed(error.to_string()))?;
    Ok(scratch)
}

fn open_image(image: &Path, bytes: Bytes) -> Result<File, String> {
    let file =
        fs::OpenOptions::new().read(true).write(true).open(image).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    if length == bytes.0 { Ok(file) } else { Err("of another size".into()) }
}

fn mount_point_in(directory: &Path) -> std::io::Result<PathBuf> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mount_point = directory.join(format!("{}-{number}", std::process::id()));
    fs::DirBuilder::new().mode(0o711).create(&mount_point)?;
    Ok(mount_point)
}

/// Makes the two directories on a disk, unless it has them.
fn prepare(scratch: &Scratch) -> std::io::Result<()> {
    if scratch.data.exists() {
        return Ok(());
    }
    fs::DirBuilder::new().mode(0o755).create(&scratch.data)?;
    chown(&scratch.data, Some(APP_UID), Some(APP_UID))?;
    fs::DirBuilder::new().mode(0o711).create(scratch.system())
}

/// Whether the disk that `path` is on can take that much and keep its reserve. Says so if not.
pub(crate) fn check_room(path: &Path, bytes: u64) -> Result<(), String> {
    let stat = rustix::fs::statvfs(path).map_err(|errno| errno.to_string())?;
    let free = stat.f_bavail * stat.f_frsize;
    // Some file systems make inodes as they are needed and report none.
    let inodes_left = stat.f_files == 0 || stat.f_favail >= HOST_RESERVE_INODES;
    if free >= bytes.saturating_add(HOST_RESERVE) && inodes_left {
        return Ok(());
    }
    Err(format!(
        "the node's disk has only {} MiB and {} inodes free; it keeps {} MiB in reserve",
        free >> 20,
        stat.f_favail,
        HOST_RESERVE >> 20
    ))
}

fn make(directory: &Path, images: &Path, bytes: Bytes) -> Result<Scratch, Error> {
    let failed = |why: String| Error::Scratch { bytes: bytes.0, why };
    check_room(images, bytes.0).map_err(failed)?;
    let mount_point = mount_point_in(directory).map_err(|error| failed(error.to_string()))?;
    let name = mount_point.file_name().unwrap_or_default().to_string_lossy();
    let image = images.join(format!("{IMAGE_PREFIX}{name}"));
    let made = format(&image, bytes, FEATURES)
        .and_then(|file| disk::mount_image(&file, &mount_point, MOUNT_OPTIONS));
    let _ = fs::remove_file(&image);
    if let Err(why) = made {
        remove(&mount_point);
        return Err(failed(why));
    }
    // From here on dropping it cleans up.
    let scratch = Scratch { data: mount_point.join("data"), mount_point, bytes };
    prepare(&scratch).map_err(|error| failed(error.to_string()))?;
    Ok(scratch)
}

/// An ext4 of that size in a new file.
pub(crate) fn format(image: &Path, bytes: Bytes, features: &[&str]) -> Result<File, String> {
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(image);
    let file = file.map_err(|error| format!("{}: {error}", image.display()))?;
    file.set_len(bytes.0).map_err(|error| error.to_string())?;
    let output = Command::new("/sbin/mkfs.ext4")
        .env_clear()
        // mke2fs reads a configuration file that may say anything.
        .env("MKE2FS_CONFIG", "/dev/null")
        .args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-i", BYTES_PER_INODE])
        .args(features)
        .args(["-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"])
        .arg(image)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mkfs.ext4 cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("mkfs.ext4 failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(file)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.mount_point);
    }
}

fn remove(mount_point: &Path) {
    if let Err(errno) = umount2(mount_point, MntFlags::MNT_DETACH)
        && errno != nix::errno::Errno::EINVAL
        && errno != nix::errno::Errno::ENOENT
    {
        tracing::warn!(%errno, path = %mount_point.display(), "a scratch disk cannot be unmounted");
    }
    // Also takes it from every mount namespace that was copied from ours while it was mounted.
    let _ = fs::remove_dir(mount_point);
}

/// Removes what a killed agent has left. Blocks.
pub(crate) fn sweep(directory: &Path, images: &Path) {
    for entry in fs::read_dir(images).into_iter().flatten().flatten() {
        // One that was killed between making the file and unlinking it.
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(IMAGE_PREFIX)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        remove(&entry.path());
    }
}

#[cfg(test)]
mod tests;
