//! The hub: the leader's end of the nodes' links, for one term.
//!
//! ```text
//! leader ─ Desired ─▶ Hub::send ─▶ newest list ─▶ hand_over ── PUT /desired ──▶ node
//!                         └─▶ ran: which node was given which instance
//! leader ◀─ NodeMessage ◀─ pass_on ◀─ heard: what is believed ◀── /reports ──── node
//! API ── Instances ─▶ instances, logs ─ /logs /files /sandboxes /attach ──▶ nodes
//!     ◀── what the node that says it was given (ran) ◀────────────────────────┘
//! ```
//!
//! Nodes dial; the cluster port checks who they are and hands each link to [`Hub::take`]; all of a link's
//! life is in [`link`], and [`wire`] is what both ends say. What a node says goes to the leader, as that
//! node's: a name in it that is not the certificate's ends the link. A newer link of a node replaces the
//! older, and the leader hears of a node's going only when its newest link has gone. The newest list of each
//! node is put to it until it has it; older ones are forgotten. Its peers, which are the same for all nodes
//! and as many, are left out where the node has them ([`named`]).
//!
//! For the API the hub answers over all nodes ([`instances`](self), in `hub/instances.rs` and
//! `hub/logs.rs`): a node that does not answer is left out, and costs the others nothing. What a node says
//! of instances that it was not given is not believed ([`ran`]). The rule of what is believed is
//! [`slipway_control::leader::belief`].
//!
//! Dropping the last handle, or [`Hub::close`], ends all links: nodes dial again, and find who leads now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_control::leader::{NodeMessage, Nodes};
use slipway_link::{LinkStream, Role};
use slipway_model::cluster::Peer;
use slipway_model::id::InstanceId;
use slipway_model::instance::Desired;
use slipway_model::limit::SERVERS_MAX;
use slipway_model::name::{EnvironmentPath, NodeName};
use slipway_registry::Repository;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub mod ends;
mod instances;
mod link;
mod logs;
mod named;
pub mod ran;
#[cfg(test)]
pub(crate) mod tests;
pub mod wire;

pub use ends::Ends;
use link::Link;
use named::Named;
use ran::Ran;

/// Links of one node at once: its own, its routers', and those of its pulls. Each costs a descriptor and some
/// memory of the leader, which a node that somebody has taken over could otherwise use up.
pub const LINKS_OF_NODE_MAX: usize = 128;
/// Those of them that are its own, of which the newest counts and the others are about to end. Before a node
/// has said who it is, each may have the leader keep a line of
/// [`TOLD_LINE_BYTES_MAX`](wire::TOLD_LINE_BYTES_MAX).
const OWN_LINKS_MAX: usize = 8;

/// See the module; clones share it.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
    _life: Arc<DropGuard>,
}

struct Shared {
    nodes: Mutex<BTreeMap<NodeName, Node>>,
    /// Also of instances that have ended.
    ran: Ran,
    /// Counts what happens to links and lists, for those who wait for it.
    changed: watch::Sender<u64>,
    messages: mpsc::Sender<NodeMessage>,
    servers: watch::Sender<Vec<String>>,
    /// The peers that were sent last.
    peers: Mutex<Option<Arc<Named>>>,
    closed: CancellationToken,
}

/// What the hub knows of a node.
struct Node {
    /// The newest link; none when it has gone.
    link: Option<Link>,
    /// The newest list, and what it holds.
    desired: watch::Sender<Option<Arc<Listed>>>,
    /// Held while the leader is told something of the node, so that it hears of a new link after the
    /// older one's last word.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Ends what this node has open beside its link.
    others: CancellationToken,
    /// One for each link.
    seats: Arc<Semaphore>,
    /// One for each of its own.
    own_seats: Arc<Semaphore>,
}

/// A list, and what is looked up in it.
struct Listed {
    desired: Desired,
    /// Its peers; `None` without.
    peers: Option<Arc<Named>>,
    instances: BTreeSet<InstanceId>,
    environments: BTreeSet<EnvironmentPath>,
    repositories: BTreeSet<String>,
}

impl Hub {
    /// One without nodes, which tells a leader what nodes say. It remembers in `memory` for later terms
    /// which node ran what.
    pub fn new(messages: mpsc::Sender<NodeMessage>, memory: Option<PathBuf>) -> Self {
        let closed = CancellationToken::new();
        let shared = Shared {
            nodes: Mutex::default(),
            ran: Ran::new(memory),
            changed: watch::Sender::new(0),
            messages,
            servers: watch::Sender::default(),
            peers: Mutex::default(),
            closed: closed.clone(),
        };
        Self { shared: Arc::new(shared), _life: Arc::new(closed.drop_guard()) }
    }

    /// Takes a link of a node ([`Service::Node`](slipway_link::Service::Node)) and serves it until it ends.
    /// Whoever calls this has checked that the certificate counts.
    ///
    /// It ends at the latest with `shut_out`; the leader hears of the end either way.
    pub async fn take(&self, link: LinkStream, shut_out: impl Future<Output = ()>) {
        let Some(node) = node_of(&link) else { return };
        self.take_stream(node, link, shut_out).await;
    }

    async fn take_stream(
        &self,
        node: NodeName,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        shut_out: impl Future<Output = ()>,
    ) {
        let own_seats = self.shared.node(&node, |node| node.own_seats.clone());
        let Ok(_seat) = own_seats.try_acquire_owned() else {
            return tracing::warn!(node.name = %node, "a node has too many links of its own, and got no other");
        };
        // Not a handle: a link keeps no hub alive.
        let shared = Arc::clone(&self.shared);
        link::serve(shared, node, stream, shut_out).await;
    }

    /// A seat for one more link of a node, until it is dropped; `None` when it has too many.
    pub fn seat(&self, node: &NodeName) -> Option<OwnedSemaphorePermit> {
        let seats = self.shared.node(node, |node| node.seats.clone());
        seats.try_acquire_owned().ok()
    }

    /// Runs something that a node has open beside its link, such as the feed to its router, until it ends,
    /// or the node is [cut off](Hub::cut), or the hub closes.
    pub async fn beside(&self, node: &NodeName, work: impl Future<Output = ()>) {
        let others = self.shared.node(node, |node| node.others.clone());
        tokio::select! {
            () = work => {}
            () = others.cancelled() => {}
            () = self.shared.closed.cancelled() => {}
        }
    }

    /// Ends everything that a node has open here.
    pub fn cut(&self, node: &NodeName) {
        self.shared.node(node, |node| {
            std::mem::take(&mut node.others).cancel();
            if let Some(link) = &node.link {
                link.cut.cancel();
            }
        });
    }

    /// Ends all links.
    pub fn close(&self) {
        self.shared.closed.cancel();
    }

    /// Tells all nodes where servers are, now and when they come.
    pub fn tell_servers(&self, mut addresses: Vec<String>) {
        addresses.truncate(SERVERS_MAX);
        self.shared.servers.send_if_modified(|known| {
            let is_news = *known != addresses;
            *known = addresses;
            is_news
        });
    }

    /// Whether a node may pull from a repository: only from those that its newest list names.
    pub fn may_pull(&self, node: &NodeName, repository: &Repository) -> bool {
        let nodes = self.shared.nodes();
        let is_listed = |listed: &Listed| listed.repositories.contains(repository.as_str());
        nodes.get(node).is_some_and(|node| node.lists(is_listed))
    }
}

/// The node that a link is of; said and refused when it is none's.
pub fn node_of(link: &LinkStream) -> Option<NodeName> {
    let identity = link.identity().filter(|identity| identity.role == Role::Node);
    let name = identity.and_then(|identity| identity.name.parse().ok());
    if name.is_none() {
        tracing::warn!(from = %link.far_end(), "a link that is no node's was refused");
    }
    name
}

impl Nodes for Hub {
    fn send(&self, node: &NodeName, desired: Desired) {
        self.shared.ran.note(node, desired.instances.iter().map(|wish| &wish.spec.id));
        let instances = desired.instances.iter().map(|wish| wish.spec.id.clone()).collect();
        let environments = desired.instances.iter().map(|wish| wish.spec.environment.clone()).collect();
        let repositories = desired.instances.iter().map(|wish| wish.spec.image.repository.clone()).collect();
        let peers = desired.peers.as_ref().map(|peers| self.shared.named(peers));
        let listed = Arc::new(Listed { desired, peers, instances, environments, repositories });
        self.shared.node(node, |node| node.desired.send_replace(Some(listed)));
        self.shared.note_change();
    }
}

impl Shared {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeName, Node>> {
        // Nothing here can be half-changed by a panic.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or changes what is known of a node.
    fn node<T>(&self, name: &NodeName, look: impl FnOnce(&mut Node) -> T) -> T {
        look(self.nodes().entry(name.clone()).or_insert_with(Node::new))
    }

    /// What these peers are called, by whichever leader.
    fn named(&self, peers: &Arc<[Peer]>) -> Arc<Named> {
        let mut last = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(named) if Arc::ptr_eq(&named.peers, peers) => named.clone(),
            _ => last.insert(Arc::new(Named::new(peers.clone()))).clone(),
        }
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Every node that has been here, and its link if it has one.
    fn links(&self) -> Vec<(NodeName, Option<Link>)> {
        self.nodes().iter().map(|(name, node)| (name.clone(), node.link.clone())).collect()
    }

    fn link(&self, name: &NodeName) -> Option<Link> {
        self.nodes().get(name)?.link.clone()
    }

    /// The node whose list has an instance.
    fn node_with(&self, instance: &InstanceId) -> Option<NodeName> {
        let nodes = self.nodes();
        let found = nodes.iter().find(|(_, node)| node.lists(|listed| listed.instances.contains(instance)));
        found.map(|(name, _)| name.clone())
    }

    /// Whether a node has something of an environment on its list.
    fn has_of(&self, name: &NodeName, environment: &EnvironmentPath) -> bool {
        let nodes = self.nodes();
        nodes.get(name).is_some_and(|node| node.lists(|listed| listed.environments.contains(environment)))
    }
}

impl Node {
    fn new() -> Self {
        Self {
            link: None,
            desired: watch::Sender::default(),
            turn: Arc::default(),
            others: CancellationToken::new(),
            seats: Arc::new(Semaphore::new(LINKS_OF_NODE_MAX)),
            own_seats: Arc::new(Semaphore::new(OWN_LINKS_MAX)),
        }
    }

    /// Looks something up in the newest list.
    fn lists(&self, look: impl FnOnce(&Listed) -> bool) -> bool {
        self.desired.borrow().as_deref().is_some_and(look)
    }
}
