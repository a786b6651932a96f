//! The servers of an ensemble, in the notation of Exhibitor's setting `serversSpec`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// More servers than any ensemble has; bounds what a settings store can make us read.
const SERVERS_MAX: usize = 1000;
/// Nodes with a time to live need ids below 255 (ZK-01).
const ID_MAX: u8 = 254;

/// All servers, in the order given: `S:1:host,O:2:host` on the wire, empty for a standalone one (EX-10).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Servers(Vec<Server>);

/// One server of the ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whether it votes.
    pub kind: Kind,
    /// What the server's file `myid` says, 1 to 254.
    pub id: u8,
    /// Its host name or address.
    pub host: String,
}

/// Whether a server votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `S`: it votes.
    Standard,
    /// `O`: it follows without a vote.
    Observer,
}

/// Why a list of servers, or a change of it, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An entry is not of the form `S:id:host` or `O:id:host`.
    #[error("server {0:?} is not like S:1:host or O:1:host, with an id of 1 to 254")]
    Entry(String),
    /// Two entries share an id or a host.
    #[error("server {0:?} has the id or the host of another")]
    Twice(String),
    /// There are too many.
    #[error("there are more than {SERVERS_MAX} servers")]
    TooMany,
}

impl Servers {
    /// The servers in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Server> {
        self.0.iter()
    }

    /// A list of those servers.
    ///
    /// # Errors
    /// One of them could not be written in this notation, or two share an id or a host.
    pub fn of(servers: impl IntoIterator<Item = Server>) -> Result<Self, Error> {
        let servers = Self(servers.into_iter().collect());
        let text = servers.to_string();
        // A host with a comma in it would read as two servers.
        let read: Self = text.parse()?;
        if read == servers { Ok(servers) } else { Err(Error::Entry(text)) }
    }
}

impl FromStr for Servers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut servers: Vec<Server> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let server = parse(entry).ok_or_else(|| Error::Entry(entry.to_owned()))?;
            if servers.iter().any(|other| other.id == server.id || other.host == server.host) {
                return Err(Error::Twice(entry.to_owned()));
            }
            if servers.len() == SERVERS_MAX {
                return Err(Error::TooMany);
            }
            servers.push(server);
        }
        Ok(Self(servers))
    }
}

/// The host's characters are few because it is written into ZooKeeper's configuration.
fn parse(entry: &str) -> Option<Server> {
    let mut parts = entry.splitn(3, ':');
    let kind = match parts.next()? {
        "S" => Kind::Standard,
        "O" => Kind::Observer,
        _ => return None,
    };
    let id = parts.next()?.parse().ok().filter(|id| (1..=ID_MAX).contains(id))?;
    let host = parts.next()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    let is_host = (1..=253).contains(&host.len()) && host.bytes().all(allowed);
    is_host.then(|| Server { kind, id, host: host.to_owned() })
}

impl fmt::Display for Servers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Server { kind, id, host }) in self.0.iter().enumerate() {
            let kind = if *kind == Kind::Standard { 'S' } else { 'O' };
            let comma = if at == 0 { "" } else { "," };
            write!(out, "{comma}{kind}:{id}:{host}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Servers {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Servers> for String {
    fn from(servers: Servers) -> Self {
        servers.to_string()
    }
}
