//! The records that others write, as one stream of changes.

use slipway_model::account::{DefaultQuota, Quota, Tenant};
use slipway_model::app::{App, GroupDeployment};
use slipway_model::cluster::NodeIdentity;
use slipway_model::instance::{NodeOrder, RunRequest};
use slipway_model::project::{Environment, HostClaim};
use slipway_model::push::{Build, Push};
use slipway_model::record::Record;
use slipway_model::release::ReleaseRequest;
use slipway_store::{Store, WatchEvent};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Changes that wait for the owner; the watches behind it hold keys, not contents, so a slow owner
/// costs little.
const QUEUE: usize = 256;

/// A change of one record.
#[expect(clippy::large_enum_variant, reason = "it is moved a few times, and never kept")]
pub(super) enum Change {
    Tenant(WatchEvent<Tenant>),
    Environment(WatchEvent<Environment>),
    Push(WatchEvent<Push>),
    Build(WatchEvent<Build>),
    ReleaseRequest(WatchEvent<ReleaseRequest>),
    RunRequest(WatchEvent<RunRequest>),
    HostClaim(WatchEvent<HostClaim>),
    App(WatchEvent<App>),
    GroupDeployment(WatchEvent<GroupDeployment>),
    Quota(WatchEvent<Quota>),
    DefaultQuota(WatchEvent<DefaultQuota>),
    NodeOrder(WatchEvent<NodeOrder>),
    NodeIdentity(WatchEvent<NodeIdentity>),
}

/// Kinds of records in the stream; each begins with everything there is.
pub(super) const KINDS: usize = 13;

/// The stream; it ends when it is dropped.
pub(super) struct Changes {
    pub(super) queue: mpsc::Receiver<Change>,
    // Dropped with the stream, which ends the tasks.
    _watches: JoinSet<()>,
}

impl Changes {
    pub(super) fn of(store: &Store) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let mut watches = JoinSet::new();
        follow(store, &sender, &mut watches, Change::Tenant);
        follow(store, &sender, &mut watches, Change::Environment);
        follow(store, &sender, &mut watches, Change::Push);
        follow(store, &sender, &mut watches, Change::Build);
        follow(store, &sender, &mut watches, Change::ReleaseRequest);
        follow(store, &sender, &mut watches, Change::RunRequest);
        follow(store, &sender, &mut watches, Change::HostClaim);
        follow(store, &sender, &mut watches, Change::App);
        follow(store, &sender, &mut watches, Change::GroupDeployment);
        follow(store, &sender, &mut watches, Change::Quota);
        follow(store, &sender, &mut watches, Change::DefaultQuota);
        follow(store, &sender, &mut watches, Change::NodeOrder);
        follow(store, &sender, &mut watches, Change::NodeIdentity);
        Self { queue, _watches: watches }
    }
}

fn follow<R: Record>(
    store: &Store,
    sender: &mpsc::Sender<Change>,
    watches: &mut JoinSet<()>,
    wrap: fn(WatchEvent<R>) -> Change,
) {
    let mut watch = store.watch::<R>("");
    let sender = sender.clone();
    watches.spawn(async move { while sender.send(wrap(watch.next().await)).await.is_ok() {} });
}

impl Change {
    /// Tells the kinds apart.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Change::Tenant(_) => "tenant",
            Change::Environment(_) => "environment",
            Change::Push(_) => "push",
            Change::Build(_) => "build",
            Change::ReleaseRequest(_) => "release request",
            Change::RunRequest(_) => "run request",
            Change::HostClaim(_) => "host claim",
            Change::App(_) => "app",
            Change::GroupDeployment(_) => "group deployment",
            Change::Quota(_) => "quota",
            Change::DefaultQuota(_) => "default quota",
            Change::NodeOrder(_) => "node order",
            Change::NodeIdentity(_) => "node identity",
        }
    }
}
