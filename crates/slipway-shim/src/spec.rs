//! What the agent and the shim say to each other, in files.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// All that a shim is told. Holds no secret: the program's environment is in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimSpec {
    /// The container's name for the runtime.
    pub id: String,
    /// The OCI runtime's program file.
    pub runtime: PathBuf,
    /// Where the runtime keeps its state (`--root`).
    pub runtime_root: PathBuf,
    /// The directory with `config.json`.
    pub bundle: PathBuf,
    /// The root filesystem.
    pub rootfs: Rootfs,
    /// Where output goes.
    pub output: Output,
    /// Where to listen for somebody who wants to attach. The program then has an input.
    pub attach: Option<PathBuf>,
    /// Whether the program gets a terminal; only together with `attach`.
    pub tty: bool,
    /// End the program when the agent is gone. For builds, which nobody adopts.
    pub dies_with_agent: bool,
    /// The program's cgroups, one for each hierarchy: read for evidence, removed at the end.
    pub cgroups: Vec<PathBuf>,
    /// Where what it has written is kept after its end, if it is.
    #[serde(default)]
    pub keep: Option<Keep>,
    /// Which process this is goes here ([`ShimProcess`]).
    pub process_file: PathBuf,
    /// How the program ended goes here ([`ExitRecord`]).
    pub exit_file: PathBuf,
}

/// How the root filesystem is put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// An empty directory of the instance's own. A tmpfs is mounted on it, and the tree appears in it
    /// as [`ROOT_NAME`], the binds as `b0`, `b1`, …
    pub mount_dir: PathBuf,
    /// Unpacked layers, lowest first, owned by container ids.
    pub layers: Vec<PathBuf>,
    /// Host id of container id 0.
    pub uid_base: u32,
    /// How many ids follow it.
    pub uid_count: u32,
    /// What is written goes here.
    pub upper: Upper,
    /// Directories that will be bound into the tree by the runtime, shown under the tenant's ids.
    pub binds: Vec<PathBuf>,
    /// A tree above all layers whose files have the tenant's ids already: what was fetched for it.
    #[serde(default)]
    pub fetched: Option<PathBuf>,
    /// Disks that outlive the instance. They appear beside the binds and are counted on from them.
    #[serde(default)]
    pub volumes: Vec<Volume>,
}

/// Where, and how much of it, is kept of what a program has written to [`Upper::Memory`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// A directory that is there; if it is not, nothing is kept.
    pub directory: PathBuf,
    /// Bytes of all files.
    pub bytes_max: u64,
    /// Files, directories and links.
    pub entries_max: u64,
}

/// A disk that outlives the instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The file that it is in.
    pub image: PathBuf,
    /// Where it appears in the tree: absolute, without `.` and `..`.
    pub target: String,
    /// Who owns it when it is new, in container ids.
    pub uid: u32,
    /// The same for the group.
    pub gid: u32,
}

/// Name of the merged tree in [`Rootfs::mount_dir`].
pub const ROOT_NAME: &str = "rootfs";

/// Where an instance's writes go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "upper", rename_all = "kebab-case")]
pub enum Upper {
    /// A tmpfs of at most this size. It counts towards the instance's memory.
    Memory {
        /// Bytes.
        bytes: u64,
        /// Files and directories.
        inodes: u64,
    },
    /// A directory on a filesystem that is limited by itself. `upper` and `work` are made in it.
    Directory {
        /// Which.
        path: PathBuf,
    },
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "output", rename_all = "kebab-case")]
pub enum Output {
    /// Into two files, `path` and `path` with `.1` appended, together never larger than the bound.
    File {
        /// The current one.
        path: PathBuf,
        /// Both together.
        bytes_max: u64,
        /// Longer lines are cut.
        line_bytes_max: usize,
    },
    /// Straight to the shim's own standard error, unchanged.
    Inherit,
}

/// Which processes an instance has. Trustworthy only while the shim's lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimProcess {
    /// The shim.
    pub pid: i32,
    /// The first process of the program; 0 until it has been started.
    pub init_pid: i32,
    /// When this was written, in milliseconds since 1970.
    pub at: u64,
}

/// How a program ended, with what the kernel has to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The end.
    pub ended: Ended,
    /// Processes of it that the kernel killed for want of memory.
    pub oom_kills: u64,
    /// Times that a fork was refused because there were too many processes.
    pub forks_refused: u64,
    /// Lines of output that could not be kept.
    pub lines_lost: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

impl ExitRecord {
    /// An end without any evidence.
    pub fn new(ended: Ended) -> Self {
        Self { ended, oom_kills: 0, forks_refused: 0, lines_lost: 0, at: now_millis() }
    }
}

/// The kinds of end that a parent process can see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ended", rename_all = "kebab-case")]
pub enum Ended {
    /// It ended by itself.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// Its number.
        signal: i32,
    },
    /// It never began.
    LaunchFailed {
        /// Why.
        error: String,
    },
}

/// Milliseconds since 1970-01-01 UTC.
pub fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Writes a value so that a reader sees the old file or the new one, and a crash of the machine does
/// not lose it.
///
/// # Errors
/// Those of the file system.
pub fn write_durably<T: Serialize>(path: &Path, value: &T) -> std::io::Result<()> {
    replace(path, value, true)
}

/// Writes a value so that a reader sees the old file or the new one. After a crash of the machine it
/// may be gone, which is as well for what describes processes.
///
/// # Errors
/// Those of the file system.
pub fn write_whole<T: Serialize>(path: &Path, value: &T) -> std::io::Result<()> {
    replace(path, value, false)
}

fn replace<T: Serialize>(path: &Path, value: &T, durable: bool) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&temporary, path)?;
    if durable && let Some(parent) = path.parent() {
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Tells the agent that started us one line. It may be gone, which does not matter: it finds the
/// same in the files.
pub(crate) fn note(line: &str) {
    // SAFETY: descriptor 1 is open for the whole life of the process; the agent passed it.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    let _ = nix::unistd::write(stdout, format!("{line}\n").as_bytes());
}
