//! Standing for election, leading, and standing again.

use std::sync::Arc;
use std::time::Duration;

use slipway_agent::Agent;
use slipway_git::Sources;
use slipway_model::cluster::Candidate;
use slipway_model::id::Epoch;
use slipway_model::route::RouteTable;
use slipway_registry::server::Server as RegistryServer;
use slipway_registry::server::pulls::{PullLimits, Pulls};
use slipway_registry::{Registry, SharedLog};
use slipway_storage::Authenticated;
use slipway_store::{Leader, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::duty::Own;
use super::mark;
use crate::front::{Fallback, fallback};
use crate::glue::authority::TenantAuthority;
use crate::hub::{Ends, Hub};
use crate::said::Said;
use crate::term::{
    Around, Ground, NODE_MESSAGES_WAITING_MAX, ROUTER_MESSAGES_WAITING_MAX, Retired, Term, Workshop,
    WorkshopOptions,
};

/// After a term that could not begin.
const STAND_AGAIN: Duration = Duration::from_secs(1);
/// Who abdicates leaves so much time to the others, of whom there may be none.
const MAKES_ROOM: Duration = Duration::from_secs(3);
/// Between two tries to have the registry, or the agent that builds.
const OPEN_AGAIN: Duration = Duration::from_millis(500);

/// What stands for election.
pub struct Campaign {
    pub ground: Ground,
    pub candidate: Candidate,
    pub workshop: WorkshopOptions,
    /// The agent that makes the sandboxes of builds, over a registry.
    pub agent: Box<dyn Fn(Registry) -> anyhow::Result<slipway_agent::Options> + Send + Sync>,
    /// The storage of the images that all servers share.
    pub images: Authenticated,
    pub servers: watch::Receiver<Vec<String>>,
    pub own: watch::Sender<Own>,
}

/// What only the leading process has open.
struct Open {
    hub: Hub,
    shelf: watch::Sender<Option<Registry>>,
    pulls: watch::Sender<Option<Pulls>>,
    registry: watch::Sender<Option<RegistryServer<TenantAuthority>>>,
    agent: Option<Agent>,
    workshop: Option<Workshop>,
}

impl Campaign {
    /// Stands, leads, and stands again, until `stop`.
    pub async fn stand(&self, stop: &CancellationToken) {
        let mut retired = JoinSet::new();
        while !stop.is_cancelled() {
            let (open, around, ends) = self.prepare();
            let begun = Term::start(&self.ground, self.candidate.clone(), around, open.shelf.subscribe());
            let elected = tokio::select! {
                elected = begun => elected,
                () = stop.cancelled() => break,
            };
            match elected {
                Ok(term) => {
                    let ended = self.lead(term, open, ends, stop).await;
                    let (epoch, has_abdicated) = (ended.epoch(), ended.has_abdicated());
                    retired.spawn(answer_on(ended, self.ground.store.clone(), stop.clone()));
                    if has_abdicated {
                        tokio::select! {
                            () = newer_leader(&self.ground.store, epoch) => {}
                            () = tokio::time::sleep(MAKES_ROOM) => {}
                            () = stop.cancelled() => {}
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!("this server cannot stand for election now, and tries again: {error:#}");
                    tokio::select! {
                        () = tokio::time::sleep(STAND_AGAIN) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        while retired.join_next().await.is_some() {}
    }

    fn prepare(&self) -> (Open, Around, Ends) {
        let (node_messages_out, node_messages) = mpsc::channel(NODE_MESSAGES_WAITING_MAX);
        let (router_messages_out, router_messages) = mpsc::channel(ROUTER_MESSAGES_WAITING_MAX);
        let (table, table_seen) = watch::channel(Arc::new(RouteTable::default()));
        let hub = Hub::new(node_messages_out, Some(self.ground.paths.ran()));
        let (pulls, pulls_seen) = watch::channel(None);
        let around = Around {
            nodes: Arc::new(hub.clone()),
            node_messages,
            table,
            router_messages,
            instances: Arc::new(hub.clone()),
        };
        let ends = Ends {
            hub: hub.clone(),
            table: table_seen,
            router_messages: router_messages_out,
            pulls: pulls_seen,
        };
        let (shelf, registry) = (watch::Sender::new(None), watch::Sender::new(None));
        (Open { hub, shelf, pulls, registry, agent: None, workshop: None }, around, ends)
    }

    /// Leads until the leadership is lost, a part has ended that should not, or `stop`.
    async fn lead(&self, mut term: Term, mut open: Open, ends: Ends, stop: &CancellationToken) -> Retired {
        let (epoch, hub, sources) = (term.epoch(), open.hub.clone(), term.sources());
        let doors = term.doors(open.registry.subscribe(), Some(ends));
        self.own.send_replace(Own::Leading { epoch, doors });
        tracing::info!(leader.epoch = epoch.0, "this server leads");
        let what = tokio::select! {
            what = term.ended() => Some(what),
            what = self.keep_open(epoch, sources, &mut open) => Some(what),
            () = self.tell_servers(&hub) => None,
            () = stop.cancelled() => None,
        };
        if let Some(what) = what {
            tracing::warn!(leader.epoch = epoch.0, ended = what, "this server leads no more");
        }
        let local = term.api().clone();
        let fallback = Fallback { api: fallback::of_term(local.clone(), self.ground.store.clone()), local };
        self.own.send_replace(Own::Retired { epoch, fallback });
        hub.close();
        open.pulls.send_replace(None);
        open.registry.send_replace(None);
        open.shelf.send_replace(None);
        let retired = term.retire(open.workshop).await;
        // The next term's agent needs the directory, and the next server the registry.
        if let Some(agent) = open.agent
            && let Err(error) = agent.leave().await
        {
            tracing::warn!(error = error.chain(), "the agent that builds has not ended in time");
        }
        retired
    }

    /// Opens what may still be another's for a while, and waits until a part of it has ended.
    async fn keep_open(&self, epoch: Epoch, sources: Sources, open: &mut Open) -> &'static str {
        let registry = self.open_registry().await;
        open.shelf.send_replace(Some(registry.clone()));
        open.pulls.send_replace(Some(Pulls::new(registry.clone(), PullLimits::default())));
        let agent = open.agent.insert(self.start_agent(&registry).await).clone();
        let workshop = Workshop::start(&self.ground, &self.workshop, epoch, registry.clone(), agent, sources);
        open.registry.send_replace(Some(workshop.registry()));
        tracing::info!(leader.epoch = epoch.0, "registry and builder are open");
        tokio::select! {
            what = open.workshop.insert(workshop).ended() => what,
            // Somebody began to write it who was not elected, such as `slipwayd stack`, and has ended by the
            // next term.
            () = registry.deposed() => "the registry",
            () = mark::keep(&self.ground.store, &registry, epoch) => "what marks how far the registry is",
        }
    }

    /// Takes the registry over from whoever led before, which needs nothing of that server's. The storage
    /// may be away, and the term before on this server may not have ended yet.
    async fn open_registry(&self) -> Registry {
        let path = self.ground.paths.registry();
        let mut said = Said::default();
        loop {
            let (path, storage, store) = (path.clone(), self.images.clone(), self.ground.store.clone());
            let open = async move {
                let shared = SharedLog { storage, at_least: mark::read(&store).await? };
                let options = slipway_registry::Options::default();
                let open = move || Registry::open_shared(&path, options, shared);
                anyhow::Ok(tokio::task::spawn_blocking(open).await??)
            };
            match tokio::spawn(open).await {
                Ok(Ok(registry)) => return registry,
                Ok(Err(error)) => said.why(&format!("{error:#}"), |error| {
                    tracing::warn!(
                        error,
                        "the registry cannot be opened; nothing is built or pulled until it can. Trying on"
                    );
                }),
                Err(error) => tracing::error!(%error, "opening the registry ended by a panic"),
            }
            tokio::time::sleep(OPEN_AGAIN).await;
        }
    }

    async fn start_agent(&self, registry: &Registry) -> Agent {
        let mut said = Said::default();
        loop {
            let started = match (self.agent)(registry.clone()) {
                Ok(options) => Agent::start(options).await.map_err(|error| anyhow::anyhow!(error.chain())),
                Err(error) => Err(error),
            };
            match started {
                Ok(agent) => return agent,
                Err(error) => said.why(&format!("{error:#}"), |error| {
                    tracing::error!("nothing can be built on this server: {error}. Trying on");
                }),
            }
            tokio::time::sleep(OPEN_AGAIN).await;
        }
    }

    /// Tells nodes where servers are, for ever.
    async fn tell_servers(&self, hub: &Hub) {
        let mut servers = self.servers.clone();
        loop {
            let addresses = servers.borrow_and_update().clone();
            hub.tell_servers(addresses);
            if servers.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Keeps a term that has been lost answering until there is a newer one: nobody knows more meanwhile. One
/// that still leads makes room at once.
async fn answer_on(retired: Retired, store: Store, stop: CancellationToken) {
    if !retired.leads() {
        tokio::select! {
            () = newer_leader(&store, retired.epoch()) => {}
            () = stop.cancelled() => {}
        }
    }
    retired.end().await;
}

/// Waits until somebody leads a later term than that, or the store is closed.
async fn newer_leader(store: &Store, epoch: Epoch) {
    let is_newer = |leader: &Option<Leader>| leader.as_ref().is_some_and(|leader| leader.epoch > epoch);
    let mut leaders = store.leader();
    let _closed = leaders.wait_for(is_newer).await;
}
