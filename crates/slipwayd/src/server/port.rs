//! The cluster port: what nodes and other servers ask for, and who answers.
//!
//! A machine that joins, and a node that renews its certificate, are answered by any server. All else is
//! the leader's: a server that does not lead sends nodes on to the one that does. Other servers bring
//! callers whom they pass on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use slipway_access::Access;
use slipway_link::{Acceptor, Admissions, Exclusion, Identity, Incoming, Listener, Role, Service};
use slipway_model::name::NodeName;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::front::door::Door;
use crate::front::seat::Seats;
use crate::front::{Doors, Duty, Front};

mod renewals;

pub use renewals::Renewals;

const NO_LEADER: &str = "no server leads at this moment; come again";
const TOO_MANY: &str = "this node has too many links already; come again when one has ended";
/// Machines that join at once, and of them from one address. Whoever asks has no certificate and may be
/// anybody: one that asks over and over, or asks and then says nothing, keeps nobody else out. Machines
/// behind one address that all join at once wait for one another.
const JOINING_MAX: usize = 256;
const JOINING_OF_SOURCE_MAX: usize = 32;
/// Nodes that renew their certificates at once.
const RENEWING_MAX: usize = 256;
const NO_REGISTRY: &str = "the registry is not open yet; come again";

/// Answers links.
#[derive(Clone)]
pub struct Port {
    pub front: Front,
    pub access: Access,
    pub admissions: Admissions,
    /// Repositories of stacks, which every node may pull: images are built on them.
    pub stacks: String,
    pub renewals: Renewals,
}

impl Port {
    /// Answers for ever.
    pub async fn serve(self, listener: TcpListener, acceptor: Acceptor) {
        let mut listener = Listener::new(listener, acceptor);
        let joining = Arc::new(Seats::new(JOINING_MAX, JOINING_OF_SOURCE_MAX));
        let renewing = Arc::new(Semaphore::new(RENEWING_MAX));
        loop {
            let incoming = listener.next().await;
            let seat = match incoming.hello.service {
                Service::Join => joining.take(Some(incoming.far_end().ip())).map(|seat| (Some(seat), None)),
                Service::Renew => renewing.clone().try_acquire_owned().ok().map(|seat| (None, Some(seat))),
                _ => Some((None, None)),
            };
            // They come again; to say so would cost what there is not.
            let Some(seat) = seat else { continue };
            let port = self.clone();
            tokio::spawn(async move {
                port.answer(incoming).await;
                drop(seat);
            });
        }
    }

    async fn answer(self, incoming: Incoming) {
        let service = incoming.hello.service;
        match (service, incoming.identity().cloned()) {
            (Service::Join, _) => self.access.serve_join(incoming).await,
            (Service::Renew, Some(node)) => self.answer_renewal(&node, incoming).await,
            // The acceptor lets nobody else through.
            (_, None) => {}
            (_, Some(server)) if server.role == Role::Server => self.answer_server(service, incoming).await,
            (_, Some(node)) => self.answer_node(service, &node, incoming).await,
        }
    }

    /// A certificate that counts is asked for before anything is read or signed, and answers for one renewal
    /// at a time: a node has all its certificates' lives long for the next.
    async fn answer_renewal(&self, identity: &Identity, incoming: Incoming) {
        if let Err(exclusion) = self.admissions.check(identity, Service::Renew) {
            tracing::warn!(node.name = identity.name, from = %incoming.far_end(), why = %exclusion, "a node's renewal was refused");
            return incoming.refuse(&exclusion.to_string()).await;
        }
        match self.renewals.begin(&identity.name, Instant::now()) {
            Ok(()) => self.access.serve_renew(incoming).await,
            Err(wait) => {
                let seconds = wait.as_secs() + 1;
                let why = format!("this node has just asked for a certificate; come again in {seconds} s");
                incoming.refuse(&why).await;
            }
        }
    }

    /// A caller who came to another server.
    async fn answer_server(&self, service: Service, incoming: Incoming) {
        // The acceptor gives a server nothing else.
        let Some(door) = Door::of(service) else { return };
        let Some(caller) = incoming.hello.caller else {
            return incoming.refuse("a server must say for whom it asks").await;
        };
        let Some((incoming, _)) = self.if_leading(incoming).await else { return };
        if let Ok(link) = incoming.take().await {
            self.front.serve_passed_on(door, link, caller).await;
        }
    }

    async fn answer_node(&self, service: Service, identity: &Identity, incoming: Incoming) {
        if let Err(exclusion) = self.admissions.check(identity, service) {
            tracing::warn!(node.name = identity.name, from = %incoming.far_end(), why = %exclusion, "a node was refused");
            return incoming.refuse(&exclusion.to_string()).await;
        }
        let Ok(node) = identity.name.parse::<NodeName>() else { return };
        let Some((incoming, doors)) = self.if_leading(incoming).await else { return };
        let Some(ends) = doors.nodes else { return incoming.refuse(NO_LEADER).await };
        if !ends.serves(service) {
            return incoming.refuse(NO_REGISTRY).await;
        }
        let Some(_seat) = ends.hub.seat(&node) else {
            tracing::warn!(node.name = %node, "a node has too many links, and got no other");
            return incoming.refuse(TOO_MANY).await;
        };
        let Ok(link) = incoming.take().await else { return };
        let shut_out = async {
            let exclusion = self.admissions.revoked(identity, service).await;
            match exclusion {
                // Its other links may be of the next certificate.
                Exclusion::Expired { .. } => {
                    tracing::info!(node.name = %node, why = %exclusion, "a node's link was ended");
                }
                // Without a router it is a node all the same.
                Exclusion::NoRouter { .. } => {
                    tracing::warn!(node.name = %node, why = %exclusion, "a node's router was cut off");
                }
                _ => {
                    tracing::warn!(node.name = %node, why = %exclusion, "a node was cut off");
                    ends.hub.cut(&node);
                }
            }
        };
        ends.serve(service, &node, link, &self.stacks, shut_out).await;
    }

    /// The link and where it may lead, when this server leads; else whoever asks is sent to who does.
    async fn if_leading(&self, incoming: Incoming) -> Option<(Incoming, Doors)> {
        match &*self.front.duty() {
            Duty::Lead(doors) => return Some((incoming, doors.clone())),
            Duty::StandBy { leader: Some(leader), .. } => incoming.go_to(leader.address()).await,
            Duty::StandBy { leader: None, .. } => incoming.refuse(NO_LEADER).await,
        }
        None
    }
}

/// Where other machines reach a port that listens everywhere: this machine's address as its default
/// route has it.
pub fn reachable(listening: SocketAddr) -> Option<String> {
    if !listening.ip().is_unspecified() {
        return Some(listening.to_string());
    }
    slipway_agent::network::default_address().map(|address| format!("{address}:{}", listening.port()))
}
