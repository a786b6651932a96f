//! The repositories: one for each project, made when it is first used.
//!
//! An environment is a namespace in its project's repository (see [`crate::git::namespace`]). What
//! each repository holds beyond that is `refs/slipway/builds/<environment>/<number>`, which keeps
//! the commit of a recorded push from being collected while nothing else names it. Clients never see
//! those names: a push is shown refs outside of its namespace as nameless `.have` lines, which
//! spares it sending objects again after a failed build, and a fetch is shown none.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use slipway_model::cluster::RepositoryMark;
use slipway_model::id::{BuildNumber, CommitId};
use slipway_model::name::{EnvironmentName, EnvironmentPath, ProjectPath};
use tokio::fs;

use crate::copies::{Change, Copies, Copy, Pack, Update};
use crate::error::Error;
use crate::git::{Git, namespace};
use crate::receive::RefUpdate;

mod busy;
mod sweep;

pub(crate) use busy::Busy;
use busy::lock;

/// All repositories of this machine.
#[derive(Debug)]
pub(crate) struct Repositories {
    git: Git,
    /// In a cluster, what the repositories here are copies of.
    copies: Option<Arc<Copies>>,
    /// Transfers that run, by project: what they leave lying about is not a leftover yet.
    busy: Arc<Mutex<HashMap<ProjectPath, usize>>>,
}

/// One project's repository, seen from one environment.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) git: Git,
    pub(crate) path: PathBuf,
    pub(crate) environment: EnvironmentPath,
    copies: Option<Arc<Copies>>,
}

impl Repositories {
    pub(crate) fn new(git: Git, copies: Option<Arc<Copies>>) -> Self {
        Self { git, copies, busy: Arc::default() }
    }

    /// The environment's repository, made if need be.
    pub(crate) async fn open_or_make(&self, environment: &EnvironmentPath) -> Result<Repository, Error> {
        let repository = self.at(environment);
        if let Some(copies) = &self.copies {
            copies.bring_or_make(&repository.copy()).await?;
        } else if !exists(&repository.path).await {
            make(&self.git, &repository.path).await?;
        }
        Ok(repository)
    }

    /// The environment's repository, if it has been made.
    pub(crate) async fn open(&self, environment: &EnvironmentPath) -> Result<Option<Repository>, Error> {
        let repository = self.at(environment);
        let is_there = match &self.copies {
            Some(copies) => copies.bring(&repository.copy()).await?,
            None => exists(&repository.path).await,
        };
        Ok(is_there.then_some(repository))
    }

    /// Puts the repository of a deleted project aside, so that a new project of the same name does not
    /// inherit it. It is removed a week later: by then nobody has noticed that it was a mistake.
    pub(crate) async fn discard(&self, project: &ProjectPath) -> Result<(), Error> {
        let path = path_of(self.git.root(), project);
        if let Some(copies) = &self.copies {
            copies.forget(&Copy { project: project.clone(), path: path.clone() }).await?;
        }
        put_aside(&path).await
    }

    /// The projects that have a repository.
    pub(crate) async fn projects(&self) -> Result<Vec<ProjectPath>, Error> {
        let mut projects = match &self.copies {
            Some(copies) => copies.projects().await?,
            None => Vec::new(),
        };
        for tenant in directories(self.git.root()).await? {
            for path in directories(&tenant).await? {
                projects.extend(project_of(&path));
            }
        }
        projects.sort();
        projects.dedup();
        Ok(projects)
    }

    fn at(&self, environment: &EnvironmentPath) -> Repository {
        Repository {
            git: self.git.clone(),
            path: path_of(self.git.root(), &environment.project()),
            environment: environment.clone(),
            copies: self.copies.clone(),
        }
    }
}

/// Prefix of a repository that is being made.
const UNFINISHED: &str = ".new-";
/// Prefix of one whose project has been deleted; what follows is when, in seconds.
const DISCARDED: &str = ".old-";
impl Repository {
    /// The full name of a branch of this environment.
    pub(crate) fn branch_ref(&self, branch: &str) -> String {
        format!("{}/refs/heads/{branch}", namespace(&self.environment.environment))
    }

    /// The ref that keeps the commit of a recorded push.
    pub(crate) fn build_ref(&self, number: BuildNumber) -> String {
        format!("{}{number}", build_refs(&self.environment.environment))
    }

    /// What a ref points at, if it exists.
    pub(crate) async fn read_ref(&self, name: &str) -> Result<Option<CommitId>, Error> {
        let found = self.list_refs(name).await?;
        Ok(found.into_iter().find(|(found, _)| found == name).map(|(_, commit)| commit))
    }

    /// Whether the commit is here.
    pub(crate) async fn has(&self, commit: &CommitId) -> Result<bool, Error> {
        let mut look = self.git.command("cat-file", &self.path);
        look.args(["-e", commit.as_str()]);
        self.git.ask(&self.path, "cat-file", &mut look).await
    }

    /// Makes a ref point at a commit, or deletes it, whatever it was before. `packs` are those of the push
    /// that brought the commit.
    pub(crate) async fn write_ref(
        &self,
        name: &str,
        commit: Option<&CommitId>,
        packs: Vec<Pack>,
    ) -> Result<(), Error> {
        if let Some(copies) = &self.copies {
            let refs = vec![(name.to_owned(), commit.cloned())];
            return copies.change(&self.copy(), Change { refs, packs, ..Change::default() }).await;
        }
        let instruction = match commit {
            Some(commit) => format!("update {name}\0{commit}\0\0"),
            None => format!("delete {name}\0\0"),
        };
        update_refs(&self.git, &self.path, &instruction).await
    }

    /// In a cluster: how far the repository is in the shared storage, for whoever leads later.
    pub(crate) async fn mark(&self) -> Option<RepositoryMark> {
        self.copies.as_ref()?.mark(&self.copy()).await
    }

    /// Makes the environment's HEAD name a branch, so that a clone checks it out.
    pub(crate) async fn write_head(&self, branch: &str) -> Result<(), Error> {
        let head = format!("{}/HEAD", namespace(&self.environment.environment));
        if let Some(copies) = &self.copies {
            let heads = vec![(head, Some(self.branch_ref(branch)))];
            return copies.change(&self.copy(), Change { heads, ..Change::default() }).await;
        }
        let mut symbolic = self.git.command("symbolic-ref", &self.path);
        symbolic.args([head, self.branch_ref(branch)]);
        self.git.run(&self.path, "symbolic-ref", &mut symbolic, b"").await.map(drop)
    }

    /// Forgets the kept commits of builds before `oldest`.
    pub(crate) async fn forget_builds_before(&self, oldest: BuildNumber) -> Result<(), Error> {
        let prefix = build_refs(&self.environment.environment);
        let mut names: Vec<_> = self.list_refs(&prefix).await?.into_iter().map(|(name, _)| name).collect();
        names.retain(|name| {
            let number = name.strip_prefix(&prefix).and_then(|number| number.parse().ok()).map(BuildNumber);
            number.is_some_and(|number| number < oldest)
        });
        self.delete_refs(&names).await
    }

    /// Forgets everything of the environment, which has been deleted.
    pub(crate) async fn forget_environment(&self) -> Result<(), Error> {
        let environment = &self.environment.environment;
        if let Some(copies) = &self.copies {
            let prefixes = [build_refs(environment), format!("{}/", namespace(environment))];
            return copies.forget_refs(&self.copy(), &prefixes).await;
        }
        let mut found = self.list_refs(&build_refs(environment)).await?;
        found.extend(self.list_refs(&format!("{}/", namespace(environment))).await?);
        let names: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
        self.delete_refs(&names).await
    }

    async fn delete_refs(&self, names: &[String]) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        if let Some(copies) = &self.copies {
            let refs = names.iter().map(|name| (name.clone(), None)).collect();
            return copies.change(&self.copy(), Change { refs, ..Change::default() }).await;
        }
        let instructions: String = names.iter().map(|name| format!("delete {name}\0\0")).collect();
        update_refs(&self.git, &self.path, &instructions).await
    }

    /// In a cluster: makes those of a push's updates that can be made, and says why not of the others.
    /// `None` on one machine, where git does it itself.
    pub(crate) async fn update(
        &self,
        updates: &[RefUpdate],
        packs: Vec<Pack>,
    ) -> Result<Option<Vec<Option<&'static str>>>, Error> {
        let Some(copies) = &self.copies else { return Ok(None) };
        let prefix = namespace(&self.environment.environment);
        let full = |update: &RefUpdate| Update {
            name: format!("{prefix}/{}", update.name),
            old: update.old.clone(),
            new: update.new.clone(),
        };
        let updates: Vec<_> = updates.iter().map(full).collect();
        copies.update(&self.copy(), &updates, packs).await.map(Some)
    }

    /// In a cluster: puts what a push has brought where all servers have it. Nothing leads there yet.
    pub(crate) async fn put_packs(&self, quarantine: &Path) -> Result<Vec<Pack>, Error> {
        match &self.copies {
            Some(copies) => copies.put_packs(&self.copy(), quarantine).await,
            None => Ok(Vec::new()),
        }
    }

    fn copy(&self) -> Copy {
        Copy { project: self.environment.project(), path: self.path.clone() }
    }

    /// Notes commits whose parents are not here, in the file in which git notes them
    /// (gitrepository-layout(5), `shallow`), under git's own lock.
    pub(crate) async fn add_shallow(&self, commits: &[CommitId]) -> Result<(), Error> {
        if commits.is_empty() {
            return Ok(());
        }
        if let Some(copies) = &self.copies {
            let change = Change { shallow: commits.to_vec(), ..Change::default() };
            return copies.change(&self.copy(), change).await;
        }
        let (path, lock) = (self.path.join("shallow"), self.path.join("shallow.lock"));
        let write = || async {
            let file = fs::OpenOptions::new().write(true).create_new(true).open(&lock).await?;
            let known = match fs::read_to_string(&path).await {
                Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
                known => known?,
            };
            let new = commits.iter().map(CommitId::as_str).filter(|commit| !known.contains(commit));
            let text = new.fold(known.clone(), |text, commit| text + commit + "\n");
            self.git.give(&lock)?;
            fs::write(&lock, text).await?;
            file.sync_all().await?;
            fs::rename(&lock, &path).await
        };
        write().await.map_err(|source| Error::File { what: "write", path: path.clone(), source })
    }

    async fn list_refs(&self, pattern: &str) -> Result<Vec<(String, CommitId)>, Error> {
        let mut list = self.git.command("for-each-ref", &self.path);
        list.args(["--format=%(objectname) %(refname)", pattern]);
        let listed = self.git.run(&self.path, "for-each-ref", &mut list, b"").await?;
        String::from_utf8_lossy(&listed)
            .lines()
            .map(|line| {
                let (commit, name) = line.split_once(' ')?;
                Some((name.to_owned(), commit.parse().ok()?))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(Error::GitAnswer {
                command: "for-each-ref",
                repository: self.path.clone(),
                what: "a line is not an id and a name",
            })
    }
}

/// Makes a repository aside and renames it into place, so that a crash leaves none or a whole one.
pub(crate) async fn make(git: &Git, path: &Path) -> Result<(), Error> {
    let tenant = path.parent().unwrap_or(path);
    let file = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { what, path, source }
    };
    match fs::create_dir(tenant).await {
        Ok(()) => git.give(tenant).map_err(file("set the owner of", tenant))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file("make", tenant)(error)),
    }
    let unfinished = tenant.join(format!("{UNFINISHED}{:016x}", rand::random::<u64>()));
    let mut init = git.command("init", &unfinished);
    init.args(["--quiet", "--bare", "--template=", "--initial-branch=main"]);
    git.run(&unfinished, "init", &mut init, b"").await?;
    match fs::rename(&unfinished, path).await {
        // Another push made it in the same moment.
        Err(_) if exists(path).await => {
            fs::remove_dir_all(&unfinished).await.map_err(file("remove", &unfinished))
        }
        renamed => renamed.map_err(file("make", path)),
    }
}

/// Puts a repository aside that is not to be used any more. It is removed a week later.
pub(crate) async fn put_aside(path: &Path) -> Result<(), Error> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside = path.with_file_name(format!("{DISCARDED}{since}-{:08x}", rand::random::<u32>()));
    match fs::rename(path, &aside).await {
        Ok(()) => {
            tracing::info!(path = %path.display(), aside = %aside.display(), "put a repository aside whose project was deleted, or that is another's");
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::File { what: "put aside", path: path.to_owned(), source }),
    }
}

/// Where a project's repository is.
pub(crate) fn path_of(root: &Path, project: &ProjectPath) -> PathBuf {
    root.join(project.tenant.as_str()).join(format!("{}.git", project.project))
}

/// Carries out instructions in the form of `git update-ref -z --stdin`, all or none.
pub(crate) async fn update_refs(git: &Git, path: &Path, instructions: &str) -> Result<(), Error> {
    let mut update = git.command("update-ref", path);
    update.args(["--no-deref", "-z", "--stdin"]);
    git.run(path, "update-ref", &mut update, instructions.as_bytes()).await.map(drop)
}

fn build_refs(environment: &EnvironmentName) -> String {
    format!("refs/slipway/builds/{environment}/")
}

async fn exists(path: &Path) -> bool {
    fs::try_exists(path).await.unwrap_or(false)
}

async fn directories(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in entries(path).await? {
        // Not through links: there are none of ours here except the hooks.
        if fs::symlink_metadata(&entry).await.is_ok_and(|metadata| metadata.is_dir()) {
            found.push(entry);
        }
    }
    Ok(found)
}

async fn entries(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source: io::Error| Error::File { what: "list", path: path.to_owned(), source };
    let mut listing = match fs::read_dir(path).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(failed)?,
    };
    let mut found = Vec::new();
    while let Some(entry) = listing.next_entry().await.map_err(failed)? {
        found.push(entry.path());
    }
    Ok(found)
}

/// The project that a directory is the repository of.
fn project_of(path: &Path) -> Option<ProjectPath> {
    let tenant = path.parent()?.file_name()?.to_str()?;
    let project = path.file_name()?.to_str()?.strip_suffix(".git")?;
    format!("{tenant}/{project}").parse().ok()
}
