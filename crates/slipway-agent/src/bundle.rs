//! What the OCI runtime is told (OCI runtime-spec, config.md). Pure: facts go in, a document comes
//! out, so that every rule about a sandbox can be read and tested here.
//!
//! The defaults are those of `robustness.md` section 7: a user namespace of the tenant's own range,
//! no capability, an allow-list of system calls, no_new_privs, masked and read-only parts of `/proc`,
//! a `/dev` with six devices, no sysfs. Sysfs cannot be mounted in a network namespace that belongs to
//! the host's user namespace; what language runtimes read there (the number of processors) is bound
//! read-only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};
use slipway_model::instance::{APP_UID, Program};
use slipway_model::limit::INSTANCE_FILES;
use slipway_model::unit::{Bytes, Cpus};

use crate::image::{Config, User};

/// The launcher that our own images have as their entrypoint. It takes a command line as its one
/// argument, sets up the environment that the build left, and becomes the command.
pub const LAUNCHER: &str = "/slipway/launch";

/// System calls that may be made, and those that are refused in a special way.
const SECCOMP: &str = include_str!("bundle/seccomp.json");

/// Terminals that a sandbox may have open. The host has `kernel.pty.max` for all, 4,096 by default.
const TERMINALS_MAX: u32 = 32;

/// A hook writes a dozen small files; the rest is a busy machine.
const HOOK_SECONDS_MAX: u32 = 30;

/// All that a bundle depends on.
#[derive(Debug)]
pub struct Sandbox<'a> {
    /// The merged tree.
    pub root: &'a Path,
    /// The runtime makes this its cgroup.
    pub cgroup: String,
    /// Whether the limit may name swap.
    pub limits_swap: bool,
    /// First host id of the tenant.
    pub uid_base: u32,
    /// How many.
    pub uid_count: u32,
    /// The network namespace; `None` gives it one with nothing but a loopback.
    pub netns: Option<&'a Path>,
    /// Name inside.
    pub hostname: &'a str,
    /// The program that bounds what the kernel counts by user ([`slipway_shim::limit`]).
    pub shim: &'a Path,
    /// Directory with `hosts`, `hostname` and `resolv.conf`.
    pub files: &'a Path,
    /// The process.
    pub process: Process,
    /// Hard limit.
    pub mem: Bytes,
    /// Hard limit.
    pub cpus: Cpus,
    /// Processes and threads.
    pub pids: u32,
    /// Directories that are shown inside.
    pub binds: Vec<Bind>,
    /// Whether `/tmp` is a tmpfs; builds have it on their disk.
    pub tmp_in_memory: bool,
}

/// A directory that is shown inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host, already with the tenant's ids.
    pub source: PathBuf,
    /// Inside.
    pub target: String,
    /// Whether it cannot be written.
    pub read_only: bool,
}

/// The process that is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Who it is.
    pub user: User,
    /// What.
    pub argv: Vec<String>,
    /// With which environment.
    pub env: Vec<String>,
    /// Where.
    pub cwd: String,
    /// Whether with a terminal.
    pub tty: bool,
}

/// The whole `config.json`.
pub fn config(sandbox: &Sandbox) -> Value {
    let ids = json!([{ "containerID": 0, "hostID": sandbox.uid_base, "size": sandbox.uid_count }]);
    let mut network = json!({ "type": "network" });
    if let Some(path) = sandbox.netns {
        network["path"] = json!(path);
    }
    let memory = json!(sandbox.mem.0);
    let mut limits = json!({ "limit": memory });
    if sandbox.limits_swap {
        // For the runtime this is memory and swap together: no swap at all.
        limits["swap"] = memory;
    }
    json!({
        "ociVersion": "1.0.2",
        "process": process(&sandbox.process),
        "root": { "path": sandbox.root, "readonly": false },
        "hostname": sandbox.hostname,
        "mounts": mounts(sandbox),
        "hooks": { "createRuntime": [{
            "path": sandbox.shim,
            "args": [slipway_shim::ARGV0, slipway_shim::LIMIT],
            "timeout": HOOK_SECONDS_MAX,
        }] },
        "linux": {
            "uidMappings": ids,
            "gidMappings": ids,
            "namespaces": [
                { "type": "user" }, { "type": "pid" }, { "type": "mount" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "cgroup" }, network,
            ],
            "cgroupsPath": sandbox.cgroup,
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }],
                "memory": limits,
                "cpu": cpu(sandbox.cpus),
                "pids": { "limit": sandbox.pids },
            },
            "seccomp": seccomp(),
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    })
}

/// The part about the process; also what an `exec` inside is told.
pub fn process(process: &Process) -> Value {
    json!({
        "terminal": process.tty,
        "user": { "uid": process.user.uid, "gid": process.user.gid, "umask": 0o022 },
        "args": process.argv,
        "env": process.env,
        "cwd": process.cwd,
        "capabilities": {
            "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [],
        },
        "rlimits": [
            { "type": "RLIMIT_NOFILE", "soft": INSTANCE_FILES, "hard": INSTANCE_FILES },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ],
        "noNewPrivileges": true,
        // Above everything of the platform, so that the kernel chooses an instance first (F40).
        "oomScoreAdj": 500,
    })
}

/// The words that a program of this image is started with.
///
/// # Errors
/// When there is nothing to start, in words.
pub fn argv(program: &Program, config: &Config) -> Result<Vec<String>, String> {
    let entrypoint = config.entrypoint.clone().unwrap_or_default();
    let argv = match program {
        Program::Image => [entrypoint, config.cmd.clone().unwrap_or_default()].concat(),
        Program::CommandLine { line } => command_line(line, config),
        Program::Argv { argv } => [entrypoint, argv.clone()].concat(),
    };
    if argv.first().is_none_or(String::is_empty) {
        return Err("the image does not say what to start, and neither does its service".into());
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err("the command has a NUL in it".into());
    }
    Ok(argv)
}

/// A command line, given to the image's launcher or its shell as one word.
pub fn command_line(line: &str, config: &Config) -> Vec<String> {
    let first = config.entrypoint.as_ref().and_then(|words| words.first());
    if first.is_some_and(|word| word == LAUNCHER) {
        return vec![LAUNCHER.to_owned(), line.to_owned()];
    }
    vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()]
}

/// The environment: the image's, then what was given, then what the platform alone decides.
pub fn environment<'a>(
    config: &Config,
    given: impl IntoIterator<Item = (&'a String, &'a String)>,
    port: Option<u16>,
) -> Vec<String> {
    let mut all = BTreeMap::from([
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME".to_owned(), "/app".to_owned()),
    ]);
    let of_image = config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
    all.extend(of_image.map(|(name, value)| (name.to_owned(), value.to_owned())));
    all.extend(given.into_iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some(port) = port {
        all.insert("PORT".to_owned(), port.to_string());
    }
    // A NUL would end the entry early, and an empty name is none.
    all.into_iter()
        .filter(|(name, value)| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'))
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Where it is started. A directory of the kernel's is none of the image's business (N40,
/// CVE-2024-21626).
///
/// # Errors
/// When the image names such a one.
pub fn working_directory(config: &Config) -> Result<String, String> {
    let directory = config.working_dir.clone().filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".into());
    let forbidden = ["/proc", "/sys", "/dev"];
    let path = Path::new(&directory);
    let odd = !path.is_absolute() || path.components().any(|part| part.as_os_str() == "..");
    if odd || directory.contains('\0') || forbidden.iter().any(|root| path.starts_with(root)) {
        return Err(format!("the image's working directory {directory:?} is not allowed"));
    }
    Ok(directory)
}

/// Who it runs as: what the image says; else, where our launcher is, the application's user; else the
/// root of the image, which has no capability and is nobody on the host.
///
/// # Errors
/// When the image names a user that it does not have.
pub fn user(config: &Config, layers: &[PathBuf]) -> Result<User, String> {
    let launched =
        config.entrypoint.as_ref().is_some_and(|words| words.first().is_some_and(|w| w == LAUNCHER));
    match config.user.as_deref() {
        Some(text) if !text.is_empty() => crate::image::resolve_user(text, layers),
        _ if launched => Ok(User { uid: APP_UID, gid: APP_UID }),
        _ => Ok(User { uid: 0, gid: 0 }),
    }
}

fn cpu(cpus: Cpus) -> Value {
    // CFS counts in microseconds of a period of 100 ms; the kernel refuses a quota below 1 ms.
    let quota = (u64::from(cpus.0) * 100).max(1000);
    // 1024 for a whole processor is the kernel's own scale; 2 is its smallest.
    let shares = (u64::from(cpus.0) * 1024 / 1000).max(2);
    json!({ "quota": quota, "period": 100_000, "shares": shares })
}

fn mounts(sandbox: &Sandbox) -> Value {
    let shm = (sandbox.mem.0 / 4).min(64 << 20);
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc",
                "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"] }),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620",
                            format!("max={TERMINALS_MAX}")] }),
        json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", format!("size={shm}")] }),
        json!({ "destination": "/sys", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "noexec", "nodev", "ro", "mode=755", "size=64k"] }),
        bind(Path::new("/sys/devices/system/cpu"), "/sys/devices/system/cpu", true),
    ];
    if sandbox.tmp_in_memory {
        let tmp = sandbox.mem.0 / 2;
        mounts.push(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "mode=1777", format!("size={tmp}"), "nr_inodes=100000"] }));
    }
    for name in ["resolv.conf", "hosts", "hostname"] {
        mounts.push(bind(&sandbox.files.join(name), &format!("/etc/{name}"), true));
    }
    mounts.extend(sandbox.binds.iter().map(|b| bind(&b.source, &b.target, b.read_only)));
    Value::Array(mounts)
}

fn bind(source: &Path, target: &str, read_only: bool) -> Value {
    let access = if read_only { "ro" } else { "rw" };
    json!({ "destination": target, "type": "bind", "source": source,
            "options": ["bind", "nosuid", "nodev", access] })
}

fn seccomp() -> Value {
    // Parsed once; the file is part of the program, and a test reads it.
    static LIST: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(SECCOMP).unwrap_or(Value::Null));
    LIST.clone()
}

/// Docker's list, with what has been added to it since: thermal and power figures leak what
/// neighbours do.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
    "/sys/firmware",
];

const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[cfg(test)]
mod tests;
