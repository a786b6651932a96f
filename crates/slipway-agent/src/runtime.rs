//! Which OCI runtime works on this host. Versions and cgroup layouts disagree in too many ways to
//! guess (crun refuses hybrid cgroups), so a container is run, once a boot.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use slipway_model::unit::{Bytes, Cpus};

use crate::bundle;
use crate::cgroup::Cgroups;
use crate::error::Error;
use crate::image::User;
use crate::options::{Options, Paths, RuntimeChoice};

/// Where distributions put runtimes. `PATH` is not asked: only the binaries read the environment.
const DIRECTORIES: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const NAMES: &[&str] = &["crun", "runc"];
const TRIAL_TIME_MAX: Duration = Duration::from_secs(20);

/// Finds the runtime to use. Blocks.
pub(crate) fn choose(options: &Options, paths: &Paths, cgroups: &Cgroups) -> Result<PathBuf, Error> {
    let candidates: Vec<PathBuf> = match &options.runtime {
        RuntimeChoice::Program(program) => vec![program.clone()],
        RuntimeChoice::Auto => NAMES.iter().filter_map(|name| find(name)).collect(),
    };
    let memory = paths.state().join("runtime.json");
    if let Some(proven) = Proven::read(&memory)
        && candidates.contains(&proven.program)
        && Some(&proven) == Proven::now(&proven.program).as_ref()
    {
        return Ok(proven.program);
    }
    let mut complaints = Vec::new();
    for program in candidates {
        match trial(&program, &options.shim, paths, cgroups) {
            Ok(()) => {
                if let Some(proven) = Proven::now(&program) {
                    let _ = slipway_shim::spec::write_whole(&memory, &proven);
                }
                tracing::info!(runtime = %program.display(), "a container ran on this host");
                return Ok(program);
            }
            Err(why) => complaints.push(format!("{}: {why}", program.display())),
        }
    }
    if complaints.is_empty() {
        complaints.push("none of them is installed".into());
    }
    Err(Error::NoRuntime { why: complaints.join("; ") })
}

fn find(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// What was found to work. A newer binary or another boot is tried again.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Proven {
    program: PathBuf,
    bytes: u64,
    modified_at: u64,
    boot: String,
}

impl Proven {
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn now(program: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let data = fs::metadata(program).ok()?;
        let modified_at = u64::try_from(data.mtime()).ok()?;
        Some(Self {
            program: program.to_owned(),
            bytes: data.len(),
            modified_at,
            boot: crate::layers::boot_id(),
        })
    }
}

/// Runs `true` of the host in a sandbox like an instance's.
fn trial(program: &Path, shim: &Path, paths: &Paths, cgroups: &Cgroups) -> Result<(), String> {
    const ID: &str = "trial";
    let bundle = paths.run().join(ID);
    let cleanup = || {
        let _ = fs::remove_dir_all(&bundle);
        let _ = fs::remove_dir_all(paths.runtime_root().join(ID));
        let _ = cgroups.destroy(ID, Duration::from_secs(2));
    };
    cleanup();
    let done = prepare_trial(&bundle, shim, &cgroups.path_of(ID), cgroups.limits_swap())
        .map_err(|error| format!("cannot prepare {}: {error}", bundle.display()))
        .and_then(|()| run_trial(program, &bundle, &paths.runtime_root(), ID));
    cleanup();
    done
}

fn prepare_trial(bundle: &Path, shim: &Path, cgroup: &str, limits_swap: bool) -> std::io::Result<()> {
    let root = bundle.join("rootfs");
    fs::DirBuilder::new().mode(0o711).create(bundle)?;
    fs::DirBuilder::new().mode(0o755).create(&root)?;
    fs::set_permissions(bundle, fs::Permissions::from_mode(0o711))?;
    for name in ["resolv.conf", "hosts", "hostname"] {
        fs::write(bundle.join(name), "")?;
    }
    let mut binds = Vec::new();
    for name in ["usr", "bin", "lib", "lib64"] {
        let source = Path::new("/").join(name);
        match fs::symlink_metadata(&source) {
            Ok(data) if data.is_symlink() => {
                std::os::unix::fs::symlink(fs::read_link(&source)?, root.join(name))?
            }
            Ok(_) => binds.push(bundle::Bind { target: format!("/{name}"), source, read_only: true }),
            Err(_) => {}
        }
    }
    let config = bundle::config(&bundle::Sandbox {
        root: &root,
        cgroup: cgroup.to_owned(),
        limits_swap,
        uid_base: slipway_model::instance::uid_range(0),
        uid_count: slipway_model::instance::UID_RANGE,
        netns: None,
        hostname: "trial",
        shim,
        files: bundle,
        process: bundle::Process {
            user: User { uid: 1000, gid: 1000 },
            argv: vec!["/usr/bin/true".into()],
            env: Vec::new(),
            cwd: "/".into(),
            tty: false,
        },
        mem: Bytes::mebi(64),
        cpus: Cpus(1000),
        pids: 16,
        binds,
        tmp_in_memory: true,
    });
    // The tree is empty and root's: the runtime, as the tenant's root, makes the mount points.
    let base = slipway_model::instance::uid_range(0);
    std::os::unix::fs::chown(&root, Some(base), Some(base))?;
    fs::write(bundle.join("config.json"), config.to_string())
}

fn run_trial(program: &Path, bundle: &Path, runtime_root: &Path, id: &str) -> Result<(), String> {
    let errors = bundle.join("errors");
    let file = fs::File::create(&errors).map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .arg("--root")
        .arg(runtime_root)
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(id)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let deadline = Instant::now() + TRIAL_TIME_MAX;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("did not end in {TRIAL_TIME_MAX:?}"));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(&errors).unwrap_or_default();
    Err(text.lines().last().map_or_else(|| status.to_string(), |line| line.chars().take(500).collect()))
}
