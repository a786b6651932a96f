//! The store of a cluster: an Apache ZooKeeper ensemble, 3.6 or newer.
//!
//! Each record is a node below the root, its JSON unchanged, with the configured access list. What a
//! batch says becomes one `multi` ([`commit`], [`plan`]); watches read from a copy in memory that
//! follows the servers ([`mirror`]); candidates queue up to lead ([`election`]). All of it goes
//! through one session ([`session`]), which survives lost connections and begins anew when the
//! servers have given it up.
//!
//! The client's side of the protocol ([`wire`], [`connection`]) is our own. It is small, it lets a
//! batch know whether it was ever sent, and TLS goes through the one implementation that the rest
//! of the program uses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Batch, is_key};
use crate::election::Leadership;
use crate::embedded::memory::Stored;
use crate::error::Error;
use crate::watch::Subscription;

mod wire;

mod connection;

mod session;

mod layout;

mod plan;

mod commit;

pub(crate) mod mirror;

mod election;

pub use connection::ZooKeeperTls;
pub use wire::Acl;

use commit::Writer;
use election::{Elections, Leader};
use layout::Layout;
use mirror::Mirrors;
use session::Client;
use wire::{Code, Request};

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
    writer: Writer,
    elections: Elections,
    mirrors: Mirrors,
    /// Where watches run, which are begun outside of any `async`.
    runtime: tokio::runtime::Handle,
}

impl ZooKeeper {
    pub(crate) async fn connect(options: ZooKeeperOptions) -> Result<Self, Error> {
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
        let layout = Layout::new(&options.root);
        let acl = options.acl.clone();
        let client = Client::start(Arc::new(options), tls);
        let foundation = layout.foundation(&acl, &Leader::nobody().encode());
        found(&client, foundation).await?;
        Ok(Self(Arc::new(Inner {
            writer: Writer::new(client.clone(), layout.clone(), acl.clone()),
            elections: Elections::new(client.clone(), layout.clone(), acl),
            mirrors: Mirrors::default(),
            runtime: tokio::runtime::Handle::current(),
            layout,
            client,
        })))
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Stored>, Error> {
        if !is_key(key) {
            // A server would refuse the question.
            return Ok(None);
        }
        let answer = self.0.client.ask(Request::data(&self.0.layout.record(key))).await?;
        Ok(mirror::record(&self.0.client, answer)?.stored)
    }

    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<(Arc<str>, Stored)>, Error> {
        if !is_key(prefix.trim_end_matches('/')) {
            return Ok(Vec::new());
        }
        let records = mirror::list(&self.0.client, &self.0.layout, prefix).await?;
        Ok(records.into_iter().collect())
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.0.writer.commit(&batch).await
    }

    pub(crate) async fn elect(&self, candidate: &str) -> Result<Leadership, Error> {
        self.0.elections.elect(candidate).await
    }

    pub(crate) fn watch(&self, prefix: String) -> Subscription {
        let inner = &self.0;
        inner.mirrors.watch(&inner.runtime, &inner.client, &inner.layout, prefix)
    }

    pub(crate) async fn close(&self) {
        self.0.client.close().await;
    }
}

/// Makes the nodes that everything else is below, if they are not there.
async fn found(client: &Client, foundation: Vec<wire::NodeChange>) -> Result<(), Error> {
    if let Some(wire::NodeChange::Create { path, .. }) = foundation.last()
        && client.stat(client.ask(Request::exists(path, false)).await?)?.is_some()
    {
        return Ok(());
    }
    let requests: Vec<Request> = foundation.iter().map(Request::change).collect();
    for answer in client.ask_all(&requests).await? {
        if answer != Err(Code::NODE_EXISTS) {
            client.accept(answer)?;
        }
    }
    Ok(())
}
