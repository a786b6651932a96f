//! The store of a cluster: an Apache ZooKeeper ensemble, 3.6 or newer.
//!
//! Each record is a node below the root ([`foundation`], [`layout`]), its JSON authenticated ([`seal`]),
//! with the configured access list. What a batch says becomes a part of one `multi` ([`group`], [`commit`],
//! [`plan`]); watches
//! read from a copy in memory that follows the servers ([`mirror`]); candidates queue up to lead
//! ([`election`]). All of it goes through one session ([`session`]), which survives lost connections and
//! begins anew when the servers have given it up.
//!
//! The client's side of the protocol ([`wire`], [`connection`]) is our own. It is small, it lets a
//! batch know whether it was ever sent, and TLS goes through the one implementation that the rest
//! of the program uses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use slipway_model::cluster::Candidate;
use slipway_model::id::{ClusterId, Epoch};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::batch::{Batch, is_key};
use crate::election::{Leader, Leadership};
use crate::error::Error;
use crate::memory::{Memory, Stored};
use crate::reach::Reach;
use crate::watch::Subscription;

mod wire;

mod connection;

mod session;

mod seal;

mod layout;

mod foundation;

mod window;

mod plan;

mod commit;

mod group;

pub(crate) mod mirror;

mod election;

mod arriving;

pub(crate) use arriving::Arriving;
pub use connection::ZooKeeperTls;
pub use wire::Acl;

use commit::Writer;
use election::{Elections, LeaderNode};
use foundation::Root;
use group::Groups;
use layout::Layout;
use mirror::{Mirror, Mirrors};
use seal::Seal;
use session::Client;
use wire::Request;

/// For how long no server must have answered before reads come from the mirror. Moving to another server
/// takes less.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Where a cluster's store is, and how to speak with it.
#[derive(Clone)]
pub struct ZooKeeperOptions {
    /// `host:port` of each server; any of them will do.
    pub servers: Vec<String>,
    /// The path below which everything is kept, such as `/slipway`. It belongs to one cluster alone.
    pub root: String,
    /// For how long the servers keep the session, and with it leadership, of a silent client. They
    /// have bounds of their own for it, 2 to 20 of their ticks.
    pub session_timeout: Duration,
    /// How long a request waits for a server before [`Error::Unavailable`].
    pub patience: Duration,
    /// Speak TLS, and nothing else.
    pub tls: Option<ZooKeeperTls>,
    /// Proofs of who we are, as scheme and credential: `("digest", "name:password")`.
    pub auth: Vec<(String, Vec<u8>)>,
    /// The access list of every node that is made.
    pub acl: Vec<Acl>,
    /// The cluster's secret: each payload gets a code that only who has it can make, and a record whose
    /// code is not right is [`Error::Unreadable`]. All of a cluster have the same, or all have none.
    pub authentication: Option<[u8; 32]>,
    /// Keep a copy of all records in memory. Reads answer from it while no server does, lists always
    /// do, and watches need no copies of their own.
    pub keep_mirror: bool,
}

impl ZooKeeperOptions {
    /// Without TLS, open to everybody who reaches the servers, with ten seconds for a session.
    pub fn new(servers: Vec<String>, root: &str) -> Self {
        Self {
            servers,
            root: root.to_owned(),
            session_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(10),
            tls: None,
            auth: Vec::new(),
            acl: vec![Acl::open()],
            authentication: None,
            keep_mirror: false,
        }
    }
}

impl fmt::Debug for ZooKeeperOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the credentials.
        f.debug_struct("ZooKeeperOptions")
            .field("servers", &self.servers)
            .field("root", &self.root)
            .field("session_timeout", &self.session_timeout)
            .finish_non_exhaustive()
    }
}

/// A handle on the ensemble; clones share one session.
#[derive(Clone, Debug)]
pub(crate) struct ZooKeeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    layout: Layout,
    cluster: ClusterId,
    groups: Groups,
    elections: Elections,
    leader: watch::Receiver<Option<Leader>>,
    /// Keeps `leader` up to date.
    following: AbortHandle,
    mirrors: Mirrors,
    /// The one of everything, if it is kept.
    mirror: Option<Arc<Mirror>>,
    /// Where watches run, which are begun outside of any `async`.
    runtime: Handle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl ZooKeeper {
    pub(crate) async fn connect(options: ZooKeeperOptions) -> Result<Self, Error> {
        let keep_mirror = options.keep_mirror;
        let (client, layout) = start(options)?;
        let root = foundation::root(&client, &layout, &Root::new(new_cluster_id(), false)).await?;
        if root.moving {
            let why = "an embedded store's records are being moved into it; \
                       if that was broken off, the same command again ends it";
            return Err(Error::Foreign { root: layout.root().to_owned(), why: why.to_owned() });
        }
        let layout = layout.of_cluster(&root.cluster);
        foundation::below(&client, &layout, &LeaderNode::after(Epoch(0))).await?;
        let (tell, leader) = watch::channel(election::read(&client, &layout).await?);
        let following = tokio::spawn(election::follow(client.clone(), layout.clone(), tell)).abort_handle();
        let runtime = Handle::current();
        let mirrors = Mirrors::default();
        let mirror = keep_mirror.then(|| mirrors.of(&runtime, &client, &layout, ""));
        Ok(Self(Arc::new(Inner {
            groups: Groups::start(Writer::new(client.clone(), layout.clone())),
            elections: Elections::new(client.clone(), layout.clone()),
            cluster: root.cluster,
            leader,
            following,
            mirrors,
            mirror,
            runtime,
            layout,
            client,
        })))
    }

    pub(crate) fn cluster_id(&self) -> &ClusterId {
        &self.0.cluster
    }

    pub(crate) fn reach(&self) -> Reach {
        self.0.client.reach()
    }

    pub(crate) fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.0.leader.clone()
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Stored>, Error> {
        if !is_key(key) {
            // A server would refuse the question.
            return Ok(None);
        }
        let Inner { client, layout, .. } = &*self.0;
        let asking = async {
            let answer = client.ask(Request::data(&layout.record(key))).await?;
            Ok(mirror::record(client, layout, key, answer)?.stored)
        };
        self.or_remembered(asking, |memory| memory.get(key)).await
    }

    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<(Arc<str>, Stored)>, Error> {
        if !is_key(prefix.trim_end_matches('/')) {
            return Ok(Vec::new());
        }
        let Inner { client, layout, mirror, .. } = &*self.0;
        let Some(mirror) = mirror else {
            return Ok(mirror::list(client, layout, prefix).await?.into_iter().collect());
        };
        let asking = async {
            let caught_up = tokio::time::timeout(client.patience(), mirror.caught_up()).await;
            caught_up.map_err(|_| client.unavailable())?.map_err(|_| Error::Closed)?;
            mirror.memory().map(|memory| memory.list(prefix)).ok_or_else(|| client.unavailable())
        };
        self.or_remembered(asking, |memory| memory.list(prefix)).await
    }

    /// What the servers answer; or what the mirror says, when they have been silent for some time.
    async fn or_remembered<T>(
        &self,
        asking: impl Future<Output = Result<T, Error>>,
        remembered: impl FnOnce(&Memory) -> T,
    ) -> Result<T, Error> {
        let Inner { client, mirror, .. } = &*self.0;
        let Some(mirror) = mirror else { return asking.await };
        tokio::select! {
            answer = asking => answer,
            () = client.silent(SILENCE_MAX) => {
                mirror.memory().map(remembered).ok_or_else(|| client.unavailable())
            }
        }
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.0.groups.commit(batch).await
    }

    pub(crate) async fn elect(&self, candidate: &Candidate) -> Result<Leadership, Error> {
        self.0.elections.elect(candidate).await
    }

    pub(crate) fn watch(&self, prefix: String) -> Subscription {
        let Inner { client, layout, mirrors, mirror, runtime, .. } = &*self.0;
        let mirror = match mirror {
            Some(mirror) => mirror.clone(),
            None => mirrors.of(runtime, client, layout, &prefix),
        };
        mirror.watch(prefix)
    }

    pub(crate) async fn close(&self) {
        self.0.client.close().await;
    }
}

/// Begins a session, if the options are good.
fn start(options: ZooKeeperOptions) -> Result<(Client, Layout), Error> {
    let wrong = |why: &str| Err(Error::Options { why: why.to_owned() });
    if options.servers.is_empty() {
        return wrong("no ZooKeeper server is named");
    }
    if !is_key(&options.root) || options.root.starts_with("/zookeeper") {
        return wrong("the root must be a path of its own, such as /slipway");
    }
    if options.acl.is_empty() {
        return wrong("with an empty access list nobody could read what is written");
    }
    if options.session_timeout < Duration::from_millis(100) {
        return wrong("the session's time must be 100 ms at least");
    }
    let tls = options.tls.as_ref().map(ZooKeeperTls::connector).transpose()?;
    let seal = Seal::new(options.authentication.as_ref());
    let layout = Layout::new(&options.root, options.acl.clone(), seal);
    Ok((Client::start(Arc::new(options), tls), layout))
}

pub(crate) fn new_cluster_id() -> ClusterId {
    ClusterId::from_random(rand::random())
}
