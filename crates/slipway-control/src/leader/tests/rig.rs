//! A store, an agent, a router and a leader that can be killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_model::account::Tenant;
use slipway_model::deployment::{Deployment, DeploymentState};
use slipway_model::id::{BuildNumber, DeploymentNumber};
use slipway_model::name::{ConfigKey, EnvironmentPath};
use slipway_model::project::{ConfigEntry, Environment};
use slipway_model::push::{Build, BuildState, BuiltImage, ImageRef, Push, PushOptions};
use slipway_model::record::Record;
use slipway_model::route::{RouteTable, RouterReport};
use slipway_model::service::ServiceSpec;
use slipway_model::unit::{Bytes, Span, Timestamp};
use slipway_plan::policy::Policy;
use slipway_store::{Batch, Store};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::Faults;
use crate::leader::{self, ConfigOpener, Error, LeaderHandle, Options, Ports, RouterMessage};

mod agent;

pub(super) use agent::Agent;

pub(super) struct Rig {
    _dir: TempDir,
    pub(super) store: Store,
    pub(super) agent: Arc<Agent>,
    pub(super) table: watch::Sender<Arc<RouteTable>>,
    pub(super) leader: Option<LeaderHandle>,
    /// Of the next leader.
    pub(super) look_interval: Span,
    /// Of the next leader.
    pub(super) may_abdicate: bool,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        for (name, index) in [("acme", 7), ("beta", 8)] {
            let tenant = Tenant {
                name: name.parse().expect("a name"),
                index,
                created_at: Timestamp(1),
                created_by: "ann".parse().expect("a name"),
            };
            store.commit(Batch::new().create(&tenant)).await.expect("a tenant");
        }
        let (table, _) = watch::channel(Arc::default());
        let look_interval = Span::from_secs(6);
        let agent = Arc::default();
        Self { _dir: dir, store, agent, table, leader: None, look_interval, may_abdicate: false }
    }

    /// A rig with a leader and an environment.
    pub(super) async fn started() -> Self {
        let mut rig = Self::new().await;
        rig.environment(&shop()).await;
        rig.start(Faults::default()).await;
        rig
    }

    pub(super) async fn start(&mut self, faults: Faults) {
        let (node_sender, node_messages) = mpsc::channel(256);
        let (router_sender, router_messages) = mpsc::channel(256);
        let ports = Ports {
            nodes: self.agent.clone(),
            node_messages,
            opener: Arc::new(PlainConfig),
            table: self.table.clone(),
            router_messages,
        };
        let policy = Policy {
            backoff_initial: Span::from_millis(5),
            drain_time: Span::from_secs(5),
            node_lost_after: Span::from_millis(200),
            preempts_after: Span::from_millis(100),
            ..Policy::default()
        };
        let options = Options {
            policy,
            router_wait: Span::from_millis(50),
            look_interval: self.look_interval,
            may_abdicate: self.may_abdicate,
            settle_time: Span::from_secs(5),
            faults: Arc::new(faults),
            ..Options::default()
        };
        let leader = leader::start(options, self.store.clone(), ports).await.expect("a leader");
        self.agent.connect(node_sender).await;
        tokio::spawn(follow(self.table.subscribe(), router_sender, self.agent.clone()));
        self.leader = Some(leader);
    }

    pub(super) async fn stop(&mut self) {
        if let Some(leader) = self.leader.take() {
            leader.stop().await.expect("the leader ends in peace");
        }
    }

    /// Waits until a leader that was made to die has died. False when it did not within `patience`.
    pub(super) async fn has_died(&mut self, patience: Duration) -> bool {
        let Some(leader) = &mut self.leader else { return true };
        match tokio::time::timeout(patience, &mut leader.task).await {
            Ok(ended) => {
                assert!(matches!(ended, Ok(Err(Error::Deposed))), "{ended:?}");
                self.leader = None;
                true
            }
            Err(_) => false,
        }
    }

    pub(super) async fn environment(&self, path: &EnvironmentPath) {
        self.environment_since(path, Timestamp(1)).await;
    }

    pub(super) async fn environment_since(&self, path: &EnvironmentPath, created_at: Timestamp) {
        let environment = Environment {
            path: path.clone(),
            deploy_branch: "main".into(),
            config: BTreeMap::new(),
            scale: BTreeMap::new(),
            restart_generation: 0,
            config_generation: 0,
            config_changed_by: None,
            created_at,
            app: None,
            is_paused: false,
            resume_generation: 0,
            retry_generation: 0,
        };
        self.store.commit(Batch::new().create(&environment)).await.expect("an environment");
    }

    pub(super) async fn change(&self, path: &EnvironmentPath, change: impl FnOnce(&mut Environment)) {
        let mut stored = self.store.get::<Environment>(path).await.expect("a read").expect("an environment");
        change(&mut stored.record);
        let batch = Batch::new().update(&stored.record, stored.version);
        self.store.commit(batch).await.expect("a change");
    }

    pub(super) async fn scale(&self, path: &EnvironmentPath, count: u32) {
        let web = "web".parse().expect("a name");
        self.change(path, |environment| {
            environment.scale.insert(web, count);
        })
        .await;
    }

    /// A push whose build has succeeded.
    pub(super) async fn push(&self, path: &EnvironmentPath, number: u64, image: BuiltImage) {
        self.push_with(path, number, BuildState::Succeeded { image }).await;
    }

    pub(super) async fn push_with(&self, path: &EnvironmentPath, number: u64, state: BuildState) {
        let number = BuildNumber(number);
        let push = Push {
            environment: path.clone(),
            number,
            commit: "0123456789012345678901234567890123456789".parse().expect("a commit"),
            subject: "Change".into(),
            branch: "main".into(),
            by: "ann".parse().expect("a name"),
            options: PushOptions::default(),
            forced: false,
            received_at: Timestamp(1),
        };
        let build = Build {
            environment: path.clone(),
            number,
            state,
            attempt: 1,
            started_at: Timestamp(1),
            ended_at: Some(Timestamp(2)),
        };
        self.store.commit(Batch::new().create(&push).create(&build)).await.expect("a push");
    }

    pub(super) async fn get<R: Record>(&self, key: &R::Key) -> Option<R> {
        self.store.get::<R>(key).await.expect("a read").map(|stored| stored.record)
    }

    pub(super) async fn deployment(&self, path: &EnvironmentPath, number: u64) -> Option<Deployment> {
        self.get::<Deployment>(&(path.clone(), DeploymentNumber(number))).await
    }

    /// The deployment once nothing more will happen to it.
    pub(super) async fn ended(&self, path: &EnvironmentPath, number: u64) -> Deployment {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let deployment = self.deployment(path, number).await;
            match deployment {
                Some(deployment) if deployment.state.is_final() => return deployment,
                other => assert!(Instant::now() < deadline, "{path} {number}: {other:#?}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(super) async fn live(&self, path: &EnvironmentPath, number: u64) -> Deployment {
        let deployment = self.ended(path, number).await;
        assert!(matches!(deployment.state, DeploymentState::Live { .. }), "{deployment:#?}");
        deployment
    }

    /// Endpoints of a host in the published table; `None` when it has no route.
    pub(super) fn endpoints(&self, host: &str) -> Option<usize> {
        self.table.borrow().routes.get(host).map(|route| route.endpoints.len())
    }
}

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `is_so`.
pub(super) async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) fn shop() -> EnvironmentPath {
    "acme/shop/dev".parse().expect("a path")
}

/// The command says how the program behaves: `good`, `crash` or `deaf`.
pub(super) fn image(command: &str, instances: u32) -> BuiltImage {
    let spec = ServiceSpec {
        command: Some(command.into()),
        instances,
        listens: true,
        mem: Bytes::mebi(64),
        ..ServiceSpec::default()
    };
    let digest = format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest");
    BuiltImage {
        image: ImageRef { repository: "acme/shop".into(), digest },
        builder: "python".into(),
        services: [("web".parse().expect("a name"), spec)].into(),
        release_command: None,
        domains: Vec::new(),
    }
}

/// Follows the table as a router does, and looks at what it is told to send requests to.
async fn follow(
    mut table: watch::Receiver<Arc<RouteTable>>,
    leader: mpsc::Sender<RouterMessage>,
    agent: Arc<Agent>,
) {
    loop {
        let table_now = table.borrow_and_update().clone();
        for (host, route) in &table_now.routes {
            for endpoint in &route.endpoints {
                agent.look_at(host, &endpoint.instance, *endpoint.address.ip());
            }
        }
        let report = RouterReport { generation: table_now.generation, draining: BTreeMap::new() };
        let message = RouterMessage::Report { router: "r1".into(), report };
        if leader.send(message).await.is_err() || table.changed().await.is_err() {
            return;
        }
    }
}

struct PlainConfig;

impl ConfigOpener for PlainConfig {
    fn open(
        &self,
        _: &Tenant,
        _: &EnvironmentPath,
        config: &BTreeMap<ConfigKey, ConfigEntry>,
    ) -> Result<BTreeMap<String, String>, String> {
        if config.keys().any(|key| key.as_str() == "BROKEN") {
            return Err("the value of BROKEN cannot be opened".into());
        }
        Ok(config.iter().map(|(key, entry)| (key.to_string(), entry.value.0.clone())).collect())
    }
}
