//! One more process inside a sandbox that runs: a health check by command.
//!
//! runc's own `exec` cannot do it: it enters the user namespace first and may then not enter a network
//! namespace that belongs to the host's. Here the user namespace comes last. Everything that confines
//! the program confines this process too, read from the same bundle; the filter of system calls is
//! made by libseccomp, as the runtime makes it ([`filter`]).

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod filter;

use filter::Filter;

/// Exit status when the process could not be started or did not end in time; programs may return
/// it, too, and then the check has failed as well.
pub const FAILED: u8 = 125;

/// What to run, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The sandbox's bundle.
    pub bundle: PathBuf,
    /// The sandbox's first process.
    pub init_pid: i32,
    /// The sandbox's cgroups.
    pub cgroups: Vec<PathBuf>,
    /// The words.
    pub argv: Vec<String>,
    /// It is killed, with all that it started, after this long.
    pub time_max_ms: u64,
}

/// Runs it to its end.
pub fn run(spec_path: &Path) -> ExitCode {
    match enter_and_wait(spec_path) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("slipway-shim: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// What a process is, from the bundle.
#[derive(Debug, Deserialize)]
struct Process {
    user: User,
    env: Vec<String>,
    cwd: String,
    rlimits: Vec<Limit>,
    #[serde(rename = "oomScoreAdj")]
    oom_score_adj: i32,
}

#[derive(Debug, Deserialize)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Debug, Deserialize)]
struct Limit {
    #[serde(rename = "type")]
    kind: String,
    soft: u64,
    hard: u64,
}

fn enter_and_wait(spec_path: &Path) -> Result<u8, String> {
    let spec: ExecSpec = read(spec_path)?;
    let mut config: Value = read(&spec.bundle.join("config.json"))?;
    let process: Process = serde_json::from_value(config["process"].take())
        .map_err(|error| format!("the bundle is odd: {error}"))?;
    let filter = Filter::compile(&config["linux"]["seccomp"])?;
    // Nobody inside may look into this process while it is neither here nor there (CVE-2016-9962).
    nix::sys::prctl::set_dumpable(false).map_err(|error| format!("cannot hide: {error}"))?;
    let _ = fs::write("/proc/self/oom_score_adj", process.oom_score_adj.to_string());
    enter(&spec)?;
    // SAFETY: this process has one thread, so the child may go on with ordinary code.
    match unsafe { fork() }.map_err(|error| format!("cannot fork: {error}"))? {
        ForkResult::Child => {
            let error = become_it(&spec, &process, &filter);
            eprintln!("slipway-shim: {error}");
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { libc::_exit(i32::from(FAILED)) }
        }
        ForkResult::Parent { child } => Ok(wait(child, Duration::from_millis(spec.time_max_ms))),
    }
}

/// Joins the cgroups, then the namespaces.
fn enter(spec: &ExecSpec) -> Result<(), String> {
    let pid = spec.init_pid;
    let namespaces = ["net", "ipc", "uts", "cgroup", "pid", "mnt", "user"];
    let files: Vec<File> = namespaces
        .iter()
        .map(|name| File::open(format!("/proc/{pid}/ns/{name}")))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the instance is gone: {error}"))?;
    // Opened first, looked at then: so the process that we opened them of is the instance's.
    let is_of_instance = |cgroup: &PathBuf| {
        let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        text.lines().any(|line| line.parse() == Ok(pid))
    };
    if !spec.cgroups.iter().any(is_of_instance) {
        return Err("the instance is gone".into());
    }
    let own = std::process::id().to_string();
    for cgroup in spec.cgroups.iter().filter(|cgroup| cgroup.exists()) {
        fs::write(cgroup.join("cgroup.procs"), &own)
            .map_err(|error| format!("cannot join {}: {error}", cgroup.display()))?;
    }
    for (name, file) in namespaces.iter().zip(&files) {
        setns(file.as_fd(), CloneFlags::empty())
            .map_err(|error| format!("cannot join its {name}: {error}"))?;
    }
    Ok(())
}

/// Gives up everything that the program does not have, and becomes the command. Returns only when
/// that fails.
fn become_it(spec: &ExecSpec, process: &Process, filter: &Filter) -> String {
    let step = |done: bool, what: &str| {
        if done { Ok(()) } else { Err(format!("{what}: {}", std::io::Error::last_os_error())) }
    };
    let words = |texts: &[String]| -> Result<Vec<CString>, String> {
        texts.iter().map(|text| CString::new(text.as_str()).map_err(|_| "a NUL in it".to_owned())).collect()
    };
    let attempt = || -> Result<(), String> {
        let (argv, env) = (words(&spec.argv)?, words(&process.env)?);
        let program = argv.first().ok_or("nothing to run")?.clone();
        let cwd = CString::new(Path::new(&process.cwd).as_os_str().as_bytes()).map_err(|_| "a NUL in it")?;
        let no_capabilities = [0u32; 6];
        // _LINUX_CAPABILITY_VERSION_3, and this process.
        let header = [0x2008_0522u32, 0];
        // SAFETY: calls that take integers, or pointers to the live values above.
        unsafe {
            step(libc::setsid() >= 0, "setsid")?;
            for limit in &process.rlimits {
                let kind = match limit.kind.as_str() {
                    "RLIMIT_NOFILE" => libc::RLIMIT_NOFILE,
                    "RLIMIT_CORE" => libc::RLIMIT_CORE,
                    other => return Err(format!("unknown limit {other}")),
                };
                let value = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
                step(libc::setrlimit(kind, &raw const value) == 0, "setrlimit")?;
            }
            for capability in 0..64 {
                // Fails beyond the last that this kernel has.
                if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                    break;
                }
            }
            step(libc::setgroups(0, std::ptr::null()) == 0, "setgroups")?;
            step(libc::setresgid(process.user.gid, process.user.gid, process.user.gid) == 0, "setresgid")?;
            step(libc::setresuid(process.user.uid, process.user.uid, process.user.uid) == 0, "setresuid")?;
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
            let capset = libc::syscall(libc::SYS_capset, header.as_ptr(), no_capabilities.as_ptr());
            step(capset == 0, "capset")?;
            // After the change of user, which would clear it.
            step(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) == 0, "prctl")?;
            step(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs")?;
            libc::umask(0o022);
            step(libc::chdir(cwd.as_ptr()) == 0, "chdir")?;
            let beyond_std = libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            step(beyond_std == 0, "close_range")?;
        }
        filter.load()?;
        nix::unistd::execve(&program, &argv, &env)
            .map(drop)
            .map_err(|error| format!("cannot run {program:?}: {error}"))
    };
    attempt().err().unwrap_or_default()
}

/// The end of the command, or of everything in its session.
fn wait(child: Pid, time_max: Duration) -> u8 {
    let deadline = Instant::now() + time_max;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return code as u8,
            Ok(WaitStatus::Signaled(_, signal, _)) => return 128u8.wrapping_add(signal as u8),
            Err(nix::errno::Errno::ECHILD) => return FAILED,
            _ if Instant::now() > deadline => break,
            // A check takes milliseconds; this wakes a process that is there for as long only.
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    // Its group first, while the leader's id cannot be used again; the leader may not have made it yet.
    let _ = killpg(child, Signal::SIGKILL);
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
    FAILED
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let text = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
