//! What was typed → what is meant: which server, whose token, which environment.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use slipway_api::client::Client;
use slipway_model::app::{PathId, environment_of};
use slipway_model::name::{EnvironmentName, EnvironmentPath, ProjectPath};

use crate::args;
use crate::printer::Printer;

/// The server that `slipwayd up` runs on a laptop.
const SERVER_DEFAULT: &str = "http://localhost:7070";

/// A server, a way to print, and where logins are kept.
pub struct Session {
    pub printer: Printer,
    pub server: String,
    pub home: PathBuf,
    token: Option<String>,
    logins_file: PathBuf,
    logins: Logins,
}

/// Tokens by server, and the server of the last login.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Logins {
    current: Option<String>,
    tokens: BTreeMap<String, String>,
}

/// A command of several requests says it once.
fn tell_old(as_of: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        eprintln!("slipway: no server leads at this moment; what follows was so at {as_of} and may be old");
    });
}

impl Session {
    pub fn open(global: &args::Global) -> anyhow::Result<Self> {
        let home = global.home.clone().unwrap_or_else(|| ".".into());
        let logins_file = global.logins.clone().unwrap_or_else(|| home.join(".config/slipway/logins.json"));
        let logins = read_logins(&logins_file)?;
        let server = global
            .server
            .clone()
            .or_else(|| logins.current.clone())
            .unwrap_or_else(|| SERVER_DEFAULT.to_owned());
        let server = server.trim_end_matches('/').to_owned();
        let token = global.token.clone().or_else(|| logins.tokens.get(&server).cloned());
        Ok(Self { printer: Printer::new(global.json), server, home, token, logins_file, logins })
    }

    /// A client with the token; fails with advice when there is none.
    pub fn client(&self) -> anyhow::Result<Client> {
        let client = self.anonymous()?;
        // The server's own socket knows its caller without a token.
        match &self.token {
            Some(token) => Ok(client.with_token(token.clone())),
            None if self.server.starts_with("unix:") => Ok(client),
            None => bail!("you are not logged in at {}; try: slipway login --user NAME", self.server),
        }
    }

    /// A client without a token.
    pub fn anonymous(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.server)?.when_old(tell_old))
    }

    /// Keeps a token for later commands.
    pub fn remember(&mut self, token: String) -> anyhow::Result<()> {
        self.logins.current = Some(self.server.clone());
        self.logins.tokens.insert(self.server.clone(), token);
        self.write_logins()
    }

    /// Forgets the token of this server.
    pub fn forget(&mut self) -> anyhow::Result<()> {
        self.logins.tokens.remove(&self.server);
        self.write_logins()
    }

    fn write_logins(&self) -> anyhow::Result<()> {
        let context = || format!("cannot write {}", self.logins_file.display());
        if let Some(folder) = self.logins_file.parent() {
            fs::create_dir_all(folder).with_context(context)?;
        }
        let temporary = self.logins_file.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary).with_context(context)?;
        file.write_all(&serde_json::to_vec_pretty(&self.logins)?).with_context(context)?;
        fs::rename(&temporary, &self.logins_file).with_context(context)
    }

    /// The environment a command is about, see [`args::Environment`].
    pub fn environment(&self, at: &args::Environment) -> anyhow::Result<EnvironmentPath> {
        if let Some(text) = &at.environment {
            if let Some((tenant, app)) = text.split_once(":/") {
                let app: PathId = format!("/{app}").parse()?;
                return Ok(environment_of(&tenant.parse()?, &app));
            }
            if text.contains('/') {
                return Ok(text.parse()?);
            }
            let name: EnvironmentName = text.parse()?;
            return Ok(project_here()?.environment(name));
        }
        let remotes = remotes_here();
        if let Some(name) = &at.remote {
            let found = remotes.iter().find(|(remote, _)| remote == name);
            let (_, path) =
                found.with_context(|| format!("there is no git remote {name} that leads to Slipway"))?;
            return Ok(path.clone());
        }
        match remotes.as_slice() {
            [(_, path)] => Ok(path.clone()),
            [] => bail!("which environment? say -e tenant/project/environment"),
            several => {
                let names: Vec<&str> = several.iter().map(|(remote, _)| remote.as_str()).collect();
                bail!("which environment? say -e NAME or -r {}", names.join(" or -r "))
            }
        }
    }
}

/// The path of an environment's part of the API.
pub fn at(environment: &EnvironmentPath, rest: &str) -> String {
    format!("/v1/environments/{environment}{rest}")
}

fn read_logins(path: &Path) -> anyhow::Result<Logins> {
    let context = || format!("cannot read {}", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Logins::default()),
        Err(error) => return Err(error).with_context(context),
        // A device, say: its mode is not ours to change, and it must not be replaced.
        Ok(metadata) if !metadata.is_file() => anyhow::bail!("{} is not a file", path.display()),
        // Others could read the tokens (N98).
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            eprintln!("slipway: {} was readable by others; that is mended now", path.display());
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(context)?;
        }
        Ok(_) => {}
    }
    let text = fs::read(path).with_context(context)?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is damaged; delete it and log in again", path.display()))
}

/// The project that `slipway.yaml` in this directory, or the remotes, name.
fn project_here() -> anyhow::Result<ProjectPath> {
    if let Some((_, path)) = remotes_here().first() {
        return Ok(path.project());
    }
    let text = fs::read("slipway.yaml").context(
        "an environment's bare name only works in a project's directory; say tenant/project/environment",
    )?;
    Ok(slipway_model::manifest::parse(&text)?.project)
}

/// Git remotes of this directory that look like ours.
fn remotes_here() -> Vec<(String, EnvironmentPath)> {
    let Ok(output) = Command::new("git").args(["remote", "-v"]).output() else {
        return Vec::new();
    };
    let mut remotes = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(url)) = (words.next(), words.next()) else { continue };
        if let Some(path) = environment_of_url(url)
            && !remotes.iter().any(|(known, _)| known == name)
        {
            remotes.push((name.to_owned(), path));
        }
    }
    remotes
}

/// `ssh://git@host:2222/acme/shop/dev.git` → `acme/shop/dev`.
fn environment_of_url(url: &str) -> Option<EnvironmentPath> {
    let (_host, path) = url.strip_prefix("ssh://git@")?.split_once('/')?;
    path.strip_suffix(".git")?.parse().ok()
}

#[cfg(test)]
mod tests;
