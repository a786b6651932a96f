//! How ZooKeeper's configuration comes to say what the list says, one change at a time (ZK-09).
//!
//! Who is to come is made known first, votes change hands next, and those who left the list go last: at
//! no time does the ensemble have fewer votes than it needs.

use super::{Change, Reason, View};
use crate::configuration::Role;
use crate::settings::{Kind, Server};

/// What the way to the list asks for now.
pub(super) enum Follow {
    /// This, next.
    Change(Change),
    /// Nothing, before something has happened.
    Wait(Reason),
    /// Nothing: it is reached.
    Done,
}

impl View<'_> {
    /// The next change that makes the configuration say what the list says.
    pub(super) fn follow_list(&self) -> Follow {
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
}
