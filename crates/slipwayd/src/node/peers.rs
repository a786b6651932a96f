//! What a node remembers of its peers from one link to the next, so that a leader need not send all of them
//! to every node whenever another server begins to lead: the newest list that came with a name, and that
//! name. Names are the leader's, made of what is in the list; a node gives them back as they came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_model::cluster::Peer;
use slipway_model::instance::Desired;

/// Longer than any name that a leader gives.
const NAME_BYTES_MAX: usize = 128;

/// Clones share it. It knows nothing after a restart: then everything is told.
#[derive(Clone, Default)]
pub struct Peers(Arc<Mutex<Option<Known>>>);

struct Known {
    name: String,
    peers: Arc<[Peer]>,
}

/// The list leaves out peers that are not known here by that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("these peers are not known here; they have to be told")]
pub struct NotKnown;

impl Peers {
    /// What the leader is told that is known here.
    pub fn name(&self) -> Option<String> {
        self.known().as_ref().map(|known| known.name.clone())
    }

    /// Makes a list whole that came with that name for its peers: it gets those that it leaves out. What
    /// is obeyed is then never a matter of what another link told in between.
    ///
    /// # Errors
    /// [`NotKnown`]; the list is not to be obeyed.
    pub fn complete(&self, desired: &mut Desired, name: &str) -> Result<(), NotKnown> {
        let mut known = self.known();
        match &desired.peers {
            Some(peers) if name.len() <= NAME_BYTES_MAX => {
                *known = Some(Known { name: name.to_owned(), peers: peers.clone() });
            }
            Some(_) => {}
            None => {
                let peers = known.as_ref().filter(|known| known.name == name).ok_or(NotKnown)?;
                desired.peers = Some(peers.peers.clone());
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        // It is replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
