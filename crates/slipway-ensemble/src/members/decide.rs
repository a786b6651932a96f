//! What to do next about the servers of an ensemble: one step, or the reason for none.
//!
//! Two records say who belongs to it. The **list** in the settings is what is wanted: people and these
//! rules write it, and a server starts when it stands there. ZooKeeper's own **configuration** is what
//! counts votes. [`decide`] first brings the configuration to what the list says, one change at a time
//! (ZK-09); only when both say the same does it propose another list (EX-12). So whoever holds the lock
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

use super::configuration::{Configuration, Role, majority};
use crate::monitor::State;
use crate::settings::{self, Kind, Server, Servers};

#[cfg(test)]
mod tests;

/// Nodes with a time to live need ids below 255 (ZK-01).
const ID_MAX: u8 = 254;

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
    /// Whether this instance holds the lock of the settings.
    pub holds_lock: bool,
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
    /// Another instance holds the lock.
    NoLock,
    /// The ensemble did not answer, or less than a majority of its voters serves.
    NoQuorum,
    /// A change of settings is on its way to the servers.
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
    if !situation.holds_lock {
        return Decision::Wait(Reason::NoLock);
    }
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

enum Follow {
    Change(Change),
    Wait(Reason),
    Done,
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

    /// The next change that makes the configuration say what the list says.
    fn follow_list(&self) -> Follow {
        for (id, server) in &self.list {
            if self.configuration.member(*id).is_some_and(|member| member.host != server.host) {
                return Follow::Wait(Reason::Moved(*id));
            }
        }
        let role = |id: u8| self.configuration.member(id).map(|member| member.role);
        let voters = self.voters();
        let has_one_voter = voters.len() == 1;

        // Who is to come is made known first; that costs nothing.
        for (id, server) in &self.list {
            let comes_with_vote = has_one_voter && server.kind == Kind::Standard;
            if role(*id).is_none() && !comes_with_vote {
                let joining = Some(((*server).clone(), Role::Observer));
                return Follow::Change(Change { joining, leaving: None });
            }
        }
        // Those that are gone make room first, then those that serve.
        let mut leaving: Vec<u8> = self.configuration.members.iter().map(|member| member.id).collect();
        leaving.retain(|id| !self.list.contains_key(id));
        leaving.sort_by_key(|id| (self.serves(*id), Some(*id) == self.situation.leader, *id));
        let leaving_voter = leaving.iter().copied().find(|id| role(*id) == Some(Role::Participant));

        let wants_vote =
            |id: u8, server: &Server| server.kind == Kind::Standard && role(id) != Some(Role::Participant);
        let mut reason = None;
        for (id, server) in self.list.iter().filter(|(id, server)| wants_vote(**id, server)) {
            // With one voter, its own vote is needed to give the second one; it goes after that.
            let leaving = leaving_voter.filter(|_| !has_one_voter);
            let mut after = leaving.map_or_else(|| voters.clone(), |gone| self.without(gone));
            after.push(*id);
            if self.serves(*id) && self.is_quorum(&after) {
                let joining = Some(((*server).clone(), Role::Participant));
                return Follow::Change(Change { joining, leaving });
            }
            reason.get_or_insert(Reason::Joining(*id));
        }
        // A place is kept until the one who takes it over is there.
        if let (Some(reason), Some(_)) = (&reason, leaving_voter) {
            return Follow::Wait(reason.clone());
        }
        let observing = self
            .list
            .values()
            .filter(|server| server.kind == Kind::Observer && role(server.id) == Some(Role::Participant));
        let demoted = observing.map(|server| (server.id, Some((*server).clone())));
        for (id, observer) in leaving.iter().map(|id| (*id, None)).chain(demoted) {
            if role(id) == Some(Role::Participant) {
                let after = self.without(id);
                if after.is_empty() {
                    reason.get_or_insert(Reason::LastVoter(id));
                    continue;
                }
                if !self.is_quorum(&after) {
                    reason.get_or_insert(Reason::Needed(id));
                    continue;
                }
            }
            return Follow::Change(match observer {
                None => Change { joining: None, leaving: Some(id) },
                Some(server) => Change { joining: Some((server, Role::Observer)), leaving: None },
            });
        }
        reason.map_or(Follow::Done, Follow::Wait)
    }

    /// Another list. When the present one is not reached yet (`is_reached`), only one thing can be
    /// done: give up waiting for a server that died before it got its vote.
    fn propose(&self, is_reached: bool) -> Decision {
        let situation = self.situation;
        let settling = situation.rules.settling;
        let has_settled = situation.since_change >= settling;
        let voters = self.voters();
        let without_vote = |id: &&u8| !voters.contains(id);
        if has_settled && let Some(id) = self.list.keys().filter(without_vote).find(|id| self.is_gone(**id)) {
            return self.rewrite(Some(*id), None, Why::LeftOut(self.host(*id).to_owned()));
        }
        if !is_reached {
            return Decision::Wait(Reason::Settled);
        }

        let wanted = self.wanted_voters();
        let gone: Vec<u8> = voters.iter().copied().filter(|id| self.is_gone(*id)).collect();
        let candidate = self.list.keys().copied().find(|id| without_vote(&id) && self.serves(*id));
        if let Some(id) = candidate {
            if let Some(gone) = gone.first() {
                let why = Why::Replaces(self.host(id).to_owned(), self.host(*gone).to_owned());
                return self.rewrite(Some(*gone), Some((id, Kind::Standard)), why);
            }
            // Two votes more or none: an even number bears no more deaths than the odd one below it.
            let candidates = self.list.keys().filter(without_vote).filter(|id| self.serves(**id)).count();
            let is_worth_it = voters.len().is_multiple_of(2) || candidates >= 2 || voters.len() + 1 == wanted;
            // An observer cannot agree to the second vote.
            let can_vote = voters.len() > 1;
            if can_vote && voters.len() < wanted && is_worth_it {
                let why = Why::Votes(self.host(id).to_owned());
                return self.rewrite(None, Some((id, Kind::Standard)), why);
            }
        }
        if !has_settled {
            return Decision::Wait(Reason::Settling(settling - situation.since_change));
        }

        if let Some(decision) = self.leave_out(&voters, &gone) {
            return decision;
        }
        let is_waiting = |instance: &&Instance| {
            let is_listed = self.list.values().any(|server| server.host == instance.host);
            instance.state == State::Latent && instance.since >= settling && !is_listed
        };
        let waiting = situation.instances.iter().filter(is_waiting).min_by_key(|waiting| &waiting.host);
        let Some(waiting) = waiting else {
            return Decision::Wait(Reason::Settled);
        };
        let kind = if voters.len() == 1 && wanted > 1 { Kind::Standard } else { Kind::Observer };
        self.join(waiting, kind)
    }

    /// The most voters that the rules allow.
    fn voters_max(&self) -> usize {
        let threshold = self.situation.rules.observer_threshold.max(1);
        match self.situation.rules.size {
            Size::Fixed(size) => size.clamp(1, threshold),
            Size::Flexible => threshold,
        }
    }

    /// How many voters there should be with those that live: an odd number as long as not all that are
    /// asked for do.
    fn wanted_voters(&self) -> usize {
        let rules = self.situation.rules;
        let waits = |instance: &&Instance| {
            let is_listed = self.list.values().any(|server| server.host == instance.host);
            instance.state == State::Latent && instance.since >= rules.settling && !is_listed
        };
        let serving = self.list.keys().filter(|id| self.serves(**id)).count();
        let live = (serving + self.situation.instances.iter().filter(waits).count()).max(1);
        let fixed = matches!(rules.size, Size::Fixed(_));
        match self.voters_max() {
            max if fixed && live >= max => max,
            max => (live.min(max) - 1) | 1,
        }
    }

    /// A voter that nobody can replace: with a flexible size one that is gone, as far as leaving it out
    /// lets the ensemble bear more; and always those beyond the most allowed.
    fn leave_out(&self, voters: &[u8], gone: &[u8]) -> Option<Decision> {
        let has_too_many = voters.len() > self.voters_max();
        let live = voters.len() - gone.len();
        let would_be_even = live.is_multiple_of(2) && gone.len() == 1;
        let is_flexible = self.situation.rules.size == Size::Flexible;
        if let Some(id) = gone.first()
            && (has_too_many || (is_flexible && !would_be_even))
        {
            let why = Why::LeftOut(self.host(*id).to_owned());
            return self.is_quorum(&self.without(*id)).then(|| self.rewrite(Some(*id), None, why));
        }
        let last = voters.iter().rev().find(|id| Some(**id) != self.situation.leader)?;
        let can_go = has_too_many && self.is_quorum(&self.without(*last));
        let why = Why::Observes(self.host(*last).to_owned());
        can_go.then(|| self.rewrite(None, Some((*last, Kind::Observer)), why))
    }

    fn join(&self, waiting: &Instance, kind: Kind) -> Decision {
        let highest = self.highest_id();
        if highest >= ID_MAX {
            return Decision::Wait(Reason::NoIds);
        }
        let server = Server { kind, id: highest + 1, host: waiting.host.clone() };
        let servers = self.list.values().map(|server| (*server).clone()).chain([server]);
        self.list_of(servers, highest + 1, Why::Joins(waiting.host.clone()))
    }

    /// The list without one, and with another kind of another.
    fn rewrite(&self, without: Option<u8>, kind: Option<(u8, Kind)>, why: Why) -> Decision {
        let left = self.list.values().filter(|server| Some(server.id) != without);
        let servers = left.map(|server| {
            let mut server = (*server).clone();
            if let Some((id, kind)) = kind
                && server.id == id
            {
                server.kind = kind;
            }
            server
        });
        self.list_of(servers, self.highest_id(), why)
    }

    fn list_of(&self, servers: impl Iterator<Item = Server>, highest_id: u8, why: Why) -> Decision {
        match Servers::of(servers) {
            Ok(list) => Decision::Rewrite { list, highest_id, why },
            Err(refusal) => Decision::Wait(Reason::Refused(refusal)),
        }
    }

    fn highest_id(&self) -> u8 {
        let listed = self.list.keys().copied();
        let configured = self.configuration.members.iter().map(|member| member.id);
        listed.chain(configured).fold(self.situation.highest_id, u8::max)
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
