//! A small world, and who may do what in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use slipway_model::account::{Member, Right, Role, Tenant, User};
use slipway_model::name::{ConfigKey, UserName};
use slipway_model::project::{Environment, Project};
use slipway_model::record::Record;
use slipway_model::unit::{Span, Timestamp};
use slipway_store::{Batch, Store};

use crate::caller::{Caller, Proof};
use crate::{Access, Error, Kind, MasterKey, Scoped, TokenWish};

mod matrix;

mod operations;

mod people;

mod things;

mod domains;

mod requests;

mod apps;

mod cluster;

mod joining;

mod servers;

const SOURCE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct World {
    dir: tempfile::TempDir,
    access: Access,
    clock: Arc<AtomicU64>,
}

impl World {
    /// An empty store, at the time 1,000 s.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let master = MasterKey::load_or_create(&dir.path().join("key")).unwrap();
        let access = Access::open(store, master).await.unwrap().with_clock(clock.clone());
        Self { dir, access, clock }
    }

    /// As `new`, with ann as the owner of acme, which has the project shop with dev and prod.
    async fn with_shop() -> Self {
        let world = Self::new().await;
        let ann = world.user("ann").await;
        world.tenant_of(&ann, "acme").await;
        let acme = world.acme(&ann, Right::Own).await;
        acme.create_project(&name("shop"), &[name("dev"), name("prod")]).await.unwrap();
        world
    }

    /// A user who is logged in; hashes of passwords take time, so this one has none.
    async fn user(&self, text: &str) -> Caller {
        let root = self.access.operator(&self.access.local_operator()).await.unwrap();
        root.create_user(&name(text), None, false).await.unwrap();
        Caller::new(name(text), Proof::Password)
    }

    async fn operator(&self, text: &str) -> Caller {
        let root = self.access.operator(&self.access.local_operator()).await.unwrap();
        root.create_user(&name(text), None, true).await.unwrap();
        Caller::new(name(text), Proof::Password)
    }

    async fn tenant_of(&self, owner: &Caller, text: &str) {
        self.access.account(owner).await.unwrap().create_tenant(&name(text)).await.unwrap();
    }

    /// Makes somebody a member, without the way through an invitation.
    async fn member(&self, tenant: &str, text: &str, role: Role) -> Caller {
        let caller = Caller::new(name(text), Proof::Password);
        if self.access.get::<User>(&name(text)).await.unwrap().is_none() {
            self.user(text).await;
        }
        let member = Member { tenant: name(tenant), user: name(text), role, since: Timestamp(0) };
        self.put(&member).await;
        caller
    }

    async fn put<R: Record>(&self, record: &R) {
        self.access.store.commit(Batch::new().put(record)).await.unwrap();
    }

    async fn acme(&self, caller: &Caller, right: Right) -> Scoped<Tenant> {
        self.access.tenant(caller, &name("acme"), right).await.unwrap()
    }

    async fn shop(&self, caller: &Caller) -> Scoped<Project> {
        self.access.project(caller, &name("acme/shop"), Right::View).await.unwrap()
    }

    async fn dev(&self, caller: &Caller) -> Scoped<Environment> {
        self.access.environment(caller, &name("acme/shop/dev"), Right::View).await.unwrap()
    }

    fn later(&self, span: Span) {
        self.clock.fetch_add(span.millis(), Ordering::Relaxed);
    }
}

/// Any kind of name.
fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn ann() -> Caller {
    Caller::new(name("ann"), Proof::Password)
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, kind: Kind, words: &str) {
    let error = result.err().expect("it should have been refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}
