//! What the releases of an app ask for in their labels (MA-80).
//!
//! While one release replaces another both may run, and what they ask for may differ. Each is taken at its
//! word: requests to a key go to instances of the releases that ask for it. Where they differ in how
//! requests are treated, the release counts that shall run.

use std::collections::{BTreeMap, BTreeSet};

use slipway_marathon::virtual_host::{self, Asked};
use slipway_model::app::app_service;
use slipway_model::deployment::DeploymentState;
use slipway_model::id::ReleaseNumber;
use slipway_model::instance::Goal;
use slipway_plan::view::EnvironmentView;

/// What the releases of one environment that count now ask for, read once for each; nothing for what is
/// pushed.
#[derive(Debug, Default)]
pub struct Asking {
    /// The live one and those that have instances, the one that shall run first.
    releases: Vec<(ReleaseNumber, BTreeMap<String, Asked>)>,
}

/// What a release asks for at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// This.
    Asked(Asked),
    /// Nothing: it leaves to others what leads there.
    Nothing,
    /// It does not want requests to it.
    NotThis,
}

impl Asking {
    /// Reads the labels of releases that are new among those that count. True when these are others now.
    pub fn refresh(&mut self, view: &EnvironmentView) -> bool {
        let numbers = counting(view);
        if self.releases.iter().map(|(number, _)| *number).eq(numbers.iter().copied()) {
            return false;
        }
        let mut before: BTreeMap<_, _> = std::mem::take(&mut self.releases).into_iter().collect();
        self.releases = numbers
            .into_iter()
            .map(|number| (number, before.remove(&number).unwrap_or_else(|| read(view, number))))
            .collect();
        true
    }

    /// The host names of which it asks for paths.
    pub fn shared_hosts(&self) -> BTreeSet<String> {
        self.paths().into_iter().map(|key| virtual_host::split(key).0.to_owned()).collect()
    }

    /// The keys that the release asks for that shall run.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &str> {
        self.releases.iter().take(1).flat_map(|(_, keys)| keys.keys()).map(String::as_str)
    }

    /// The keys that have a path.
    pub(super) fn paths(&self) -> BTreeSet<&str> {
        let keys = self.releases.iter().flat_map(|(_, keys)| keys.keys());
        keys.map(String::as_str).filter(|key| key.contains('/')).collect()
    }

    /// What a release asks for at a key.
    pub(super) fn wish(&self, release: ReleaseNumber, key: &str) -> Wish {
        let keys = self.releases.iter().find(|(number, _)| *number == release).map(|(_, keys)| keys);
        let has_path = key.contains('/');
        match keys.and_then(|keys| keys.get(key)) {
            Some(asked) => Wish::Asked(*asked),
            None if has_path || keys.is_some_and(|keys| has_paths_of(keys, key)) => Wish::NotThis,
            None => Wish::Nothing,
        }
    }

    /// The same for all of them: the first that asks for it counts, and none refuses it for the others.
    pub(super) fn wish_of_all(&self, key: &str) -> Wish {
        let wishes = || self.releases.iter().map(|(release, _)| self.wish(*release, key));
        let asked = wishes().find(|wish| matches!(wish, Wish::Asked(_)));
        let is_refused = !self.releases.is_empty() && wishes().all(|wish| wish == Wish::NotThis);
        asked.unwrap_or(if is_refused { Wish::NotThis } else { Wish::Nothing })
    }
}

fn has_paths_of(keys: &BTreeMap<String, Asked>, host: &str) -> bool {
    keys.keys().map(|key| virtual_host::split(key)).any(|(of, path)| of == host && !path.is_empty())
}

/// The releases whose labels count, the one that shall run first.
fn counting(view: &EnvironmentView) -> Vec<ReleaseNumber> {
    if view.wanted.as_ref().is_none_or(|wanted| wanted.app.is_none()) {
        return Vec::new();
    }
    let coming = view.deployment().filter(|it| matches!(it.state, DeploymentState::Rollout { .. }));
    let coming = coming.map(|deployment| deployment.to);
    let mut numbers: Vec<ReleaseNumber> = view.live().into_iter().collect();
    for assignment in view.assignments.iter().filter(|assignment| assignment.goal == Goal::Run) {
        if !numbers.contains(&assignment.release) {
            numbers.push(assignment.release);
        }
    }
    let live = view.live();
    numbers.retain(|number| view.releases.contains_key(number));
    numbers
        .sort_by_key(|number| (Some(*number) != coming, Some(*number) != live, std::cmp::Reverse(*number)));
    numbers
}

fn read(view: &EnvironmentView, release: ReleaseNumber) -> BTreeMap<String, Asked> {
    let spec = view.releases.get(&release).and_then(|release| release.services.get(&app_service()));
    spec.map(|spec| virtual_host::of(&spec.labels)).unwrap_or_default()
}
