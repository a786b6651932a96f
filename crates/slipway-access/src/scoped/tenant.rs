//! What belongs to a tenant: projects, and the tenant itself. Members are in `member`.

use std::collections::BTreeMap;

use slipway_model::account::{Invitation, Member, Right, Tenant};
use slipway_model::app::{APPS_PROJECT, App};
use slipway_model::instance::Assignments;
use slipway_model::limit::{ENVIRONMENTS_MAX, PROJECTS_MAX};
use slipway_model::name::{EnvironmentName, EnvironmentPath, ProjectName, ProjectPath};
use slipway_model::project::{Environment, EnvironmentStatus, Project};
use slipway_store::Batch;

use super::Scoped;
use crate::access::{Access, TRIES, too_busy};
use crate::error::Error;
use crate::secret::{self, Purpose};

/// The branch whose pushes deploy, until somebody chooses another.
const DEPLOY_BRANCH: &str = "main";

/// A project that has just been made, with what is shown this once.
#[derive(Clone)]
pub struct NewProject {
    /// The project.
    pub project: Project,
    /// The `credential` for `slipway.yaml`.
    pub credential: String,
}

impl Scoped<Tenant> {
    /// The projects.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        let projects = self.access.list::<Project>(self.name.as_str()).await?;
        Ok(projects.into_iter().map(|project| project.record).collect())
    }

    /// The path of a project of this tenant.
    pub fn path_of(&self, project: ProjectName) -> ProjectPath {
        ProjectPath { tenant: self.name.clone(), project }
    }

    /// Makes a project with environments. Needs [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::Rule`] where there are apps, [`Error::Limit`], [`Error::Forbidden`],
    /// [`Error::Busy`] while one of the same name is still being deleted, [`Error::Store`].
    pub async fn create_project(
        &self,
        name: &ProjectName,
        environments: &[EnvironmentName],
    ) -> Result<NewProject, Error> {
        if environments.len() > ENVIRONMENTS_MAX {
            return Err(Error::Limit { what: "environments in one project", max: ENVIRONMENTS_MAX });
        }
        if environments.iter().enumerate().any(|(place, name)| environments[..place].contains(name)) {
            return Err(Error::invalid("an environment is named twice"));
        }
        if name.as_str() == APPS_PROJECT {
            return Err(Error::invalid(format!(
                "no project can be called {APPS_PROJECT}: the environments of apps are there; choose another name"
            )));
        }
        let path = self.path_of(name.clone());
        let credential = secret::make(Purpose::Credential, &[]);
        for _ in 0..TRIES {
            let tenant = self.again(Right::Administer).await?;
            if self.access.get::<Project>(&path).await?.is_some() {
                return Err(Error::Taken { what: format!("the project {path}") });
            }
            if tenant.projects().await?.len() >= PROJECTS_MAX {
                return Err(Error::Limit { what: "projects in one tenant", max: PROJECTS_MAX });
            }
            let project = Project {
                path: path.clone(),
                credential_hash: secret::hash(&credential),
                created_at: self.access.now(),
                created_by: self.caller.user().clone(),
            };
            // The tenant is written as it is, so that its deletion, decided on the list of projects
            // before this one, finds another version.
            let mut batch = Batch::new().update(&tenant.found.record, tenant.version()).create(&project);
            let environments: Vec<_> =
                environments.iter().map(|name| path.environment(name.clone())).collect();
            batch = self.access.refuse_apps_in(batch, &self.tenant, &environments).await?;
            for environment in environments {
                self.access.refuse_leftovers(&environment).await?;
                batch = create_environment(batch, new_environment(&self.access, environment));
            }
            if self.access.commit(batch).await? {
                return Ok(NewProject { project, credential });
            }
        }
        Err(too_busy())
    }

    /// Deletes the tenant with its members and invitations. Needs [`Right::Own`].
    ///
    /// # Errors
    /// [`Error::Rule`] while it has projects or apps, [`Error::Forbidden`], [`Error::Store`].
    pub async fn delete(&self) -> Result<(), Error> {
        // Apart, because there may be many; what has to stay until then goes with the tenant.
        self.again(Right::Own).await?.clear_versions(&BTreeMap::new()).await?;
        for _ in 0..TRIES {
            let tenant = self.again(Right::Own).await?;
            let projects = tenant.projects().await?;
            if let Some(first) = projects.first() {
                return Err(Error::rule(format!(
                    "{} still has {} project(s), such as {}; delete them first",
                    self.name,
                    projects.len(),
                    first.path.project
                )));
            }
            let apps = self.access.list::<App>(self.name.as_str()).await?;
            if let Some(first) = apps.first() {
                return Err(Error::rule(format!(
                    "{} still has {} app(s), such as {}; delete them through /v2 first",
                    self.name,
                    apps.len(),
                    first.record.id
                )));
            }
            let mut batch = Batch::new().delete::<Tenant>(&self.name, tenant.version());
            for member in self.access.list::<Member>(self.name.as_str()).await? {
                batch = batch.delete::<Member>(&(self.name.clone(), member.record.user), member.version);
            }
            for invitation in self.access.list::<Invitation>(self.name.as_str()).await? {
                batch = batch
                    .delete::<Invitation>(&(self.name.clone(), invitation.record.id), invitation.version);
            }
            batch = self.end_apps(batch).await?;
            if self.access.commit(batch).await? {
                return Ok(());
            }
        }
        Err(too_busy())
    }
}

pub(super) fn new_environment(access: &Access, path: EnvironmentPath) -> Environment {
    Environment {
        path,
        deploy_branch: DEPLOY_BRANCH.to_owned(),
        config: Default::default(),
        scale: Default::default(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        created_at: access.now(),
        app: None,
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
    }
}

/// An environment begins with nothing of an earlier one of the same name.
pub(super) fn create_environment(batch: Batch, environment: Environment) -> Batch {
    batch
        .create(&environment)
        .absent::<EnvironmentStatus>(&environment.path)
        .absent::<Assignments>(&environment.path)
}

impl Access {
    /// Says in words why an environment cannot be made yet: the leader has not cleared away what ran
    /// in an earlier one of the same name.
    pub(super) async fn refuse_leftovers(&self, path: &EnvironmentPath) -> Result<(), Error> {
        let status = self.get::<EnvironmentStatus>(path).await?;
        let assignments = self.get::<Assignments>(path).await?;
        if status.is_some() || assignments.is_some() {
            return Err(Error::Busy {
                what: format!("the {path} that was deleted is still being cleared away"),
            });
        }
        Ok(())
    }
}
