//! Processes and directories that the bench makes, each with an owner whose end is theirs, and what
//! `/proc` says about a process.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A directory that goes with its owner.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn make(name: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("slipway-bench-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        // Servers that give up root must be able to pass.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and says its whole path as text, for a command line.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<String> {
        fs::write(self.join(name), text)?;
        Ok(self.text(name))
    }

    /// A path in it as text.
    pub fn text(&self, name: &str) -> String {
        self.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("    cannot remove {}: {error}", self.0.display());
        }
    }
}

/// A server that ends with its owner: TERM, and KILL when that does not help.
#[derive(Debug)]
pub struct Daemon(Child);

impl Daemon {
    /// Starts it in a process group of its own, so that Ctrl-C leaves its end to us.
    pub fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let name = command.get_program().to_string_lossy().into_owned();
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        Ok(Self(command.spawn().with_context(|| format!("cannot start {name}"))?))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nobody to be told.
        if self.has_ended() {
            return;
        }
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let since = Instant::now();
        while !self.has_ended() {
            if since.elapsed() > Duration::from_secs(20) {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a program to its end. Its standard output; what it complained about when it fails.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    output_of(command, b"")
}

/// The same, with something to read.
pub fn output_of(command: &mut Command, input: &[u8]) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    // A program that does not read it all says what it thinks of it by its status.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        let mut tail: Vec<&str> = said.lines().rev().take(8).collect();
        tail.reverse();
        bail!("{name} {} ended with {}: {}", words.join(" "), output.status, tail.join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for a condition.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let since = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if since.elapsed() > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until something listens.
pub fn wait_for_port(what: &str, port: u16) -> anyhow::Result<()> {
    let connected = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
    wait_for(&format!("{what} to listen"), Duration::from_secs(30), connected).map(drop)
}

/// A process and the words it was started with.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub words: Vec<String>,
}

/// Everything that runs.
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let words = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    };
    pids.map(|pid| Process { pid, words: words(pid) }).collect()
}

/// Processor time that a process and its children have used, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let own = stat(pid).map_or(0.0, |fields| {
        // User and system time, fields 14 and 15 of proc(5), in ticks of which there are 100.
        [11, 12].iter().filter_map(|field| fields.get(*field)?.parse::<f64>().ok()).sum::<f64>() / 100.0
    });
    let children = processes().into_iter().filter(|process| parent(process.pid) == Some(pid));
    own + children.map(|child| cpu_seconds(child.pid)).sum::<f64>()
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// The fields of `/proc/<pid>/stat` after the name, which may have blanks in it.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// The proportional share of memory: what is shared with others counts in part. In MB of 2^20 bytes.
pub fn pss_mb(pid: u32) -> Option<f64> {
    memory_mb(pid, "smaps_rollup", "Pss:")
}

/// Memory in use at this moment, in MB of 2^20 bytes.
pub fn rss_mb(pid: u32) -> Option<f64> {
    memory_mb(pid, "status", "VmRSS:")
}

fn memory_mb(pid: u32, file: &str, field: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()? / 1024.0)
}
