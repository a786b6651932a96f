//! A push and its build.
//!
//! The git endpoint writes a [`Push`] once its objects are safely in the repository. The builder
//! takes the oldest push of an environment that has no finished [`Build`], and writes that. The
//! leader turns a succeeded build into a release. Nobody calls anybody: each watches the records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{BuildNumber, CommitId, Digest};
use crate::name::{EnvironmentPath, ServiceName, UserName};
use crate::service::ServiceSpec;
use crate::unit::Timestamp;

/// An accepted push to the branch that deploys. Immutable. Written by the git endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Where to.
    pub environment: EnvironmentPath,
    /// Its number there; the build has the same.
    pub number: BuildNumber,
    /// What was pushed.
    pub commit: CommitId,
    /// The commit's subject line, cut to 100 characters, for lists.
    pub subject: String,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// Who pushed.
    pub by: UserName,
    /// What the pusher asked for.
    pub options: PushOptions,
    /// True when the branch did not contain its old tip.
    pub forced: bool,
    /// When the objects were in.
    pub received_at: Timestamp,
}

/// What `git push -o …` may say. An unknown option is answered with a warning line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PushOptions {
    /// `detach`: answer when the push is recorded, do not wait for the release.
    pub detach: bool,
    /// `no-cache`: build without the environment's cache.
    pub no_cache: bool,
}

/// A build. Written by the builder only; the log is beside it in blob storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Where it belongs.
    pub environment: EnvironmentPath,
    /// The number of its push.
    pub number: BuildNumber,
    /// How far it is.
    pub state: BuildState,
    /// How often a builder has begun it: more than once when the first was killed meanwhile.
    #[serde(default)]
    pub attempt: u32,
    /// When the builder took it up.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum BuildState {
    /// A builder works on it. After a crash of the builder the record still says so; the next
    /// builder to start fails it with "interrupted" or begins anew.
    Running,
    /// It produced an image.
    Succeeded {
        /// What it produced.
        image: BuiltImage,
    },
    /// It did not.
    Failed {
        /// One sentence for the pusher that names the thing at fault.
        reason: String,
    },
    /// Somebody stopped it.
    Cancelled {
        /// Who.
        by: UserName,
    },
}

impl Build {
    /// Where a build's output lies below the directory of build logs. The builder writes it, and
    /// the git endpoint and the API follow it.
    pub fn log_path(environment: &EnvironmentPath, number: BuildNumber) -> String {
        format!("{environment}/{number}.log")
    }
}

impl BuildState {
    /// True when nothing more will happen.
    pub fn is_final(&self) -> bool {
        !matches!(self, BuildState::Running)
    }
}

/// A request to stop a build, written by the API, obeyed by the builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildCancellation {
    /// Where the build belongs.
    pub environment: EnvironmentPath,
    /// Which one.
    pub number: BuildNumber,
    /// Who asked.
    pub by: UserName,
}

/// An image and what was learnt while it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// The manifest in the tenant's repository.
    pub image: ImageRef,
    /// What made it, such as `python`, for people.
    pub builder: String,
    /// The services that the tree's manifest, Procfile and buildpack describe, environment
    /// overrides applied.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// `release:` of the manifest or Procfile: runs once before the new release takes over.
    pub release_command: Option<String>,
    /// Domains that the manifest asks for in this environment.
    pub domains: Vec<String>,
}

/// An image by repository and digest; a tag is resolved to this once and then forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageRef {
    /// `tenant/project` in the built-in registry.
    pub repository: String,
    /// The manifest.
    pub digest: Digest,
}
