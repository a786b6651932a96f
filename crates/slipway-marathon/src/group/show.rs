//! How the tree is shown (MA-11).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::value::RawValue;
use slipway_model::app::PathId;
use slipway_model::unit::Timestamp;

use super::GroupFacts;
use crate::present::GroupEmbed;
use crate::timestamp;

/// A group, and what of it was asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupInfo {
    /// Absolute.
    pub id: PathId,
    /// What every app inside waits for.
    pub dependencies: BTreeSet<PathId>,
    /// Its own apps, each an answer of [`app_info`](crate::present::app_info).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<Box<RawValue>>>,
    /// There are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<[(); 0]>,
    /// Its own groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupInfo>>,
    /// The version of the tree.
    #[serde(serialize_with = "timestamp::as_text")]
    pub version: Timestamp,
    /// MA-69.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforce_role: Option<bool>,
}

/// A group with what is in it, made from flat lists. `apps` has each app's answer; only those in the group
/// are used. The group is assumed to exist.
pub fn show(
    group: &PathId,
    apps: BTreeMap<PathId, Box<RawValue>>,
    groups: &BTreeMap<PathId, GroupFacts>,
    version: Timestamp,
    embed: GroupEmbed,
) -> GroupInfo {
    let mut children: BTreeMap<PathId, BTreeSet<PathId>> = BTreeMap::new();
    let mut own_apps: BTreeMap<PathId, Vec<Box<RawValue>>> = BTreeMap::new();
    let app_groups = apps.keys().filter_map(PathId::parent).collect::<Vec<_>>();
    for start in groups.keys().cloned().chain(app_groups).filter(|id| id.is_within(group)) {
        let mut below = start;
        while below != *group {
            let Some(above) = below.parent() else { break };
            let is_known = !children.entry(above.clone()).or_default().insert(below);
            if is_known {
                break;
            }
            below = above;
        }
    }
    for (id, app) in apps {
        if let Some(parent) = id.parent().filter(|parent| parent.is_within(group)) {
            own_apps.entry(parent).or_default().push(app);
        }
    }
    Shown { children, own_apps, groups, version, embed }.group(group)
}

struct Shown<'a> {
    children: BTreeMap<PathId, BTreeSet<PathId>>,
    own_apps: BTreeMap<PathId, Vec<Box<RawValue>>>,
    groups: &'a BTreeMap<PathId, GroupFacts>,
    version: Timestamp,
    embed: GroupEmbed,
}

impl Shown<'_> {
    /// An id has sixteen segments at most, and so has this that many calls.
    fn group(&mut self, id: &PathId) -> GroupInfo {
        let facts = self.groups.get(id).cloned().unwrap_or_default();
        let apps = self.own_apps.remove(id).unwrap_or_default();
        let groups = self.embed.groups.then(|| {
            let children = self.children.remove(id).unwrap_or_default();
            children.iter().map(|child| self.group(child)).collect()
        });
        GroupInfo {
            id: id.clone(),
            dependencies: facts.dependencies,
            apps: self.embed.apps.then_some(apps),
            pods: self.embed.pods.then_some([]),
            groups,
            version: self.version,
            enforce_role: facts.enforce_role,
        }
    }
}
