//! What the ensemble itself says about its servers, in the notation of `/zookeeper/config`.

use std::fmt;
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// More servers than an ensemble can have ids for.
const MEMBERS_MAX: usize = 254;

/// The servers that ZooKeeper works with at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// In the order of their ids.
    pub members: Vec<Member>,
    /// Rises with each change: the transaction that made it.
    pub version: u64,
}

/// One server: `server.1=host:2888:3888:participant;0.0.0.0:2181`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What its file `myid` says.
    pub id: u8,
    /// Its host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Where followers reach it when it leads.
    pub quorum_port: u16,
    /// Where it votes.
    pub election_port: u16,
    /// Whether it votes.
    pub role: Role,
    /// `port` or `address:port` for clients, as ZooKeeper wrote it.
    pub client: Option<String>,
}

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It votes.
    Participant,
    /// It follows without a vote.
    Observer,
}

/// Why a configuration is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line that is none of ours. Votes of different weight and groups are among them: majorities
    /// would then be others than we count.
    #[error("the line {0:?} is not understood")]
    Line(String),
    /// There is no line `version=…`.
    #[error("there is no version")]
    NoVersion,
    /// Too many servers, or two with one id.
    #[error("there are too many servers, or two with one id")]
    Members,
}

impl Configuration {
    /// The member with that id.
    pub fn member(&self, id: u8) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The members that vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.role == Role::Participant)
    }
}

/// How many of so many voters are a quorum.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl FromStr for Configuration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (mut members, mut version) = (Vec::<Member>::new(), None);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(number) = line.strip_prefix("version=") {
                let number = u64::from_str_radix(number, 16).map_err(|_| Error::Line(line.to_owned()))?;
                version = Some(number);
                continue;
            }
            let member: Member = line.parse()?;
            if members.len() == MEMBERS_MAX || members.iter().any(|other| other.id == member.id) {
                return Err(Error::Members);
            }
            members.push(member);
        }
        members.sort_by_key(|member| member.id);
        Ok(Self { members, version: version.ok_or(Error::NoVersion)? })
    }
}

impl FromStr for Member {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        parse(line).ok_or_else(|| Error::Line(line.to_owned()))
    }
}

fn parse(line: &str) -> Option<Member> {
    let (id, rest) = line.strip_prefix("server.")?.split_once('=')?;
    let (server, client) = match rest.split_once(';') {
        None => (rest, None),
        Some((server, client)) => (server, Some(client.to_owned())),
    };
    let (host, ports) = match server.strip_prefix('[') {
        None => server.split_once(':')?,
        Some(inner) => inner.split_once("]:")?,
    };
    let mut ports = ports.split(':');
    let (quorum_port, election_port) = (ports.next()?.parse().ok()?, ports.next()?.parse().ok()?);
    let role = match ports.next() {
        None | Some("participant") => Role::Participant,
        Some("observer") => Role::Observer,
        Some(_) => return None,
    };
    // Several addresses of one server (`|`) leave a rest here or in a port.
    let is_whole = ports.next().is_none() && !host.is_empty();
    let id = id.parse().ok().filter(|id| (1..=254).contains(id))?;
    is_whole.then(|| Member { id, host: host.to_owned(), quorum_port, election_port, role, client })
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, host, quorum_port, election_port, role, client } = self;
        let role = if *role == Role::Participant { "participant" } else { "observer" };
        if host.contains(':') {
            write!(f, "server.{id}=[{host}]:{quorum_port}:{election_port}:{role}")?;
        } else {
            write!(f, "server.{id}={host}:{quorum_port}:{election_port}:{role}")?;
        }
        client.as_ref().map_or(Ok(()), |client| write!(f, ";{client}"))
    }
}
