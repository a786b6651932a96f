//! Services that are described through `/v2`, Marathon's API, instead of a push.
//!
//! An app is a service with an id like `/prod/db/main` in its tenant. It runs in an environment of its
//! own ([`environment_of`]), so that planning, nodes, logs and routes know nothing of Marathon. What
//! people want is the [`App`]; how far the leader has followed it is in
//! [`EnvironmentStatus::app`](crate::project::EnvironmentStatus::app). A [`GroupDeployment`] says in which
//! order changed apps may follow: an app waits while an open one has it in a later step (MA-52, MA-55).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::GroupDeploymentId;
use crate::name::{ConfigKey, EnvironmentName, EnvironmentPath, NameError, ProjectName, ServiceName};
use crate::name::{TenantName, UserName};
use crate::project::ConfigEntry;
use crate::push::ImageRef;
use crate::service::ServiceSpec;
use crate::unit::Timestamp;

/// Longest id: it has to fit into a key of the store, twice.
pub const PATH_ID_BYTES_MAX: usize = 255;
/// Groups below one another.
pub const PATH_ID_SEGMENTS_MAX: usize = 16;
/// Apps and groups of one tenant together.
pub const APPS_MAX: usize = 10_000;
/// Bytes of the definitions of all apps of one tenant. Some ten copies of each are in the server's memory, in
/// other forms, so this is 300 MiB there; ten thousand apps of usual size have 20 MiB.
pub const APPS_BYTES_MAX: usize = 32 << 20;
/// Versions of one app that are kept (Marathon keeps as many, MA-73).
pub const APP_VERSIONS_KEPT: usize = 50;
/// Bytes of the definitions of those versions, the newest not counted: of a large app fewer versions are
/// kept.
pub const APP_VERSIONS_BYTES_MAX: usize = 1 << 20;
/// Deleted apps of one tenant of which versions are kept.
pub const GONE_APPS_KEPT: usize = 1_000;
/// Bytes of those versions, more or less.
pub const GONE_APPS_BYTES_MAX: u64 = 16 << 20;
/// How often an app may have been deleted and made again for its versions of then to be told apart.
pub const APP_ENDS_KEPT: usize = 16;
/// Group deployments of one tenant that are open (MA-25: `max_running_deployments`).
pub const GROUP_DEPLOYMENTS_MAX: usize = 100;
/// The project under which the environments of apps live. No project that is pushed can have this name.
pub const APPS_PROJECT: &str = "apps";
/// The one service in the environment of an app.
pub const APP_SERVICE: &str = "app";

/// The id of an app or a group: `/`, or segments of `[a-z0-9]`, `-` and `.` inside, each after a `/`
/// (`seed-systems.md` 2.2). Absolute within its tenant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathId(String);

impl PathId {
    /// `/`, the group that holds everything.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// As text, `/` at the front.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The parts between the slashes; none for `/`.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// The group that it is in; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        let (front, _) = self.0.rsplit_once('/').filter(|_| !self.is_root())?;
        Some(if front.is_empty() { Self::root() } else { Self(front.to_owned()) })
    }

    /// True when it is in that group or in one below it, or is it.
    pub fn is_within(&self, group: &Self) -> bool {
        let rest = self.0.strip_prefix(&group.0);
        group.is_root() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What a text means inside a group: `db`, `../db/x`, `/prod/db`. Doubled and trailing slashes are
    /// forgiven (MA-27).
    ///
    /// # Errors
    /// When a segment has other characters, or `..` leads above the root.
    pub fn resolve(&self, text: &str) -> Result<Self, NameError> {
        let bad = |why| NameError::new("id", text, why);
        let mut segments: Vec<&str> =
            if text.starts_with('/') { Vec::new() } else { self.segments().collect() };
        for segment in text.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop().ok_or_else(|| bad("'..' leads above the root"))?),
                segment if is_segment(segment) => segments.push(segment),
                _ => {
                    return Err(bad("a segment has lower-case letters, digits, and '-' or '.' between them"));
                }
            }
        }
        if segments.len() > PATH_ID_SEGMENTS_MAX {
            return Err(bad("it has more than 16 segments"));
        }
        let path = format!("/{}", segments.join("/"));
        if path.len() > PATH_ID_BYTES_MAX {
            return Err(bad("it is longer than 255 characters"));
        }
        Ok(Self(path))
    }
}

fn is_segment(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let is_outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    is_outer(bytes.first()) && is_outer(bytes.last()) && bytes.iter().all(|b| is_inner(*b))
}

impl FromStr for PathId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::root().resolve(text)
    }
}

impl TryFrom<String> for PathId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<PathId> for String {
    fn from(id: PathId) -> String {
        id.0
    }
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The environment in which an app runs: `acme/apps/db-main-5f2c90ab`. The name is made from the end of
/// the id, for people, and from a hash of all of it, so that two apps never share one.
pub fn environment_of(tenant: &TenantName, app: &PathId) -> EnvironmentPath {
    // FNV-1a: stable over versions and machines, which the hashers of std do not promise.
    let hash = app.0.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut slug = String::from("a");
    let words = app.0.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<_> = words.collect();
    // The last words tell most.
    let mut kept: Vec<&str> = Vec::new();
    let mut bytes = 0;
    for word in words.iter().rev() {
        if bytes + word.len() + 1 > 16 {
            break;
        }
        bytes += word.len() + 1;
        kept.push(word);
    }
    for word in kept.iter().rev() {
        slug.push('-');
        slug.push_str(word);
    }
    let name = format!("{slug}-{:010x}", hash & 0xff_ffff_ffff);
    let known = |text: &str| -> Option<EnvironmentName> { text.parse().ok() };
    EnvironmentPath {
        tenant: tenant.clone(),
        project: ProjectName::from_str(APPS_PROJECT).expect("a constant"),
        environment: known(&name).expect("made of letters, digits and single dashes, 28 at most"),
    }
}

/// The service of an app's environment.
pub fn app_service() -> ServiceName {
    ServiceName::from_str(APP_SERVICE).expect("a constant")
}

/// The group that the services of a pushed environment are in: `/prod/shop` for `acme/shop/prod`.
pub fn pushed_group(environment: &EnvironmentPath) -> PathId {
    PathId(format!("/{}/{}", environment.environment, environment.project))
}

/// The id of a service of a push: `/prod/shop/web` for `web` of `acme/shop/prod`.
pub fn pushed_service(environment: &EnvironmentPath, service: &ServiceName) -> PathId {
    PathId(format!("/{}/{}/{service}", environment.environment, environment.project))
}

/// What a tenant wants of one app now. Written by the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Whose.
    pub tenant: TenantName,
    /// Its id there.
    pub id: PathId,
    /// Which version this is. Unique for the app, and rising.
    pub version: Timestamp,
    /// The version that last changed anything but the number of copies (MA-33): instances of an older one
    /// are replaced.
    pub config_version: Timestamp,
    /// The version that last changed the number of copies.
    pub scaled_version: Timestamp,
    /// Rises with each restart that somebody asks for.
    pub restart_generation: u64,
    /// The app as Marathon's JSON, in the normal form of 1.11, without what only answers have.
    pub definition: String,
    /// The same, as the leader needs it.
    pub spec: ServiceSpec,
    /// What runs.
    pub image: ImageRef,
    /// Where the value of each secret is read from: `<project>/<environment>/<KEY>` of the tenant
    /// (MA-71).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<ConfigKey, String>,
    /// The same secrets as they were read, sealed for the app's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<ConfigKey, ConfigEntry>,
    /// Who changed it last.
    pub by: UserName,
}

impl App {
    /// Where it runs.
    pub fn environment(&self) -> EnvironmentPath {
        environment_of(&self.tenant, &self.id)
    }
}

/// A version of an app that is not the newest any more, as people look it up or go back to it. Written
/// by the API when another takes its place; so many are kept that with the newest there are
/// [`APP_VERSIONS_KEPT`], also for a while after the app is gone ([`GoneApp`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppVersion {
    /// The app as it was.
    pub app: App,
}

/// An app that was deleted and of which there still are versions: a group may go back to one of them, and so
/// may an open [`GroupDeployment`]. Stays when another app is made with that id, so that the versions of the
/// two can be told apart. Written by the API, which deletes it along with the last of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneApp {
    /// Whose.
    pub tenant: TenantName,
    /// Its id there.
    pub id: PathId,
    /// The versions of the root group that it was deleted with, oldest first; the last
    /// [`APP_ENDS_KEPT`].
    #[serde(default)]
    pub ends: Vec<Timestamp>,
    /// What its versions have, more or less.
    #[serde(default)]
    pub bytes: u64,
}

/// A group that says something of its own. One that only exists because an app is in it has no record.
/// Written by the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Whose.
    pub tenant: TenantName,
    /// Its id there.
    pub id: PathId,
    /// Apps and groups that every app inside waits for (MA-67).
    pub dependencies: Vec<PathId>,
    /// `enforceRole`, kept for clients that set it (MA-69); the tenant's quota takes its place.
    pub enforce_role: Option<bool>,
}

/// How a tenant's apps stand as a whole: rises with each change, so that two changes at once cannot both
/// think that no other is under way (MA-53). Written by the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppsRoot {
    /// Whose.
    pub tenant: TenantName,
    /// The version of the root group.
    pub version: Timestamp,
    /// How often anything was changed.
    pub changes: u64,
    /// The deployment whose apps are being written, when they are too many for one batch: some of them
    /// may not be there yet. What is not finished is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<GroupDeploymentId>,
}

/// A deployment over several services, in steps (MA-52). Written once by the API, in the batch that
/// changes the apps; deleted by the leader when every step is done, or by the API when somebody takes
/// the services over by force. How far it is can be seen from the services, so a new leader goes
/// through the steps from the first (MA-53).
///
/// One that is ended before it was done (by the API when somebody breaks it off, by the leader when an app
/// goes back by itself) is not deleted but marked as [stopped](Self::is_stopped): it locks nothing and
/// nobody is shown it, but its apps that have not begun to follow it stay as they are. The leader deletes
/// it when there are none such left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDeployment {
    /// Whose.
    pub tenant: TenantName,
    /// Its id.
    pub id: GroupDeploymentId,
    /// The version that it leads to.
    pub version: Timestamp,
    /// One after the other; the actions of one step at once.
    pub steps: Vec<Vec<GroupAction>>,
    /// The version each changed app had before, `None` when there was none (MA-54).
    pub before: BTreeMap<PathId, Option<Timestamp>>,
    /// Groups with a record that it changed, as they were.
    pub groups_before: BTreeMap<PathId, Option<Group>>,
    /// How many copies each pushed service had that it scaled.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scales_before: BTreeMap<PathId, u32>,
    /// Who caused it.
    pub by: UserName,
    /// When.
    pub created_at: Timestamp,
    /// It goes no further.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stopped: bool,
}

/// One thing that a [`GroupDeployment`] does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAction {
    /// What is done.
    pub kind: GroupActionKind,
    /// To which service: an app, or `/<environment>/<project>/<service>` of a push.
    pub app: PathId,
}

/// Marathon's names for what is done (MA-52).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GroupActionKind {
    /// It is made, with no copies yet.
    StartApplication,
    /// It is removed.
    StopApplication,
    /// It gets its number of copies.
    ScaleApplication,
    /// Its copies are replaced.
    RestartApplication,
}

mod reversal;

pub use reversal::Reversal;

#[cfg(test)]
mod tests;
