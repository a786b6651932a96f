//! What a body asks for, of a group.

use std::collections::BTreeSet;

use serde_json::Value;
use slipway_model::app::{PATH_ID_SEGMENTS_MAX, PathId};
use slipway_model::unit::Timestamp;

use crate::app::{AppDefinition, AppUpdate};
use crate::decimal::Decimal;
use crate::error::Error;
use crate::json::{self, Fields, Problems};

/// What one group waits for, itself.
const DEPENDENCIES_MAX: usize = 100;

/// What a body asks for, and of which group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupChange {
    /// It shall be as it was then.
    Rollback {
        /// Which.
        group: PathId,
        /// When.
        version: Timestamp,
    },
    /// Every app in it shall have so many times its copies.
    Scale {
        /// Which.
        group: PathId,
        /// How many times.
        by: Decimal,
    },
    /// Anything else.
    Update(GroupUpdate),
}

/// What a body says of a group: what it does not say is `None`, and stays. Apps are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupUpdate {
    /// Absolute.
    pub id: PathId,
    /// All of its own apps.
    pub apps: Option<Vec<AppDefinition>>,
    /// All of its own groups.
    pub groups: Option<Vec<GroupUpdate>>,
    /// What every app inside waits for.
    pub dependencies: Option<BTreeSet<PathId>>,
    /// MA-69.
    pub enforce_role: Option<bool>,
}

impl GroupChange {
    /// Reads a body that was sent to that group's path. An id in it is resolved against the path; without
    /// one the path's own group is meant.
    ///
    /// # Errors
    /// When it is no JSON, or anything in it is wrong.
    pub fn read(body: &[u8], path: &PathId) -> Result<Self, Error> {
        Self::of_value(json::parse(body)?, path)
    }

    /// The same for a body that is parsed already.
    ///
    /// # Errors
    /// When anything in it is wrong.
    pub fn of_value(body: Value, path: &PathId) -> Result<Self, Error> {
        let mut problems = Problems::default();
        let change = Self::of_fields(body, path, &mut problems);
        problems.finish()?;
        Ok(change.expect("what cannot be read has been noted"))
    }

    /// The group that is meant.
    pub fn group(&self) -> &PathId {
        match self {
            GroupChange::Rollback { group, .. } | GroupChange::Scale { group, .. } => group,
            GroupChange::Update(update) => &update.id,
        }
    }

    fn of_fields(value: Value, path: &PathId, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, "", problems)?;
        let id: Option<String> = fields.get("id");
        let group = match id {
            Some(id) => json::id(&id, path, "/id", fields.problems)?,
            None => path.clone(),
        };
        let version: Option<Timestamp> = fields.get("version");
        let scale_by: Option<Decimal> = fields.get("scaleBy");
        let alone = "not allowed in conjunction with other properties.";
        if version.is_some() && (scale_by.is_some() || fields.has_more()) {
            fields.complain("version", alone);
        }
        if scale_by.is_some() && fields.has_more() {
            fields.complain("scaleBy", alone);
        }
        match (version, scale_by) {
            (Some(version), _) => Some(GroupChange::Rollback { group, version }),
            (None, Some(by)) => Some(GroupChange::Scale { group, by }),
            (None, None) => Some(GroupChange::Update(read(fields, group))),
        }
    }
}

/// Reads the body of a `PATCH`: nothing but `enforceRole` (MA-12).
///
/// # Errors
/// When it is no JSON, or says anything else.
pub fn read_partial(body: Value) -> Result<Option<bool>, Error> {
    let mut problems = Problems::default();
    let enforce_role = Fields::of(body, "", &mut problems).and_then(|mut fields| {
        let enforce_role = fields.get("enforceRole");
        fields.end();
        enforce_role
    });
    problems.finish()?;
    Ok(enforce_role)
}

fn read(mut fields: Fields<'_>, id: PathId) -> GroupUpdate {
    let dependencies: Option<Vec<String>> = fields.get("dependencies");
    let dependencies =
        dependencies.map(|ids| json::ids(ids, &id, &fields.path("dependencies"), fields.problems));
    if dependencies.as_ref().is_some_and(|ids| ids.len() > DEPENDENCIES_MAX) {
        fields.complain("dependencies", format!("at most {DEPENDENCIES_MAX}"));
    }
    if fields.get::<Vec<Value>>("pods").is_some_and(|pods| !pods.is_empty()) {
        fields.complain("pods", "pods are not supported; describe each container as an app");
    }
    let apps = fields.get::<Vec<Value>>("apps").map(|apps| read_apps(apps, &id, &mut fields));
    let groups = fields.get::<Vec<Value>>("groups").map(|groups| read_groups(groups, &id, &mut fields));
    let enforce_role = fields.get("enforceRole");
    fields.end();
    GroupUpdate { id, apps, groups, dependencies, enforce_role }
}

fn read_apps(values: Vec<Value>, group: &PathId, fields: &mut Fields<'_>) -> Vec<AppDefinition> {
    let mut apps = Vec::with_capacity(values.len());
    let mut seen = BTreeSet::new();
    for (place, value) in values.into_iter().enumerate() {
        let path = fields.path(&format!("apps({place})"));
        let Some(update) = AppUpdate::from_value(value, group, &path, fields.problems) else { continue };
        let Some(id) = child(update.id(), group, &mut seen, &path, fields.problems) else { continue };
        apps.push(update.build(id, &path, fields.problems));
    }
    apps
}

fn read_groups(values: Vec<Value>, group: &PathId, fields: &mut Fields<'_>) -> Vec<GroupUpdate> {
    let mut groups = Vec::with_capacity(values.len());
    let mut seen = BTreeSet::new();
    for (place, value) in values.into_iter().enumerate() {
        let path = fields.path(&format!("groups({place})"));
        let Some(mut inner) = Fields::of(value, &path, fields.problems) else { continue };
        // Answers have it at every group.
        inner.ignore(&["version"]);
        if inner.raw("scaleBy").is_some() {
            inner.complain("scaleBy", "is said of the group that the request names only");
        }
        let id: Option<String> = inner.must("id");
        let Some(id) = id.and_then(|id| json::id(&id, group, &inner.path("id"), inner.problems)) else {
            continue;
        };
        let id = child(Some(&id), group, &mut seen, &path, inner.problems);
        // An id has a bound of segments, and so have groups in one another.
        let Some(id) = id.filter(|id| id.segments().count() <= PATH_ID_SEGMENTS_MAX) else { continue };
        groups.push(read(inner, id));
    }
    groups
}

fn child(
    id: Option<&PathId>,
    group: &PathId,
    seen: &mut BTreeSet<PathId>,
    path: &str,
    problems: &mut Problems,
) -> Option<PathId> {
    let path = format!("{path}/id");
    let Some(id) = id else {
        problems.add(path, "is missing");
        return None;
    };
    if id.parent().as_ref() != Some(group) {
        problems.add(path, format!("Identifier is not child of '{group}'. Hint: use relative paths."));
        return None;
    }
    if !seen.insert(id.clone()) {
        problems.add(path, format!("{id} is described twice"));
        return None;
    }
    Some(id.clone())
}
