//! The power of the hosts: with it goes what their programs wrote and did not sync. And disks that are slow.
//!
//! For both, a host's folders are put onto [forgetful disks](crate::forgetful) for a while. Programs must
//! not run when this begins and ends. What instances and routers of a node write is left out: they are not
//! ended, only what looks after them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::{Host, HostKind, Lab};
use crate::forgetful;

/// From now on, what the host's program writes is not safe before it is synced.
pub fn make_forgetful(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    for folder in folders(lab, host) {
        std::fs::create_dir_all(&folder)?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(lab.log(host))?;
        // This very program, even if cargo has built another since.
        let mut disk = Command::new("/proc/self/exe");
        disk.arg("forgetful-disk").arg(&folder);
        disk.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut disk = disk.spawn().context("cannot start a forgetful disk")?;
        // It ends when it is unmounted.
        std::thread::spawn(move || disk.wait());
        lab.wait("the disk is there", Duration::from_secs(10), || server(&folder).is_some())?;
    }
    Ok(())
}

/// What was not synced is gone.
pub fn off(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    for folder in folders(lab, host).iter().filter(|folder| server(folder).is_some()) {
        let power = folder.join(forgetful::POWER);
        std::fs::create_dir(&power)
            .with_context(|| format!("the disk {} did not lose its power", folder.display()))?;
        std::fs::remove_dir(power)?;
        // The kernel must not remember what the disk has forgotten.
        unmount(lab, folder)?;
    }
    make_forgetful(lab, host)
}

/// From now on each sync takes seconds. The disk must be a forgetful one.
pub fn make_slow(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    let folders = folders(lab, host);
    folders.iter().try_for_each(|folder| std::fs::create_dir(folder.join(forgetful::SLOW)))?;
    Ok(())
}

/// Writes are safe again, and as fast as ever.
pub fn make_lasting(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    let folders = folders(lab, host);
    folders.iter().filter(|folder| server(folder).is_some()).try_for_each(|folder| unmount(lab, folder))
}

/// Whether the host is on such disks.
pub fn has_forgetful(lab: &Lab, host: &Host) -> bool {
    folders(lab, host).iter().any(|folder| server(folder).is_some())
}

fn unmount(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    let _not_slow = std::fs::remove_dir(folder.join(forgetful::SLOW));
    let Some(server) = server(folder) else { return Ok(()) };
    let _gone = signal::kill(server, Signal::SIGKILL);
    umount2(folder, MntFlags::MNT_DETACH)?;
    lab.wait("the disk is gone", Duration::from_secs(10), || signal::kill(server, None).is_err())
}

fn folders(lab: &Lab, host: &Host) -> Vec<PathBuf> {
    let data = lab.data(host);
    match host.kind {
        HostKind::ZooKeeper | HostKind::Server => vec![data],
        // What instances run on cannot be on such a disk: the kernel shows no owners by tenant there.
        HostKind::Node => vec![data.join("cluster"), data.join("network")],
    }
}

/// The process that serves a forgetful disk in that place.
fn server(folder: &Path) -> Option<Pid> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let server = words.next()?.strip_prefix(forgetful::NAME)?.parse().ok()?;
        (words.next().map(Path::new) == Some(folder)).then(|| Pid::from_raw(server))
    })
}
