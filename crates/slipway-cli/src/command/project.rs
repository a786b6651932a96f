//! Projects, environments, domains.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use slipway_api::client::query;
use slipway_api::wire::*;
use slipway_model::name::{EnvironmentName, EnvironmentPath, ProjectPath};

use crate::args::{Domains, Environments, Projects};
use crate::printer::{ago, table};
use crate::session::{Session, at};

pub async fn projects(session: &Session, verb: Projects) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Projects::List { tenant } => {
            let mut projects = Items { items: Vec::new() };
            let tenants = match tenant {
                Some(tenant) => vec![tenant],
                None => client.get::<Me>("/v1/me").await?.tenants.into_iter().map(|t| t.name).collect(),
            };
            for tenant in tenants {
                let of_tenant: Items<ProjectInfo> =
                    client.get(&format!("/v1/tenants/{tenant}/projects")).await?;
                projects.items.extend(of_tenant.items);
            }
            session.printer.result(&projects, || {
                let row = |p: &ProjectInfo| {
                    let environments: Vec<&str> =
                        p.environments.iter().map(|e| e.path.environment.as_str()).collect();
                    [p.path.to_string(), environments.join(" "), ago(p.created_at)]
                };
                table(["PROJECT", "ENVIRONMENTS", "CREATED"], projects.items.iter().map(row))
            })
        }
        Projects::Create { path, environments, print } => {
            let request = CreateProject { name: path.project.clone(), environments: Some(environments) };
            let answer: NewProject =
                client.post(&format!("/v1/tenants/{}/projects", path.tenant), &request).await?;
            if !print {
                write_manifest(session, &answer.manifest)?;
                add_remotes(session, &answer.about);
            }
            let shown = print || session.printer.is_json();
            session.printer.note(&format!("Created project {path}"));
            if !shown {
                session.printer.note("Next: git add slipway.yaml, git commit, git push paas-dev main");
                return Ok(());
            }
            session.printer.result(&answer, || answer.manifest.clone())
        }
        Projects::Show { path } => {
            let project: ProjectInfo = client.get(&format!("/v1/projects/{path}")).await?;
            session.printer.result(&project, || {
                let mut text =
                    format!("{path}, created {} by {}\n", ago(project.created_at), project.created_by);
                for environment in &project.environments {
                    let live = environment.live.map_or("nothing runs".to_owned(), |live| live.to_string());
                    text += &format!(
                        "\n{}: {live}, deploys from {}\n  {}\n",
                        environment.path.environment, environment.deploy_branch, environment.git_url
                    );
                    for url in &environment.urls {
                        text += &format!("  {url}\n");
                    }
                }
                text
            })
        }
        Projects::Credential { path } => {
            let answer: NewCredential =
                client.post(&format!("/v1/projects/{path}/credential"), &Done {}).await?;
            session
                .printer
                .note("Put this into slipway.yaml and commit it; the old one is refused from now on:");
            session.printer.result(&answer, || format!("credential: {}", answer.credential))
        }
        Projects::Delete { path, confirm } => {
            if path != confirm {
                bail!("--confirm must repeat {path}");
            }
            let answer: Done = client.delete(&format!("/v1/projects/{path}")).await?;
            session.printer.result(&answer, || format!("Deleted {path}"))
        }
    }
}

pub async fn environments(session: &Session, verb: Environments) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Environments::Create { path, name } => {
            let path = environment_path(&path, name)?;
            let request = CreateEnvironment { name: path.environment.clone() };
            let url = format!("/v1/projects/{}/environments", path.project());
            let environment: EnvironmentInfo = client.post(&url, &request).await?;
            session.printer.result(&environment, || format!("Created {path}"))?;
            let name = &path.environment;
            session.printer.note(&format!("Next: git remote add paas-{name} {}", environment.git_url));
            Ok(())
        }
        Environments::Delete { path, name, confirm } => {
            let path = environment_path(&path, name)?;
            if confirm != path.environment.as_str() && confirm != path.to_string() {
                bail!("--confirm must repeat {}", path.environment);
            }
            let answer: Done = client.delete(&at(&path, "")).await?;
            session.printer.result(&answer, || format!("Deleted {path}"))
        }
        Environments::Remote { at: place } => {
            let path = session.environment(&place)?;
            let environment: EnvironmentInfo = client.get(&at(&path, "")).await?;
            session.printer.result(&environment, || environment.git_url.clone())
        }
    }
}

/// `acme/shop/dev`, or `acme/shop` and `dev`.
fn environment_path(path: &str, name: Option<EnvironmentName>) -> anyhow::Result<EnvironmentPath> {
    match name {
        Some(name) => Ok(path.parse::<ProjectPath>()?.environment(name)),
        None => path
            .parse()
            .with_context(|| format!("which environment of {path}? write tenant/project/environment")),
    }
}

pub async fn domains(session: &Session, verb: Domains) -> anyhow::Result<()> {
    let client = session.client()?;
    let told = |domain: &DomainInfo| match &domain.challenge {
        Some(challenge) => format!(
            "{} is claimed and waits for proof. Add this record to its DNS, then run: slipway domains verify {}\n\
             _slipway-challenge.{}  TXT  \"{challenge}\"",
            domain.host, domain.host, domain.host
        ),
        None => format!("{} leads to {}", domain.host, domain.service),
    };
    match verb {
        Domains::List { at: place } => {
            let path = session.environment(&place)?;
            let domains: Items<DomainInfo> = client.get(&at(&path, "/domains")).await?;
            session.printer.result(&domains, || {
                let row = |d: &DomainInfo| [d.host.clone(), d.service.to_string(), d.state.clone()];
                table(["HOST", "SERVICE", "STATE"], domains.items.iter().map(row))
            })
        }
        Domains::Add { host, service, at: place } => {
            let path = session.environment(&place)?;
            let domain: DomainInfo =
                client.post(&at(&path, "/domains"), &AddDomain { host, service }).await?;
            session.printer.result(&domain, || told(&domain))
        }
        Domains::Verify { host, at: place } => {
            let path = session.environment(&place)?;
            let url = at(&path, &format!("/domains/{}/verify", query(&host)));
            let domain: DomainInfo = client.post(&url, &Done {}).await?;
            session.printer.result(&domain, || told(&domain))
        }
        Domains::Remove { host, at: place } => {
            let path = session.environment(&place)?;
            let answer: Done = client.delete(&at(&path, &format!("/domains/{}", query(&host)))).await?;
            session.printer.result(&answer, || format!("{host} leads nowhere now"))
        }
    }
}

fn write_manifest(session: &Session, manifest: &str) -> anyhow::Result<()> {
    let path = Path::new("slipway.yaml");
    if path.exists() {
        session.printer.note("There is a slipway.yaml here already; it stays. The new one would be:");
        return session.printer.data(manifest.as_bytes());
    }
    fs::write(path, manifest).context("cannot write slipway.yaml")?;
    session.printer.note("Wrote slipway.yaml");
    Ok(())
}

/// Adds `paas-<environment>` for each environment when this directory is a git repository.
fn add_remotes(session: &Session, project: &ProjectInfo) {
    let inside = Command::new("git").args(["rev-parse", "--git-dir"]).stderr(Stdio::null()).output();
    if !inside.is_ok_and(|output| output.status.success()) {
        session.printer.note(
            "This is no git repository yet: git init, then git remote add as `slipway projects show` says",
        );
        return;
    }
    for environment in &project.environments {
        let name = format!("paas-{}", environment.path.environment);
        let added = Command::new("git")
            .args(["remote", "add", "--", &name, &environment.git_url])
            .stderr(Stdio::null())
            .status();
        match added {
            Ok(status) if status.success() => {
                session.printer.note(&format!("Added git remote {name}: {}", environment.git_url));
            }
            _ => session.printer.note(&format!("Could not add git remote {name}: {}", environment.git_url)),
        }
    }
}
