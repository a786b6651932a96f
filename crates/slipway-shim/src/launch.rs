//! The OCI runtime, run once: `run --detach`, by its command line.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::spec::{Output, ShimSpec};

/// A runtime that takes longer hangs; it is killed, and the launch has failed (F46). Generous,
/// because fifty may start at once on two processors.
const LAUNCH_TIME_MAX: Duration = Duration::from_secs(60);

/// A program that has been started, and the ends of its pipes that are ours.
#[derive(Debug)]
pub struct Program {
    init: i32,
    /// Becomes readable when the first process ends.
    pub(crate) end: OwnedFd,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) stdin: Option<OwnedFd>,
    /// In place of the three, when there is a terminal.
    pub(crate) terminal: Option<OwnedFd>,
}

impl Program {
    /// The first process.
    pub fn init_pid(&self) -> i32 {
        self.init
    }
}

/// Starts the program.
///
/// # Errors
/// What the runtime said, or what failed before it could be asked.
pub fn start(spec: &ShimSpec) -> Result<Program, String> {
    let pid_file = spec.bundle.join("init.pid");
    let log_file = spec.bundle.join("runtime.log");
    let console = spec.bundle.join("console");
    let mut command = Command::new(&spec.runtime);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.arg("--root").arg(&spec.runtime_root);
    command.arg("--log").arg(&log_file).args(["--log-format", "json"]);
    command.args(["run", "--detach", "--pid-file"]).arg(&pid_file);
    let console_listener = if spec.tty {
        command.arg("--console-socket").arg(&console);
        let listener = UnixListener::bind(&console);
        Some(listener.map_err(|error| format!("cannot listen on {}: {error}", console.display()))?)
    } else {
        None
    };
    command.arg("--bundle").arg(&spec.bundle).arg(&spec.id);

    let pipes = connect(&mut command, spec)?;
    let mut child =
        command.spawn().map_err(|error| format!("cannot run {}: {error}", spec.runtime.display()))?;
    // The command holds the program's ends of the pipes.
    drop(command);
    let ended = pidfd(child.id() as i32)?;
    let mut descriptors = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(LAUNCH_TIME_MAX).unwrap_or(PollTimeout::MAX);
    let in_time = loop {
        match poll(&mut descriptors, timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other.is_ok_and(|count| count > 0),
        }
    };
    if !in_time {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("{} did not answer in {LAUNCH_TIME_MAX:?}", spec.runtime.display()));
    }
    let status = child.wait().map_err(|error| format!("lost the runtime's process: {error}"))?;
    if !status.success() {
        return Err(complaint(&log_file).unwrap_or_else(|| format!("the runtime ended with {status}")));
    }
    let init = std::fs::read_to_string(&pid_file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or("the runtime did not say which process it started")?;
    let terminal = console_listener.map(|listener| receive_terminal(&listener)).transpose()?;
    Ok(Program { init, end: pidfd(init)?, terminal, ..pipes })
}

fn connect(command: &mut Command, spec: &ShimSpec) -> Result<Program, String> {
    let failed = |error: std::io::Error| format!("cannot make pipes: {error}");
    let mut program = Program {
        init: 0,
        // Replaced as soon as there is a process.
        end: File::open("/dev/null").map_err(failed)?.into(),
        stdout: None,
        stderr: None,
        stdin: None,
        terminal: None,
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if spec.tty {
        return Ok(program);
    }
    if spec.attach.is_some() {
        let (theirs, ours) = std::io::pipe().map_err(failed)?;
        command.stdin(theirs);
        program.stdin = Some(ours.into());
    }
    match spec.output {
        Output::Inherit => {
            let stderr = std::io::stderr();
            let copy = || stderr.as_fd().try_clone_to_owned().map_err(failed);
            command.stdout(copy()?).stderr(copy()?);
        }
        Output::File { .. } => {
            let (ours, theirs) = std::io::pipe().map_err(failed)?;
            command.stdout(theirs);
            program.stdout = Some(ours.into());
            let (ours, theirs) = std::io::pipe().map_err(failed)?;
            command.stderr(theirs);
            program.stderr = Some(ours.into());
        }
    }
    Ok(program)
}

/// The runtime's last error message.
fn complaint(log_file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log_file).ok()?;
    text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let serious = matches!(entry["level"].as_str(), Some("error" | "fatal"));
        serious.then(|| entry["msg"].as_str().map(str::to_owned)).flatten()
    })
}

fn pidfd(pid: i32) -> Result<OwnedFd, String> {
    // SAFETY: takes two integers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if descriptor < 0 {
        return Err(format!("cannot watch process {pid}: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

/// The runtime makes the terminal inside the container and sends us its other end (OCI runtime,
/// "console socket").
fn receive_terminal(listener: &UnixListener) -> Result<OwnedFd, String> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
    let failed = |error: std::io::Error| format!("the runtime sent no terminal: {error}");
    // It has connected before it ended, so this does not wait.
    let (stream, _) = listener.accept().map_err(failed)?;
    let mut name = [0; 4096];
    let mut buffers = [std::io::IoSliceMut::new(&mut name)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let message =
        recvmsg::<UnixAddr>(stream.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
            .map_err(|error| failed(error.into()))?;
    for part in message.cmsgs().map_err(|error| failed(error.into()))? {
        if let ControlMessageOwned::ScmRights(descriptors) = part
            && let Some(descriptor) = descriptors.first()
        {
            // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
            return Ok(unsafe { OwnedFd::from_raw_fd(*descriptor) });
        }
    }
    Err(failed(std::io::Error::other("its message had none")))
}
