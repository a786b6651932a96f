//! How this server stands: what its own last term and the store say of who leads, made into what the
//! [front](crate::front) does with connections.

use slipway_link::Dialler;
use slipway_model::id::Epoch;
use slipway_store::{Leader, Store};
use tokio::sync::watch;

use crate::front::passage::Passage;
use crate::front::{self, Doors, Front, Memory};

/// This server's own last term.
#[derive(Clone)]
pub enum Own {
    /// It has led never, or not lately.
    None,
    /// It leads.
    Leading { epoch: Epoch, doors: Doors },
    /// It has led; until there is a newer leader, nobody knows more than this term does.
    Retired { epoch: Epoch, memory: Memory },
}

/// What decides where connections go.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    Own,
    PassOn(String),
    Remember,
}

/// Pure: what the two say together. `own_address` is where this server takes links.
fn course(own: &Own, leader: Option<&Leader>, own_address: &str) -> Course {
    let own_epoch = match own {
        Own::Leading { .. } => return Course::Own,
        Own::Retired { epoch, .. } => Some(*epoch),
        Own::None => None,
    };
    let other = leader.filter(|leader| own_epoch.is_none_or(|own| leader.epoch > own));
    match other.and_then(|leader| leader.candidate.cluster_address.as_deref()) {
        // This server before it was started again, or on its way to lead.
        Some(address) if address == own_address => Course::Remember,
        Some(address) => Course::PassOn(address.to_owned()),
        None => Course::Remember,
    }
}

/// Keeps the front up to date, for ever. `idle` answers where this server has never led.
pub async fn keep(
    front: Front,
    store: Store,
    own_address: String,
    dialler: Dialler,
    idle: Memory,
    mut own: watch::Receiver<Own>,
) {
    let mut leaders = store.leader();
    let mut before: Option<(Course, Option<Epoch>)> = None;
    loop {
        let now = own.borrow_and_update().clone();
        let leader = leaders.borrow_and_update().clone();
        let course = course(&now, leader.as_ref(), &own_address);
        let epoch = match &now {
            Own::Leading { epoch, .. } | Own::Retired { epoch, .. } => Some(*epoch),
            Own::None => leader.map(|leader| leader.epoch),
        };
        let next = Some((course, epoch));
        if before != next {
            front.stand(standing(&now, next.as_ref().map(|(course, _)| course), &dialler, &idle));
            before = next;
        }
        tokio::select! {
            changed = own.changed() => if changed.is_err() { return },
            changed = leaders.changed() => if changed.is_err() { return },
        }
    }
}

fn standing(own: &Own, course: Option<&Course>, dialler: &Dialler, idle: &Memory) -> front::Standing {
    let memory = match own {
        Own::Leading { doors, .. } => return front::Standing::Leading(doors.clone()),
        Own::Retired { memory, .. } => memory,
        Own::None => idle,
    };
    let leader = match course {
        Some(Course::PassOn(address)) => Some(Passage::new(dialler.clone(), address)),
        _ => None,
    };
    front::Standing::Following { leader, memory: Some(memory.clone()) }
}

#[cfg(test)]
mod tests;
