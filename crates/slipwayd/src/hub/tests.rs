//! A hub and nodes with real agents, over connections in memory that can be cut and frozen, and once over a
//! real link. Nothing is launched: instances that are to stop at once, or whose image is nowhere, report
//! all the same.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use slipway_agent::image::ImageSource;
use slipway_agent::{Agent, RuntimeChoice};
use slipway_api::wire::LogLine;
use slipway_control::api::{FilesWanted, Instances, LogQuery};
use slipway_model::id::{Epoch, ReleaseNumber};
use slipway_model::instance::{
    DesiredInstance, Goal, InstanceReport, InstanceRole, InstanceSpec, InstanceState, Node as NodeRecord,
    Program,
};
use slipway_model::name::EnvironmentPath;
use slipway_model::push::ImageRef;
use slipway_model::unit::{Bytes, Cpus, Span, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use futures_util::StreamExt;

use super::*;
use crate::node::serve::{Here, serve};

mod belief;
mod links;
mod looks;
mod peers;

const PATIENCE: Duration = Duration::from_secs(20);

/// The leader's ear, and the hub.
struct Leader {
    hub: Hub,
    messages: mpsc::Receiver<NodeMessage>,
    epoch: Epoch,
    generation: u64,
}

impl Leader {
    fn new(epoch: u64) -> Self {
        let (send, messages) = mpsc::channel(64);
        Self { hub: Hub::new(send, None), messages, epoch: Epoch(epoch), generation: 0 }
    }

    async fn hears(&mut self) -> NodeMessage {
        timeout(PATIENCE, self.messages.recv())
            .await
            .expect("the node says something")
            .expect("the hub lives")
    }

    /// Hears that a node has connected, and what it runs.
    async fn hears_join(&mut self, name: &str) -> Vec<InstanceReport> {
        loop {
            match self.hears().await {
                NodeMessage::Whole { node, instances } if node.name.as_str() == name => return instances,
                NodeMessage::Report { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn hears_end(&mut self, instance: &InstanceId) {
        loop {
            match self.hears().await {
                NodeMessage::Report { report, .. } if report.instance == *instance => {
                    if let InstanceState::Ended { .. } = report.state {
                        return;
                    }
                }
                NodeMessage::Report { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn hears_going(&mut self, name: &str) {
        loop {
            match self.hears().await {
                NodeMessage::Gone { node } if node.as_str() == name => return,
                NodeMessage::Report { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn orders(&mut self, node: &str, specs: &[InstanceSpec], goal: Goal) {
        self.generation += 1;
        let instances = specs.iter().map(|spec| DesiredInstance { spec: spec.clone(), goal }).collect();
        let (epoch, generation) = (self.epoch, self.generation);
        let desired = Desired { epoch, generation, instances, volumes: None, peers: None };
        self.hub.send(&node.parse().unwrap(), desired);
    }
}

/// A node: its agent, and what it says it has.
struct Machine {
    directory: tempfile::TempDir,
    here: Here,
    /// What serves its links, and has the agent as long as it lives.
    links: std::sync::Mutex<Vec<tokio::task::AbortHandle>>,
}

/// A test leaves no cgroup and no directory behind, also when it fails.
impl Drop for Machine {
    fn drop(&mut self) {
        for link in self.links.get_mut().unwrap().drain(..) {
            link.abort();
        }
        let Some(agent) = self.here.agent.take() else { return };
        tokio::task::block_in_place(|| {
            let removed = tokio::runtime::Handle::current().block_on(timeout(PATIENCE, agent.remove_all()));
            if !matches!(removed, Ok(Ok(()))) {
                eprintln!("{} is left behind: {removed:?}", self.directory.path().display());
            }
        });
    }
}

/// The connection of a node to a hub.
struct Line {
    cut: CancellationToken,
    frozen: watch::Sender<bool>,
    node: JoinHandle<()>,
}

impl Machine {
    async fn new(name: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("slipway-hub-").tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), None, None).unwrap();
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .unwrap();
        let agent = start_agent(directory.path(), name).await;
        let node = NodeRecord {
            name: name.parse().unwrap(),
            cpus: Cpus(4000),
            mem: Bytes::gibi(4),
            disk: Bytes::gibi(10),
            gpus: 0,
            ports: (31_000, 31_100),
            address: None,
            attributes: BTreeMap::from([("rack".into(), "r1".into())]),
            joined_at: Timestamp(1),
            trouble: None,
        };
        Self {
            directory,
            here: Here {
                address: watch::Sender::default(),
                node,
                agent: Some(agent),
                servers: watch::Sender::default(),
                peers: Default::default(),
                trouble: watch::channel(None).1,
            },
            links: Default::default(),
        }
    }

    /// Ends the agent and starts it again.
    async fn restart(&mut self) {
        self.here.agent.take().unwrap().leave().await.unwrap();
        self.here.agent = Some(start_agent(self.directory.path(), self.here.node.name.as_str()).await);
    }

    fn dial(&self, hub: &Hub) -> Line {
        self.dial_as(hub, self.here.node.name.as_str())
    }

    /// With another's certificate.
    fn dial_as(&self, hub: &Hub, name: &str) -> Line {
        self.dial_until(hub, name, std::future::pending())
    }

    /// Until the node is shut out.
    fn dial_until(&self, hub: &Hub, name: &str, shut_out: impl Future<Output = ()> + Send + 'static) -> Line {
        let ((near, near_pump), (far, far_pump)) = (tokio::io::duplex(64 << 10), tokio::io::duplex(64 << 10));
        let (cut, frozen) = (CancellationToken::new(), watch::Sender::new(false));
        tokio::spawn(pump(near_pump, far_pump, cut.clone(), frozen.subscribe()));
        let here = self.here.clone();
        let node = tokio::spawn(async move { drop(serve(near, here).await) });
        self.links.lock().unwrap().push(node.abort_handle());
        let (hub, name) = (hub.shared.clone(), name.parse().unwrap());
        tokio::spawn(async move { link::serve(hub, name, far, shut_out).await });
        Line { cut, frozen, node }
    }

    /// Writes a log as a shim does.
    fn write_log(&self, environment: &str, instance: &InstanceId, lines: &[(u64, &str)]) {
        use std::io::Write;
        let folder = self.directory.path().join("state/logs").join(environment);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("web.{instance}.log"));
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        for (at, text) in lines {
            writeln!(file, "{at} o {text}").unwrap();
        }
    }
}

async fn start_agent(directory: &Path, name: &str) -> Agent {
    let options = slipway_agent::Options {
        node: name.parse().unwrap(),
        state_dir: directory.join("state"),
        run_dir: directory.join("run"),
        cgroup_parent: format!("hub-test-{}", directory.file_name().unwrap().to_str().unwrap()),
        images: ImageSource::Layout(directory.join("nowhere")),
        // Only bound into sandboxes, of which there are none.
        shim: "/bin/true".into(),
        fetcher: "/bin/true".into(),
        ca_bundle: "/dev/null".into(),
        runtime: RuntimeChoice::Auto,
        network: None,
    };
    Agent::start(options).await.unwrap()
}

async fn pump(near: DuplexStream, far: DuplexStream, cut: CancellationToken, frozen: watch::Receiver<bool>) {
    let ((near_read, near_write), (far_read, far_write)) = (tokio::io::split(near), tokio::io::split(far));
    let one_way = |mut read: tokio::io::ReadHalf<DuplexStream>,
                   mut write: tokio::io::WriteHalf<DuplexStream>,
                   mut frozen: watch::Receiver<bool>| async move {
        let mut buffer = vec![0; 32 << 10];
        loop {
            // Its sender is gone with the test.
            drop(frozen.wait_for(|frozen| !frozen).await);
            match read.read(&mut buffer).await {
                Ok(count @ 1..) => {
                    drop(frozen.wait_for(|frozen| !frozen).await);
                    if write.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    tokio::select! {
        () = one_way(near_read, far_write, frozen.clone()) => {}
        () = one_way(far_read, near_write, frozen) => {}
        () = cut.cancelled() => {}
    }
}

pub fn spec(environment: &str, repository: &str) -> InstanceSpec {
    let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    InstanceSpec {
        id: InstanceId::from_random(rand::random()),
        tenant: "acme".parse().unwrap(),
        tenant_index: 3,
        environment: environment.parse().unwrap(),
        role: InstanceRole::Service { service: "web".parse().unwrap() },
        release: ReleaseNumber(1),
        image: ImageRef { repository: repository.into(), digest },
        program: Program::Image,
        env: Default::default(),
        cpus: Cpus(100),
        mem: Bytes::mebi(64),
        disk: Bytes::mebi(32),
        port: None,
        ports: Vec::new(),
        volumes: Vec::new(),
        fetch: Vec::new(),
        readiness: None,
        health_also: Vec::new(),
        health: None,
        start_timeout: Span::from_secs(30),
        stop_grace: Span::from_secs(1),
    }
}

fn repository(text: &str) -> Repository {
    text.parse().unwrap()
}

fn now() -> u64 {
    Timestamp::from(SystemTime::now()).0
}

fn query(lines: usize, follow: bool) -> LogQuery {
    let environment: EnvironmentPath = "acme/shop/dev".parse().unwrap();
    LogQuery { environment, service: None, instance: None, lines, follow }
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}
