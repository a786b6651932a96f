//! From "the agent has the list" to "the program has been exec'd", beside the bare OCI runtime doing
//! the same: user namespace, limits, filter, overlay of one layer, a network namespace. Prints
//! medians and ratios of one run, taken in turn. Needs root, busybox and `slipway-shim` built beside.
//!
//! `cargo build -p slipway-shim && cargo run -p slipway-agent --example start_bench [rounds] [burst]`

use std::error::Error;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use sha2::Digest as _;
use slipway_agent::image::{ImageSource, User};
use slipway_agent::layers::{Layers, Limits, Packing, Wanted};
use slipway_agent::network::NetworkOptions;
use slipway_agent::{Agent, Options, RuntimeChoice, bundle};
use slipway_model::id::{Epoch, InstanceId, ReleaseNumber};
use slipway_model::instance::{
    Desired, DesiredInstance, Goal, InstanceRole, InstanceSpec, InstanceState, Program, UID_RANGE, Variables,
    uid_range,
};
use slipway_model::push::ImageRef;
use slipway_model::unit::{Bytes, Cpus, Span};
use tokio::sync::broadcast::error::RecvError;

/// Before each start: those of a deployment come one after the other, with time for health between
/// them, and what is prepared ahead is there again. Starts without a pause are the burst's subject.
const REST: Duration = Duration::from_millis(250);
/// Of the bare runtime's burst; more are not faster.
const BARE_CLIENTS: usize = 8;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    // Mounts and networks of this program are its own.
    nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(compare())
}

async fn compare() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<usize>());
    let rounds = numbers.next().transpose()?.unwrap_or(20);
    let burst = numbers.next().transpose()?.unwrap_or(50);
    let directory = tempfile::Builder::new().prefix("slwbench").tempdir()?;
    let root = directory.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o711))?;
    let tree = root.join("tree");
    make_tree(&tree)?;
    let image = make_image(root, &tree)?;
    let agent = Agent::start(options(root)?).await?;
    let mut list = List { agent: agent.clone(), generation: 0, instances: Vec::new() };
    let bare = Bare {
        runtime: agent.runtime().to_owned(),
        shim: shim()?,
        root: root.to_owned(),
        tree,
        started: Mutex::default(),
    };

    let measured = measure(&mut list, &bare, &image, rounds, burst).await;
    list.instances.clear();
    list.apply()?;
    bare.stop();
    drop(list);
    agent.remove_all().await?;
    measured
}

async fn measure(list: &mut List, bare: &Bare, image: &ImageRef, rounds: usize, burst: usize) -> Outcome<()> {
    // The first of each unpacks, loads and warms.
    list.start(vec![spec(image)]).await?;
    bare.start(0)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        tokio::time::sleep(REST).await;
        ours.push(list.start(vec![spec(image)]).await?);
        tokio::time::sleep(REST).await;
        theirs.push(bare.start(round)?);
    }
    let (agent_ms, bare_ms) = (median(&mut ours), median(&mut theirs));
    println!(
        "start, p50 of {rounds}: agent {agent_ms:.1} ms, bare runtime {bare_ms:.1} ms, ratio {:.2}",
        agent_ms / bare_ms
    );

    disks_and_layers(&list.agent, &bare.root, rounds).await?;
    let took = list.start((0..burst).map(|_| spec(image)).collect()).await?;
    println!("{burst} at once: {:.1} a second", burst as f64 / took.as_secs_f64());
    println!(
        "{burst} at once by the bare runtime alone: {:.1} a second",
        bare.start_at_once(rounds + 1, burst)?
    );
    memory(&bare.root.join("run"))
}

/// What a build's disk and a pushed application's layer cost before anything can start.
async fn disks_and_layers(agent: &Agent, root: &Path, rounds: usize) -> Outcome<()> {
    let (mut disks, mut layers) = (Vec::new(), Vec::new());
    let store = Layers::open(&root.join("bench-layers"), Limits::default())?;
    for round in 0..rounds {
        let begun_at = Instant::now();
        let scratch = agent.scratch(Bytes::gibi(2)).await?;
        disks.push(begun_at.elapsed());
        drop(scratch);

        let mut archive = tar::Builder::new(Vec::new());
        for number in 0..100 {
            let mut header = tar::Header::new_gnu();
            header.set_size(10_000);
            header.set_mode(0o644);
            let content = vec![round as u8; 10_000];
            archive.append_data(&mut header, format!("app/file{number}"), content.as_slice())?;
        }
        let content = archive.into_inner()?;
        let hex: String = sha2::Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let blob = root.join("blob");
        fs::write(&blob, &content)?;
        let begun_at = Instant::now();
        let digest = format!("sha256:{hex}").parse()?;
        let wanted = Wanted { diff_id: &digest, blob: &digest, packing: Packing::Tar };
        store.ensure(wanted, &mut store.limits(), || fs::File::open(&blob))?;
        layers.push(begun_at.elapsed());
    }
    println!(
        "a disk of 2 GiB: {:.1} ms; a layer of 100 files, 1 MB: {:.1} ms (p50)",
        median(&mut disks),
        median(&mut layers)
    );
    Ok(())
}

/// The list that the agent is told.
struct List {
    agent: Agent,
    generation: u64,
    instances: Vec<DesiredInstance>,
}

impl List {
    fn apply(&mut self) -> Outcome<()> {
        self.generation += 1;
        let instances = self.instances.clone();
        Ok(self.agent.apply(Desired {
            epoch: Epoch(1),
            generation: self.generation,
            instances,
            volumes: None,
            peers: None,
        })?)
    }

    /// Until all of them have been exec'd.
    async fn start(&mut self, specs: Vec<InstanceSpec>) -> Outcome<Duration> {
        let mut waiting: Vec<InstanceId> = specs.iter().map(|spec| spec.id.clone()).collect();
        self.instances.extend(specs.into_iter().map(|spec| DesiredInstance { spec, goal: Goal::Run }));
        let mut reports = self.agent.reports();
        let begun_at = Instant::now();
        self.apply()?;
        while !waiting.is_empty() {
            let report = match reports.recv().await {
                Ok(report) => report,
                Err(RecvError::Lagged(_)) => return Err("too slow for the reports".into()),
                Err(RecvError::Closed) => return Err("the agent is gone".into()),
            };
            match report.state {
                InstanceState::Starting => waiting.retain(|id| *id != report.instance),
                InstanceState::Ended { exit } => return Err(exit.reason.to_string().into()),
                _ => {}
            }
        }
        Ok(begun_at.elapsed())
    }
}

/// The runtime without us. Its overlay mount is part of the time, as in everybody's comparison.
struct Bare {
    runtime: PathBuf,
    /// The runtime runs its hook, which bounds what the kernel counts by user.
    shim: PathBuf,
    root: PathBuf,
    tree: PathBuf,
    started: Mutex<Vec<String>>,
}

impl Bare {
    fn start(&self, number: usize) -> Outcome<Duration> {
        let id = format!("bare{number}");
        let dir = self.root.join(&id);
        let base = uid_range(1);
        for name in ["upper", "work", "rootfs"] {
            fs::create_dir_all(dir.join(name))?;
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711))?;
        chown(dir.join("upper"), Some(base), Some(base))?;
        for name in ["hosts", "hostname", "resolv.conf"] {
            fs::write(dir.join(name), "")?;
        }
        let rootfs = dir.join("rootfs");
        let config = bundle::config(&bundle::Sandbox {
            root: &rootfs,
            cgroup: format!("/slwbench-bare/{id}"),
            limits_swap: false,
            uid_base: base,
            uid_count: UID_RANGE,
            netns: None,
            hostname: &id,
            files: &dir,
            process: bundle::Process {
                user: User { uid: 0, gid: 0 },
                argv: vec!["/bin/sleep".into(), "1000".into()],
                env: vec!["PATH=/bin".into()],
                cwd: "/".into(),
                tty: false,
            },
            mem: Bytes::mebi(64),
            cpus: Cpus(500),
            pids: 64,
            binds: Vec::new(),
            tmp_in_memory: true,
            shim: &self.shim,
        });
        fs::write(dir.join("config.json"), config.to_string())?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.tree.display(),
            dir.join("upper").display(),
            dir.join("work").display()
        );
        let begun_at = Instant::now();
        mount(Some("overlay"), &rootfs, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
        let status = self.command().args(["run", "--detach", "--bundle"]).arg(&dir).arg(&id).status()?;
        let took = begun_at.elapsed();
        self.started.lock().expect("nobody panics with it").push(id);
        if status.success() { Ok(took) } else { Err(format!("the bare runtime failed: {status}").into()) }
    }

    /// How many a second, when a few clients start so many as fast as they can.
    fn start_at_once(&self, first: usize, count: usize) -> Outcome<f64> {
        let next = AtomicUsize::new(first);
        let client = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= first + count {
                    return Ok(());
                }
                self.start(number).map_err(|error| error.to_string())?;
            }
        };
        let begun_at = Instant::now();
        let done: Result<(), String> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..BARE_CLIENTS).map(|_| scope.spawn(client)).collect();
            clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
        });
        done?;
        Ok(count as f64 / begun_at.elapsed().as_secs_f64())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.root.join("bare-runtime"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn stop(&self) {
        for id in self.started.lock().expect("nobody panics with it").drain(..) {
            let _ = self.command().args(["delete", "--force", &id]).status();
            let _ = nix::mount::umount(&self.root.join(&id).join("rootfs"));
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join("slwbench-bare"));
        }
    }
}

/// What one more instance costs in processes of ours.
fn memory(run: &Path) -> Outcome<()> {
    let mut sizes = Vec::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with(slipway_shim::ARGV0) && line.contains(&run.display().to_string()) {
            let text = fs::read_to_string(process.path().join("smaps_rollup")).unwrap_or_default();
            let kib = text
                .lines()
                .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok());
            sizes.push(Duration::from_millis(kib.unwrap_or(0)));
        }
    }
    let count = sizes.len();
    println!("{count} shims: {:.0} KiB of memory each (PSS, median)", median(&mut sizes));
    Ok(())
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn spec(image: &ImageRef) -> InstanceSpec {
    let mut bytes = [0; 10];
    for (place, byte) in bytes.iter_mut().zip(Instant::now().elapsed().as_nanos().to_le_bytes()) {
        *place = byte;
    }
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    InstanceSpec {
        id: InstanceId::from_random(bytes),
        tenant: "bench".parse().expect("a name"),
        tenant_index: 1,
        environment: "bench/start/dev".parse().expect("a path"),
        role: InstanceRole::Service { service: "web".parse().expect("a name") },
        release: ReleaseNumber(1),
        image: image.clone(),
        program: Program::Argv { argv: vec!["/bin/sleep".into(), "1000".into()] },
        env: Variables::default(),
        cpus: Cpus(500),
        mem: Bytes::mebi(64),
        disk: Bytes::mebi(32),
        port: None,
        health: None,
        start_timeout: Span::from_secs(60),
        stop_grace: Span::from_secs(1),
        ports: Vec::new(),
        volumes: Vec::new(),
        fetch: Vec::new(),
        readiness: None,
        health_also: Vec::new(),
    }
}

static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// Beside `examples/`, where this program is.
fn shim() -> Outcome<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().and_then(Path::parent).ok_or("no directory")?.join("slipway-shim"))
}

fn options(root: &Path) -> Outcome<Options> {
    Ok(Options {
        node: "bench".parse()?,
        state_dir: root.join("state"),
        run_dir: root.join("run"),
        cgroup_parent: "slwbench".into(),
        images: ImageSource::Layout(root.join("images")),
        shim: shim()?,
        fetcher: shim()?,
        ca_bundle: PathBuf::new(),
        runtime: RuntimeChoice::Auto,
        network: Some(NetworkOptions {
            tag: "bench".parse()?,
            subnet: "10.90.0.0/20".parse()?,
            run_dir: root.join("run"),
            state_dir: root.join("state/network"),
            mtu: Some(1500),
            dns: Vec::new(),
            egress_allow: Vec::new(),
            pool: 8,
            ports: (1, 0),
            mesh: None,
        }),
    })
}

fn make_tree(tree: &Path) -> Outcome<()> {
    for name in ["bin", "etc", "proc", "dev", "sys", "tmp", "app"] {
        fs::create_dir_all(tree.join(name))?;
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        fs::write(tree.join("etc").join(name), "")?;
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox"))?;
    symlink("busybox", tree.join("bin/sleep"))?;
    Ok(())
}

fn make_image(root: &Path, tree: &Path) -> Outcome<ImageRef> {
    let blobs = root.join("images/blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let blob = |content: &[u8]| -> Outcome<String> {
        let hex: String = sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(blobs.join(&hex), content)?;
        Ok(format!("sha256:{hex}"))
    };
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all(".", tree)?;
    let layer = blob(&archive.into_inner()?)?;
    let config = serde_json::json!({ "config": {}, "rootfs": { "diff_ids": [layer] } });
    let config = blob(config.to_string().as_bytes())?;
    let manifest = serde_json::json!({
        "config": { "digest": config },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer }],
    });
    Ok(ImageRef { repository: "bench/start".into(), digest: blob(manifest.to_string().as_bytes())?.parse()? })
}
