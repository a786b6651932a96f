//! Who leads, and how a leader learns that it does not any more.

use slipway_model::cluster::Candidate;
use slipway_model::id::Epoch;
use tokio::sync::watch;

/// The right to decide, until a newer leader is elected. Holding it proves nothing by itself: each
/// write says [`crate::Batch::fenced`], and the store decides.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// One more than the last leader's.
    pub epoch: Epoch,
    newest: watch::Receiver<Epoch>,
}

impl Leadership {
    pub(crate) fn new(epoch: Epoch, newest: watch::Receiver<Epoch>) -> Self {
        Self { epoch, newest }
    }

    /// Makes room for another leader, once every clone has done so or is dropped. It counts as lost.
    pub fn give_up(&mut self) {
        self.newest = watch::channel(self.epoch).1;
    }

    /// Returns when there is a newer leader or the store is gone. May be cancelled at any time.
    pub async fn lost(&mut self) {
        let epoch = self.epoch;
        // The error says that the store is gone or the leadership given up, which ends it too.
        let _ = self.newest.wait_for(|newest| *newest > epoch).await;
    }
}

/// Whom the newest election chose. It may have died since: nobody is asked to say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its epoch.
    pub epoch: Epoch,
    /// As whom it stood for election ([`crate::Store::elect`]).
    pub candidate: Candidate,
}
