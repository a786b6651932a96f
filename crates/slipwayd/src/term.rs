//! A term: what the one process runs that leads.
//!
//! `slipwayd up` has one term, which lasts as long as the process. A `slipwayd server` begins one each
//! time it is elected. First comes what changes must not wait for: the leader's loop, git and the API.
//! What needs the registry is the [`Workshop`], which comes when the registry can be had: the process
//! that led before may still hold it.

use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use slipway_access::Access;
use slipway_api::wire::ServerInfo;
use slipway_control::api::{Api, Instances};
use slipway_control::leader::{
    self, LeaderHandle, LeaderQueries, LeaderStanding, NodeMessage, Nodes, Ports, RouterMessage,
};
use slipway_git::{GitServer, SharedStorage, Sources};
use slipway_model::cluster::Candidate;
use slipway_model::id::Epoch;
use slipway_model::route::RouteTable;
use slipway_storage::Authenticated;
use slipway_store::Store;
use slipway_store::journal::Journal;
use tokio::sync::{mpsc, watch};

use crate::front::{Doors, RegistryDoor};
use crate::glue::images::{LocalImages, Shelf};
use crate::hub::Ends;
use crate::outside::Outside;
use crate::paths::{GIT_USER, Paths, own_program};

mod workshop;

pub use workshop::{Workshop, WorkshopOptions};

/// Pushers hear something at least this often (F49).
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What nodes and routers have said and the leader has not heard yet; they wait beyond it.
pub const NODE_MESSAGES_WAITING_MAX: usize = 1024;
pub const ROUTER_MESSAGES_WAITING_MAX: usize = 256;
/// Transfers that are under way at a stop get this long.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// What a process has before it leads, and keeps when it leads no more.
#[derive(Clone)]
pub struct Ground {
    pub store: Store,
    pub access: Access,
    pub journal: Journal,
    pub paths: Paths,
    pub outside: Outside,
    /// The stack of projects that name none.
    pub stack: String,
    /// In a cluster, what the repositories of this server are copies of.
    pub repositories: Option<Authenticated>,
    /// The host's public SSH key.
    pub host_key: String,
    /// `host:port` of this server's own API. `None` on a single machine, where no other could lead.
    pub own_api: Option<String>,
}

/// Nodes and routers, as a term sees them.
pub struct Around {
    pub nodes: Arc<dyn Nodes>,
    pub node_messages: mpsc::Receiver<NodeMessage>,
    pub table: watch::Sender<Arc<RouteTable>>,
    pub router_messages: mpsc::Receiver<RouterMessage>,
    pub instances: Arc<dyn Instances>,
}

/// The time in which this process leads.
pub struct Term {
    leader: LeaderHandle,
    git: GitServer,
    api: axum::Router,
}

impl Ground {
    /// What people are told of this server.
    pub fn server_info(&self) -> ServerInfo {
        self.outside.server_info(&self.host_key)
    }

    /// The routes of the API, over whoever knows what runs and has images.
    pub fn api(&self, leader: LeaderQueries, instances: Arc<dyn Instances>, shelf: Shelf) -> axum::Router {
        let claim_token = self.paths.claim_token();
        slipway_control::api::routes(Api {
            access: self.access.clone(),
            journal: self.journal.clone(),
            leader,
            instances,
            images: Arc::new(LocalImages { shelf, stack: self.stack.clone() }),
            server: Arc::new(self.server_info()),
            own_address: self.own_api.as_deref().map(Arc::from),
            base_domain: self.outside.base_domain.as_str().into(),
            public: self.outside.public,
            claimed: Arc::new(move || drop(fs::remove_file(&claim_token))),
        })
    }

    /// Leaves the one-time token where root finds it while nobody has claimed the server, and says so.
    async fn offer_claim(&self) -> anyhow::Result<()> {
        let path = self.paths.claim_token();
        let _absent = fs::remove_file(&path);
        let Some(token) = self.access.create_claim().await? else { return Ok(()) };
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(token.as_bytes())?;
        println!(
            "{}",
            claim_note(&self.outside.api.to_string(), &token, &path, std::io::stdout().is_terminal())
        );
        Ok(())
    }

    fn git_options(&self, epoch: Epoch) -> anyhow::Result<slipway_git::Options> {
        let shared = self.repositories.clone().map(|storage| SharedStorage { storage, epoch });
        Ok(slipway_git::Options {
            host_key: self.paths.ssh_host_key(),
            repositories: self.paths.repositories(),
            journal: self.journal.clone(),
            hook_program: own_program()?,
            run_dir: self.paths.run.join("git"),
            user: Some(GIT_USER),
            push_bytes_max: slipway_model::limit::PUSH_BYTES_MAX,
            heartbeat: HEARTBEAT,
            public_url: self.outside.git_url(),
            shared,
        })
    }
}

impl Term {
    /// Waits until this process is elected, as `candidate`, and begins.
    pub async fn start(
        ground: &Ground,
        candidate: Candidate,
        around: Around,
        shelf: Shelf,
    ) -> anyhow::Result<Self> {
        let Around { nodes, node_messages, table, router_messages, instances } = around;
        let leader = leader::start(
            leader::Options {
                candidate,
                may_abdicate: ground.own_api.is_some(),
                base_domain: ground.outside.base_domain.clone(),
                public: ground.outside.public,
                ..leader::Options::default()
            },
            ground.store.clone(),
            Ports {
                nodes,
                node_messages,
                opener: Arc::new(ground.access.keyring().clone()),
                table,
                router_messages,
            },
        )
        .await?;
        let git =
            GitServer::start(ground.git_options(leader.epoch)?, ground.store.clone(), ground.access.clone())?;
        let api = ground.api(leader.queries(), instances, shelf);
        // Before anything answers, so that whoever sees an answer finds the token.
        ground.offer_claim().await?;
        Ok(Self { leader, git, api })
    }

    /// Which term it is.
    pub fn epoch(&self) -> Epoch {
        self.leader.epoch
    }

    /// Who has the repositories, for whoever builds.
    pub fn sources(&self) -> Sources {
        self.git.sources()
    }

    /// Where connections go; the registry comes with the workshop, nodes' end from whoever has them.
    pub fn doors(&self, registry: RegistryDoor, nodes: Option<Ends>) -> Doors {
        Doors { api: self.api.clone(), ssh: self.git.entrance(), registry, nodes }
    }

    /// The API alone.
    pub fn api(&self) -> &Router {
        &self.api
    }

    /// Waits until a part has ended that should not, and names it. A server of which half is gone
    /// would answer and do nothing.
    pub async fn ended(&mut self) -> &'static str {
        tokio::select! {
            () = self.leader.lost() => "the leadership",
            () = self.git.ended() => "the git endpoint",
        }
    }

    /// Ends everything but the leader's task, which goes on answering.
    pub async fn retire(self, workshop: Option<Workshop>) -> Retired {
        self.git.stop(STOP_GRACE).await;
        if let Some(workshop) = workshop {
            workshop.stop().await;
        }
        Retired(self.leader)
    }

    /// Ends everything, the leader last: what the others had to say is stored.
    pub async fn stop(self, workshop: Option<Workshop>) {
        self.retire(workshop).await.end().await;
    }
}

/// What is left of a term: its leader's memory.
pub struct Retired(LeaderHandle);

impl Retired {
    /// Which term it was.
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// Whether it still leads: then it did not end because it was deposed.
    pub fn leads(&self) -> bool {
        self.0.queries().leads()
    }

    /// Whether somebody wanted another to lead (MA-20).
    pub fn has_abdicated(&self) -> bool {
        matches!(self.0.queries().standing(), Some(LeaderStanding::Retired { has_abdicated: true, .. }))
    }

    /// Ends that too, and makes room for another leader.
    pub async fn end(self) {
        match self.0.stop().await {
            Ok(()) | Err(leader::Error::Deposed) => {}
            Err(error) => tracing::warn!(%error, "the leader had ended before"),
        }
    }
}

/// How a fresh server is taken possession of. The token itself is only for somebody who looks on: what goes
/// elsewhere than to a terminal is a log, which is kept, shipped and read by others.
fn claim_note(api: &str, token: &str, file: &Path, is_seen: bool) -> String {
    let file = file.display();
    let (token, rest) = match is_seen {
        true => (token.to_owned(), format!("The token works once; it is also in {file}.")),
        false => {
            (format!("\"$(cat {file})\""), "The token works once, and only root can read it.".to_owned())
        }
    };
    format!(
        "\nNobody owns this server yet. Take possession of it with:\n\n    \
         slipway --server http://{api} claim {token} --user NAME\n\n{rest}\n"
    )
}

#[cfg(test)]
mod tests;
