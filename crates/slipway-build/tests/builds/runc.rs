//! The sandbox port over plain runc: what the agent does with more care. The host's network is used
//! as it is, because only the tests' own programs run here.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use slipway_build::{OutputSink, Sandbox, SandboxEnd, SandboxSpec, Scratch};
use slipway_model::name::EnvironmentPath;
use slipway_model::unit::{Bytes, Span};
use tokio_util::sync::CancellationToken;

/// Where `cargo xtask test` keeps the stack.
const STACKS: &str = "/var/cache/slipway-stack";

pub struct Runc {
    folder: PathBuf,
    pub uses: std::sync::Arc<AtomicU32>,
    pub caches: Caches,
    limits: Limits,
}

/// Lower limits than the builder asks for, so that a test can reach them.
#[derive(Clone, Copy)]
pub struct Limits {
    pub mem: Bytes,
    pub disk: Bytes,
    pub pids: u32,
    pub time: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self { mem: Bytes::gibi(2), disk: Bytes::gibi(2), pids: 1024, time: Span::from_secs(900) }
    }
}

/// A mount that goes when the value goes.
pub struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

pub fn mount_tmpfs(path: &Path, size: Bytes) -> Mounted {
    fs::create_dir_all(path).unwrap();
    let options = format!("size={},mode=755", size.0);
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
    Mounted(path.to_owned())
}

/// A name that nobody else on the machine has.
fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("slipway-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The disks of environments, which outlive builds.
#[derive(Clone, Default)]
pub struct Caches(Arc<Mutex<HashMap<EnvironmentPath, Mounted>>>);

/// Unmounts them at the end of a world: its builder may live on for a moment.
#[derive(Default)]
pub struct CachesEnd(pub Caches);

impl Drop for CachesEnd {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Runc {
    pub fn new(folder: PathBuf, limits: Limits) -> Self {
        Self { folder, uses: Default::default(), caches: Caches::default(), limits }
    }
}

impl Sandbox for Runc {
    fn host_uid(&self, _tenant_index: u32) -> u32 {
        1000
    }

    async fn scratch(&self, size: Bytes) -> Result<Scratch, String> {
        let path = self.folder.join(unique("scratch"));
        let mounted = mount_tmpfs(&path, size.min(self.limits.disk));
        Ok(Scratch::new(path, mounted))
    }

    async fn cache(&self, environment: &EnvironmentPath, size: Bytes) -> Result<Scratch, String> {
        let mut caches = self.caches.0.lock().unwrap();
        let disk = caches.entry(environment.clone()).or_insert_with(|| {
            let disk = mount_tmpfs(&self.folder.join(unique("cache")), size.min(self.limits.disk));
            std::os::unix::fs::chown(&disk.0, Some(1000), Some(1000)).unwrap();
            disk
        });
        Ok(Scratch::new(disk.0.clone(), ()))
    }

    async fn forget_cache(&self, environment: &EnvironmentPath) -> Result<(), String> {
        self.caches.0.lock().unwrap().remove(environment);
        Ok(())
    }

    async fn run(&self, spec: SandboxSpec, output: OutputSink, cancel: CancellationToken) -> SandboxEnd {
        self.uses.fetch_add(1, Ordering::Relaxed);
        let limits = Limits {
            mem: spec.mem.min(self.limits.mem),
            disk: self.limits.disk,
            pids: spec.pids.min(self.limits.pids),
            time: spec.time.min(self.limits.time),
        };
        let container = Container::prepare(&self.folder, &spec, limits);
        let disk = spec.binds.iter().find(|bind| bind.target == "/tmp").map(|bind| bind.source.clone());
        let id = container.id.clone();
        let mut running = {
            let container = container;
            tokio::task::spawn_blocking(move || container.run(output))
        };
        let ended_early = tokio::select! {
            ended = &mut running => return judge(ended.unwrap(), disk),
            () = cancel.cancelled() => SandboxEnd::Cancelled,
            () = tokio::time::sleep(limits.time.duration()) => SandboxEnd::TimedOut,
        };
        // It may not have been created yet, or may have ended this very moment.
        while !running.is_finished() {
            let _ = runc().args(["kill", "--all", &id, "KILL"]).output();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        ended_early
    }
}

struct Ended {
    status: i32,
    out_of_memory: bool,
    too_many_processes: bool,
}

fn judge(ended: Ended, disk: Option<PathBuf>) -> SandboxEnd {
    let no_space =
        |path: PathBuf| nix::sys::statvfs::statvfs(&path).is_ok_and(|stat| stat.blocks_available() < 64);
    match ended {
        Ended { status: 0, .. } => SandboxEnd::Status(0),
        Ended { out_of_memory: true, .. } => SandboxEnd::OutOfMemory,
        Ended { too_many_processes: true, .. } => SandboxEnd::TooManyProcesses,
        Ended { .. } if disk.is_some_and(no_space) => SandboxEnd::DiskFull,
        Ended { status, .. } => SandboxEnd::Status(status),
    }
}

fn runc() -> Command {
    let mut command = Command::new("runc");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command
}

struct Container {
    id: String,
    bundle: PathBuf,
    // Unmounted in this order.
    _root: Mounted,
    _upper: Mounted,
}

impl Container {
    fn prepare(folder: &Path, spec: &SandboxSpec, limits: Limits) -> Self {
        let id = unique("build");
        let bundle = folder.join(&id);
        fs::create_dir_all(&bundle).unwrap();
        let upper = mount_tmpfs(&bundle.join("over"), Bytes::mebi(64));
        let root = bundle.join("root");
        for dir in [&root, &upper.0.join("upper"), &upper.0.join("work")] {
            fs::create_dir_all(dir).unwrap();
        }
        let (lower, over) = (rootfs("build"), &upper.0);
        let options =
            format!("lowerdir={},upperdir={u}/upper,workdir={u}/work", lower.display(), u = over.display());
        mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
        let root = Mounted(root);
        fs::write(bundle.join("config.json"), config(spec, &id, limits).to_string()).unwrap();
        Self { id, bundle, _root: root, _upper: upper }
    }

    fn run(self, output: OutputSink) -> Ended {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = runc();
        command.args(["run", "--keep", "--bundle"]).arg(&self.bundle).arg(&self.id);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut child = command.spawn().unwrap();
        // It holds the pipe's other end.
        drop(command);
        let mut piece = vec![0; 16 << 10];
        while let Ok(count @ 1..) = reader.read(&mut piece) {
            let _ = output.blocking_send(piece[..count].to_vec());
        }
        let status = child.wait().unwrap().code().unwrap_or(128);
        let count = |file: &str, word: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let (id, cgroup) = (&self.id, "/sys/fs/cgroup");
        let ended = Ended {
            status,
            out_of_memory: count(&format!("{cgroup}/memory/{id}/memory.oom_control"), "oom_kill ") > 0,
            too_many_processes: count(&format!("{cgroup}/pids/{id}/pids.events"), "max ") > 0,
        };
        let _ = runc().args(["delete", "--force", id]).output();
        ended
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = umount2(&self._root.0, MntFlags::MNT_DETACH);
        let _ = umount2(&self._upper.0, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(&self.bundle);
    }
}

fn config(spec: &SandboxSpec, id: &str, limits: Limits) -> serde_json::Value {
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] }),
    ];
    let mut binds = spec.binds.clone();
    if spec.network {
        let source = "/etc/resolv.conf".into();
        binds.push(slipway_build::Bind { source, target: "/etc/resolv.conf".into(), read_only: true });
    }
    mounts.extend(binds.iter().map(|bind| {
        let access = if bind.read_only { "ro" } else { "rw" };
        json!({ "destination": bind.target, "type": "bind", "source": bind.source, "options": ["bind", "nosuid", "nodev", access] })
    }));
    let mut namespaces = vec![
        json!({"type": "pid"}),
        json!({"type": "ipc"}),
        json!({"type": "uts"}),
        json!({"type": "mount"}),
    ];
    if !spec.network {
        namespaces.push(json!({"type": "network"}));
    }
    let env: Vec<String> = spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 1000, "gid": 1000 }, "args": spec.argv, "env": env, "cwd": spec.cwd, "noNewPrivileges": true,
        },
        "root": { "path": "root" },
        "mounts": mounts,
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": namespaces,
            "resources": { "memory": { "limit": limits.mem.0, "swap": limits.mem.0 }, "pids": { "limit": limits.pids } },
        },
    })
}

/// The unpacked `build` or `run` image of the stack.
pub fn rootfs(which: &str) -> PathBuf {
    let unpacked = Path::new(STACKS).join(format!("rootfs-{which}"));
    if unpacked.exists() {
        return unpacked;
    }
    static UNPACKED: OnceLock<Mutex<()>> = OnceLock::new();
    let _one_at_a_time = UNPACKED.get_or_init(Mutex::default).lock().unwrap();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rootfs-{which}"));
    if !place.exists() {
        unpack(which, &place);
    }
    place
}

fn unpack(which: &str, place: &Path) {
    use slipway_registry::{Reference, Registry};
    let layout = Path::new(STACKS).join("debian-12");
    assert!(layout.exists(), "there is no stack at {}; `cargo xtask test` makes it", layout.display());
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path(), Default::default()).unwrap();
    let stack = slipway_build::stack::import("debian-12", &registry, &layout, None).unwrap();
    let digest = if which == "build" { stack.build } else { stack.run };
    let image = registry.image(&stack.repository, &Reference::Digest(digest)).unwrap();
    let new = place.with_extension("new");
    let _ = fs::remove_dir_all(&new);
    fs::create_dir_all(&new).unwrap();
    for layer in &image.manifest.layers {
        unpack_layer(registry.open_blob(&layer.digest).unwrap(), &layer.media_type, &new);
    }
    fs::rename(&new, place).unwrap();
}

/// Unpacks a layer over what is there. Layers of ours remove nothing.
pub fn unpack_layer(blob: fs::File, media_type: &str, into: &Path) {
    let stream: Box<dyn Read> = match media_type.rsplit('+').next() {
        Some("zstd") => Box::new(zstd::Decoder::new(blob).unwrap()),
        Some("gzip") => Box::new(flate2::read::GzDecoder::new(blob)),
        _ => Box::new(blob),
    };
    let mut tar = tar::Archive::new(stream);
    tar.set_preserve_permissions(true);
    tar.set_preserve_ownerships(true);
    tar.unpack(into).unwrap();
}

/// Runs a command line through the launcher in an image that the builder made, laid over the
/// unpacked run image. Returns what it printed.
pub fn run_image(
    folder: &Path,
    registry: &slipway_registry::Registry,
    image: &slipway_model::push::ImageRef,
    line: &str,
) -> String {
    use slipway_registry::Reference;
    let repository = image.repository.parse().unwrap();
    let image = registry.image(&repository, &Reference::Digest(image.digest.clone())).unwrap();
    let app = folder.join(unique("image"));
    fs::create_dir_all(&app).unwrap();
    for layer in &image.manifest.layers {
        unpack_layer(registry.open_blob(&layer.digest).unwrap(), &layer.media_type, &app);
    }
    let root = folder.join(unique("root"));
    fs::create_dir_all(&root).unwrap();
    let options = format!("lowerdir={}:{}", app.display(), rootfs("run").display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str())).unwrap();
    let mounted = Mounted(root);
    let mut command = Command::new("/usr/sbin/chroot");
    command
        .args(["--userspec=1000:1000"])
        .arg(&mounted.0)
        .args(&image.config.config.entrypoint)
        .arg(line)
        .env_clear();
    for pair in &image.config.config.env {
        let (key, value) = pair.split_once('=').unwrap();
        command.env(key, value);
    }
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
