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
    CheckStatus, DesiredInstance, Exit, ExitReason, Goal, InstanceReport, InstanceRole, InstanceSpec,
    InstanceState, Node as NodeRecord, Program, Readiness,
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

    /// Hears that a node has joined, and what it runs.
    async fn hears_join(&mut self, name: &str) -> Vec<InstanceReport> {
        loop {
            match self.hears().await {
                NodeMessage::Joined { node, instances } if node.name.as_str() == name => return instances,
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
                node,
                agent: Some(agent),
                servers: watch::Sender::default(),
                peers: Default::default(),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_takes_its_list_and_reports() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let _line = machine.dial(&leader.hub);
    assert!(leader.hears_join("n1").await.is_empty());

    let name: NodeName = "n1".parse().unwrap();
    let (stopping, failing) = (spec("acme/shop/dev", "acme/shop"), spec("acme/shop/dev", "acme/site"));
    assert!(!leader.hub.may_pull(&name, &repository("acme/shop")));
    leader.orders("n1", std::slice::from_ref(&stopping), Goal::Stop);
    leader.hears_end(&stopping.id).await;
    assert!(leader.hub.may_pull(&name, &repository("acme/shop")));
    assert!(!leader.hub.may_pull(&name, &repository("acme/site")), "not on its list");
    assert!(!leader.hub.may_pull(&"n2".parse().unwrap(), &repository("acme/shop")), "another's list");

    // Its image is nowhere.
    leader.orders("n1", std::slice::from_ref(&failing), Goal::Run);
    leader.hears_end(&failing.id).await;
    assert!(!leader.hub.may_pull(&name, &repository("acme/shop")), "not any more");

    leader.hub.tell_servers(vec!["10.0.0.1:7443".into(), "10.0.0.2:7443".into()]);
    let mut servers = machine.here.servers.subscribe();
    let told = timeout(PATIENCE, servers.wait_for(|servers| servers.len() == 2)).await;
    assert_eq!(told.unwrap().unwrap()[1], "10.0.0.2:7443");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_is_told_and_the_next_tells_everything() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let line = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    line.cut.cancel();
    leader.hears_going("n1").await;
    timeout(PATIENCE, line.node).await.unwrap().unwrap();

    // What was ordered meanwhile is told with the next link.
    let wish = spec("acme/shop/dev", "acme/shop");
    leader.orders("n1", std::slice::from_ref(&wish), Goal::Stop);
    let _line = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    leader.hears_end(&wish.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_link_takes_the_place_of_the_older_without_a_gap() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let older = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    // The older one hangs, as it does when a machine's address has changed.
    older.frozen.send_replace(true);
    let _newer = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    let wish = spec("acme/shop/dev", "acme/shop");
    leader.orders("n1", std::slice::from_ref(&wish), Goal::Stop);
    // `hears_end` takes no going.
    leader.hears_end(&wish.id).await;

    leader.hub.cut(&"n1".parse().unwrap());
    leader.hears_going("n1").await;
}

/// Else the leader would take it for reachable, and it could never be forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_hears_that_a_node_was_shut_out() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let (shut_out, until) = tokio::sync::oneshot::channel::<()>();
    let line = machine.dial_until(&leader.hub, "n1", async { drop(until.await) });
    leader.hears_join("n1").await;
    drop(shut_out);
    leader.hears_going("n1").await;
    timeout(PATIENCE, line.node).await.expect("its link ends").unwrap();
}

/// Bad input of the issue: another's certificate, and an agent that lies.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_another_name_or_too_much_is_not_heard() {
    let mut leader = Leader::new(1);
    let mut machine = Machine::new("n1").await;
    let line = machine.dial_as(&leader.hub, "n2");
    timeout(PATIENCE, line.node).await.expect("it is cut off").unwrap();

    let honest = machine.here.node.clone();
    for lie in [
        NodeRecord { cpus: Cpus(u32::MAX), ..honest.clone() },
        NodeRecord { mem: Bytes(u64::MAX), ..honest.clone() },
        NodeRecord { disk: Bytes(u64::MAX), ..honest.clone() },
        NodeRecord { gpus: 1000, ..honest.clone() },
        NodeRecord { ports: (22, 22), ..honest.clone() },
        NodeRecord { address: Some(Ipv4Addr::LOCALHOST), ..honest.clone() },
        NodeRecord { address: Some(Ipv4Addr::BROADCAST), ..honest.clone() },
        NodeRecord { attributes: BTreeMap::from([("a".into(), "x\ny".into())]), ..honest.clone() },
    ] {
        assert!(bounds::check(&lie).is_err(), "{lie:?}");
        machine.here.node = lie;
        let line = machine.dial(&leader.hub);
        timeout(PATIENCE, line.node).await.expect("it is cut off").unwrap();
    }
    machine.here.node = honest;
    let _line = machine.dial(&leader.hub);
    // The first that is heard at all.
    leader.hears_join("n1").await;
}

#[test]
fn what_a_node_says_of_an_instance_fits_a_record() {
    let mut report = InstanceReport {
        instance: spec("acme/shop/dev", "acme/shop").id,
        state: InstanceState::Ended {
            exit: Exit { reason: ExitReason::Status { code: 1 }, tail: vec!["é".repeat(1 << 20); 1000] },
        },
        address: None,
        at: Timestamp(u64::MAX),
        started_at: None,
        ready: Some(Readiness { ready: true, status: None, body: "x".repeat(1 << 20) }),
        checks: vec![
            CheckStatus { last_failure_cause: Some("x".repeat(1 << 20)), ..CheckStatus::default() };
            100
        ],
    };
    bounds::cut(&mut report);
    let bytes = serde_json::to_vec(&report).unwrap().len();
    assert!(bytes < slipway_model::limit::RECORD_BYTES_MAX, "{bytes}");
}

#[tokio::test]
async fn a_node_has_so_many_links_and_no_more() {
    let leader = Leader::new(1);
    let (one, two) = ("n1".parse().unwrap(), "n2".parse().unwrap());
    let mut held: Vec<_> = (0..LINKS_OF_NODE_MAX).map(|_| leader.hub.place(&one).expect("a place")).collect();
    assert!(leader.hub.place(&one).is_none());
    assert!(leader.hub.place(&two).is_some(), "another's links are its own");
    held.pop();
    assert!(leader.hub.place(&one).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_speaks_for_an_instance_that_another_has() {
    let mut leader = Leader::new(1);
    let (one, two) = (Machine::new("n1").await, Machine::new("n2").await);
    let (first, second) = (spec("acme/shop/dev", "acme/shop"), spec("acme/shop/dev", "acme/shop"));
    one.write_log("acme/shop/dev", &first.id, &[(10, "own")]);
    two.write_log("acme/shop/dev", &first.id, &[(20, "forged")]);
    let third = spec("acme/shop/dev", "acme/shop");
    two.write_log("acme/shop/dev", &second.id, &[(30, "of one that has ended")]);
    two.write_log("acme/shop/dev", &third.id, &[(40, "of one that nobody was given")]);
    let line = one.dial(&leader.hub);
    leader.hears_join("n1").await;
    let _two = two.dial(&leader.hub);
    leader.hears_join("n2").await;
    leader.orders("n1", std::slice::from_ref(&first), Goal::Stop);
    leader.hears_end(&first.id).await;
    leader.orders("n2", std::slice::from_ref(&second), Goal::Stop);
    leader.hears_end(&second.id).await;
    let own = ["own", "of one that has ended"];
    let all: Vec<LogLine> = leader.hub.logs(query(100, false)).collect().await;
    assert_eq!(texts(&all), own);
    // Also when all of them are over, and on no list.
    leader.orders("n1", &[], Goal::Stop);
    leader.orders("n2", &[], Goal::Stop);
    let all: Vec<LogLine> = leader.hub.logs(query(100, false)).collect().await;
    assert_eq!(texts(&all), own);
    // What only its own node may be asked for is asked of nobody else.
    let environment: EnvironmentPath = "acme/shop/dev".parse().unwrap();
    let hub = leader.hub.clone();
    let files = |instance: &InstanceId| {
        hub.files(environment.clone(), instance.clone(), "/".into(), FilesWanted::List)
    };
    assert!(files(&third.id).await.is_none());
    line.cut.cancel();
    leader.hears_going("n1").await;
    let said = files(&first.id).await.expect("it ran").expect_err("its node is away");
    assert!(said.contains("node n1, where it ran, does not answer"), "{said}");
}

/// S2, also after a restart of the agent.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_none_any_more_is_refused() {
    let mut machine = Machine::new("n1").await;
    let wish = spec("acme/shop/dev", "acme/shop");
    {
        let mut newer = Leader::new(7);
        let _line = machine.dial(&newer.hub);
        newer.hears_join("n1").await;
        newer.orders("n1", std::slice::from_ref(&wish), Goal::Stop);
        newer.hears_end(&wish.id).await;
    }
    for restarted in [false, true] {
        if restarted {
            machine.restart().await;
        }
        let mut older = Leader::new(6);
        let line = machine.dial(&older.hub);
        older.hears_join("n1").await;
        let replayed = spec("acme/shop/dev", "acme/shop");
        older.orders("n1", std::slice::from_ref(&replayed), Goal::Run);
        // The hub lets the node go, so that it finds who leads.
        older.hears_going("n1").await;
        timeout(PATIENCE, line.node).await.unwrap().unwrap();
        let known = machine.here.agent.as_ref().unwrap().snapshot();
        assert!(known.iter().all(|report| report.instance != replayed.id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_silent_is_noticed_within_ten_seconds_on_both_sides() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let line = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    let since = Instant::now();
    line.frozen.send_replace(true);
    leader.hears_going("n1").await;
    assert!(since.elapsed() < Duration::from_secs(11), "{:?}", since.elapsed());
    timeout(Duration::from_secs(11), line.node).await.expect("the node notices too").unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_all_nodes_are_one_and_who_does_not_answer_is_named() {
    let mut leader = Leader::new(1);
    let (one, two) = (Machine::new("n1").await, Machine::new("n2").await);
    let (first, second) = (spec("acme/shop/dev", "acme/shop"), spec("acme/shop/dev", "acme/shop"));
    one.write_log("acme/shop/dev", &first.id, &[(10, "a"), (30, "c"), (50, "e")]);
    two.write_log("acme/shop/dev", &second.id, &[(20, "b"), (40, "d"), (60, "f")]);
    let _one = one.dial(&leader.hub);
    leader.hears_join("n1").await;
    let line = two.dial(&leader.hub);
    leader.hears_join("n2").await;
    leader.orders("n1", std::slice::from_ref(&first), Goal::Stop);
    leader.hears_end(&first.id).await;
    leader.orders("n2", std::slice::from_ref(&second), Goal::Stop);
    leader.hears_end(&second.id).await;

    let all: Vec<LogLine> = leader.hub.logs(query(100, false)).collect().await;
    assert_eq!(texts(&all), ["a", "b", "c", "d", "e", "f"]);
    let last: Vec<LogLine> = leader.hub.logs(query(3, false)).collect().await;
    assert_eq!(texts(&last), ["d", "e", "f"]);

    let mut followed = leader.hub.logs(query(1, true));
    let mut next = async || timeout(PATIENCE, followed.next()).await.expect("a line").expect("no end").text;
    assert_eq!(next().await, "f");
    let time = now();
    two.write_log("acme/shop/dev", &second.id, &[(time + 1, "later")]);
    one.write_log("acme/shop/dev", &first.id, &[(time, "earlier")]);
    assert_eq!([next().await, next().await], ["earlier", "later"]);

    // One node is slow: the others' lines come, and a note.
    line.frozen.send_replace(true);
    let since = Instant::now();
    let rest: Vec<LogLine> = leader.hub.logs(query(100, false)).collect().await;
    assert!(since.elapsed() < Duration::from_secs(7), "{:?}", since.elapsed());
    assert_eq!(&texts(&rest)[..4], ["a", "c", "e", "earlier"]);
    assert!(rest[4].text.contains("node n2 does not answer") && rest.len() == 5, "{rest:?}");

    // It comes back, and what it had to say meanwhile is told.
    two.write_log("acme/shop/dev", &second.id, &[(now(), "meanwhile")]);
    line.cut.cancel();
    let _line = two.dial(&leader.hub);
    loop {
        match next().await {
            text if text.contains("does not answer") => {}
            text => break assert_eq!(text, "meanwhile"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_sandboxes_are_asked_of_all_and_nobody_has_those_of_others() {
    let mut leader = Leader::new(1);
    let (one, two) = (Machine::new("n1").await, Machine::new("n2").await);
    let _one = one.dial(&leader.hub);
    leader.hears_join("n1").await;
    let line = two.dial(&leader.hub);
    leader.hears_join("n2").await;
    let environment: EnvironmentPath = "acme/shop/dev".parse().unwrap();
    assert!(leader.hub.sandboxes(environment.clone()).await.is_empty());
    let absent = InstanceId::from_random(rand::random());
    let look = || leader.hub.files(environment.clone(), absent.clone(), "/".into(), FilesWanted::List);
    assert!(look().await.is_none());
    // A node that does not answer holds up nobody for long.
    line.frozen.send_replace(true);
    let since = Instant::now();
    assert!(look().await.is_none());
    assert!(since.elapsed() < Duration::from_secs(7));
    // Nobody is given a run that is on no list, within the time that a client waits.
    let (_input, from_client) = mpsc::channel(1);
    let (to_client, _output) = mpsc::channel(1);
    let attached =
        timeout(Duration::from_millis(200), leader.hub.attach(absent, from_client, to_client)).await;
    assert!(attached.is_err(), "it is waited for");
}
