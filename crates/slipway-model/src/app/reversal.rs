//! Taking a group deployment back (MA-54).

use std::collections::BTreeMap;

use super::{Group, GroupDeployment, PathId};
use crate::unit::Timestamp;

/// What makes a group deployment undone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reversal {
    /// The version that each of these apps shall have again; `None`: it shall go.
    pub apps: BTreeMap<PathId, Option<Timestamp>>,
    /// How each of these groups shall be again; `None`: it shall go.
    pub groups: BTreeMap<PathId, Option<Group>>,
    /// How many copies each of these pushed services shall have again.
    pub scales: BTreeMap<PathId, u32>,
}

impl GroupDeployment {
    /// What makes it undone, given the versions that the tenant's apps have now. Only what it changed itself is
    /// named: what others changed since stays, and an app that has its old version already, or is gone and
    /// was new, needs nothing.
    pub fn reversal(&self, now: &BTreeMap<PathId, Timestamp>) -> Reversal {
        let apps = self.before.iter().filter(|(app, before)| now.get(app) != before.as_ref());
        Reversal {
            apps: apps.map(|(app, before)| (app.clone(), *before)).collect(),
            groups: self.groups_before.clone(),
            scales: self.scales_before.clone(),
        }
    }
}
