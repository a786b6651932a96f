//! How a machine becomes a node, and stays one: the join token's text, and what is said on links of the
//! services `join` and `renew`: a line with a request for a certificate, a line with the answer.
//!
//! The token names the authority, so that a machine never trusts a server on first sight: one of
//! another cluster, or none at all, is told nothing. The key never leaves the machine.

use std::net::Ipv4Addr;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use slipway_model::cidr::Cidr;
use slipway_model::name::NodeName;
use tokio::time::timeout;

use crate::authority::failed;
use crate::credentials::Credentials;
use crate::dialler::{Dialler, dial_pinned};
use crate::error::Error;
use crate::hello::{Hello, LineError, Service, read_line, write_line};
use crate::identity::Role;
use crate::stream::LinkStream;

mod text;

pub use text::JoinText;

/// A request or an answer: some certificates and addresses.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// For the request or the answer; the answer waits for a write to the store.
const MESSAGE_TIME: Duration = Duration::from_secs(15);

/// What a machine with a join token says.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token's whole text.
    pub token: String,
    /// The name that it wants.
    pub node: NodeName,
    /// A request for a certificate (PKCS #10) in PEM.
    pub request: String,
    /// Where the machine is.
    #[serde(default)]
    pub here: Whereabouts,
}

/// Where a machine is that joins, as it says itself. The server takes the address that its connection
/// comes from, unless another was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// What whoever made it join has typed.
    #[serde(default)]
    pub typed: Option<Ipv4Addr>,
    /// What it has on its default route: for a machine that joins through a server of its own, whose
    /// connection says nothing.
    #[serde(default)]
    pub usual: Option<Ipv4Addr>,
}

/// What it is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum JoinAnswer {
    /// It is a node now.
    Joined {
        /// Its certificate and the authority's, in PEM.
        chain: String,
        /// The addresses of its instances.
        subnet: Cidr,
        /// What the subnets of all nodes are cut from.
        pool: Cidr,
        /// Where the other nodes reach the machine from now on, if that is known.
        #[serde(default)]
        address: Option<Ipv4Addr>,
        /// Where the servers are, as `host:port`.
        servers: Vec<String>,
    },
    /// It is not.
    Refused {
        /// Why, in a sentence.
        why: String,
    },
}

/// What a node says whose certificate grows old.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenewRequest {
    /// A request for a certificate (PKCS #10) in PEM, with a new key.
    pub request: String,
}

/// What it is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum RenewAnswer {
    /// There is a new one; the old one counts until it ends.
    Renewed {
        /// The new certificate and the authority's, in PEM.
        chain: String,
        /// Where the servers are, as `host:port`.
        servers: Vec<String>,
    },
    /// There is none.
    Refused {
        /// Why, in a sentence.
        why: String,
    },
}

/// What a machine has when it has joined.
#[derive(Debug)]
pub struct Joined {
    /// Who it is now. Not saved yet.
    pub credentials: Credentials,
    /// The addresses of its instances.
    pub subnet: Cidr,
    /// What the subnets of all nodes are cut from.
    pub pool: Cidr,
    /// Where the other nodes reach the machine from now on, if that is known.
    pub address: Option<Ipv4Addr>,
    /// Where the servers are, as `host:port`.
    pub servers: Vec<String>,
}

/// What a node has after a renewal.
#[derive(Debug)]
pub struct Renewed {
    /// Who it is still. Not saved yet.
    pub credentials: Credentials,
    /// Where the servers are, as `host:port`.
    pub servers: Vec<String>,
}

/// Joins a cluster as `node`, through any of the addresses.
///
/// # Errors
/// As for [`Dialler::dial`]; [`Error::Refused`] with the server's reason.
pub async fn join(
    addresses: &[String],
    token: &JoinText,
    node: &NodeName,
    here: &Whereabouts,
) -> Result<Joined, Error> {
    let (key, request) = key_and_request()?;
    let mut link = dial_pinned(token.fingerprint(), addresses, Hello::new(Service::Join)).await?;
    let address = link.far_end().to_string();
    let (token_text, here) = (token.reveal().to_owned(), here.clone());
    let request = JoinRequest { token: token_text, node: node.clone(), request, here };
    match converse(&mut link, &request).await? {
        JoinAnswer::Joined { chain, subnet, pool, address: at, servers } => {
            let credentials = own(&address, &chain, &key, node.as_str(), token.fingerprint())?;
            Ok(Joined { credentials, subnet, pool, address: at, servers })
        }
        JoinAnswer::Refused { why } => Err(Error::Refused { address, why }),
    }
}

/// Gets the next certificate of the node whose `own` credentials the dialler has.
///
/// # Errors
/// As for [`Dialler::dial`]; [`Error::Refused`] with the server's reason.
pub async fn renew(dialler: &Dialler, addresses: &[String]) -> Result<Renewed, Error> {
    let (key, request) = key_and_request()?;
    let old = dialler.credentials();
    let mut link = dialler.dial(addresses, Hello::new(Service::Renew)).await?;
    let address = link.far_end().to_string();
    match converse(&mut link, &RenewRequest { request }).await? {
        RenewAnswer::Renewed { chain, servers } => {
            let fingerprint = old.authority_fingerprint();
            let credentials = own(&address, &chain, &key, &old.identity().name, &fingerprint)?;
            Ok(Renewed { credentials, servers })
        }
        RenewAnswer::Refused { why } => Err(Error::Refused { address, why }),
    }
}

/// The server's side: the request that a dialler sends on a link that was taken.
///
/// # Errors
/// [`Error::Broken`] when it does not come in time, or is not one.
pub async fn request<T: DeserializeOwned>(link: &mut LinkStream) -> Result<T, Error> {
    hear(link).await
}

/// The server's side: the answer.
///
/// # Errors
/// [`Error::Broken`] when the dialler is gone.
pub async fn answer<T: Serialize>(link: &mut LinkStream, answer: &T) -> Result<(), Error> {
    say(link, answer).await
}

async fn converse<A: DeserializeOwned>(link: &mut LinkStream, request: &impl Serialize) -> Result<A, Error> {
    say(link, request).await?;
    hear(link).await
}

async fn hear<T: DeserializeOwned>(link: &mut LinkStream) -> Result<T, Error> {
    let address = link.far_end().to_string();
    match timeout(MESSAGE_TIME, read_line(link, MESSAGE_BYTES_MAX)).await {
        Ok(heard) => heard.map_err(|error| broken(address, error)),
        Err(_) => Err(Error::TooSlow { address }),
    }
}

async fn say(link: &mut LinkStream, message: &impl Serialize) -> Result<(), Error> {
    let address = link.far_end().to_string();
    match timeout(MESSAGE_TIME, write_line(link, message)).await {
        Ok(said) => said.map_err(|error| broken(address, LineError::Io(error))),
        Err(_) => Err(Error::TooSlow { address }),
    }
}

fn broken(address: String, error: LineError) -> Error {
    Error::Broken { address, source: error.into() }
}

/// A fresh key, and the request for a certificate (PKCS #10) in PEM that is signed with it.
///
/// # Errors
/// [`Error::Certificate`] when no key can be made.
pub fn key_and_request() -> Result<(KeyPair, String), Error> {
    let key = KeyPair::generate().map_err(failed("make a key"))?;
    let request =
        CertificateParams::default().serialize_request(&key).map_err(failed("ask for a certificate"))?;
    let request = request.pem().map_err(failed("ask for a certificate"))?;
    Ok((key, request))
}

/// Takes what came only if it is what was asked for.
fn own(
    address: &str,
    chain: &str,
    key: &KeyPair,
    node: &str,
    fingerprint: &str,
) -> Result<Credentials, Error> {
    let credentials = Credentials::new(chain, &key.serialize_pem())?;
    let identity = credentials.identity();
    let is_asked_for = identity.role == Role::Node
        && identity.name == node
        && credentials.authority_fingerprint() == fingerprint;
    if is_asked_for {
        return Ok(credentials);
    }
    let why = format!("it gave the certificate of {identity}, not of node {node} of this cluster");
    Err(Error::Untrusted { address: address.to_owned(), why })
}

#[cfg(test)]
mod tests;
