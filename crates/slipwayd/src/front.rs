//! The front: what listens, as long as the process lives, whoever leads.
//!
//! Where a connection goes is decided when it comes, by this process' [`Duty`]: to this
//! process' own term, or on to the leader over a link ([`passage`]), or, when no leader can be reached,
//! to what this process remembers ([`fallback`]). When the duty changes, connections that belonged to
//! the old one end: whoever comes again meets the new one.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::Extensions;
use axum::Router;
use axum::extract::ConnectInfo;
use slipway_control::api::Local;
use slipway_git::{Doorkeeper, Entrance};
use slipway_registry::server::Server as RegistryServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args;
use crate::glue::authority::TenantAuthority;
use crate::hub::Ends;
use crate::paths::Paths;

pub mod door;
pub mod fallback;
pub mod http;
pub mod listen;
pub mod passage;
pub mod seat;

use door::Door;
use listen::{bind, bind_socket};
use passage::Passage;
use seat::{Seat, Seats};

/// Connections of one kind at once; one that follows a log sleeps.
const CONNECTIONS_MAX: usize = 1024;
/// Of one address.
const CONNECTIONS_OF_SOURCE_MAX: usize = 512;
/// After a failed accept, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For whoever pushes or fetches where nobody can serve it.
const NO_GIT: &str =
    "no server leads at this moment, so nothing was pushed or fetched; try again in a moment";
/// For clients of the registry.
const NO_REGISTRY: &str = "the registry is not served at this moment; try again in a moment";
/// For clients of the API, before anything is known.
const NO_API: &str =
    "this server has not reached the coordination servers since it started; its log says why";

/// What this process has to do, and so where connections go. [`crate::server`] decides it, in one place.
#[derive(Clone)]
pub enum Duty {
    /// It leads.
    Lead(Doors),
    /// It stands by.
    StandBy {
        /// The way to who does; `None` while nobody is known to.
        leader: Option<Passage>,
        /// What answers when the leader cannot be reached; `None` while nothing is known.
        fallback: Option<Fallback>,
    },
}

/// The registry's part: nothing until it can be had.
pub type RegistryDoor = watch::Receiver<Option<RegistryServer<TenantAuthority>>>;

/// What is behind the doors of a process that leads.
#[derive(Clone)]
pub struct Doors {
    pub api: Router,
    pub ssh: Entrance,
    pub registry: RegistryDoor,
    /// What the cluster's nodes meet; `None` on a machine that is alone.
    pub nodes: Option<Ends>,
}

/// Where requests go in a process that does not.
#[derive(Clone)]
pub struct Fallback {
    /// Whoever can reach the port may read.
    pub api: Router,
    /// Root on this machine, for what needs no leader.
    pub local: Router,
}

/// Everything that listens, bound before anything else is begun.
pub struct Listeners {
    api: TcpListener,
    registry: TcpListener,
    ssh: TcpListener,
}

impl Listeners {
    /// Binds the ports.
    pub fn bind(ports: &args::Listen) -> anyhow::Result<Self> {
        Ok(Self {
            api: bind("the API", "--api", ports.api)?,
            registry: bind("the registry", "--registry", ports.registry)?,
            ssh: bind("git over SSH", "--ssh", ports.ssh)?,
        })
    }
}

/// A handle on the front; clones are the same. It ends with its tasks.
#[derive(Clone)]
pub struct Front {
    /// With what ends when it changes.
    duty: watch::Sender<(Arc<Duty>, CancellationToken)>,
    doorkeeper: Doorkeeper,
    api_seats: Arc<Seats>,
    registry_seats: Arc<Seats>,
    ssh_seats: Arc<Seats>,
}

impl Front {
    /// Not listening yet.
    pub fn new(doorkeeper: Doorkeeper, duty: Duty) -> Self {
        let duty = watch::Sender::new((Arc::new(duty), CancellationToken::new()));
        let seats = || Arc::new(Seats::new(CONNECTIONS_MAX, CONNECTIONS_OF_SOURCE_MAX));
        let (api_seats, registry_seats, ssh_seats) = (seats(), seats(), seats());
        Self { duty, doorkeeper, api_seats, registry_seats, ssh_seats }
    }

    /// Begins to accept connections; each task goes on for ever.
    pub fn open(&self, listeners: Listeners, paths: &Paths) -> anyhow::Result<JoinSet<()>> {
        let Listeners { api, registry, ssh } = listeners;
        let socket = bind_socket(&paths.api_socket())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().accept(api, Door::Api));
        tasks.spawn(self.clone().accept(registry, Door::Registry));
        tasks.spawn(self.clone().accept(ssh, Door::Ssh));
        tasks.spawn(self.clone().accept_local(socket));
        Ok(tasks)
    }

    /// From now on connections go elsewhere, and those that there are end.
    pub fn take_up(&self, duty: Duty) {
        let before = self.duty.send_replace((Arc::new(duty), CancellationToken::new()));
        before.1.cancel();
    }

    /// What this process has to do now.
    pub fn duty(&self) -> Arc<Duty> {
        self.duty.borrow().0.clone()
    }

    /// Serves somebody whom another server passes on, if this process leads. Whoever calls has looked
    /// before whether it does; between the two it may have ceased to.
    pub async fn serve_passed_on<S>(&self, door: Door, stream: S, caller: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (duty, until) = self.duty.borrow().clone();
        if let (Duty::Lead(doors), Some(seat)) = (&*duty, self.seat(door, caller)) {
            tokio::select! {
                () = serve_leading(doors, door, stream, caller, until) => {}
                () = seat.displaced() => {}
            }
        }
    }

    fn seat(&self, door: Door, caller: SocketAddr) -> Option<Seat> {
        let seats = match door {
            Door::Api => &self.api_seats,
            Door::Registry => &self.registry_seats,
            Door::Ssh => &self.ssh_seats,
        };
        seats.take_or_displace(caller.ip())
    }

    async fn accept(self, listener: TcpListener, door: Door) {
        loop {
            let Ok((stream, caller)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // An answer's parts and the packets of SSH are small, and each side waits for the other's.
            let _nagle = stream.set_nodelay(true);
            let Some(seat) = self.seat(door, caller) else { continue };
            let front = self.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = front.serve(door, stream, caller) => {}
                    () = seat.displaced() => {}
                }
            });
        }
    }

    async fn serve(&self, door: Door, stream: TcpStream, caller: SocketAddr) {
        let (duty, until) = self.duty.borrow().clone();
        let (leader, fallback) = match &*duty {
            Duty::Lead(doors) => return serve_leading(doors, door, stream, caller, until).await,
            Duty::StandBy { leader, fallback } => (leader, fallback),
        };
        if let Some(leader) = leader
            && let Some(link) = leader.open(door, caller).await
        {
            return passage::carry(stream, link, until).await;
        }
        match (door, fallback) {
            (Door::Ssh, _) => self.doorkeeper.turn_away(stream, NO_GIT).await,
            (Door::Registry, _) => http::serve_refusals(stream, NO_REGISTRY, until).await,
            (Door::Api, Some(fallback)) => {
                http::serve(stream, fallback.api.clone(), mark(caller), until).await
            }
            (Door::Api, None) => http::serve_refusals(stream, NO_API, until).await,
        }
    }

    /// Root on this machine, who needs no token.
    async fn accept_local(self, listener: UnixListener) {
        let seats = Arc::new(Seats::new(CONNECTIONS_MAX, CONNECTIONS_OF_SOURCE_MAX));
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // The socket's mode keeps others out; the kernel's word on it costs nothing.
            let is_root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
            let Some(seat) = seats.take(None).filter(|_| is_root) else { continue };
            let (duty, until) = self.duty.borrow().clone();
            tokio::spawn(async move {
                let mark = |extensions: &mut Extensions| {
                    extensions.insert(Local);
                };
                match &*duty {
                    Duty::Lead(doors) => http::serve(stream, doors.api.clone(), mark, until).await,
                    Duty::StandBy { fallback: Some(fallback), .. } => {
                        http::serve(stream, fallback.local.clone(), mark, until).await;
                    }
                    Duty::StandBy { fallback: None, .. } => {
                        http::serve_refusals(stream, NO_API, until).await;
                    }
                }
                drop(seat);
            });
        }
    }
}

/// In a process that leads.
async fn serve_leading<S>(doors: &Doors, door: Door, stream: S, caller: SocketAddr, until: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match door {
        // A push under way ends by itself, or with the term's own patience.
        Door::Ssh => doors.ssh.take(stream, caller),
        Door::Registry => {
            let registry = doors.registry.borrow().clone();
            let Some(registry) = registry else {
                return http::serve_refusals(stream, NO_REGISTRY, until).await;
            };
            let stop = until.clone();
            let serving = registry.connection(stream, caller.ip(), async move { stop.cancelled().await });
            end_after(serving, until).await;
        }
        Door::Api => http::serve(stream, doors.api.clone(), mark(caller), until).await,
    }
}

/// Requests under way get a moment once connections shall end.
async fn end_after(serving: impl Future<Output = ()>, until: CancellationToken) {
    let late = async {
        until.cancelled().await;
        tokio::time::sleep(http::END_TIME_MAX).await;
    };
    tokio::select! {
        () = serving => {}
        () = late => {}
    }
}

fn mark(caller: SocketAddr) -> impl Fn(&mut Extensions) + Send + 'static {
    move |extensions| {
        extensions.insert(ConnectInfo::<SocketAddr>(caller));
    }
}
