//! A release: image, config and process list, fixed together and numbered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{BuildNumber, CommitId, ReleaseNumber};
use crate::name::{ConfigKey, EnvironmentPath, ServiceName, UserName};
use crate::project::ConfigEntry;
use crate::push::ImageRef;
use crate::service::ServiceSpec;
use crate::unit::Timestamp;

/// Immutable. Written by the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Where it belongs.
    pub environment: EnvironmentPath,
    /// Its number there.
    pub number: ReleaseNumber,
    /// What runs.
    pub image: ImageRef,
    /// The commit the image was built from, when it came from a push.
    pub commit: Option<CommitId>,
    /// The services, as they were when it was made. Scale is not part of a release.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// Runs once before this release takes over.
    pub release_command: Option<String>,
    /// Config variables and secrets as they were when it was made.
    pub config: BTreeMap<ConfigKey, ConfigEntry>,
    /// Where it came from.
    pub origin: Origin,
    /// Who caused it.
    pub by: UserName,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Where a release came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Origin {
    /// A push to this environment.
    Build {
        /// Its number.
        number: BuildNumber,
    },
    /// The live release with other config.
    Config,
    /// A copy of an earlier one.
    Rollback {
        /// Which.
        to: ReleaseNumber,
    },
    /// A release of another environment of the project, without a rebuild.
    Promotion {
        /// The other environment.
        environment: EnvironmentPath,
        /// The release there.
        release: ReleaseNumber,
    },
    /// An image that was pushed to the registry from outside.
    Image,
    /// A version of an app.
    App {
        /// Which.
        version: Timestamp,
    },
}

/// A wish for a release that needs no build: rollback, promotion, image. Written by the API,
/// turned into a [`Release`] and a deployment by the leader, then deleted in the same batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRequest {
    /// Where to.
    pub environment: EnvironmentPath,
    /// A random id that tells requests apart; the API follows it to the deployment.
    pub id: String,
    /// What is wanted.
    pub wanted: WantedRelease,
    /// Who asked.
    pub by: UserName,
    /// When.
    pub created_at: Timestamp,
}

/// What a [`ReleaseRequest`] asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wanted", rename_all = "kebab-case")]
pub enum WantedRelease {
    /// An earlier release of the same environment again.
    Rollback {
        /// Which.
        to: ReleaseNumber,
    },
    /// The image and services of another environment's release.
    Promotion {
        /// The other environment.
        environment: EnvironmentPath,
        /// The release there.
        release: ReleaseNumber,
    },
    /// An image of the tenant's repository, run as one service.
    Image {
        /// Which.
        image: ImageRef,
        /// The services that run it.
        services: BTreeMap<ServiceName, ServiceSpec>,
    },
}
