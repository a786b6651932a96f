//! Repositories of a cluster: the shared storage has the truth, each server a copy in its own data
//! directory.
//!
//! In the storage a repository is a folder of packs, which are never changed, and a folder of numbered
//! [states](state): which packs there are, and where each ref points. A ref is moved by creating the
//! state with the next number, of which one caller can win; so whoever did not know the newest state
//! moves nothing. The first use of a repository in a term creates a state that bears the term's epoch,
//! and nobody makes one after a state with a higher epoch than his own: a leader that wakes up after a
//! pause can write no more, also where nothing has changed since. After that first use nobody else writes,
//! so what this server knows is true until its own next write fails, and reading costs no requests.
//!
//! Whoever can write the storage must not be able to move a ref. So states are
//! [authenticated](Authenticated); packs are named in them with their digest, and git computes the id of
//! each object that it takes out of one (`index-pack`; no index is ever fetched). A copy notes which state
//! it was at last, and the records say so with each push ([`RepositoryMark`]): a newest one with a lower
//! number, or with that number and other content, is not the newest that there was, and nothing is done
//! with it, unless the storage was put back [on purpose](slipway_storage::Identity::restored).
//!
//! An object is in the storage before a ref leads to it, and a ref is moved in the storage before it is
//! moved in the copy. A copy is never more than that: what it lacks is fetched, and one that is not of
//! this very repository is put aside. Which packs a copy has is noted beside it ([`local::Notes`]), because
//! git puts packs together as it likes.
//!
//! Old states are deleted. So a number alone proves nothing (the name after a number long gone is free
//! again): after creating a state one looks whether it is the newest.

use std::path::{Path, PathBuf};

use slipway_model::cluster::RepositoryMark;
use slipway_model::id::Epoch;
use slipway_model::name::{ProjectPath, TenantName};
use slipway_storage::{Authenticated, Code, Error as StorageError, Mark};

use crate::error::Error;
use crate::git::Git;
use crate::records::Records;

mod local;
mod packs;
mod state;
mod states;
mod turns;

use local::Seen;
pub(crate) use state::{Change, Pack, State, Update};
use turns::{Turn, Turns};

/// How often it is tried to begin a term in a repository that others write to.
const TRIES_MAX: usize = 4;
/// Packs of one repository before they are put into one.
const PACKS_MAX: usize = 50;

/// Where repositories are that servers have together.
#[derive(Debug, Clone)]
pub struct SharedStorage {
    /// The folder of the repositories.
    pub storage: Authenticated,
    /// The term in which this server leads.
    pub epoch: Epoch,
}

/// All copies of this server.
#[derive(Debug)]
pub(crate) struct Copies {
    storage: Authenticated,
    epoch: u64,
    git: Git,
    /// Where marks are.
    records: Option<Records>,
    turns: Turns,
}

/// The newest state.
#[derive(Debug, Clone)]
struct Known {
    number: u64,
    /// Of its object.
    code: Code,
    /// So long is its text.
    bytes: usize,
    state: State,
}

/// One repository here.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) project: ProjectPath,
    pub(crate) path: PathBuf,
}

impl Copies {
    pub(crate) fn new(shared: SharedStorage, git: Git, records: Option<Records>) -> Self {
        Self { storage: shared.storage, epoch: shared.epoch.0, git, records, turns: Turns::default() }
    }

    /// Makes the copy equal to what the storage has, once a term. False when there is no such
    /// repository.
    pub(crate) async fn bring(&self, copy: &Copy) -> Result<bool, Error> {
        Ok(self.turn_in_term(copy, false).await?.is_some())
    }

    /// The same, and makes the repository if need be.
    pub(crate) async fn bring_or_make(&self, copy: &Copy) -> Result<(), Error> {
        self.turn_in_term(copy, true).await.map(drop)
    }

    /// Makes a change of our own. It is in the storage when this returns.
    pub(crate) async fn change(&self, copy: &Copy, change: Change) -> Result<(), Error> {
        let turn = self.turn_in_term(copy, false).await?;
        self.make(copy, turn, change).await
    }

    /// Makes everything go away that is called so.
    pub(crate) async fn forget_refs(&self, copy: &Copy, prefixes: &[String]) -> Result<(), Error> {
        let turn = self.turn_in_term(copy, false).await?;
        let Some(known) = &*turn else { return Ok(()) };
        let change = known.state.without(prefixes);
        self.make(copy, turn, change).await
    }

    /// Makes those of a pusher's updates that can be made; for each of the others, why not.
    pub(crate) async fn update(
        &self,
        copy: &Copy,
        updates: &[Update],
        packs: Vec<Pack>,
    ) -> Result<Vec<Option<&'static str>>, Error> {
        let turn = self.turn_in_term(copy, false).await?;
        let Some(known) = &*turn else { return Err(overtaken(copy)) };
        let mut change = Change { packs, ..Change::default() };
        let mut wanted = known.state.clone();
        let mut faults = Vec::new();
        for update in updates {
            // Against what those before it have made.
            let fault = wanted.fault_of(update);
            if fault.is_none() {
                let new = Some(update.new.clone()).filter(|new| !new.is_zero());
                let one = Change { refs: vec![(update.name.clone(), new)], ..Change::default() };
                wanted = wanted.after(&one);
                change.refs.extend(one.refs);
            }
            faults.push(fault);
        }
        if !change.refs.is_empty() {
            self.make(copy, turn, change).await?;
        }
        Ok(faults)
    }

    /// Makes the repository of a deleted project go away: who has its name next inherits nothing.
    pub(crate) async fn forget(&self, copy: &Copy) -> Result<(), Error> {
        let mut turn = self.turns.take(&copy.project).await;
        *turn = None;
        // Where there is none now and was one, the mark stays: one that is put back is missed by it.
        let Some(newest) = self.newest(copy).await? else { return Ok(()) };
        if newest.state.epoch > self.epoch {
            return Err(overtaken(copy));
        }
        let mut number = newest.number;
        if newest.state.identity.is_some() {
            let gone = self.store(copy, newest.number, &State::default()).await?;
            number = gone.ok_or_else(|| overtaken(copy))?.number;
            tracing::info!(project = %copy.project, "deleted the repository of a deleted project from the shared storage");
        }
        self.delete_packs_but(copy, &[]).await?;
        // It stays, as the empty state does: what is put back of the old repository is older than both.
        let Some(records) = &self.records else { return Ok(()) };
        let Mark { restored, number } = self.storage.mark(number).max(self.known(copy).await?);
        let mark = RepositoryMark { project: copy.project.clone(), restored, state: number };
        records.put_if_new(&copy.project, &copy.project, &mark).await
    }

    /// The projects that the storage has, or had, a repository of.
    pub(crate) async fn projects(&self) -> Result<Vec<ProjectPath>, Error> {
        let failed =
            |source| Error::Storage { what: "list the repositories", project: "all projects".into(), source };
        let mut projects = Vec::new();
        for tenant in self.storage.place().folders("of").await.map_err(failed)? {
            if tenant.parse::<TenantName>().is_err() {
                continue;
            }
            let found = self.storage.place().folders(&format!("of/{tenant}")).await.map_err(failed)?;
            projects.extend(found.iter().filter_map(|name| format!("{tenant}/{name}").parse().ok()));
        }
        Ok(projects)
    }

    /// Puts the packs of a push that is not accepted yet into the storage, where nothing leads to them.
    pub(crate) async fn put_packs(&self, copy: &Copy, quarantine: &Path) -> Result<Vec<Pack>, Error> {
        let mut put = Vec::new();
        for file in packs::files(&quarantine.join("pack")).await? {
            put.push(self.put_pack(copy, &file, Vec::new()).await?);
        }
        Ok(put)
    }

    /// Puts many packs into one, and deletes those that nothing leads to. `is_busy` says whether a push
    /// may have put one there that it has not named yet.
    pub(crate) async fn tidy(&self, copy: &Copy, is_busy: impl Fn() -> bool) -> Result<(), Error> {
        let Some(known) = self.turns.take(&copy.project).await.clone() else { return Ok(()) };
        if known.state.packs.len() > PACKS_MAX && !known.state.refs.is_empty() {
            self.consolidate(copy, &known.state.packs).await?;
        }
        let failed = |source| storage("list the packs of", copy, source);
        let listed = self.storage.place().list(&folder(copy, "packs")).await.map_err(failed)?;
        let turn = self.turns.take(&copy.project).await;
        let Some(known) = &*turn else { return Ok(()) };
        // Listed before: whoever has put what was listed has named it by now, or never will.
        if is_busy() {
            return Ok(());
        }
        for name in listed.iter().filter(|name| known.state.packs.iter().all(|pack| pack.name != **name)) {
            self.delete_pack(copy, name).await?;
        }
        Ok(())
    }

    /// Whoever reads the old packs meanwhile finds one gone, looks again, and finds the new one.
    async fn consolidate(&self, copy: &Copy, old: &[Pack]) -> Result<(), Error> {
        let replaces: Vec<_> = old.iter().map(|pack| pack.name.clone()).collect();
        let file = self.pack_all(copy).await?;
        let whole = self.put_pack(copy, file.path(), replaces.clone()).await?;
        let mut turn = self.turn_in_term(copy, false).await?;
        let Some(known) = turn.take() else { return Err(overtaken(copy)) };
        let mut next = known.state.clone();
        next.packs.retain(|pack| !replaces.contains(&pack.name));
        next.packs.insert(0, whole.clone());
        let stored = self.store(copy, known.number, &next).await?;
        let stored = stored.ok_or_else(|| overtaken(copy))?;
        self.note(copy, &stored).await?;
        *turn = Some(stored);
        tracing::info!(project = %copy.project, packs = replaces.len(), bytes = whole.bytes, "put the packs of a repository into one");
        Ok(())
    }

    async fn make(&self, copy: &Copy, mut turn: Turn, change: Change) -> Result<(), Error> {
        // Not put back unless all goes well: then the next use looks at everything again.
        let Some(known) = turn.take() else { return Err(overtaken(copy)) };
        let next = known.state.after(&change);
        let known = if next.says_the_same(&known.state) {
            known
        } else {
            let stored = self.store(copy, known.number, &next).await?;
            stored.ok_or_else(|| overtaken(copy))?
        };
        self.note(copy, &known).await?;
        local::apply(&self.git, copy, &change).await?;
        *turn = Some(known);
        Ok(())
    }

    /// Waits until nobody else is at the repository, and begins the term in it.
    async fn turn_in_term(&self, copy: &Copy, makes: bool) -> Result<Turn, Error> {
        let mut turn = self.turns.take(&copy.project).await;
        if turn.is_none() {
            *turn = self.begin(copy, makes).await?;
        }
        Ok(turn)
    }

    async fn begin(&self, copy: &Copy, makes: bool) -> Result<Option<Known>, Error> {
        for _ in 0..TRIES_MAX {
            let newest = self.newest(copy).await?.unwrap_or_default();
            self.compare(copy, &newest).await?;
            if newest.state.epoch > self.epoch {
                return Err(overtaken(copy));
            }
            let state = match &newest.state.identity {
                Some(_) => newest.state.clone(),
                None if !makes => return Ok(None),
                None => State { identity: Some(random()), ..State::default() },
            };
            let is_begun = newest.state.identity.is_some() && state.epoch == self.epoch;
            let begun = if is_begun { Some(newest) } else { self.store(copy, newest.number, &state).await? };
            let Some(known) = begun else { continue };
            match self.equalise(copy, &known).await {
                Ok(()) => return Ok(Some(known)),
                // It may have been a newer leader that took away what was to be fetched.
                Err(error) => match self.newest(copy).await {
                    Ok(Some(newest)) if newest.number != known.number => {}
                    _ => return Err(error),
                },
            }
        }
        Err(overtaken(copy))
    }

    /// Makes the copy what the state says.
    async fn equalise(&self, copy: &Copy, known: &Known) -> Result<(), Error> {
        let state = &known.state;
        let has = local::prepare(&self.git, copy, state).await?;
        self.fetch(copy, state, &has).await?;
        if let Err(error) = local::equalise(&self.git, copy, state).await {
            tracing::warn!(project = %copy.project, error = &error as &dyn std::error::Error, "the copy of a repository is not whole; fetching all of it");
            self.fetch(copy, state, &[]).await?;
            local::equalise(&self.git, copy, state).await?;
        }
        self.note(copy, known).await
    }

    /// Refuses a newest state when a newer one is known, or another of that number.
    async fn compare(&self, copy: &Copy, newest: &Known) -> Result<(), Error> {
        let mark = self.storage.mark(newest.number);
        let seen = local::seen(copy).await;
        let is_another = seen.as_ref().is_some_and(|seen| seen.mark == mark && seen.code != newest.code);
        let known = self.known(copy).await?;
        // Its code is right, and it was newer once: but that course was given up, and another begun.
        let is_given_up = known.restored == mark.restored
            && newest.state.restored.is_some_and(|restored| restored < known.restored);
        if mark >= known && !is_another && !is_given_up {
            return Ok(());
        }
        Err(Error::PutBack {
            project: copy.project.clone(),
            place: self.storage.place().to_string(),
            found: newest.number,
            known: known.number,
        })
    }

    /// How far the repository is at least, as the copy and the records say.
    async fn known(&self, copy: &Copy) -> Result<Mark, Error> {
        let seen = local::seen(copy).await.map(|seen| seen.mark).unwrap_or_default();
        Ok(seen.max(self.marked(copy).await?))
    }

    /// The same, as the records say.
    async fn marked(&self, copy: &Copy) -> Result<Mark, Error> {
        let Some(records) = &self.records else { return Ok(Mark::default()) };
        let mark = records.get::<RepositoryMark>(&copy.project, &copy.project).await?;
        Ok(mark.map(|mark| Mark { restored: mark.restored, number: mark.state }).unwrap_or_default())
    }

    /// How far the repository is, for the records; nothing while that cannot be told.
    pub(crate) async fn mark(&self, copy: &Copy) -> Option<RepositoryMark> {
        let state = self.turn_in_term(copy, false).await.ok()?.as_ref()?.number;
        let restored = self.storage.identity().restored;
        Some(RepositoryMark { project: copy.project.clone(), restored, state })
    }

    /// Notes that the copy has all packs of the state, and that it is the newest.
    async fn note(&self, copy: &Copy, known: &Known) -> Result<(), Error> {
        let seen = Seen { mark: self.storage.mark(known.number), code: known.code.clone() };
        local::note(copy, &known.state, seen).await
    }
}

impl Default for Known {
    /// Before the first state.
    fn default() -> Self {
        Self { number: 0, code: Code::default(), bytes: 0, state: State::default() }
    }
}

/// Brings the repositories of a machine into a storage that has none of them; `root` is the directory
/// that they are in. What has been brought already stays as it is, so that it can be run again.
/// Returns how many there are.
///
/// # Errors
/// [`Error`], with the project that it is about.
pub async fn bring_up(
    root: &Path,
    user: Option<crate::GitUser>,
    storage: Authenticated,
) -> Result<usize, Error> {
    let root =
        root.canonicalize().map_err(|source| Error::File { what: "find", path: root.into(), source })?;
    let git = Git::over(&root, user);
    // Every term comes after it.
    let copies = Copies::new(SharedStorage { storage, epoch: Epoch(0) }, git.clone(), None);
    let projects = crate::repository::Repositories::new(git, None).projects().await?;
    for project in &projects {
        let path = crate::repository::path_of(&root, project);
        let copy = Copy { project: project.clone(), path };
        if copies.newest(&copy).await?.is_some_and(|newest| newest.state.identity.is_some()) {
            continue;
        }
        let mut state = local::read(&copies.git, &copy).await?;
        state.identity = Some(random());
        if !state.refs.is_empty() {
            let file = copies.pack_all(&copy).await?;
            state.packs.push(copies.put_pack(&copy, file.path(), Vec::new()).await?);
        }
        let stored = copies.store(&copy, 0, &state).await?.ok_or_else(|| overtaken(&copy))?;
        copies.note(&copy, &stored).await?;
    }
    Ok(projects.len())
}

/// A folder of a repository.
fn folder(copy: &Copy, what: &str) -> String {
    format!("of/{}/{}/{what}", copy.project.tenant, copy.project.project)
}

fn random() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn overtaken(copy: &Copy) -> Error {
    Error::Overtaken { project: copy.project.clone() }
}

fn storage(what: &'static str, copy: &Copy, source: StorageError) -> Error {
    Error::Storage { what, project: copy.project.to_string(), source }
}

#[cfg(test)]
mod tests;
