//! The loaders, and what a loaded record lets one reach.
//!
//! A loader looks up the tenant, the caller's role in it and the record, always all of them, and
//! says [`Error::NotFound`] in the same words whether the record is absent or foreign. What belongs
//! to a record is reached through methods that take only the last part of its name: there is no
//! argument with which a handler could name another tenant's.

use std::ops::Deref;

use slipway_model::account::{Member, Right, Role, Tenant};
use slipway_model::deployment::Deployment;
use slipway_model::id::{BuildNumber, DeploymentNumber, InstanceId, ReleaseNumber};
use slipway_model::instance::RunRequest;
use slipway_model::name::{EnvironmentPath, ProjectPath, TenantName};
use slipway_model::project::{Environment, Project};
use slipway_model::push::{Build, BuildCancellation, Push};
use slipway_model::record::Record;
use slipway_model::release::{Release, ReleaseRequest};
use slipway_store::{Version, Versioned};

use crate::access::Access;
use crate::caller::Caller;
use crate::error::Error;

mod tenant;

mod member;

mod project;

mod environment;

mod config;

mod domain;

mod request;

mod app;

mod view;

pub(crate) use app::AppsCache;
pub use app::PushedService;
pub use app::{
    AppDraft, AppHosts, AppsChange, AppsChanged, AppsState, Difference, GroupDraft, PushedEnvironment,
};
pub use config::{ConfigChange, ConfigVariable};
pub use tenant::NewProject;
pub use view::AppsView;

/// A record that the caller may see, with what it takes to go on from there. Made by the loaders
/// only.
#[derive(Debug, Clone)]
pub struct Scoped<T> {
    access: Access,
    caller: Caller,
    /// The caller's role in the tenant, as far as its proof lets it act.
    role: Role,
    tenant: Tenant,
    found: Versioned<T>,
}

impl Access {
    /// A tenant, for a caller with that right in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it does not exist or the caller has no right at all in it;
    /// [`Error::Forbidden`] when the role is too low; [`Error::NotAuthenticated`]; [`Error::Store`].
    pub async fn tenant(
        &self,
        caller: &Caller,
        name: &TenantName,
        right: Right,
    ) -> Result<Scoped<Tenant>, Error> {
        let (tenant, role) = self.role_in(caller, name).await?;
        self.scoped(caller, name.to_string(), role, right, tenant.clone(), tenant).await
    }

    /// A project, for a caller with that right in its tenant.
    ///
    /// # Errors
    /// As for [`Access::tenant`].
    pub async fn project(
        &self,
        caller: &Caller,
        path: &ProjectPath,
        right: Right,
    ) -> Result<Scoped<Project>, Error> {
        let (tenant, role) = self.role_in(caller, &path.tenant).await?;
        let found = self.get::<Project>(path).await?;
        self.scoped(caller, path.to_string(), role, right, tenant, found).await
    }

    /// An environment, for a caller with that right in its tenant.
    ///
    /// # Errors
    /// As for [`Access::tenant`].
    pub async fn environment(
        &self,
        caller: &Caller,
        path: &EnvironmentPath,
        right: Right,
    ) -> Result<Scoped<Environment>, Error> {
        let (tenant, role) = self.role_in(caller, &path.tenant).await?;
        let found = self.get::<Environment>(path).await?;
        self.scoped(caller, path.to_string(), role, right, tenant, found).await
    }

    /// The tenant and the caller's role in it, each if there is one. Both are looked up in any case.
    async fn role_in(
        &self,
        caller: &Caller,
        name: &TenantName,
    ) -> Result<(Option<Versioned<Tenant>>, Option<Role>), Error> {
        let standing = self.standing(caller).await?;
        let tenant = self.get::<Tenant>(name).await?;
        let member = self.get::<Member>(&(name.clone(), caller.user().clone())).await?;
        Ok((tenant, standing.role_in(name, member.map(|member| member.record.role))))
    }

    async fn scoped<T>(
        &self,
        caller: &Caller,
        what: String,
        role: Option<Role>,
        right: Right,
        tenant: Option<Versioned<Tenant>>,
        found: Option<Versioned<T>>,
    ) -> Result<Scoped<T>, Error> {
        let (Some(tenant), Some(role), Some(found)) = (tenant, role, found) else {
            return Err(Error::NotFound { what });
        };
        let scoped =
            Scoped { access: self.clone(), caller: caller.clone(), role, tenant: tenant.record, found };
        scoped.require(right)?;
        Ok(scoped)
    }
}

impl<T> Scoped<T> {
    /// Who asked for it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The caller's role in the tenant; an operator counts as an owner.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The tenant that it belongs to.
    pub fn owner(&self) -> &Tenant {
        &self.tenant
    }

    /// The version of the record, as it was loaded.
    pub fn version(&self) -> Version {
        self.found.version
    }

    /// Refuses a caller whose role does not have that right.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn require(&self, right: Right) -> Result<(), Error> {
        if self.role.allows(right) {
            return Ok(());
        }
        Err(Error::Forbidden { needs: right.role_min(), has: self.role })
    }
}

impl<T> Deref for Scoped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.found.record
    }
}

macro_rules! again {
    ($type:ty, $loader:ident, $key:ident) => {
        impl Scoped<$type> {
            /// Loads it again, as it is now, for the same caller. Fails when the caller's right has
            /// been taken away since; whoever keeps a stream open asks now and then.
            ///
            /// # Errors
            /// As for [`Access::tenant`].
            pub async fn again(&self, right: Right) -> Result<Self, Error> {
                self.access.$loader(&self.caller, &self.found.record.$key, right).await
            }
        }
    };
}
again!(Tenant, tenant, name);
again!(Project, project, path);
again!(Environment, environment, path);

/// Records that belong to one environment and are numbered or named in it.
pub trait InEnvironment: Record<Key = (EnvironmentPath, Self::Id)> + sealed::Sealed {
    /// What tells them apart within their environment.
    type Id: Clone + std::fmt::Display + Send + Sync;
    /// What one of them is called in a message.
    const KIND: &'static str;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! in_environment {
    ($type:ty, $id:ty, $kind:literal) => {
        impl sealed::Sealed for $type {}
        impl InEnvironment for $type {
            type Id = $id;
            const KIND: &'static str = $kind;
        }
    };
}
in_environment!(Push, BuildNumber, "build");
in_environment!(Build, BuildNumber, "build");
in_environment!(BuildCancellation, BuildNumber, "cancellation of build");
in_environment!(Release, ReleaseNumber, "release");
in_environment!(ReleaseRequest, String, "request");
in_environment!(Deployment, DeploymentNumber, "deployment");
in_environment!(RunRequest, InstanceId, "run");

impl Scoped<Environment> {
    /// One record of this environment.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn get<R: InEnvironment>(&self, id: R::Id) -> Result<Versioned<R>, Error> {
        let what = format!("{} {id} of {}", R::KIND, self.path);
        let found = self.access.get::<R>(&(self.path.clone(), id)).await?;
        found.ok_or(Error::NotFound { what })
    }

    /// All records of a kind of this environment, oldest first where they are numbered.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list<R: InEnvironment>(&self) -> Result<Vec<Versioned<R>>, Error> {
        self.access.list(&self.path.to_string()).await
    }
}
