//! The order in which several apps change (MA-52, MA-55). Pure: what is wanted and what there is go in, a list
//! of steps comes out, which is stored with the change and followed by the leader.
//!
//! Dependencies make a graph. An app that names a group waits for all apps in it; an app inside a group
//! with dependencies waits for them, too, except for those that it is itself part of. In the graph a
//! named group is a node of its own, so that two large groups which depend on one another's apps are
//! two bundles of edges and not their product.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::app::{GroupAction, GroupActionKind, PathId};

use crate::app::AppDefinition;

/// What happens to one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppChange {
    /// It is new.
    Create,
    /// It goes.
    Remove,
    /// Its number of copies changes, or becomes 0 together with the rest (MA-33).
    Scale,
    /// Its copies are replaced.
    Replace,
}

/// What has to happen so that one definition becomes the other; `None`: nothing. A restart replaces
/// copies although the definition is the same (MA-08).
pub fn change(
    before: Option<&AppDefinition>,
    after: Option<&AppDefinition>,
    is_restart: bool,
) -> Option<AppChange> {
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some(AppChange::Create),
        (Some(_), None) => Some(AppChange::Remove),
        (Some(before), Some(after)) if before == after && !is_restart => None,
        (Some(before), Some(after)) if before.differs_only_in_scale(after) && !is_restart => {
            Some(AppChange::Scale)
        }
        (Some(_), Some(after)) if after.instances == 0 => Some(AppChange::Scale),
        (Some(_), Some(_)) => Some(AppChange::Replace),
    }
}

/// Names of a ring that a sentence has.
const RING_SHOWN: usize = 10;

/// These wait for one another in a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Dependency graph has cyclic dependencies: {}", shown(.ring))]
pub struct Cycle {
    /// Apps, and groups where one is named; the first stands at the end again.
    pub ring: Vec<PathId>,
}

fn shown(ring: &[PathId]) -> String {
    let names: Vec<_> = ring.iter().map(PathId::as_str).collect();
    match names.as_slice() {
        [first @ .., last] if first.len() > RING_SHOWN => {
            let more = first.len() - RING_SHOWN;
            format!("{} → … {more} more … → {last}", first[..RING_SHOWN].join(" → "))
        }
        all => all.join(" → "),
    }
}

/// Who waits for whom.
#[derive(Debug, Clone)]
pub struct Graph {
    layers: BTreeMap<PathId, usize>,
}

impl Graph {
    /// The graph of all apps of a tenant, after a change. `groups` has those with dependencies. A
    /// dependency on what does not exist says nothing.
    ///
    /// # Errors
    /// [`Cycle`]
    pub fn new<'a>(
        apps: impl IntoIterator<Item = (&'a PathId, &'a BTreeSet<PathId>)>,
        groups: &BTreeMap<PathId, Vec<PathId>>,
    ) -> Result<Self, Cycle> {
        Builder::new(apps.into_iter().collect(), groups).layers().map(|layers| Self { layers })
    }

    /// How many waits lie between the app and one that waits for nobody; `None` for an unknown app.
    pub fn layer(&self, app: &PathId) -> Option<usize> {
        self.layers.get(app).copied()
    }

    /// The steps of a change (MA-52): what goes; what comes, without copies yet; then layer by layer the
    /// copies. What is not changed has no action, and a step without actions is left out.
    pub fn steps(&self, changes: &BTreeMap<PathId, AppChange>) -> Vec<Vec<GroupAction>> {
        let of = |wanted: AppChange, kind: GroupActionKind| {
            let these = changes.iter().filter(move |(_, change)| **change == wanted);
            these.map(move |(app, _)| GroupAction { kind, app: app.clone() }).collect::<Vec<_>>()
        };
        let mut steps = vec![
            of(AppChange::Remove, GroupActionKind::StopApplication),
            of(AppChange::Create, GroupActionKind::StartApplication),
        ];
        let mut by_layer: BTreeMap<usize, Vec<GroupAction>> = BTreeMap::new();
        for (app, change) in changes {
            let kind = match change {
                AppChange::Remove => continue,
                AppChange::Create | AppChange::Scale => GroupActionKind::ScaleApplication,
                AppChange::Replace => GroupActionKind::RestartApplication,
            };
            let layer = self.layer(app).unwrap_or_default();
            by_layer.entry(layer).or_default().push(GroupAction { kind, app: app.clone() });
        }
        steps.extend(by_layer.into_values());
        steps.retain(|step| !step.is_empty());
        steps
    }
}

/// A node is an app, or a group that something waits for. Edges lead from who waits to whom.
struct Builder<'a> {
    names: Vec<&'a PathId>,
    apps: usize,
    /// Each edge with its length: 1 from an app, 0 from a group to what is in it.
    waits_for: Vec<Vec<(usize, usize)>>,
}

impl<'a> Builder<'a> {
    fn new(
        apps: BTreeMap<&'a PathId, &'a BTreeSet<PathId>>,
        groups: &'a BTreeMap<PathId, Vec<PathId>>,
    ) -> Self {
        let mut names: Vec<&PathId> = apps.keys().copied().collect();
        let mut places: BTreeMap<&PathId, usize> =
            names.iter().enumerate().map(|(place, name)| (*name, place)).collect();
        let count = names.len();
        // A name that is no app is a group, or nothing.
        let said = apps.values().flat_map(|own| own.iter()).chain(groups.values().flatten());
        for name in said {
            places.entry(name).or_insert_with(|| {
                names.push(name);
                names.len() - 1
            });
        }
        let mut waits_for = vec![Vec::new(); names.len()];
        for (place, (app, own)) in apps.iter().enumerate() {
            waits_for[place].extend(own.iter().map(|target| (places[target], 1)));
            let above = std::iter::successors(app.parent(), PathId::parent);
            let inherited = above.filter_map(|group| groups.get(&group)).flatten();
            let others = inherited.filter(|target| !app.is_within(target));
            waits_for[place].extend(others.map(|target| (places[target], 1)));
            // The groups that it is in, where somebody waits for them.
            let above = std::iter::successors(app.parent(), PathId::parent);
            for group in above.filter_map(|group| places.get(&group).copied()).filter(|group| *group >= count)
            {
                waits_for[group].push((place, 0));
            }
        }
        Self { names, apps: count, waits_for }
    }

    /// Longest paths, from those who wait for nobody upwards.
    fn layers(self) -> Result<BTreeMap<PathId, usize>, Cycle> {
        let mut waiting: Vec<usize> = self.waits_for.iter().map(Vec::len).collect();
        let mut waited_by: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.names.len()];
        for (node, edges) in self.waits_for.iter().enumerate() {
            for (target, length) in edges {
                waited_by[*target].push((node, *length));
            }
        }
        let mut layer = vec![0; self.names.len()];
        let mut ready: Vec<usize> = (0..self.names.len()).filter(|node| waiting[*node] == 0).collect();
        let mut done = 0;
        while let Some(node) = ready.pop() {
            done += 1;
            // An empty or unknown group makes nobody wait.
            let is_void = node >= self.apps && self.waits_for[node].is_empty();
            for (above, length) in &waited_by[node] {
                if !is_void {
                    layer[*above] = layer[*above].max(layer[node] + length);
                }
                waiting[*above] -= 1;
                if waiting[*above] == 0 {
                    ready.push(*above);
                }
            }
        }
        if done < self.names.len() {
            return Err(self.ring(&waiting));
        }
        let apps = self.names.into_iter().take(self.apps).cloned();
        Ok(apps.zip(layer).collect())
    }

    /// One ring among the nodes that still wait: each of them waits for another such.
    fn ring(&self, waiting: &[usize]) -> Cycle {
        let first = waiting.iter().position(|count| *count > 0).expect("somebody waits");
        let mut path = vec![first];
        loop {
            let last = path[path.len() - 1];
            let next = self.waits_for[last].iter().map(|(target, _)| *target).find(|node| waiting[*node] > 0);
            let next = next.expect("who waits for ever waits for somebody who does");
            if let Some(start) = path.iter().position(|node| *node == next) {
                path.push(next);
                return Cycle { ring: path[start..].iter().map(|node| self.names[*node].clone()).collect() };
            }
            path.push(next);
        }
    }
}

#[cfg(test)]
mod tests;
