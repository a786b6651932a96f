//! Network namespaces that are kept alive by a file.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Runs `work` on a thread inside that network namespace. Programs that it starts and sockets that
/// it opens belong to the namespace.
pub(super) fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_thread(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// Makes a namespace, runs `furnish` inside it, and only then binds it to `path`, so that a file
/// that is a namespace is a whole one.
pub(super) fn create<T: Send>(path: &Path, furnish: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let value = furnish()?;
        File::create(path)?;
        let none: Option<&str> = None;
        mount(Some("/proc/thread-self/ns/net"), path, none, MsFlags::MS_BIND, none)?;
        Ok(value)
    })
}

/// Runs `work` in a new namespace that ends with it.
pub(super) fn without_file<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// The namespace of the calling thread.
pub(super) fn current() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Opens the namespace that is kept at `path`; `None` if the file is missing or is only the
/// empty file that a reboot leaves of it.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let is_namespace =
        nix::sys::statfs::fstatfs(file.as_fd())?.filesystem_type() == nix::sys::statfs::NSFS_MAGIC;
    Ok(is_namespace.then_some(file))
}

/// Lets go of the namespace that is kept at `path`. Nothing there counts as done.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            // An earlier life may have bound it twice.
            Ok(()) => {}
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sets a kernel parameter of the calling thread's network namespace, such as
/// `ipv4/conf/all/rp_filter`. One that this kernel does not have is left out: what is switched off
/// here cannot be on where it does not exist.
pub(super) fn set_parameter(name: &str, value: &str) -> io::Result<()> {
    match fs::write(format!("/proc/sys/net/{name}"), value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("net/{name}={value}: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// A thread of its own, because the namespace of a thread that others use must never change.
fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("slipway-netns".into()).spawn_scoped(scope, work)?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
