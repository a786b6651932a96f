//! Whether this server leads or stands by, decided here alone: what its own last term and the store say of
//! who leads, made into the [front](crate::front)'s duty. Whoever else has to know looks at that.

use slipway_link::Dialler;
use slipway_model::id::Epoch;
use slipway_store::{Leader, Store};
use tokio::sync::watch;

use crate::front::passage::Passage;
use crate::front::{Doors, Duty, Fallback, Front};

/// This server's own last term.
#[derive(Clone)]
pub enum Own {
    /// It has never led.
    None,
    /// It leads.
    Leading { epoch: Epoch, doors: Doors },
    /// It has led; until there is a newer leader, nobody knows more than this term does.
    Retired { epoch: Epoch, fallback: Fallback },
}

/// What is decided.
enum Course<'a> {
    Lead(&'a Doors),
    StandBy {
        /// Where the server takes links that leads, `host:port`; `None` while nobody is known to.
        leader: Option<&'a str>,
        /// What this server's own term remembers.
        fallback: Option<&'a Fallback>,
    },
}

/// Pure: what the two say together. `newest` is the highest epoch that anybody was seen to lead with, and
/// `own_address` where this server takes links.
fn decide<'a>(
    own: &'a Own,
    leader: Option<&'a Leader>,
    newest: Option<Epoch>,
    own_address: &str,
) -> Course<'a> {
    let (own_epoch, fallback) = match own {
        Own::Leading { doors, .. } => return Course::Lead(doors),
        // What the term remembers was let go when somebody newer knew more, and comes back no more.
        Own::Retired { epoch, fallback } => {
            (Some(*epoch), Some(fallback).filter(|_| newest.is_none_or(|newest| newest <= *epoch)))
        }
        Own::None => (None, None),
    };
    let other = leader.filter(|leader| own_epoch.is_none_or(|own| leader.epoch > own));
    let address = other.and_then(|leader| leader.candidate.cluster_address.as_deref());
    // The own one is this server before it was started again, or on its way to lead.
    Course::StandBy { leader: address.filter(|address| *address != own_address), fallback }
}

impl Course<'_> {
    fn leader(&self) -> Option<&str> {
        match self {
            Course::Lead(_) => None,
            Course::StandBy { leader, .. } => *leader,
        }
    }

    /// `idle` answers where this server remembers no term.
    fn duty(&self, dialler: &Dialler, idle: &Fallback) -> Duty {
        match self {
            Course::Lead(doors) => Duty::Lead((*doors).clone()),
            Course::StandBy { leader, fallback } => Duty::StandBy {
                leader: leader.map(|address| Passage::new(dialler.clone(), address)),
                fallback: Some(fallback.unwrap_or(idle).clone()),
            },
        }
    }
}

/// What ends connections when it changes.
#[derive(PartialEq, Eq)]
struct Since {
    leads: bool,
    leader: Option<String>,
    remembers: bool,
    epoch: Option<Epoch>,
}

/// Keeps the front up to date, for ever. `idle` answers where this server remembers no term.
pub async fn keep(
    front: Front,
    store: Store,
    own_address: String,
    dialler: Dialler,
    idle: Fallback,
    mut own: watch::Receiver<Own>,
) {
    let mut leaders = store.leader();
    let mut before = None;
    let mut newest = None;
    loop {
        {
            let now = own.borrow_and_update().clone();
            let leader = leaders.borrow_and_update().clone();
            newest = newest.max(leader.as_ref().map(|leader| leader.epoch));
            let course = decide(&now, leader.as_ref(), newest, &own_address);
            let epoch = match &now {
                Own::Leading { epoch, .. } | Own::Retired { epoch, .. } => Some(*epoch),
                Own::None => leader.as_ref().map(|leader| leader.epoch),
            };
            let since = Some(Since {
                leads: matches!(course, Course::Lead(_)),
                leader: course.leader().map(str::to_owned),
                remembers: matches!(course, Course::StandBy { fallback: Some(_), .. }),
                epoch,
            });
            if before != since {
                front.take_up(course.duty(&dialler, &idle));
                before = since;
            }
        }
        tokio::select! {
            changed = own.changed() => if changed.is_err() { return },
            changed = leaders.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests;
