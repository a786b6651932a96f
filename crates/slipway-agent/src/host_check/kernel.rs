//! What the kernel can do, tried out.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::Finding;
use super::resources::existing;
use super::version::Version;

/// The first with idmapped mounts as layers of an overlay.
const KERNEL_OLDEST: [u32; 2] = [5, 19];
/// Where user 0 of the namespace that is tried is mapped to; nobody's on the host.
const MAPPED_TO: u32 = 0x1fff_0000;

pub(super) fn root() -> Finding {
    if nix::unistd::geteuid().is_root() {
        return Finding::ok("user", "root");
    }
    Finding::fail("user", "not root, so some of the checks below cannot be right", "run this as root")
}

pub(super) fn all(data_dir: &Path) -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (idmapped, overlay) = file_systems(data_dir);
    vec![version(release.trim()), seccomp(), user_namespaces(), idmapped, overlay, loop_devices(), nftables()]
}

pub(super) fn version(release: &str) -> Finding {
    match Version::find(release) {
        Some(version) if version >= Version::new(&KERNEL_OLDEST) => Finding::ok("kernel", release),
        _ => {
            let oldest = Version::new(&KERNEL_OLDEST);
            Finding::fail("kernel", format!("{release} is too old"), format!("boot Linux {oldest} or newer"))
        }
    }
}

fn seccomp() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if status.lines().any(|line| line.starts_with("Seccomp:")) {
        return Finding::ok("seccomp", "there");
    }
    Finding::fail("seccomp", "this kernel has none", "boot a kernel with CONFIG_SECCOMP_FILTER")
}

fn user_namespaces() -> Finding {
    match Mapped::start() {
        Ok(_) => Finding::ok("user namespaces", "one was made"),
        Err(error) => Finding::fail(
            "user namespaces",
            format!("none could be made: {error}"),
            "raise user.max_user_namespaces with sysctl, and look for a security module that forbids them",
        ),
    }
}

/// Each build gets a disk of its own in a file.
fn loop_devices() -> Finding {
    match File::options().read(true).write(true).open("/dev/loop-control") {
        Ok(_) => Finding::ok("loop devices", "there"),
        Err(error) => {
            let what = format!("/dev/loop-control cannot be opened: {error}");
            Finding::fail(
                "loop devices",
                what,
                "run `modprobe loop`, and write `loop` to /etc/modules-load.d/loop.conf",
            )
        }
    }
}

fn nftables() -> Finding {
    match crate::network::try_rules() {
        Ok(()) => Finding::ok("nftables", "it takes all rules of an instance network"),
        Err(error) => Finding::fail(
            "nftables",
            format!("it refuses the rules of an instance network: {error}"),
            "install nftables 1.0 or newer, and use a kernel with nf_tables, fib, conntrack, nat and connlimit",
        ),
    }
}

/// Shows a directory of the data directory's file system to another user namespace, and lays an
/// overlay over it, which is how every instance gets its root.
fn file_systems(data_dir: &Path) -> (Finding, Finding) {
    let place = existing(data_dir);
    let on = place.display();
    let tried = std::thread::scope(|scope| scope.spawn(|| try_overlay(&place)).join());
    let (idmapped, overlay) = match tried {
        Ok(Ok(())) => (None, None),
        Ok(Err((Step::Idmapped, error))) => (Some(error.to_string()), Some("it was not tried".to_owned())),
        Ok(Err((Step::Overlay, error))) => (None, Some(error.to_string())),
        Err(_) => (Some("the trial broke off".into()), Some("the trial broke off".into())),
    };
    let advice = "keep the data directory on ext4, xfs or btrfs";
    let finding = |name: &str, error: Option<String>| match error {
        None => Finding::ok(name, format!("they work on the file system of {on}")),
        Some(error) => Finding::fail(name, format!("they fail on the file system of {on}: {error}"), advice),
    };
    (finding("idmapped mounts", idmapped), finding("overlay mounts", overlay))
}

enum Step {
    Idmapped,
    Overlay,
}

/// In a mount namespace of the calling thread's own, which must end after this.
fn try_overlay(place: &Path) -> Result<(), (Step, io::Error)> {
    let idmapped = |error| (Step::Idmapped, error);
    let overlay = |error| (Step::Overlay, error);
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| idmapped(error.into()))?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|error| idmapped(error.into()))?;
    let trial = Trial::new(place).map_err(idmapped)?;
    let [lower, shown, upper, work, merged] = &trial.directories;

    fs::write(lower.join("file"), "").map_err(idmapped)?;
    let namespace = Mapped::start().map_err(idmapped)?;
    show_mapped(lower, shown, &namespace).map_err(idmapped)?;
    owned_by_mapped(&shown.join("file")).map_err(idmapped)?;

    let options =
        format!("lowerdir={},upperdir={},workdir={}", shown.display(), upper.display(), work.display());
    mount(Some("overlay"), merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|error| overlay(error.into()))?;
    owned_by_mapped(&merged.join("file")).map_err(overlay)?;
    fs::write(merged.join("new"), "").map_err(overlay)
}

fn owned_by_mapped(file: &Path) -> io::Result<()> {
    let owner = fs::metadata(file)?.uid();
    if owner == MAPPED_TO {
        return Ok(());
    }
    Err(io::Error::other(format!("a file of user 0 is shown as of user {owner}, not {MAPPED_TO}")))
}

/// Mounts a copy of `from` at `to`, with its owners as they look from inside the namespace.
fn show_mapped(from: &Path, to: &Path, namespace: &Mapped) -> io::Result<()> {
    let tree =
        open_tree(rustix::fs::CWD, from, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.file.as_raw_fd() as u64,
    };
    // SAFETY: the descriptors are open, the path is an empty C string, and the kernel only reads the
    // structure, whose size it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    move_mount(tree.as_fd(), "", rustix::fs::CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}

/// The directories of a trial; removed, with what is mounted there, at the end.
struct Trial {
    root: PathBuf,
    directories: [PathBuf; 5],
}

impl Trial {
    fn new(place: &Path) -> io::Result<Self> {
        let root = place.join(format!(".slipway-doctor-{}", std::process::id()));
        let directories = ["lower", "shown", "upper", "work", "merged"].map(|name| root.join(name));
        for directory in &directories {
            fs::create_dir_all(directory)?;
        }
        Ok(Self { root, directories })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        for place in [&self.directories[4], &self.directories[1]] {
            let _ = umount2(place, MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A user namespace that a child process keeps: a `cat` that waits for more input.
struct Mapped {
    child: Child,
    file: File,
}

impl Mapped {
    fn start() -> io::Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--user", "cat"])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        match Self::enter(&mut child) {
            Ok(file) => Ok(Self { child, file }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn enter(child: &mut Child) -> io::Result<File> {
        // When the line comes back, `cat` runs, and so the namespace is there.
        let (Some(stdin), Some(stdout)) = (&mut child.stdin, &mut child.stdout) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut line = String::new();
        // A child that could not make its namespace has ended without reading.
        let written = stdin.write_all(b"there?\n");
        BufReader::new(stdout).read_line(&mut line)?;
        if written.is_err() || line.is_empty() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let map = format!("0 {MAPPED_TO} 65536\n");
        fs::write(process.join("uid_map"), &map)?;
        fs::write(process.join("gid_map"), &map)?;
        File::open(process.join("ns/user"))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
