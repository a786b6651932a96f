//! A node for one test: an agent, an image of busybox, and words to speak about both.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use sha2::Digest as _;
use slipway_agent::image::ImageSource;
use slipway_agent::network::NetworkOptions;
use slipway_agent::{Agent, Options, RuntimeChoice};
use slipway_model::id::{Epoch, InstanceId, ReleaseNumber};
use slipway_model::instance::{
    Desired, DesiredInstance, Exit, Goal, InstanceReport, InstanceRole, InstanceSpec, InstanceState, Program,
};
use slipway_model::push::ImageRef;
use slipway_model::unit::{Bytes, Cpus, Span};

/// In the name of everything that the tests make.
pub const MARK: &str = "slwtest";

/// Nothing in these tests takes longer, even with every processor busy.
const PATIENCE: Duration = Duration::from_secs(60);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// One test with a world of its own.
pub fn trial<F>(name: &'static str, body: fn(World) -> F) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let outcome = std::panic::catch_unwind(|| runtime.block_on(async { body(World::new().await).await }));
        runtime.shutdown_timeout(Duration::from_secs(10));
        outcome.map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Failed::from(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
        })
    })
}

pub struct World {
    pub directory: tempfile::TempDir,
    pub number: u32,
    pub agent: Option<Agent>,
    generation: u64,
    wishes: BTreeMap<InstanceId, DesiredInstance>,
    image: ImageRef,
}

impl World {
    async fn new() -> Self {
        let mut world = Self::without_agent(NUMBER.fetch_add(1, Ordering::Relaxed));
        world.start_agent().await;
        world
    }

    fn without_agent(number: u32) -> Self {
        let directory = tempfile::Builder::new().prefix(MARK).tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let image = Image::busybox().write(&directory.path().join("images"));
        Self { directory, number, agent: None, generation: 0, wishes: BTreeMap::new(), image }
    }

    pub async fn start_agent(&mut self) {
        self.agent =
            Some(Agent::start(options(self.directory.path(), self.number)).await.expect("the agent starts"));
    }

    /// Ends the agent, not its instances.
    pub async fn leave(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.leave().await.expect("nobody else uses the agent");
        }
    }

    pub fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    pub fn image(&self) -> ImageRef {
        self.image.clone()
    }

    pub fn add_image(&self, image: Image) -> ImageRef {
        image.write(&self.directory.path().join("images"))
    }

    /// A service that runs this in a shell.
    pub fn spec(&self, line: &str) -> InstanceSpec {
        spec(self.image(), line)
    }

    /// Adds it to the list.
    pub fn run(&mut self, spec: InstanceSpec) -> InstanceId {
        let id = self.wish(spec);
        self.apply();
        id
    }

    /// Puts it on the list that is applied next.
    pub fn wish(&mut self, spec: InstanceSpec) -> InstanceId {
        let id = spec.id.clone();
        self.wishes.insert(id.clone(), DesiredInstance { spec, goal: Goal::Run });
        id
    }

    pub fn stop(&mut self, id: &InstanceId) {
        self.wishes.get_mut(id).unwrap().goal = Goal::Stop;
        self.apply();
    }

    pub fn forget(&mut self, id: &InstanceId) {
        self.wishes.remove(id);
        self.apply();
    }

    pub fn desired(&mut self) -> Desired {
        self.generation += 1;
        let instances = self.wishes.values().cloned().collect();
        Desired { epoch: Epoch(1), generation: self.generation, instances, volumes: None, peers: None }
    }

    pub fn apply(&mut self) {
        let desired = self.desired();
        self.agent().apply(desired).unwrap();
    }

    pub fn report(&self, id: &InstanceId) -> Option<InstanceReport> {
        self.agent().snapshot().into_iter().find(|report| report.instance == *id)
    }

    pub async fn until(
        &self,
        id: &InstanceId,
        what: &str,
        wanted: impl Fn(&InstanceState) -> bool,
    ) -> InstanceReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.report(id);
            if let Some(report) = &report
                && wanted(&report.state)
            {
                return report.clone();
            }
            assert!(Instant::now() < deadline, "{id} is not {what}: {report:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until_healthy(&self, id: &InstanceId) -> InstanceReport {
        let report =
            self.until(id, "healthy", |s| matches!(s, InstanceState::Healthy) || !s.is_alive()).await;
        assert_eq!(report.state, InstanceState::Healthy, "{:?}", self.log(id));
        report
    }

    pub async fn until_ended(&self, id: &InstanceId) -> Exit {
        match self.until(id, "ended", |state| !state.is_alive()).await.state {
            InstanceState::Ended { exit } => exit,
            _ => unreachable!(),
        }
    }

    /// Runs a line to its end and returns how it ended, with all that it printed.
    pub async fn outcome(&mut self, spec: InstanceSpec) -> (Exit, Vec<String>) {
        let id = self.run(spec);
        let exit = self.until_ended(&id).await;
        (exit, self.log(&id))
    }

    pub fn log(&self, id: &InstanceId) -> Vec<String> {
        let logs = self.directory.path().join("state/logs/acme/shop/dev");
        let mut lines = Vec::new();
        for entry in fs::read_dir(logs).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(id.as_str()) {
                let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
                lines.extend(text.lines().map(|line| line.splitn(3, ' ').last().unwrap().to_owned()));
            }
        }
        lines
    }

    /// The first process of an instance, as the host sees it.
    pub fn init_pid(&self, id: &InstanceId) -> i32 {
        let path = self.directory.path().join("state/instances").join(id.as_str()).join("shim.json");
        let process: slipway_shim::spec::ShimProcess =
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        process.init_pid
    }

    pub async fn finish(mut self) {
        if let Some(agent) = self.agent.take() {
            agent.remove_all().await.expect("everything can be removed");
        }
    }
}

/// A test that failed half-way cleans up all the same, so that the comparison at the end tells of
/// leaks and not of failures.
impl Drop for World {
    fn drop(&mut self) {
        let agent = self.agent.take();
        if agent.is_some() || std::thread::panicking() {
            clean_up(agent, self.directory.path().to_owned(), self.number);
        }
    }
}

fn clean_up(agent: Option<Agent>, directory: PathBuf, number: u32) {
    let cleaner = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let agent = match agent {
                Some(agent) => agent,
                None => Agent::start(options(&directory, number)).await?,
            };
            agent.remove_all().await
        })
    });
    if let Ok(Err(error)) = cleaner.join() {
        eprintln!("clean-up after a failed test: {error}");
    }
}

pub fn options(directory: &Path, number: u32) -> Options {
    Options {
        node: "node-one".parse().unwrap(),
        state_dir: directory.join("state"),
        run_dir: directory.join("run"),
        cgroup_parent: format!("{MARK}-{}", directory.file_name().unwrap().to_str().unwrap()),
        images: ImageSource::Layout(directory.join("images")),
        shim: std::env::current_exe().unwrap(),
        fetcher: std::env::current_exe().unwrap(),
        ca_bundle: crate::internet::ca(),
        runtime: RuntimeChoice::Auto,
        network: Some(NetworkOptions {
            tag: format!("t{number}").parse().unwrap(),
            subnet: format!("10.{}.0.0/20", 100 + number).parse().unwrap(),
            run_dir: directory.join("run"),
            state_dir: directory.join("state/network"),
            mtu: Some(1500),
            dns: vec![Ipv4Addr::new(192, 0, 2, 53)],
            egress_allow: Vec::new(),
            pool: 2,
            ports: (31_000, 31_999),
            mesh: None,
        }),
    }
}

pub fn new_id() -> InstanceId {
    let mut bytes = [0; 10];
    let random = fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut &random, &mut bytes).unwrap();
    InstanceId::from_random(bytes)
}

pub fn spec(image: ImageRef, line: &str) -> InstanceSpec {
    InstanceSpec {
        id: new_id(),
        tenant: "acme".parse().unwrap(),
        tenant_index: 3,
        environment: "acme/shop/dev".parse().unwrap(),
        role: InstanceRole::Service { service: "web".parse().unwrap() },
        release: ReleaseNumber(7),
        image,
        program: Program::CommandLine { line: line.to_owned() },
        env: BTreeMap::from([("SLIPWAY_RELEASE".into(), "v7".into())]).into(),
        cpus: Cpus(1000),
        mem: Bytes::mebi(64),
        disk: Bytes::mebi(32),
        port: None,
        health: None,
        start_timeout: Span::from_secs(30),
        stop_grace: Span::from_secs(10),
        ports: Vec::new(),
        volumes: Vec::new(),
        fetch: Vec::new(),
        readiness: None,
        health_also: Vec::new(),
    }
}

/// An image in the making.
pub struct Image {
    tar: tar::Builder<Vec<u8>>,
    entrypoint: Vec<String>,
    working_dir: String,
}

impl Image {
    pub fn busybox() -> Self {
        let mut image =
            Self { tar: tar::Builder::new(Vec::new()), entrypoint: Vec::new(), working_dir: String::new() };
        for directory in ["bin", "etc", "proc", "dev", "sys", "tmp", "app", "lib", "lib64", "usr", "usr/lib"]
        {
            image.add(directory, tar::EntryType::Directory, 0o755, None, b"");
        }
        image.add(
            "etc/passwd",
            tar::EntryType::Regular,
            0o644,
            None,
            b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/app:\n",
        );
        image.add("bin/busybox", tar::EntryType::Regular, 0o755, None, &fs::read("/bin/busybox").unwrap());
        for name in [
            "sh", "cat", "dd", "echo", "env", "false", "grep", "hostname", "httpd", "id", "ls", "mkdir",
            "mount", "nc", "ping", "rm", "sleep", "stat", "mv", "ln", "mkfifo", "stty", "sync", "tail",
            "test", "touch", "true", "unshare", "wc",
        ] {
            image.add(&format!("bin/{name}"), tar::EntryType::Symlink, 0o777, Some("busybox"), b"");
        }
        image
    }

    pub fn with_entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub fn with_working_dir(mut self, path: &str) -> Self {
        self.working_dir = path.to_owned();
        self
    }

    /// This program with the libraries that it needs.
    pub fn with_probe(mut self) -> Self {
        let own = std::env::current_exe().unwrap();
        self.add("app/probe", tar::EntryType::Regular, 0o755, None, &fs::read(own).unwrap());
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut libraries: Vec<&str> = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .filter(|p| p.contains(".so"))
            .collect();
        libraries.dedup();
        for library in libraries {
            let name = Path::new(library).file_name().unwrap().to_str().unwrap();
            let content = fs::read(library).unwrap();
            for directory in ["lib", "lib64", "usr/lib"] {
                self.add(&format!("{directory}/{name}"), tar::EntryType::Regular, 0o755, None, &content);
            }
        }
        self
    }

    pub fn add(&mut self, path: &str, kind: tar::EntryType, mode: u32, link: Option<&str>, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_path(path).unwrap();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        if let Some(link) = link {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        self.tar.append(&header, content).unwrap();
    }

    /// As an OCI image layout (image-spec, image-layout.md).
    fn write(self, root: &Path) -> ImageRef {
        let layer = self.tar.into_inner().unwrap();
        let layer_digest = blob(root, &layer);
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": { "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["/bin/sleep", "1000"],
                "Entrypoint": self.entrypoint, "WorkingDir": self.working_dir },
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        });
        let config_digest = blob(root, config.to_string().as_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": 1 },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len() }],
        });
        let digest = blob(root, manifest.to_string().as_bytes()).parse().unwrap();
        ImageRef { repository: "acme/shop".into(), digest }
    }
}

fn blob(root: &Path, content: &[u8]) -> String {
    let hex: String = sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let path: PathBuf = root.join("blobs/sha256").join(&hex);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    format!("sha256:{hex}")
}

/// A network namespace for this process and all that it starts.
pub fn enter_own_network() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("these tests need root");
    let up = std::process::Command::new("/sbin/ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(up.success());
}

/// One HTTP request and the whole answer.
pub async fn get(address: Ipv4Addr, path: &str) -> String {
    get_at((address, 8080), path).await.unwrap()
}

/// The same at any port, where there may be nobody.
pub async fn get_at(to: (Ipv4Addr, u16), path: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(to).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
