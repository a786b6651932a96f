//! The component: options in, a handle out; its tasks and what they share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slipway_access::Access;
use slipway_model::name::EnvironmentPath;
use slipway_model::unit::Bytes;
use slipway_store::Store;
use slipway_store::journal::Journal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::copies::{Copies, SharedStorage};
use crate::error::Error;
use crate::git::{Git, GitUser, OwnRefs};
use crate::hook_server;
use crate::host_key;
use crate::keeper::Keeper;
use crate::receive::Incoming;
use crate::records::Records;
use crate::repository::Repositories;
use crate::shallow::ShallowFile;
use crate::ssh::Entrance;
use crate::turns::Turns;

/// How often it is looked whether all transfers have ended, while the server stops.
const STOP_POLL: Duration = Duration::from_millis(20);
/// Between two sweeps of the repositories.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// The second sweep comes soon: what a server that was killed a moment ago left behind is too young
/// for the first.
const SWEEP_SECOND: Duration = Duration::from_secs(120);

/// How to serve git.
#[derive(Debug)]
pub struct Options {
    /// The SSH host key, made if it does not exist.
    pub host_key: PathBuf,
    /// The directory of the repositories, `git` in the data directory. git's user must be able to
    /// get there: the data directory has mode 711.
    pub repositories: PathBuf,
    /// In a cluster, where the repositories are that those in the directory are copies of.
    pub shared: Option<SharedStorage>,
    /// Logs of builds.
    pub journal: Journal,
    /// A program that calls [`crate::hook::main`] when it is started under one of
    /// [`crate::hook::NAMES`]. It is linked into the directory of the repositories, or copied.
    pub hook_program: PathBuf,
    /// Where to make the socket for hooks. git's user must be able to reach it; it may be wiped
    /// between two starts.
    pub run_dir: PathBuf,
    /// Whom git runs as; ourselves when absent, which only makes sense when we are unprivileged.
    pub user: Option<GitUser>,
    /// Bytes of one push as it is sent, [`slipway_model::limit::PUSH_BYTES_MAX`] at most.
    pub push_bytes_max: Bytes,
    /// A pusher hears something at least this often (F49).
    pub heartbeat: Duration,
    /// What a clone's URL begins with, for messages: `ssh://git@host:2222`.
    pub public_url: String,
}

/// A running git endpoint. Ends when dropped.
#[derive(Debug)]
pub struct GitServer {
    host_key: String,
    entrance: Entrance,
    stop: watch::Sender<bool>,
    /// Ends all connections when it is raised or dropped.
    cut: watch::Sender<bool>,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What connections, hooks and loops have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: SharedOptions,
    pub(crate) records: Records,
    pub(crate) access: Access,
    pub(crate) repositories: Arc<Repositories>,
    /// The directory of the repositories, for how much room is left.
    pub(crate) root: PathBuf,
    pub(crate) turns: Arc<Turns>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) hook_socket: PathBuf,
    /// See [`ShallowFile`].
    pub(crate) shallow_files: PathBuf,
    /// Becomes true when the server shall end.
    pub(crate) stop: watch::Receiver<bool>,
    incoming: Mutex<HashMap<String, Arc<Incoming>>>,
}

/// The options that matter after the start.
#[derive(Debug)]
pub(crate) struct SharedOptions {
    pub(crate) user: Option<GitUser>,
    pub(crate) heartbeat: Duration,
    pub(crate) journal: Journal,
    pub(crate) public_url: String,
}

impl GitServer {
    /// Prepares the directories, makes ref and store agree, and begins to serve. Must be called
    /// inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::HostKey`], [`Error::HookSocket`], [`Error::File`], and [`Error::Unreachable`] when git's
    /// user cannot get to the repositories.
    pub fn start(options: Options, store: Store, access: Access) -> Result<Self, Error> {
        let make =
            |path: &PathBuf| {
                std::fs::create_dir_all(path)
                    .and_then(|()| path.canonicalize())
                    .map_err(|source| Error::File { what: "make", path: path.clone(), source })
            };
        // git reports canonical paths, and they are compared.
        let (root, run_dir) = (make(&options.repositories)?, make(&options.run_dir)?);
        let refs = if options.shared.is_some() { OwnRefs::All } else { OwnRefs::Branches };
        let git = Git::prepare(&root, options.user, &options.hook_program, options.push_bytes_max, refs)?;
        git.check_reach(&root)?;
        git.check_reach(&run_dir)?;
        let host_key = host_key::load_or_make(&options.host_key)?;
        let hook_socket = run_dir.join("git-hook.sock");
        let hook_listener = hook_server::listen(&hook_socket, options.user)?;

        let records = Records(store);
        let repositories = {
            let with = |shared| Arc::new(Copies::new(shared, git.clone(), Some(records.clone())));
            let copies = options.shared.map(with);
            Arc::new(Repositories::new(git, copies))
        };
        let turns = Arc::new(Turns::default());
        let keeper = Arc::new(Keeper::new(records.clone(), repositories.clone(), turns.clone()));
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            options: SharedOptions {
                user: options.user,
                heartbeat: options.heartbeat,
                journal: options.journal,
                public_url: options.public_url,
            },
            records,
            access,
            repositories: repositories.clone(),
            root,
            turns,
            keeper: keeper.clone(),
            hook_socket,
            shallow_files: ShallowFile::prepare(&run_dir)?,
            stop: stopped,
            incoming: Mutex::default(),
        });
        let public_key = host_key.public_key().to_openssh().unwrap_or_default();
        let mut tasks = JoinSet::new();
        tasks.spawn(hook_server::run(shared.clone(), hook_listener));
        tasks.spawn(keeper.run());
        tasks.spawn(sweep(repositories));
        let (cut, all) = watch::channel(false);
        let entrance = Entrance::new(shared.clone(), host_key, all);
        Ok(Self { host_key: public_key, entrance, stop, cut, shared, tasks })
    }

    /// Where connections are handed in.
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// The host's public key, as `known_hosts` wants it: algorithm and base64.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// Who has the repositories; whoever reads one himself asks first.
    pub fn sources(&self) -> Sources {
        Sources(self.shared.repositories.clone())
    }

    /// Waits until one of its tasks has ended, which without [`GitServer::stop`] they only do by a
    /// panic.
    pub async fn ended(&mut self) {
        // The panic has been reported where it happened.
        let _ = self.tasks.join_next().await;
    }

    /// Accepts nothing new, tells pushers that follow a build how to go on following it, and waits
    /// up to `grace` for what is being transferred; then ends it, and every connection.
    pub async fn stop(mut self, grace: Duration) {
        let _ = self.stop.send(true);
        let idle = async {
            while self.shared.repositories.is_busy() {
                tokio::time::sleep(STOP_POLL).await;
            }
        };
        if tokio::time::timeout(grace, idle).await.is_err() {
            tracing::warn!("ended while pushes or fetches were under way");
        }
        self.cut.send_replace(true);
        self.tasks.shutdown().await;
    }
}

impl Shared {
    /// Makes a push known to its hooks, until the guard is dropped.
    pub(crate) fn announce(self: &Arc<Self>, push: Arc<Incoming>) -> Announced {
        let token = hex::encode(rand::random::<[u8; 32]>());
        self.table().insert(token.clone(), push);
        Announced { shared: self.clone(), token }
    }

    /// The push with that token.
    pub(crate) fn incoming(&self, token: &str) -> Option<Arc<Incoming>> {
        self.table().get(token).cloned()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Incoming>>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees to it that a repository can be read.
#[derive(Debug, Clone)]
pub struct Sources(Arc<Repositories>);

impl Sources {
    /// Brings the repository of an environment up to date, if there is one.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Damaged`], [`Error::Overtaken`].
    pub async fn bring(&self, environment: &EnvironmentPath) -> Result<(), Error> {
        self.0.open(environment).await.map(drop)
    }
}

/// See [`Shared::announce`].
#[derive(Debug)]
pub(crate) struct Announced {
    shared: Arc<Shared>,
    pub(crate) token: String,
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.shared.table().remove(&self.token);
    }
}

/// Waits until a flag is raised, or whoever could raise it is gone.
pub(crate) async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}

async fn sweep(repositories: Arc<Repositories>) {
    let mut pause = SWEEP_SECOND;
    loop {
        if let Err(error) = repositories.sweep().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not sweep the repositories");
        }
        tokio::time::sleep(std::mem::replace(&mut pause, SWEEP_INTERVAL)).await;
    }
}
