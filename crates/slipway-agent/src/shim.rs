//! The agent's side of a shim: starting one, finding one again, waiting for its end.
//!
//! A shim's standard input is a locked file. The lock belongs to the open file, which from the moment
//! of the start only the shim has; so "does it live?" is answered by the lock alone, without a race
//! and without trusting a process id (they are used again).

use std::fs::{self, File};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use slipway_shim::spec::{ExitRecord, ShimProcess, ShimSpec};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::error::Error;

/// Name of the locked file in an instance's directory.
pub(crate) const LOCK: &str = "lock";
/// Name of [`ShimProcess`] there.
pub(crate) const PROCESS: &str = "shim.json";
/// Name of [`ExitRecord`] there.
pub(crate) const EXIT: &str = "exit.json";

/// A shim, and with it an instance, that lives or has lived.
#[derive(Debug)]
pub(crate) struct Shim {
    alive: Alive,
    /// The first process of the program.
    pub(crate) init_pid: i32,
}

#[derive(Debug)]
enum Alive {
    Child(Box<Child>),
    /// Of an earlier agent; a pidfd.
    Adopted(AsyncFd<OwnedFd>),
}

/// A shim that has been started and has not said yet whether its program has.
#[derive(Debug)]
pub(crate) struct Starting {
    child: Child,
    notes: Lines<BufReader<ChildStdout>>,
}

/// Starts a shim for what is in `spec`, whose text goes to `spec_file`. The second value is where the
/// program's output comes from, when the spec says it is inherited.
pub(crate) fn start(
    program: &Path,
    spec: &ShimSpec,
    spec_file: &Path,
    lock: File,
) -> Result<(Starting, Option<ChildStderr>), Error> {
    slipway_shim::spec::write_whole(spec_file, spec).map_err(Error::file("write", spec_file))?;
    let inherits = spec.output == slipway_shim::spec::Output::Inherit;
    let mut child = Command::new(program)
        .arg0(slipway_shim::ARGV0)
        .arg(spec_file)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(lock))
        .stdout(Stdio::piped())
        .stderr(if inherits { Stdio::piped() } else { Stdio::null() })
        .spawn()
        .map_err(|source| Error::Shim { path: program.to_owned(), source })?;
    let output = child.stderr.take();
    let no_pipe = || Error::Launch { why: "the shim has no pipe".into() };
    let notes = BufReader::new(child.stdout.take().ok_or_else(no_pipe)?).lines();
    Ok((Starting { child, notes }, output))
}

impl Starting {
    /// Waits until the program runs or could not be started. The second value, too, is a way it
    /// ended, and the shim is gone then.
    pub(crate) async fn wait(mut self) -> Result<Shim, ExitRecord> {
        use slipway_shim::spec::Ended;
        while let Ok(Some(line)) = self.notes.next_line().await {
            if let Some(pid) = line.strip_prefix("started ") {
                // The pipe must stay open: a build's shim ends with whoever holds the other end.
                self.child.stdout = Some(self.notes.into_inner().into_inner());
                return Ok(Shim {
                    init_pid: pid.parse().unwrap_or(0),
                    alive: Alive::Child(Box::new(self.child)),
                });
            }
            if let Some(record) = line.strip_prefix("ended ").and_then(|text| serde_json::from_str(text).ok())
            {
                let _ = self.child.wait().await;
                return Err(record);
            }
        }
        let _ = self.child.wait().await;
        Err(ExitRecord::new(Ended::LaunchFailed { error: "its shim was killed".into() }))
    }
}

impl Shim {
    /// Waits for the shim's end. Safe to cancel and to call again.
    pub(crate) async fn wait(&mut self) {
        match &mut self.alive {
            Alive::Child(child) => drop(child.wait().await),
            Alive::Adopted(pidfd) => drop(pidfd.readable().await),
        }
    }

    /// Waits for the shim's end, at most so long; whether it came.
    pub(crate) async fn wait_for(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.wait()).await.is_ok()
    }
}

/// The lock of an instance's directory, if no shim has it.
pub(crate) fn try_lock(directory: &Path) -> io::Result<Option<File>> {
    let mut options = fs::OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(directory.join(LOCK))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Finds the shim that holds the lock of that directory. It may have been started a moment ago by an
/// agent that was killed, so it gets a while to say who it is and to start its program. Blocks.
pub(crate) fn find(directory: &Path, patience: Duration) -> Option<(Shim, ShimProcess)> {
    let deadline = std::time::Instant::now() + patience;
    loop {
        let process = read_process(directory);
        if let Some(process) = process
            && process.init_pid != 0
            && let Ok(pidfd) = pidfd(process.pid)
            // Still locked, so the id that we opened is the shim's.
            && let Ok(None) = try_lock(directory)
        {
            // SAFETY: an `OwnedFd` keeps its descriptor open, and the same one, until it is dropped.
            let alive = Alive::Adopted(unsafe { AsyncFd::register(pidfd) }.ok()?);
            return Some((Shim { alive, init_pid: process.init_pid }, process));
        }
        let gone = matches!(try_lock(directory), Ok(Some(_)));
        if gone || std::time::Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills the shim that holds the lock of that directory, and waits until it is gone. For one that
/// nobody can adopt. Blocks.
pub(crate) fn kill(directory: &Path, patience: Duration) -> bool {
    let deadline = std::time::Instant::now() + patience;
    while let Ok(None) = try_lock(directory) {
        if let Some(process) = read_process(directory)
            && let Ok(pidfd) = pidfd(process.pid)
            && let Ok(None) = try_lock(directory)
        {
            // SAFETY: a live descriptor, a signal, no siginfo, no flags.
            unsafe {
                use std::os::fd::AsRawFd;
                let no_info = std::ptr::null::<libc::siginfo_t>();
                libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, no_info, 0);
            }
        }
        if std::time::Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// How the program ended, if a shim has written it down.
pub(crate) fn read_exit(directory: &Path) -> Option<ExitRecord> {
    serde_json::from_slice(&fs::read(directory.join(EXIT)).ok()?).ok()
}

/// Which process a shim is, or was.
pub(crate) fn read_process(directory: &Path) -> Option<ShimProcess> {
    serde_json::from_slice(&fs::read(directory.join(PROCESS)).ok()?).ok()
}

fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}
