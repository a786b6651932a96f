//! How an instance comes onto the agent's table: new, found running, or found ended.

use std::sync::Arc;

use slipway_model::instance::{Exit, Goal, InstanceReport, InstanceState};
use tokio::sync::watch;

use super::{Entry, Shared};
use crate::instance::{self, Begin};
use crate::recovery::Found;

impl Shared {
    /// Gives an instance its entry and, unless it has ended, its task.
    pub(super) fn enter(self: &Arc<Self>, found: Found) {
        let (goal, goal_seen) = watch::channel(Goal::Run);
        let started_at = match &found {
            Found::Running { since, .. } => Some(*since),
            Found::Wanted { .. } | Found::Ended { .. } => None,
        };
        let (mut spec, state, at, begin) = match found {
            Found::Wanted { spec } => {
                (spec.clone(), InstanceState::Preparing, instance::now(), Some((spec, Begin::Launch)))
            }
            Found::Running { spec, shim, since } => {
                // It lives, so nobody else can have them.
                let _ = self.volumes.claim(&spec.id, &spec.volumes);
                let known = instance::known_checks(&self.paths.instance(&spec.id));
                let state = instance::adopted_state(known.as_deref());
                (spec.clone(), state, since, Some((spec, Begin::Adopt(shim))))
            }
            Found::Ended { spec, reason, tail, at } => {
                let mut exit = Exit { reason, tail };
                exit.cut_tail();
                (spec, InstanceState::Ended { exit }, at, None)
            }
        };
        let address = self.network.as_ref().filter(|_| begin.is_some()).and_then(|n| n.adopt(&spec.id));
        let address = address.map(|sandbox| sandbox.address);
        let directory = self.paths.instance(&spec.id);
        let ready = instance::readiness(&directory);
        let checks = instance::known_checks(&directory).unwrap_or_default();
        let report =
            InstanceReport { instance: spec.id.clone(), state, address, at, started_at, ready, checks };
        // Both hold secrets.
        spec.env.clear();
        spec.fetch.clear();
        let id = spec.id.clone();
        let entry = Entry { spec, goal, report: report.clone(), forgotten: false };
        self.table().entries.insert(id, entry);
        let _ = self.reports.send(report);
        if let Some((spec, begin)) = begin {
            let mut leaving = self.leaving.subscribe();
            let life = instance::run(Arc::clone(self), spec, begin, goal_seen);
            tokio::spawn(async move {
                tokio::select! {
                    () = life => {}
                    _ = leaving.wait_for(|leaving| *leaving) => {}
                }
            });
        }
    }
}
