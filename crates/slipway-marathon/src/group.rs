//! Groups: the tree of a tenant's apps (MA-67), how a body changes it, and how it is shown (MA-11).
//!
//! The tree is kept flat: apps and groups by id. A group exists when something is in it, or when it was
//! made on purpose, which is why [`Tree::groups`] has more than those with something of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slipway_model::app::{APPS_MAX, PathId};
use slipway_model::limit::INSTANCES_MAX;

use crate::app::AppDefinition;
use crate::decimal::Decimal;
use crate::error::Error;
use crate::json::Problems;
use crate::service_port;
use crate::steps::{self, AppChange, Cycle, Graph};

mod read;

mod show;

/// Dependencies of one tenant, where one of a group counts for each app in it. Some twenty for each of
/// ten thousand apps; what the order is computed from then takes a few megabytes.
const WAITS_MAX: usize = 200_000;

pub use read::{GroupChange, GroupUpdate, read_partial};
pub use show::{GroupInfo, show};

/// The apps and groups of a tenant. Cloning it copies no definition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// By id.
    pub apps: BTreeMap<PathId, Arc<AppDefinition>>,
    /// Those that were made on purpose or say something of their own.
    pub groups: BTreeMap<PathId, GroupFacts>,
}

/// What a group says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupFacts {
    /// What every app inside waits for.
    pub dependencies: BTreeSet<PathId>,
    /// MA-69.
    pub enforce_role: Option<bool>,
}

impl Tree {
    /// True when there is such a group; `/` always is.
    pub fn has_group(&self, id: &PathId) -> bool {
        let ids = self.apps.keys().chain(self.groups.keys());
        id.is_root()
            || self.groups.contains_key(id)
            || ids.into_iter().any(|other| other != id && other.is_within(id))
    }

    /// Every group: those that were made, and those that something is in.
    pub fn all_groups(&self) -> BTreeSet<PathId> {
        let mut all = BTreeSet::from([PathId::root()]);
        let made = self.groups.keys().cloned();
        for start in made.chain(self.apps.keys().filter_map(PathId::parent)) {
            let mut next = Some(start);
            // Above a known group all groups are known.
            while let Some(group) = next.filter(|group| !all.contains(group)) {
                next = group.parent();
                all.insert(group);
            }
        }
        all
    }

    /// The tree with an app set; its groups come by themselves.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn with_app(mut self, app: AppDefinition) -> Result<Self, Error> {
        self.apps.insert(app.id.clone(), Arc::new(app));
        self.check()?;
        Ok(self)
    }

    /// The tree without everything in that group, and without the group.
    pub fn without(mut self, group: &PathId) -> Self {
        self.apps.retain(|id, _| !id.is_within(group));
        self.groups.retain(|id, _| !id.is_within(group));
        self
    }

    /// The tree with a group as a body says (MA-67): given apps replace those of the group, given groups
    /// replace those below it, and what is not given stays.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn with_group(mut self, update: &GroupUpdate) -> Result<Self, Error> {
        self.merge(update);
        self.check()?;
        Ok(self)
    }

    /// The tree with the number of copies of every app in that group multiplied, rounded up (MA-12).
    ///
    /// # Errors
    /// [`Error::Invalid`] when an app would have more copies than it may.
    pub fn scaled(mut self, group: &PathId, by: Decimal) -> Result<Self, Error> {
        for (id, app) in self.apps.iter_mut().filter(|(id, _)| id.is_within(group)) {
            let wanted = (u64::from(app.instances) * by.as_thousandths()).div_ceil(1000);
            let instances = u32::try_from(wanted).ok().filter(|count| *count <= INSTANCES_MAX);
            let Some(instances) = instances else {
                let why = format!("{id} would have {wanted} instances, more than {INSTANCES_MAX}");
                return Err(Error::invalid("/scaleBy", why));
            };
            if instances != app.instances {
                Arc::make_mut(app).instances = instances;
            }
        }
        Ok(self)
    }

    /// Whether the tree can be: no app where a group is, not too many of them, nobody waits for himself.
    ///
    /// # Errors
    /// [`Error::Invalid`]
    pub fn check(&self) -> Result<(), Error> {
        let mut problems = Problems::default();
        let count = self.apps.len() + self.groups.len();
        problems.unless(count <= APPS_MAX, "", format!("{count} apps and groups are more than {APPS_MAX}"));
        let groups = self.all_groups();
        for id in self.apps.keys().filter(|id| groups.contains(id)) {
            problems.add("", format!("Groups and Applications may not have the same identifier: {id}"));
        }
        if self.waits() > WAITS_MAX {
            problems.add("", "apps and groups have too many dependencies");
        } else if let Err(cycle) = self.graph() {
            problems.add("", cycle.to_string());
        }
        problems.finish()
    }

    /// The tree with service ports for every app that asks for some, where `before` is the tree that it
    /// changes (MA-34). All apps that are there keep theirs before new ones get any.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] when no number is left.
    pub fn with_service_ports(mut self, before: &Self) -> Result<Self, Error> {
        let asks = |app: &AppDefinition| service_port::of(app).contains(&0);
        if !self.apps.values().any(|app| asks(app)) {
            return Ok(self);
        }
        for (id, app) in self.apps.iter_mut().filter(|(_, app)| asks(app)) {
            if let Some(old) = before.apps.get(id) {
                service_port::keep(Arc::make_mut(app), old);
            }
        }
        let used = self.apps.values().flat_map(|app| service_port::of(app)).collect();
        let mut free = service_port::free(&used);
        for app in self.apps.values_mut().filter(|app| asks(app)) {
            service_port::fill(Arc::make_mut(app), &mut free)?;
        }
        Ok(self)
    }

    /// Who waits for whom.
    ///
    /// # Errors
    /// [`Cycle`]
    pub fn graph(&self) -> Result<Graph, Cycle> {
        let groups = self.groups.iter().filter(|(_, facts)| !facts.dependencies.is_empty());
        let groups = groups.map(|(id, facts)| (id.clone(), facts.dependencies.iter().cloned().collect()));
        Graph::new(self.apps.iter().map(|(id, app)| (id, &app.dependencies)), &groups.collect())
    }

    /// What has to happen to apps so that this tree becomes the other. A port that has no service port yet
    /// is the one that stood in its place.
    pub fn changes(&self, after: &Self) -> BTreeMap<PathId, AppChange> {
        let ids: BTreeSet<&PathId> = self.apps.keys().chain(after.apps.keys()).collect();
        let change = |id: &PathId| {
            let (before, after) = (self.apps.get(id), after.apps.get(id));
            if before.zip(after).is_some_and(|(before, after)| Arc::ptr_eq(before, after)) {
                return None;
            }
            let (Some(before), Some(after)) = (before, after) else {
                return steps::change(before.map(Arc::as_ref), after.map(Arc::as_ref), false);
            };
            let mut after = after.as_ref().clone();
            service_port::keep(&mut after, before);
            steps::change(Some(before), Some(&after), false)
        };
        ids.into_iter().filter_map(|id| change(id).map(|change| (id.clone(), change))).collect()
    }

    fn waits(&self) -> usize {
        let of_group = |group: PathId| self.groups.get(&group).map_or(0, |facts| facts.dependencies.len());
        let inherited =
            |id: &PathId| std::iter::successors(id.parent(), PathId::parent).map(of_group).sum::<usize>();
        self.apps.iter().map(|(id, app)| app.dependencies.len() + inherited(id)).sum()
    }

    fn merge(&mut self, update: &GroupUpdate) {
        let id = &update.id;
        let facts = self.groups.entry(id.clone()).or_default();
        if let Some(dependencies) = &update.dependencies {
            facts.dependencies.clone_from(dependencies);
        }
        facts.enforce_role = update.enforce_role.or(facts.enforce_role);
        if let Some(apps) = &update.apps {
            self.apps.retain(|other, _| other.parent().as_ref() != Some(id));
            self.apps.extend(apps.iter().map(|app| (app.id.clone(), Arc::new(app.clone()))));
        }
        let Some(groups) = &update.groups else { return };
        let stays = |other: &PathId| {
            let is_deep = other != id && other.is_within(id);
            !is_deep || groups.iter().any(|group| other.is_within(&group.id))
        };
        self.apps.retain(|other, _| other.parent().as_ref() == Some(id) || stays(other));
        self.groups.retain(|other, _| stays(other));
        for group in groups {
            self.merge(group);
        }
    }
}

#[cfg(test)]
mod tests;
