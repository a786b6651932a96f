//! The one program of each host: started so that it outlives this command, and found again.

use std::fmt;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::{Host, Lab};

/// How a host's program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Runs,
    /// It is stopped by a signal.
    Paused,
    /// It does not run.
    Down,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runs => "runs",
            Self::Paused => "paused",
            Self::Down => "down",
        })
    }
}

/// Starts it, and writes down which process it is.
pub fn start(lab: &Lab, host: &Host, mut command: Command) -> anyhow::Result<()> {
    if standing(lab, host) != Standing::Down {
        bail!("{} runs already", host.name);
    }
    let log = fs::OpenOptions::new().create(true).append(true).open(lab.log(host))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Ctrl-C in this terminal is not meant for it.
    let mut child =
        command.process_group(0).spawn().with_context(|| format!("cannot start {}", host.name))?;
    let born = born_at(child.id()).unwrap_or_default();
    fs::write(pid_file(lab, host), format!("{} {born}", child.id()))?;
    // While this process lives, nobody else reaps it.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// SIGKILL, without a wait.
pub fn signal_kill(lab: &Lab, host: &Host) {
    if let Some(pid) = pid(lab, host) {
        let _gone = signal::kill(pid, Signal::SIGKILL);
    }
}

/// SIGKILL, and waits for its end.
pub fn kill(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    signal_kill(lab, host);
    lab.wait("the program ends", Duration::from_secs(10), || standing(lab, host) == Standing::Down)
}

/// SIGSTOP.
pub fn pause(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    send(lab, host, Signal::SIGSTOP)
}

/// SIGCONT.
pub fn resume(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    send(lab, host, Signal::SIGCONT)
}

/// How it is.
pub fn standing(lab: &Lab, host: &Host) -> Standing {
    let Some(pid) = pid(lab, host) else { return Standing::Down };
    match stat(pid.as_raw().unsigned_abs()).and_then(|stat| stat.chars().next()) {
        // Its first thread is a zombie while others still hold what it had open, such as its ports.
        Some('Z') if threads(pid) > 1 => Standing::Runs,
        None | Some('Z' | 'X') => Standing::Down,
        Some('T') => Standing::Paused,
        Some(_) => Standing::Runs,
    }
}

/// The end of what it said.
pub fn print_log(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    let log = fs::read_to_string(lab.log(host)).context("it has not said anything")?;
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn send(lab: &Lab, host: &Host, signal: Signal) -> anyhow::Result<()> {
    let pid = pid(lab, host).with_context(|| format!("{} does not run", host.name))?;
    signal::kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", host.name))
}

fn pid_file(lab: &Lab, host: &Host) -> std::path::PathBuf {
    lab.folder.join(format!("{}.pid", host.name))
}

/// The process that was written down, if it is still the same one.
fn pid(lab: &Lab, host: &Host) -> Option<Pid> {
    let text = fs::read_to_string(pid_file(lab, host)).ok()?;
    let (pid, born) = text.split_once(' ')?;
    let pid: u32 = pid.parse().ok()?;
    (born_at(pid)? == born).then(|| Pid::from_raw(pid.cast_signed()))
}

/// When a process began, in the kernel's ticks.
fn born_at(pid: u32) -> Option<String> {
    // proc(5): the 22nd field; the state is the third.
    stat(pid)?.split(' ').nth(19).map(str::to_owned)
}

/// How many threads a process has that have not ended altogether; none when it is gone.
fn threads(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// What `/proc/PID/stat` says from the state on.
fn stat(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ").map(|(_, rest)| rest.to_owned())
}
