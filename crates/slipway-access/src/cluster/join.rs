//! A machine becomes a node: with a token that counts, a name that is free, and a subnet of its own.

use std::net::{IpAddr, Ipv4Addr};

use slipway_link::Role;
use slipway_link::authority::{Issued, NODE_LIFETIME};
use slipway_link::join::{JoinAnswer, JoinRequest, JoinText};
use slipway_model::cidr::Cidr;
use slipway_model::cluster::{self, JoinToken, NodeCertificate, NodeIdentity};
use slipway_model::instance::{Node, NodeOrder, NodeOrderKind};
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;
use slipway_store::{Batch, Versioned};

use super::subnet;
use crate::access::{Access, TRIES, too_busy};
use crate::authenticate::throttled;
use crate::error::Error;
use crate::secret;

impl Access {
    /// Lets a machine join. `source` is where the request came from.
    ///
    /// # Errors
    /// [`Error::Rule`] says what is wrong with the token or the name; [`Error::Throttled`];
    /// [`Error::Invalid`] for a request that is none; [`Error::Store`].
    pub async fn join_cluster(&self, request: &JoinRequest, source: IpAddr) -> Result<JoinAnswer, Error> {
        let authority = self.cluster_authority().await?;
        let _turn = self.cluster.joining.lock().await;
        for _ in 0..TRIES {
            let token = self.counting_token(request, source).await?;
            let earlier = self.get::<NodeIdentity>(&request.node).await?;
            self.check_name(&request.node, &token.record, earlier.as_ref()).await?;
            let stored = self.get::<cluster::Authority>(&()).await?.ok_or_else(too_busy)?;
            // The counter in it makes subnets unique, however old the list of nodes is that was read.
            let mut counted = stored.record;
            let subnet = match &earlier {
                Some(earlier) => earlier.record.subnet,
                None => self.take_subnet(&mut counted).await?,
            };
            let address = self.place_of(request, source, counted.pool).await?;
            // What an operator has said of a node, its next machine does not take back by joining.
            let attributes_before = earlier.as_ref().and_then(|earlier| earlier.record.attributes.clone());
            let now = self.now();
            let issued = authority
                .issue(&request.request, Role::Node, request.node.as_str(), NODE_LIFETIME, now)
                .map_err(|error| Error::invalid(error.to_string()))?;
            let identity = NodeIdentity {
                node: request.node.clone(),
                subnet,
                address,
                router: token.record.router,
                attributes: token.record.attributes.clone().or(attributes_before),
                // Whatever the name's last machine had does not count any more.
                certificates: vec![certificate(&issued, now)],
                joined_at: now,
                revoked_at: None,
            };
            let used = JoinToken { used_by: Some(request.node.clone()), ..token.record };
            let batch = Batch::new().update(&used, token.version).update(&counted, stored.version);
            let batch = match &earlier {
                Some(earlier) => batch.update(&identity, earlier.version),
                None => batch.create(&identity),
            };
            // What was said of the machine that will not come back is not meant for this one.
            let batch = match self.get::<NodeOrder>(&request.node).await? {
                Some(order) if order.record.order == NodeOrderKind::Gone => {
                    batch.delete::<NodeOrder>(&request.node, order.version)
                }
                _ => batch,
            };
            if self.commit(batch).await? {
                tracing::info!(node.name = %identity.node, %subnet, ?address, %source, "a node has joined");
                let servers = self.server_addresses().await?;
                let chain = issued.chain;
                return Ok(JoinAnswer::Joined { chain, subnet, pool: counted.pool, address, servers });
            }
        }
        Err(too_busy())
    }

    /// The token, if the text proves it and it can be used for that name now.
    async fn counting_token(
        &self,
        request: &JoinRequest,
        source: IpAddr,
    ) -> Result<Versioned<JoinToken>, Error> {
        // Taken before the token is looked at, so that many at once cannot all slip through.
        self.attempt(|throttle, now| throttle.take_anonymous(source, now)).map_err(throttled)?;
        let id = request.token.parse::<JoinText>().map(|text| text.id().clone());
        let found = match &id {
            Ok(id) => self.get::<JoinToken>(id).await?,
            Err(_) => None,
        };
        // An unknown id is compared too, with nothing.
        let stored = found.as_ref().map_or("", |token| &token.record.secret_hash);
        let is_right = secret::matches(&request.token, stored);
        let Some(token) = found.filter(|_| is_right) else {
            tracing::warn!(%source, node.name = %request.node, "join token refused");
            return Err(Error::rule(
                "the join token is not right, was taken back, or expired a while ago; an operator makes \
                 another with 'slipway nodes token'",
            ));
        };
        self.attempt(|throttle, now| throttle.give_back_anonymous(source, now));
        let JoinToken { expires_at, used_by, node, .. } = &token.record;
        if let Some(node) = used_by {
            return Err(Error::rule(format!(
                "the join token has been used, by {node}: each is for one machine, once; if that was this \
                 machine, and it did not hear the answer, make another with --node {node}"
            )));
        }
        if *expires_at <= self.now() {
            return Err(Error::rule(format!("the join token expired at {expires_at}; make another")));
        }
        match node {
            Some(node) if *node != request.node => {
                Err(Error::rule(format!("the join token is for the node {node}, not for {}", request.node)))
            }
            _ => Ok(token),
        }
    }

    async fn check_name(
        &self,
        name: &NodeName,
        token: &JoinToken,
        earlier: Option<&Versioned<NodeIdentity>>,
    ) -> Result<(), Error> {
        let retake = format!("if this machine is to take its place, make a token with --node {name}");
        match earlier.map(|earlier| earlier.record.revoked_at) {
            Some(_) if token.node.as_ref() == Some(name) => Ok(()),
            Some(Some(at)) => Err(Error::rule(format!("the node {name} was revoked at {at}; {retake}"))),
            Some(None) => Err(Error::rule(format!("there is a node {name} already; {retake}"))),
            None if self.get::<Node>(name).await?.is_some() => {
                Err(Error::rule(format!("{name} is the name of a server's own node; choose another")))
            }
            None => Ok(()),
        }
    }

    /// Where the machine is: what was typed, or where its connection comes from, or, when it comes from
    /// this same machine, what the machine says. `None` when none of these is an address of version 4.
    async fn place_of(
        &self,
        request: &JoinRequest,
        source: IpAddr,
        pool: Cidr,
    ) -> Result<Option<Ipv4Addr>, Error> {
        let from = match source.to_canonical() {
            IpAddr::V4(from) if !from.is_loopback() => Some(from),
            _ => None,
        };
        let Some(address) = request.here.typed.or(from).or(request.here.usual) else { return Ok(None) };
        // Only what the connection itself shows needs no proof that it is nobody else's; nor does what this
        // very machine says, where others may have joined from as well.
        let is_here = source.to_canonical().is_loopback();
        let is_only_said = from != Some(address) && (request.here.typed.is_some() || !is_here);
        self.check_address(&request.node, address, pool, is_only_said).await?;
        Ok(Some(address))
    }

    /// Whether a node can be at an address; `alone`: no other may be there.
    pub(crate) async fn check_address(
        &self,
        node: &NodeName,
        address: Ipv4Addr,
        pool: Cidr,
        alone: bool,
    ) -> Result<(), Error> {
        if address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast()
        {
            return Err(Error::rule(format!(
                "{address} is no address at which other machines reach this one"
            )));
        }
        if pool.contains(address) {
            return Err(Error::rule(format!(
                "the machine's address {address} is one of {pool}, which the cluster gives to instances; nodes \
                 would look for it in their own network. Give the machine another, or name one with --address"
            )));
        }
        if !alone {
            return Ok(());
        }
        let nodes = self.list::<NodeIdentity>("").await?.into_iter().map(|found| found.record);
        let mut others = nodes.filter(|other| other.node != *node && other.revoked_at.is_none());
        match others.find(|other| other.address == Some(address)) {
            Some(other) => Err(Error::rule(format!("{address} is the address of the node {}", other.node))),
            None => Ok(()),
        }
    }

    async fn take_subnet(&self, authority: &mut cluster::Authority) -> Result<Cidr, Error> {
        let nodes = self.list::<NodeIdentity>("").await?;
        let given = nodes.iter().map(|found| &found.record);
        let pool = authority.pool;
        let (subnet, next) = subnet::choose(pool, authority.next_subnet, given).ok_or_else(|| {
            Error::rule(format!(
                "all {} subnets of {pool} are given to nodes; 'slipway nodes forget' gives those of revoked \
                 nodes back",
                nodes.len()
            ))
        })?;
        authority.next_subnet = next;
        Ok(subnet)
    }
}

pub(super) fn certificate(issued: &Issued, now: Timestamp) -> NodeCertificate {
    NodeCertificate { serial: issued.serial.clone(), issued_at: now, expires_at: issued.expires_at }
}
