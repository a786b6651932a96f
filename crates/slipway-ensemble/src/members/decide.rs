//! What to do next about the servers of an ensemble: one step, or the reason for none.
//!
//! Two records say who belongs to it. The **list** in the settings is what is wanted: people and these
//! rules write it, and a server starts when it stands there. ZooKeeper's own **configuration** is what
//! counts votes. [`decide`] first brings the configuration to what the list says, one change at a time
//! (`follow`); only when both say the same does it propose another list (`propose`). So whoever holds the lock
//! can go on after whoever held it before, wherever that one stopped.
//!
//! A server joins as an observer, is seen serving, and only then gets its vote, in one change with
//! taking the vote from the one it replaces. The number of voters so stays odd, and a server whose data
//! are not here yet counts for nothing. There is one exception: observers cannot agree to a change,
//! and the majority of two is both, so that a second voter comes with its vote.
//!
//! Whatever happens, a step leaves voters of whom a majority serves, and the last voter stays.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::configuration::{Configuration, Role, majority};
use crate::monitor::State;
use crate::settings::{self, Server, Servers};

mod follow;
mod propose;

use follow::Follow;
use propose::ID_MAX;

#[cfg(test)]
mod tests;

/// How the ensemble manages itself, from the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether the list may be changed without a person's word.
    pub automatic: bool,
    /// So many voters, or as many as live.
    pub size: Size,
    /// No more voters than that; others observe.
    pub observer_threshold: usize,
    /// How long things must have been as they are before the list is changed.
    pub settling: Duration,
}

/// How many voters are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// That many; one that died stays until another can take its place.
    Fixed(usize),
    /// The largest odd number that live; those that died are left out.
    Flexible,
}

/// What is known of an instance, on the list or waiting to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// As it stands, or would stand, in the list.
    pub host: String,
    /// How its server is; [`State::Latent`] is one that waits.
    pub state: State,
    /// How long it has been so.
    pub since: Duration,
}

/// All that a decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// From the settings.
    pub rules: Rules,
    /// The servers that the settings list.
    pub list: &'a Servers,
    /// The highest id that was ever given: ids are never given again, so that a server which returns
    /// is not taken for its successor.
    pub highest_id: u8,
    /// All instances that are heard of. A listed server without one here counts as not serving.
    pub instances: &'a [Instance],
    /// What the ensemble itself says; nothing when it did not answer.
    pub configuration: Option<&'a Configuration>,
    /// The member that leads.
    pub leader: Option<u8>,
    /// How long the list has been as it is.
    pub since_change: Duration,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// ZooKeeper's configuration is to change.
    Reconfigure(Change),
    /// The list is to change. It must be stored, with the highest id, before anything is done by it.
    Rewrite {
        /// The new one.
        list: Servers,
        /// The highest id given, that one included.
        highest_id: u8,
        /// Why, for the log.
        why: Why,
    },
    /// Nothing is done now.
    Wait(Reason),
}

/// A change of ZooKeeper's configuration: who gets a role, and who goes in the same breath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Comes, or gets another role.
    pub joining: Option<(Server, Role)>,
    /// Goes.
    pub leaving: Option<u8>,
}

/// Why the list changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A waiting instance joins.
    Joins(String),
    /// An observer gets a vote that nobody has.
    Votes(String),
    /// An observer gets the vote of one that is down.
    Replaces(String, String),
    /// One that is down is left out.
    LeftOut(String),
    /// There are more voters than wanted.
    Observes(String),
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Another instance holds the lock. Only the loop says this, which asks for the lock when there is
    /// something to do.
    NoLock,
    /// The ensemble did not answer, or less than a majority of its voters serves.
    NoQuorum,
    /// A change of settings is on its way to the servers; the loop does nothing else meanwhile.
    Rolling,
    /// Without a list there is one server that serves alone.
    Standalone,
    /// All is as wanted.
    Settled,
    /// The list is as the people left it, and they alone change it.
    Manual,
    /// Things changed a short time ago.
    Settling(Duration),
    /// A listed server does not serve yet.
    Joining(u8),
    /// A server cannot go: too few of those that would be left serve.
    Needed(u8),
    /// It is the last one with a vote.
    LastVoter(u8),
    /// The configuration knows that id under another address. A server that moves gets a new id.
    Moved(u8),
    /// All ids were given.
    NoIds,
    /// The name of a waiting instance cannot stand in the list.
    Refused(settings::Error),
}

/// The next step.
pub fn decide(situation: &Situation<'_>) -> Decision {
    if situation.list.iter().next().is_none() {
        return Decision::Wait(Reason::Standalone);
    }
    let Some(configuration) = situation.configuration else {
        return Decision::Wait(Reason::NoQuorum);
    };
    let view = View::new(situation, configuration);
    if !view.is_quorum(&view.voters()) {
        return Decision::Wait(Reason::NoQuorum);
    }
    let reason = match view.follow_list() {
        Follow::Change(change) => return Decision::Reconfigure(change),
        Follow::Wait(reason) => Some(reason),
        Follow::Done => None,
    };
    if !situation.rules.automatic {
        return Decision::Wait(reason.unwrap_or(Reason::Manual));
    }
    match (view.propose(reason.is_none()), reason) {
        (proposal @ Decision::Rewrite { .. }, _) => proposal,
        (_, Some(reason)) => Decision::Wait(reason),
        (idle, None) => idle,
    }
}

/// The situation, looked at by id and by host.
struct View<'a> {
    situation: &'a Situation<'a>,
    configuration: &'a Configuration,
    list: BTreeMap<u8, &'a Server>,
    instances: BTreeMap<&'a str, &'a Instance>,
}

impl<'a> View<'a> {
    fn new(situation: &'a Situation<'a>, configuration: &'a Configuration) -> Self {
        let list = situation.list.iter().map(|server| (server.id, server)).collect();
        let by_host = |instance: &'a Instance| (instance.host.as_str(), instance);
        Self { situation, configuration, list, instances: situation.instances.iter().map(by_host).collect() }
    }

    fn voters(&self) -> Vec<u8> {
        self.configuration.voters().map(|member| member.id).collect()
    }

    fn host(&self, id: u8) -> &'a str {
        let listed = self.list.get(&id).map(|server| server.host.as_str());
        let configured = || self.configuration.member(id).map(|member| member.host.as_str());
        listed.or_else(configured).unwrap_or_default()
    }

    fn serves(&self, id: u8) -> bool {
        self.instances.get(self.host(id)).is_some_and(|instance| instance.state == State::Serving)
    }

    /// Down for so long that it need not be expected back.
    fn is_gone(&self, id: u8) -> bool {
        let settling = self.situation.rules.settling;
        let is_gone = |instance: &&Instance| instance.state == State::Down && instance.since >= settling;
        self.instances.get(self.host(id)).is_some_and(is_gone)
    }

    /// Whether a majority of those voters serves.
    fn is_quorum(&self, voters: &[u8]) -> bool {
        let serving = voters.iter().filter(|id| self.serves(**id)).count();
        serving >= majority(voters.len())
    }

    fn without(&self, id: u8) -> Vec<u8> {
        self.voters().into_iter().filter(|voter| *voter != id).collect()
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joins(host) => write!(f, "{host} joins"),
            Self::Votes(host) => write!(f, "{host} gets a vote"),
            Self::Replaces(new, old) => write!(f, "{new} takes the place of {old}, which is down"),
            Self::LeftOut(host) => write!(f, "{host} is down and is left out"),
            Self::Observes(host) => write!(f, "{host} observes, as there are more voters than wanted"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLock => write!(f, "another instance looks after the list of servers"),
            Self::NoQuorum => {
                write!(f, "less than a majority of the voters serves, so nothing can be changed")
            }
            Self::Rolling => write!(f, "the servers are getting new settings"),
            Self::Standalone => write!(f, "the server serves alone"),
            Self::Settled => write!(f, "all is as wanted"),
            Self::Manual => write!(f, "the list of servers is changed by people only"),
            Self::Settling(left) => write!(f, "things changed a short time ago; {left:?} are left"),
            Self::Joining(id) => write!(f, "server {id} does not serve yet"),
            Self::Needed(id) => write!(f, "server {id} cannot go: too few of the others serve"),
            Self::LastVoter(id) => write!(f, "server {id} is the last one with a vote"),
            Self::Moved(id) => write!(f, "server {id} has another address; give it a new id"),
            Self::Refused(refusal) => write!(f, "a waiting instance cannot join: {refusal}"),
            Self::NoIds => write!(f, "all ids up to {ID_MAX} were given"),
        }
    }
}
