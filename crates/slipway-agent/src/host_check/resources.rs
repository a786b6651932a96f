//! Disk, memory and open files.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use slipway_model::unit::Bytes;

use super::Finding;

pub(super) fn all(data_dir: &Path) -> Vec<Finding> {
    let mut findings = disk(data_dir);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    findings.push(memory(&meminfo));
    findings.push(match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) => open_files(hard),
        Err(error) => {
            Finding::warn("open files", format!("the limit cannot be read: {error}"), "run this as root")
        }
    });
    let limit = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(name)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    findings.push(watchers(limit("max_user_instances"), limit("max_user_watches")));
    findings
}

/// The directory itself, or the nearest above it that exists already.
pub(super) fn existing(directory: &Path) -> PathBuf {
    directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn disk(data_dir: &Path) -> Vec<Finding> {
    let place = existing(data_dir);
    match statvfs(&place) {
        Ok(data) => vec![
            space(data_dir, Bytes(data.blocks_available() * data.fragment_size())),
            inodes(data_dir, data.files(), data.files_available()),
        ],
        Err(error) => {
            let what = format!("{} cannot be examined: {error}", place.display());
            vec![Finding::fail("disk space", what, "choose another --data-dir")]
        }
    }
}

pub(super) fn space(data_dir: &Path, free: Bytes) -> Finding {
    // A stack is 1 GiB with its image and its unpacked layers, a build may use 2 more.
    let (enough, least) = (Bytes::gibi(10), Bytes::gibi(3));
    let what = format!("{} MiB free for {}", free.0 >> 20, data_dir.display());
    let advice = format!("free at least {enough} there, or choose another --data-dir");
    match free {
        free if free >= enough => Finding::ok("disk space", what),
        free if free >= least => Finding::warn("disk space", what, advice),
        _ => Finding::fail("disk space", what, advice),
    }
}

pub(super) fn inodes(data_dir: &Path, total: u64, free: u64) -> Finding {
    // An unpacked stack has some 30,000 files, a Node project as many again.
    let (enough, least) = (300_000, 60_000);
    if total == 0 {
        return Finding::ok("inodes", "made as needed by this file system");
    }
    let what = format!("{free} free for {}", data_dir.display());
    let advice = format!("keep {} on a file system with at least {enough} free inodes", data_dir.display());
    match free {
        free if free >= enough => Finding::ok("inodes", what),
        free if free >= least => Finding::warn("inodes", what, advice),
        _ => Finding::fail("inodes", what, advice),
    }
}

/// From the text of `/proc/meminfo`.
pub(super) fn memory(meminfo: &str) -> Finding {
    let value = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibi| Bytes(kibi << 10))
    };
    let (Some(total), Some(available)) = (value("MemTotal"), value("MemAvailable")) else {
        return Finding::warn("memory", "/proc/meminfo does not say", "mount /proc");
    };
    let what = format!("{} MiB available of {}", available.0 >> 20, total.0 >> 20);
    // A build may use 2 GiB.
    match available {
        available if available >= Bytes::gibi(2) => Finding::ok("memory", what),
        available if available >= Bytes::mebi(512) => Finding::warn(
            "memory",
            what,
            "have 2 GiB available for builds, or they may be killed for want of memory",
        ),
        _ => Finding::fail("memory", what, "have at least 512 MiB available, and 2 GiB for builds"),
    }
}

/// What instances have of it is counted for root of the host as well, so that a few hundred of them
/// need more than a desktop.
pub(super) fn watchers(instances: u64, watches: u64) -> Finding {
    let what = format!("{instances} inotify instances and {watches} watches for all sandboxes together");
    // 128 sandboxes that use all they may have, by `slipway_shim::limit`; watches are used up by few.
    if instances >= 2048 && watches >= 131_072 {
        return Finding::ok("file watchers", what);
    }
    Finding::warn(
        "file watchers",
        what,
        "run `sysctl -w fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=1048576`, and write \
         the same to /etc/sysctl.d/60-slipway.conf",
    )
}

pub(super) fn open_files(hard: u64) -> Finding {
    // Two for each connection through the router.
    if hard >= 65_536 {
        let hard = if hard == u64::MAX { "unlimited".into() } else { format!("up to {hard}") };
        return Finding::ok("open files", hard);
    }
    let advice = "set LimitNOFILE=1048576 in the systemd unit, or raise `ulimit -Hn`";
    Finding::warn(
        "open files",
        format!("up to {hard}, so the router holds {} connections at most", hard / 2),
        advice,
    )
}
