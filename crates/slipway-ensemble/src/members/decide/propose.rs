//! Which other list would be better than the one there is (EX-12): who is taken in, who votes, who is
//! left out.
//!
//! One server changes at a time, and only after things have been as they are for the settling period,
//! but for the vote of a dead one: that passes on as soon as one who observes can take it.

use super::{Decision, Instance, Reason, Size, View, Why};
use crate::monitor::State;
use crate::settings::{Kind, Server, Servers};

/// Nodes with a time to live need ids below 255 (ZK-01).
pub(super) const ID_MAX: u8 = 254;

impl View<'_> {
    /// Another list. When the present one is not reached yet (`is_reached`), only one thing can be
    /// done: give up waiting for a server that died before it got its vote.
    pub(super) fn propose(&self, is_reached: bool) -> Decision {
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
