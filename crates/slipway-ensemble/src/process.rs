//! The ZooKeeper server as a process.
//!
//! It is in a process group of its own and writes its log by itself, so it outlives us: a restart of
//! the instance must not cost the ensemble a member. A file says which process it is, and the next
//! instance adopts it. A number alone could by then belong to another process, so the file also holds
//! when the process was started, and its command line must be a ZooKeeper server's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::user::{self, User};

/// The class with ZooKeeper's `main`.
const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
const PID_FILE: &str = "zookeeper.pid";
/// The server's output.
pub const LOG_FILE: &str = "zookeeper.log";
/// The line there before the words of each process.
pub(crate) const STARTED: &str = "-- slipwayd starts the server";
const OLD_LOG_FILE: &str = "zookeeper.log.1";
/// A log that is longer becomes the old one.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// How often to look whether a process has ended.
const POLL: Duration = Duration::from_millis(20);

/// A server that runs, or ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    /// In clock ticks since the machine started.
    started: u64,
    /// When we first saw it.
    seen: Instant,
}

impl Process {
    /// The one that an earlier instance left, if it still runs.
    pub fn adopt(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(PID_FILE)).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let process = Self { pid: pid.parse().ok()?, started: started.parse().ok()?, seen: Instant::now() };
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let is_server = command.split(|byte| *byte == 0).any(|argument| argument == MAIN.as_bytes());
        (is_server && process.is_alive()).then_some(process)
    }

    /// Starts Java with these arguments before ZooKeeper's own, which is the configuration's path, as that
    /// user, without any privilege.
    /// The second value is why the process could not be protected from the want of memory, if so.
    ///
    /// # Errors
    /// What could not be done; then nothing runs.
    pub fn start(
        dir: &Path,
        java: &Path,
        arguments: &[String],
        config: &Path,
        user: Option<&User>,
        oom_score_adj: i32,
    ) -> io::Result<(Self, Option<io::Error>)> {
        let mut log = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join(LOG_FILE))?;
        // Java takes a moment until its first line, in which the last are those of the process before.
        writeln!(log, "{STARTED}")?;
        let mut command = tokio::process::Command::new(java);
        command
            .env_clear()
            .args(arguments)
            .arg(MAIN)
            .arg(config)
            .current_dir(config.parent().unwrap_or(dir))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let mut child = match user {
            Some(user) => spawn_as(&mut command, user)?,
            None => command.spawn()?,
        };
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let unprotected = fs::write(format!("/proc/{pid}/oom_score_adj"), oom_score_adj.to_string()).err();
        let process = started(pid).map(|started| Self { pid, started, seen: Instant::now() });
        let kept = process.ok_or_else(|| io::Error::other("it ended at once")).and_then(|process| {
            write_atomically(&dir.join(PID_FILE), &format!("{pid} {}\n", process.started))?;
            Ok(process)
        });
        if kept.is_err() {
            // Nobody would find it again.
            let _ = child.start_kill();
        }
        // Nobody else can take its exit status, and without that it would stay in the list of processes.
        tokio::spawn(async move { child.wait().await });
        Ok((kept?, unprotected))
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// For how long we know it.
    pub fn age(&self) -> Duration {
        self.seen.elapsed()
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Asks it to end; when it has not within the grace, kills it. Returns when it is gone.
    pub async fn stop(&self, grace: Duration) {
        for (signal, patience) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, Duration::MAX)] {
            let asked = Instant::now();
            if !self.is_alive() {
                return;
            }
            // It is gone if this fails, which the loop sees.
            let _ = kill(Pid::from_raw(self.pid), signal);
            while self.is_alive() && asked.elapsed() < patience {
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

/// Starts it from a thread that has given its rights up first; what is started has those of that thread.
fn spawn_as(command: &mut tokio::process::Command, user: &User) -> io::Result<tokio::process::Child> {
    let (uid, gid) = user.ids();
    // This gives up other groups, too.
    command.uid(uid).gid(gid);
    let runtime = tokio::runtime::Handle::current();
    let spawn = || {
        user::give_up_rights()?;
        let _inside = runtime.enter();
        command.spawn()
    };
    let spawned = std::thread::scope(|scope| scope.spawn(spawn).join());
    spawned.unwrap_or_else(|_| Err(io::Error::other("the thread that starts the server broke off")))
}

/// When the process with that number was started; nothing when there is none, or only what it left.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name that may hold anything, even parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(start)
}

/// Keeps the log within its bound: a long one is copied aside and emptied. The server has it open for
/// appending, so it goes on at the new end; lines written in between the two steps are lost.
///
/// # Errors
/// The file could not be read or written.
pub fn bound_log(dir: &Path) -> io::Result<()> {
    let path = dir.join(LOG_FILE);
    let is_long = fs::metadata(&path).is_ok_and(|found| found.len() > LOG_BYTES_MAX);
    if is_long {
        let mut log = File::open(&path)?;
        let from = log.metadata()?.len().saturating_sub(LOG_BYTES_MAX);
        log.seek(SeekFrom::Start(from))?;
        let mut old = OpenOptions::new();
        old.write(true).create(true).truncate(true).mode(0o600);
        io::copy(&mut log.take(LOG_BYTES_MAX), &mut old.open(dir.join(OLD_LOG_FILE))?)?;
        OpenOptions::new().write(true).truncate(true).open(&path)?;
    }
    Ok(())
}

/// Writes a file so that it is there as a whole or not at all, also after a loss of power.
pub(crate) fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    write_for(None, path, text)
}

/// The same for the server, whose user alone then reads it.
pub(crate) fn write_for(user: Option<&User>, path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A new one: in a directory of the server's one that is there may be a link.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    if let Some(user) = user {
        user.give_file(&file)?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
