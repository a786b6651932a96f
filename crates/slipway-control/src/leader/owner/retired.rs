//! A leader that has lost the leadership: another may decide by now. It goes on taking in what it hears and
//! answering from memory, so that people see something while nobody leads. It plans, stores and sends
//! nothing, and publishes no table; what had been handed to the store is waited for.
//!
//! A leader that abdicates has lost nothing yet: it retires by itself, and then gives up the leadership, so
//! that the next in the queue leads at once. Whatever it had under way by then is stored before the
//! next one's epoch, or refused.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Owner, now, told_to_stop};
use crate::leader::queries::{Abdication, Query};
use crate::leader::{Error, LeaderStanding};

/// From the answer to the abdication, so that the answer gets to whoever asked, also by way of another
/// server (MA-20).
const ANSWER_TIME: Duration = Duration::from_millis(500);

impl Owner {
    /// The leadership is lost. Does nothing when that is known.
    pub(super) fn retire(&mut self) {
        if self.is_retired() {
            return;
        }
        tracing::warn!(leader.epoch = self.leadership.epoch.0, "the leadership is lost");
        self.decide_no_more(false);
    }

    /// Somebody wants another to lead. Asking again changes nothing.
    pub(super) fn abdicate(&mut self) -> Abdication {
        if self.is_retired() {
            return Abdication::NoLeader;
        }
        if !self.options.may_abdicate {
            return Abdication::Alone;
        }
        self.abdicates_at.get_or_insert_with(|| Instant::now() + ANSWER_TIME);
        Abdication::Begun
    }

    /// The answer to the abdication has had its time.
    pub(super) fn make_room(&mut self) {
        if self.is_retired() {
            return;
        }
        tracing::info!(leader.epoch = self.leadership.epoch.0, "the leader abdicates");
        self.decide_no_more(true);
        // Only now: whoever is elected next must be the only one that decides.
        self.leadership.give_up();
    }

    fn decide_no_more(&mut self, has_abdicated: bool) {
        self.standing.send_replace(LeaderStanding::Retired { since: now(), has_abdicated });
        // Nobody will carry these out: whoever asked is not kept waiting.
        self.environments.values_mut().for_each(|held| held.kills.clear());
    }

    pub(super) fn is_retired(&self) -> bool {
        *self.standing.borrow() != LeaderStanding::Leading
    }

    /// Until it is told to end, or nobody is left who could ask or tell it anything.
    pub(super) async fn be_retired(
        mut self,
        mut queries: mpsc::Receiver<Query>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        loop {
            tokio::select! {
                Some(change) = self.changes.queue.recv() => self.take_change(change),
                Some(message) = self.ports.node_messages.recv() => self.take_node_message(message),
                Some(message) = self.ports.router_messages.recv() => self.take_router_message(message),
                query = queries.recv() => match query {
                    Some(query) => self.answer(query),
                    None => return self.finish().await,
                },
                Some(done) = self.under_way.join_next() => self.take_done(done)?,
                Some(done) = self.reads.join_next() => self.take_done(done)?,
                () = told_to_stop(&mut stopped) => return self.finish().await,
            }
        }
    }
}
