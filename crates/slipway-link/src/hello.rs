//! The first line each way on a link.

use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::identity::{Identity, Role};

/// The longest line; an address and a sentence fit.
pub(crate) const LINE_BYTES_MAX: usize = 4096;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// A machine with a join token asks for an identity: [`join`](crate::join).
    Join,
    /// A node asks for its next certificate: [`join`](crate::join).
    Renew,
    /// A node's side of the hub: HTTP/2, with the node as the server.
    Node,
    /// The feed of routes, for a router on that machine.
    Routes,
    /// The registry, for a node's own pulls.
    Registry,
    /// A caller of the API, passed on by another server.
    Api,
    /// A caller of git over SSH, passed on by another server.
    Ssh,
}

impl Service {
    /// Why somebody may not have it; `None` when it may. Without a certificate there is only `join`;
    /// only servers pass callers on.
    pub(crate) fn refusal(self, identity: Option<&Identity>) -> Option<&'static str> {
        let role = identity.map(|identity| identity.role);
        match (self, role) {
            (Service::Join, _) => None,
            (_, None) => {
                Some("without a certificate of this cluster there is only 'join', with a join token")
            }
            (Service::Renew | Service::Node | Service::Routes | Service::Registry, Some(Role::Node)) => None,
            (Service::Api | Service::Ssh | Service::Registry, Some(Role::Server)) => None,
            (_, Some(Role::Server)) => Some("only a node may ask for this; the certificate is a server's"),
            (_, Some(Role::Node)) => Some("only a server may ask for this; the certificate is a node's"),
        }
    }
}

/// What the dialler says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it wants.
    pub service: Service,
    /// For whom a server passes the link on; only servers may say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<SocketAddr>,
}

impl Hello {
    /// For oneself.
    pub fn new(service: Service) -> Self {
        Self { service, caller: None }
    }

    /// For a caller who came to this server.
    pub fn passing_on(service: Service, caller: SocketAddr) -> Self {
        Self { service, caller: Some(caller) }
    }
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Answer {
    Ok,
    GoTo { address: String },
    Refused { why: String },
}

/// Why there was no line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    #[error("the connection ended before a whole line came")]
    Ended,
    #[error("the first line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the first line is not understood")]
    Senseless(#[from] serde_json::Error),
}

/// Reads one line and not a byte more: what follows is the service's. A byte at a time is cheap here,
/// because the TLS session has the whole record in memory.
pub(crate) async fn read_line<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> Result<T, LineError> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Err(LineError::Ended);
        }
        if byte[0] == b'\n' {
            return Ok(serde_json::from_slice(&line)?);
        }
        if line.len() == bytes_max {
            return Err(LineError::TooLong);
        }
        line.push(byte[0]);
    }
}

pub(crate) async fn write_line(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &impl Serialize,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}
