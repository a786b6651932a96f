//! Disks with a hard limit: a file with an ext4 in it, on a loop device.
//!
//! Neither quotas of the host's file system nor a count by `du` hold on every host and at every moment;
//! a file system of its own does. A volume's is mounted by the shim, in the mount namespace that only its
//! instance has: when the last process that sees it is gone, so are mount and device, whoever was killed.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

/// Another process may take the loop device that we were told is free.
const LOOP_TRIES: u32 = 50;
/// The kernel takes a mount away some time after its last process; a journal has to be written.
const IN_USE_PATIENCE: Duration = Duration::from_secs(10);
/// What a volume holds must survive the machine, so barriers and journal are on.
const VOLUME_OPTIONS: &str = "errors=remount-ro";

/// Mounts a volume, which nobody else may have mounted, and returns the directory in it that is the
/// instance's; made for that owner, in container ids, when the volume is new.
///
/// Two mounts of one image would ruin it. So the image is locked, and as it is the loop device that
/// keeps the locked file open, the lock lasts exactly as long as any mount of it.
///
/// # Errors
/// When it is in use, damaged, or cannot be mounted.
pub fn mount_volume(image: &Path, mount_point: &Path, owner: (u32, u32)) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("the volume {} cannot be used: {error}", image.display());
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(image)
        .map_err(failed)?;
    lock(&file, IN_USE_PATIENCE).map_err(|why| format!("the volume {} {why}", image.display()))?;
    mount_image(&file, mount_point, VOLUME_OPTIONS)?;
    let data = mount_point.join("data");
    if !data.exists() {
        // Under another name until it is whole: a crash in between must not leave it root's.
        let new = mount_point.join("new");
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&new);
        made.and_then(|()| chown(&new, Some(owner.0), Some(owner.1)))
            .and_then(|()| fs::rename(&new, &data))
            .map_err(failed)?;
    }
    Ok(data)
}

fn lock(file: &File, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    loop {
        // SAFETY: takes two integers; the descriptor is open.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EWOULDBLOCK) {
            return Err(format!("cannot be locked: {error}"));
        }
        if Instant::now() > deadline {
            return Err("is in use by another instance".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Mounts the ext4 in that file. The loop device goes when the mount does, or at once if there is none.
///
/// # Errors
/// What failed, in words.
pub fn mount_image(file: &File, mount_point: &Path, options: &str) -> Result<(), String> {
    let control = fs::OpenOptions::new().read(true).write(true).open("/dev/loop-control");
    let control = control.map_err(|error| format!("/dev/loop-control: {error}"))?;
    for _ in 0..LOOP_TRIES {
        // SAFETY: this request takes no argument and returns a number.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(format!("no loop device is free: {}", std::io::Error::last_os_error()));
        }
        let path = format!("/dev/loop{number}");
        let Ok(device) = fs::OpenOptions::new().read(true).write(true).open(&path) else {
            // Made a moment ago; the node in /dev follows.
            std::thread::sleep(std::time::Duration::from_millis(1));
            continue;
        };
        let mut config = LoopConfig::new(file.as_raw_fd());
        // SAFETY: `config` is a live loop_config, which is what this request reads.
        if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw mut config) } < 0 {
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::EBUSY) {
                continue;
            }
            return Err(format!("{path}: {error}"));
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        // The device goes when the mount does, or here, when `device` closes without one.
        return mount(Some(path.as_str()), mount_point, Some("ext4"), flags, Some(options))
            .map_err(|errno| format!("{path} cannot be mounted: {errno}"));
    }
    Err("every loop device was taken by somebody else".into())
}

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_config` of the kernel's `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopConfig {
    fn new(fd: i32) -> Self {
        let info = LoopInfo64 {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            sizelimit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_AUTOCLEAR,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        };
        Self { fd: fd as u32, block_size: 0, info, reserved: [0; 8] }
    }
}

#[cfg(test)]
mod tests;
