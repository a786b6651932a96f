//! The front: what listens, as long as the process lives, whoever leads.
//!
//! Where a connection goes is decided when it comes, by how this process stands ([`Standing`]): to this
//! process' own term, or on to the leader over a link ([`passage`]), or, when no leader can be reached,
//! to what this process remembers ([`memory`]). When the standing changes, connections that belonged to
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
use slipway_link::Service;
use slipway_registry::server::Server as RegistryServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args;
use crate::glue::authority::TenantAuthority;
use crate::places::Places as Paths;

pub mod http;
pub mod listen;
pub mod memory;
pub mod passage;
pub mod place;

use listen::{bind, bind_socket};
use passage::Passage;
use place::{Place, Places};

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

/// How this process stands, and so where connections go.
#[derive(Clone)]
pub enum Standing {
    /// It leads.
    Leading(Doors),
    /// It does not.
    Following {
        /// The way to who does; `None` while nobody is known to.
        leader: Option<Passage>,
        /// What answers when the leader cannot be reached; `None` while nothing is known.
        memory: Option<Memory>,
    },
}

/// Where connections go in a process that leads.
#[derive(Clone)]
pub struct Doors {
    pub api: Router,
    pub ssh: Entrance,
    /// `None` until the registry can be had.
    pub registry: Option<RegistryServer<TenantAuthority>>,
}

/// Where requests go in a process that does not.
#[derive(Clone)]
pub struct Memory {
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
    standing: watch::Sender<(Arc<Standing>, CancellationToken)>,
    doorkeeper: Doorkeeper,
    api_places: Arc<Places>,
    registry_places: Arc<Places>,
    ssh_places: Arc<Places>,
}

impl Front {
    /// Not listening yet.
    pub fn new(doorkeeper: Doorkeeper, standing: Standing) -> Self {
        let standing = watch::Sender::new((Arc::new(standing), CancellationToken::new()));
        let places = || Arc::new(Places::new(CONNECTIONS_MAX, CONNECTIONS_OF_SOURCE_MAX));
        let (api_places, registry_places, ssh_places) = (places(), places(), places());
        Self { standing, doorkeeper, api_places, registry_places, ssh_places }
    }

    /// Begins to accept connections; each task goes on for ever.
    pub fn open(&self, listeners: Listeners, paths: &Paths) -> anyhow::Result<JoinSet<()>> {
        let Listeners { api, registry, ssh } = listeners;
        let socket = bind_socket(&paths.api_socket())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().accept(api, Service::Api));
        tasks.spawn(self.clone().accept(registry, Service::Registry));
        tasks.spawn(self.clone().accept(ssh, Service::Ssh));
        tasks.spawn(self.clone().accept_local(socket));
        Ok(tasks)
    }

    /// From now on connections go elsewhere, and those that there are end.
    pub fn stand(&self, standing: Standing) {
        let before = self.standing.send_replace((Arc::new(standing), CancellationToken::new()));
        before.1.cancel();
    }

    /// The same standing has more to offer: connections that there are stay.
    pub fn add_registry(&self, registry: RegistryServer<TenantAuthority>) {
        self.standing.send_modify(|(standing, _)| {
            if let Standing::Leading(doors) = Arc::make_mut(standing) {
                doors.registry = Some(registry);
            }
        });
    }

    /// How this process stands now.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.borrow().0.clone()
    }

    /// Serves somebody whom another server passes on, if this process leads. Whoever calls has looked
    /// before whether it does; between the two it may have ceased to.
    pub async fn serve_passed_on<S>(&self, service: Service, stream: S, caller: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (standing, until) = self.standing.borrow().clone();
        if let (Standing::Leading(doors), Some(place)) = (&*standing, self.place(service, caller)) {
            serve_leading(doors, service, stream, caller, until).await;
            drop(place);
        }
    }

    fn place(&self, service: Service, caller: SocketAddr) -> Option<Place> {
        let places = match service {
            Service::Registry => &self.registry_places,
            Service::Ssh => &self.ssh_places,
            _ => &self.api_places,
        };
        places.take(Some(caller.ip()))
    }

    async fn accept(self, listener: TcpListener, service: Service) {
        loop {
            let Ok((stream, caller)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // An answer's parts and the packets of SSH are small, and each side waits for the other's.
            let _nagle = stream.set_nodelay(true);
            let Some(place) = self.place(service, caller) else { continue };
            let front = self.clone();
            tokio::spawn(async move {
                front.serve(service, stream, caller).await;
                drop(place);
            });
        }
    }

    async fn serve(&self, service: Service, stream: TcpStream, caller: SocketAddr) {
        let (standing, until) = self.standing.borrow().clone();
        let (leader, memory) = match &*standing {
            Standing::Leading(doors) => return serve_leading(doors, service, stream, caller, until).await,
            Standing::Following { leader, memory } => (leader, memory),
        };
        if let Some(leader) = leader
            && let Some(link) = leader.open(service, caller).await
        {
            return passage::carry(stream, link, until).await;
        }
        match (service, memory) {
            (Service::Ssh, _) => self.doorkeeper.turn_away(stream, NO_GIT).await,
            (Service::Registry, _) => http::serve_refusals(stream, NO_REGISTRY, until).await,
            (_, Some(memory)) => http::serve(stream, memory.api.clone(), mark(caller), until).await,
            (_, None) => http::serve_refusals(stream, NO_API, until).await,
        }
    }

    /// Root on this machine, who needs no token.
    async fn accept_local(self, listener: UnixListener) {
        let places = Arc::new(Places::new(CONNECTIONS_MAX, CONNECTIONS_OF_SOURCE_MAX));
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // The socket's mode keeps others out; the kernel's word on it costs nothing.
            let is_root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
            let Some(place) = places.take(None).filter(|_| is_root) else { continue };
            let (standing, until) = self.standing.borrow().clone();
            tokio::spawn(async move {
                let mark = |extensions: &mut Extensions| {
                    extensions.insert(Local);
                };
                match &*standing {
                    Standing::Leading(doors) => http::serve(stream, doors.api.clone(), mark, until).await,
                    Standing::Following { memory: Some(memory), .. } => {
                        http::serve(stream, memory.local.clone(), mark, until).await;
                    }
                    Standing::Following { memory: None, .. } => {
                        http::serve_refusals(stream, NO_API, until).await;
                    }
                }
                drop(place);
            });
        }
    }
}

/// In a process that leads.
async fn serve_leading<S>(
    doors: &Doors,
    service: Service,
    stream: S,
    caller: SocketAddr,
    until: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match (service, &doors.registry) {
        // A push under way ends by itself, or with the term's own patience.
        (Service::Ssh, _) => doors.ssh.take(stream, caller),
        (Service::Registry, Some(registry)) => {
            let stop = until.clone();
            let serving = registry.connection(stream, async move { stop.cancelled().await });
            end_after(serving, until).await;
        }
        (Service::Registry, None) => http::serve_refusals(stream, NO_REGISTRY, until).await,
        _ => http::serve(stream, doors.api.clone(), mark(caller), until).await,
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
