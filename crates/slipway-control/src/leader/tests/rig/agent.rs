//! A node whose programs are only told about.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slipway_model::cluster::Peer;
use slipway_model::id::{Epoch, InstanceId, VolumeId};
use slipway_model::instance::{
    Desired, DesiredInstance, Exit, ExitReason, Goal, InstanceReport, InstanceRole, InstanceSpec,
    InstanceState, Node, Program, Readiness,
};
use slipway_model::name::NodeName;
use slipway_model::unit::{Bytes, Cpus, Timestamp};
use tokio::sync::mpsc;

use crate::leader::{NodeMessage, Nodes, owner};

/// An agent that keeps the contract of `Desired`, with processes that are only told about.
#[derive(Default)]
pub(in crate::leader::tests) struct Agent {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Epoch and generation of the newest list.
    newest: Option<(Epoch, u64)>,
    list: Vec<DesiredInstance>,
    volumes: BTreeSet<VolumeId>,
    peers: Option<Arc<[Peer]>>,
    is_never_ready: bool,
    processes: BTreeMap<InstanceId, (InstanceSpec, InstanceState, Ipv4Addr)>,
    started: Vec<InstanceSpec>,
    lists: u32,
    addresses: u8,
    leader: Option<mpsc::Sender<NodeMessage>>,
    dead_ends: BTreeSet<String>,
    is_frozen: bool,
    /// The next list is lost on its way.
    is_deaf: bool,
}

impl Nodes for Agent {
    fn send(&self, _: &NodeName, desired: Desired) {
        let mut inner = self.inner();
        if std::mem::take(&mut inner.is_deaf) {
            return;
        }
        let order = Some((desired.epoch, desired.generation));
        if order < inner.newest {
            return;
        }
        inner.newest = order;
        inner.lists += 1;
        inner.list = desired.instances;
        inner.volumes = desired.volumes.unwrap_or_default();
        inner.peers = desired.peers;
    }
}

impl Agent {
    /// Which nodes there are, by the newest list.
    pub(in crate::leader::tests) fn peers(&self) -> Option<Arc<[Peer]>> {
        self.inner().peers.clone()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn connect(self: &Arc<Self>, leader: mpsc::Sender<NodeMessage>) {
        let (is_first, instances) = {
            let mut inner = self.inner();
            (inner.leader.replace(leader.clone()).is_none(), inner.reports())
        };
        let node = this_node();
        leader.send(NodeMessage::Whole { node, instances }).await.expect("a leader");
        if is_first {
            tokio::spawn(self.clone().work());
        }
    }

    /// Tells so often that its machine has become another.
    pub(in crate::leader::tests) async fn boast(&self, times: u32) {
        let leader = self.inner().leader.clone().expect("a leader");
        for time in 1..=times {
            let instances = self.inner().reports();
            let node = Node { cpus: Cpus(1_000_000 + time), ..this_node() };
            leader.send(NodeMessage::Whole { node, instances }).await.expect("a leader");
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            let (reports, leader) = {
                let mut inner = self.inner();
                (inner.work(), inner.leader.clone())
            };
            for report in reports {
                let message = NodeMessage::Report { node: "n1".parse().expect("a name"), report };
                if let Some(leader) = &leader {
                    // A leader that has died hears it from the next connection.
                    let _ = leader.send(message).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The leader loses its connection to the node.
    pub(in crate::leader::tests) async fn disconnect(&self) {
        let leader = self.inner().leader.clone().expect("a leader");
        let node = "n1".parse().expect("a name");
        leader.send(NodeMessage::Gone { node }).await.expect("a leader");
    }

    pub(super) fn look_at(&self, host: &str, instance: &InstanceId, address: Ipv4Addr) {
        let mut inner = self.inner();
        let is_there = matches!(
            inner.processes.get(instance),
            Some((_, InstanceState::Healthy | InstanceState::Starting, a)) if *a == address
        );
        if !is_there {
            inner.dead_ends.insert(format!("{host} {instance}"));
        }
    }

    /// Nothing is done on the node while it is frozen.
    pub(in crate::leader::tests) fn freeze(&self, is_frozen: bool) {
        self.inner().is_frozen = is_frozen;
    }

    /// The next list does not reach it.
    pub(in crate::leader::tests) fn lose_the_next_list(&self) {
        self.inner().is_deaf = true;
    }

    /// What a new agent says of the instances that it has adopted: it has not checked them yet.
    pub(in crate::leader::tests) fn forget_health(&self) {
        for (_, state, _) in self.inner().processes.values_mut().filter(|p| p.1 == InstanceState::Healthy) {
            *state = InstanceState::Starting;
        }
    }

    /// Every instance that was ever started, in order. Twice the same is the agent's own panic.
    pub(in crate::leader::tests) fn started(&self) -> Vec<InstanceSpec> {
        self.inner().started.clone()
    }

    pub(in crate::leader::tests) fn running(&self) -> Vec<InstanceSpec> {
        self.inner().processes.values().filter(|p| p.1.is_alive()).map(|p| p.0.clone()).collect()
    }

    /// How many lists it has taken.
    pub(in crate::leader::tests) fn lists(&self) -> u32 {
        self.inner().lists
    }

    /// The volumes that the node was last told to keep.
    pub(in crate::leader::tests) fn volumes(&self) -> BTreeSet<VolumeId> {
        self.inner().volumes.clone()
    }

    /// Whether programs say that they are not ready when they are asked.
    pub(in crate::leader::tests) fn never_ready(&self, is_never_ready: bool) {
        self.inner().is_never_ready = is_never_ready;
    }

    pub(in crate::leader::tests) fn dead_ends(&self) -> BTreeSet<String> {
        self.inner().dead_ends.clone()
    }

    /// All running programs of that service end with a signal.
    pub(in crate::leader::tests) fn kill_all(&self) {
        let exit = Exit { reason: ExitReason::Signal { signal: 9 }, tail: vec!["killed".into()] };
        for (_, state, _) in self.inner().processes.values_mut() {
            *state = InstanceState::Ended { exit: exit.clone() };
        }
    }
}

impl Inner {
    fn reports(&self) -> Vec<InstanceReport> {
        let report =
            |(id, (spec, state, address)): (&InstanceId, &(InstanceSpec, InstanceState, Ipv4Addr))| {
                let is_asked = spec.readiness.is_some() && *state == InstanceState::Healthy;
                let readiness =
                    Readiness { ready: !self.is_never_ready, status: Some(200), body: String::new() };
                InstanceReport {
                    instance: id.clone(),
                    state: state.clone(),
                    address: Some(*address),
                    at: owner::now(),
                    ready: is_asked.then_some(readiness),
                    checks: Vec::new(),
                    started_at: None,
                }
            };
        self.processes.iter().map(report).collect()
    }

    fn work(&mut self) -> Vec<InstanceReport> {
        if self.is_frozen {
            return Vec::new();
        }
        let list = std::mem::take(&mut self.list);
        for wanted in &list {
            let id = &wanted.spec.id;
            match (self.processes.get_mut(id), wanted.goal) {
                (None, Goal::Run) => {
                    assert!(self.started.iter().all(|spec| spec.id != *id), "{id} is started twice");
                    self.started.push(wanted.spec.clone());
                    self.addresses = self.addresses.wrapping_add(1);
                    let address = Ipv4Addr::new(10, 0, 0, self.addresses);
                    self.processes
                        .insert(id.clone(), (wanted.spec.clone(), InstanceState::Preparing, address));
                }
                (Some((_, state, _)), Goal::Stop) if state.is_alive() => *state = InstanceState::Stopping,
                _ => {}
            }
        }
        self.processes.retain(|id, _| list.iter().any(|wanted| wanted.spec.id == *id));
        self.list = list;
        for (spec, state, _) in self.processes.values_mut() {
            *state = next_state(spec, state.clone());
        }
        self.reports()
    }
}

fn this_node() -> Node {
    Node {
        name: "n1".parse().expect("a name"),
        cpus: Cpus(1_000_000),
        mem: Bytes::gibi(64),
        disk: Bytes::gibi(1000),
        attributes: BTreeMap::new(),
        joined_at: Timestamp(5),
        gpus: 0,
        ports: (31_000, 31_099),
        address: Some(Ipv4Addr::new(192, 0, 2, 1)),
        trouble: None,
    }
}

fn next_state(spec: &InstanceSpec, state: InstanceState) -> InstanceState {
    let line = match &spec.program {
        Program::CommandLine { line } => line.as_str(),
        Program::Image | Program::Argv { .. } => "good",
    };
    let ended =
        |reason| InstanceState::Ended { exit: Exit { reason, tail: vec![format!("{line}: last words")] } };
    match state {
        InstanceState::Preparing => InstanceState::Starting,
        InstanceState::Starting if !matches!(spec.role, InstanceRole::Service { .. }) => {
            ended(ExitReason::Status { code: i32::from(line == "crash") })
        }
        InstanceState::Starting if line == "crash" => ended(ExitReason::Status { code: 3 }),
        InstanceState::Starting if line == "deaf" => {
            ended(ExitReason::NotHealthyInTime { last_check: "connection refused".into() })
        }
        InstanceState::Starting => InstanceState::Healthy,
        InstanceState::Stopping => ended(ExitReason::Stopped),
        other => other,
    }
}
