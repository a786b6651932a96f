//! A leader that has lost the leadership: another may decide by now. It goes on taking in what it hears and
//! answering from memory, so that people see something while nobody leads. It plans, stores and sends
//! nothing, and publishes no table; what had been handed to the store is waited for.

use tokio::sync::{mpsc, watch};

use super::{Owner, now, told_to_stop};
use crate::leader::queries::Query;
use crate::leader::{Error, LeaderStanding};

impl Owner {
    /// The leadership is lost. Does nothing when that is known.
    pub(super) fn retire(&mut self) {
        if self.is_retired() {
            return;
        }
        tracing::warn!(leader.epoch = self.leadership.epoch.0, "the leadership is lost");
        self.standing.send_replace(LeaderStanding::Retired { since: now() });
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
