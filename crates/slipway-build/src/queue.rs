//! Which push is built next. Pure: it is told what the records say, and answers.
//!
//! The rules: pushes to one environment are built in the order of their numbers, one at a time;
//! environments are independent; between tenants the one with the fewest builds under way goes
//! first, then the push that has waited longest, so that a tenant with a hundred pushes delays
//! another's by one build at most.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use slipway_model::id::BuildNumber;
use slipway_model::name::{EnvironmentPath, TenantName, UserName};
use slipway_model::push::{BuildCancellation, Push};
use slipway_model::unit::Timestamp;

/// A build by environment and number.
pub type BuildKey = (EnvironmentPath, BuildNumber);

/// What the records say about pushes and builds.
#[derive(Debug, Default)]
pub struct Queue {
    pushes: BTreeMap<EnvironmentPath, BTreeMap<BuildNumber, Push>>,
    /// Builds that have ended, with a time by which their push had come.
    final_builds: HashMap<BuildKey, Timestamp>,
    cancelled: BTreeMap<BuildKey, UserName>,
    running: BTreeSet<BuildKey>,
    /// Of those that run: the ones whose push is gone. The number may be given again.
    withdrawn: HashSet<BuildKey>,
}

/// What a push means for the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It has been built.
    Known,
    /// It will be built.
    Waiting,
    /// It will be built once the build of that number that is under way has been stopped.
    InPlaceOfRunning,
}

/// What the end of a build means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is part of its environment's history.
    Recorded,
    /// Its push has gone meanwhile, and nothing of it shall stay.
    Withdrawn,
}

/// The order among the first pushes of all environments.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    running_of_tenant: usize,
    received_at: Timestamp,
    environment: &'a EnvironmentPath,
}

impl Queue {
    /// A push is there. One that was built already is nothing new, and one that takes the number of
    /// another means that this other is gone: it and its environment were deleted, and quick changes
    /// are told as one.
    pub fn pushed(&mut self, push: Push) -> Pushed {
        let key = (push.environment.clone(), push.number);
        if self.final_builds.get(&key).is_some_and(|ended| push.received_at <= *ended) {
            return Pushed::Known;
        }
        let earlier = self.pushes.entry(key.0.clone()).or_default().insert(key.1, push.clone());
        if self.running.contains(&key) && earlier.is_some_and(|earlier| earlier != push) {
            self.withdrawn.insert(key);
            return Pushed::InPlaceOfRunning;
        }
        Pushed::Waiting
    }

    /// The record of a build says that it has ended; it was begun at that time.
    pub fn recorded(&mut self, key: BuildKey, started_at: Timestamp) {
        if !self.running.contains(&key) {
            self.cancelled.remove(&key);
            if self.push_at(&key).is_some_and(|push| push.received_at <= started_at) {
                self.remove_push(&key);
            }
            self.final_builds.insert(key, started_at);
        }
    }

    /// The build of a push that was handed out has reached its end.
    pub fn ended(&mut self, push: &Push) -> Ended {
        let key = (push.environment.clone(), push.number);
        self.running.remove(&key);
        if self.withdrawn.remove(&key) {
            return Ended::Withdrawn;
        }
        self.cancelled.remove(&key);
        self.remove_push(&key);
        self.final_builds.insert(key, push.received_at);
        Ended::Recorded
    }

    fn push_at(&self, key: &BuildKey) -> Option<&Push> {
        self.pushes.get(&key.0)?.get(&key.1)
    }

    fn remove_push(&mut self, key: &BuildKey) -> Option<Push> {
        let pushes = self.pushes.get_mut(&key.0)?;
        let push = pushes.remove(&key.1);
        if pushes.is_empty() {
            self.pushes.remove(&key.0);
        }
        push
    }

    /// A push is gone with its environment; it need not be built any more. An environment that is
    /// made again under the same name begins to count at 1 again, so nothing about it is kept.
    pub fn withdrawn(&mut self, key: &BuildKey) {
        self.remove_push(key);
        self.cancelled.remove(key);
        self.final_builds.remove(key);
        if self.running.contains(key) {
            self.withdrawn.insert(key.clone());
        }
    }

    /// The records of a build and its push are gone, with their environment or for their age.
    pub fn forgotten(&mut self, key: &BuildKey) {
        self.final_builds.remove(key);
    }

    /// Somebody wants a build stopped.
    pub fn cancel(&mut self, cancellation: BuildCancellation) {
        let key = (cancellation.environment, cancellation.number);
        if !self.final_builds.contains_key(&key) {
            self.cancelled.insert(key, cancellation.by);
        }
    }

    /// Who wants this build stopped.
    pub fn cancelled_by(&self, key: &BuildKey) -> Option<&UserName> {
        self.cancelled.get(key)
    }

    /// A waiting push that somebody wants stopped, with that somebody. It is out of the queue then.
    pub fn take_cancelled(&mut self) -> Option<(Push, UserName)> {
        let waits = |key: &&BuildKey| {
            !self.running.contains(*key)
                && self.pushes.get(&key.0).is_some_and(|all| all.contains_key(&key.1))
        };
        let key = self.cancelled.keys().find(waits)?.clone();
        let push = self.remove_push(&key)?;
        self.cancelled.remove(&key).map(|by| (push, by))
    }

    /// The push to build next, if fewer than `running_max` are under way. It counts as under way
    /// from now on.
    pub fn start_next(&mut self, running_max: usize) -> Option<Push> {
        if self.running.len() >= running_max {
            return None;
        }
        let busy: HashSet<&EnvironmentPath> =
            self.running.iter().map(|(environment, _)| environment).collect();
        let mut running_of: BTreeMap<&TenantName, usize> = BTreeMap::new();
        for environment in &busy {
            *running_of.entry(&environment.tenant).or_default() += 1;
        }
        let first = self
            .pushes
            .iter()
            .filter(|(environment, _)| !busy.contains(environment))
            .filter_map(|(environment, pushes)| Some((environment, pushes.values().next()?)))
            .min_by_key(|(environment, push)| Rank {
                running_of_tenant: running_of.get(&environment.tenant).copied().unwrap_or(0),
                received_at: push.received_at,
                environment,
            })
            .map(|(_, push)| push.clone())?;
        self.running.insert((first.environment.clone(), first.number));
        Some(first)
    }
}

#[cfg(test)]
mod tests;
