//! The copy: an ordinary repository of git's, and a note of what it is a copy of.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use slipway_model::id::CommitId;
use slipway_storage::{Code, Mark};
use tokio::fs;

use super::Copy;
use super::state::{Change, State};
use crate::error::Error;
use crate::git::Git;
use crate::repository;

/// What is noted in a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    /// Of which repository it is a copy.
    identity: Option<String>,
    /// Packs of the storage whose objects it has.
    packs: Vec<String>,
    /// The newest state that this server has seen.
    seen: Option<Seen>,
}

/// A state that was the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) mark: Mark,
    pub(super) code: Code,
}

/// Sees to it that there is a copy of this repository and no other, and that it knows where history
/// ends. Returns the packs that it has.
pub(super) async fn prepare(git: &Git, copy: &Copy, state: &State) -> Result<Vec<String>, Error> {
    let notes = read_notes(copy).await;
    let is_ours = notes.identity.is_some() && notes.identity == state.identity;
    if !is_ours {
        repository::put_aside(&copy.path).await?;
    }
    if !fs::try_exists(&copy.path).await.unwrap_or(false) {
        repository::make(git, &copy.path).await?;
    }
    write_shallow(git, copy, state).await?;
    let has = if is_ours { notes.packs } else { Vec::new() };
    note_packs(copy, state, &has).await?;
    Ok(has)
}

/// Notes that the copy has all packs of the state, and that it was the newest.
pub(super) async fn note(copy: &Copy, state: &State, seen: Seen) -> Result<(), Error> {
    let packs = state.packs.iter().map(|pack| pack.name.clone()).collect();
    write_notes(copy, Notes { identity: state.identity.clone(), packs, seen: Some(seen) }).await
}

/// Notes that the copy has those packs of the state.
pub(super) async fn note_packs(copy: &Copy, state: &State, packs: &[String]) -> Result<(), Error> {
    let seen = seen(copy).await;
    write_notes(copy, Notes { identity: state.identity.clone(), packs: packs.to_vec(), seen }).await
}

/// The newest state that this server has seen, as far as it knows.
pub(super) async fn seen(copy: &Copy) -> Option<Seen> {
    read_notes(copy).await.seen
}

async fn write_notes(copy: &Copy, notes: Notes) -> Result<(), Error> {
    if read_notes(copy).await == notes {
        return Ok(());
    }
    let (path, new) = (notes_path(copy), copy.path.join("slipway-copy.json.new"));
    let text = serde_json::to_vec(&notes).unwrap_or_default();
    let written = async {
        fs::write(&new, text).await?;
        fs::rename(&new, &path).await
    };
    written.await.map_err(|source| Error::File { what: "write", path: path.clone(), source })
}

/// Makes a change in the copy.
pub(super) async fn apply(git: &Git, copy: &Copy, change: &Change) -> Result<(), Error> {
    if !change.shallow.is_empty() {
        let mut state =
            State { shallow: read_shallow(copy).await?.into_iter().collect(), ..State::default() };
        state.shallow.extend(change.shallow.iter().cloned());
        write_shallow(git, copy, &state).await?;
    }
    let gone = |heads: &[(String, Option<String>)]| -> Vec<String> {
        heads.iter().filter(|(_, target)| target.is_none()).map(|(name, _)| name.clone()).collect()
    };
    let mut deleted = gone(&change.heads);
    deleted.extend(change.refs.iter().filter(|(_, commit)| commit.is_none()).map(|(name, _)| name.clone()));
    let set = change.refs.iter().filter_map(|(name, commit)| Some((name.as_str(), commit.as_ref()?)));
    move_refs(git, copy, &deleted, set).await?;
    for (name, target) in &change.heads {
        if let Some(target) = target {
            set_head(git, copy, name, target).await?;
        }
    }
    Ok(())
}

/// Makes the copy's refs those of the state.
pub(super) async fn equalise(git: &Git, copy: &Copy, state: &State) -> Result<(), Error> {
    let (refs, heads) = list(git, copy).await?;
    let is_gone = |name: &&String| !state.refs.contains_key(*name) && !state.heads.contains_key(*name);
    let deleted: Vec<_> = refs.keys().chain(heads.keys()).filter(is_gone).cloned().collect();
    let set = state.refs.iter().filter(|(name, commit)| refs.get(*name) != Some(*commit));
    move_refs(git, copy, &deleted, set.map(|(name, commit)| (name.as_str(), commit))).await?;
    for (name, target) in state.heads.iter().filter(|(name, target)| heads.get(*name) != Some(*target)) {
        set_head(git, copy, name, target).await?;
    }
    Ok(())
}

/// What the repository of one machine says, but for its packs.
pub(super) async fn read(git: &Git, copy: &Copy) -> Result<State, Error> {
    let (refs, heads) = list(git, copy).await?;
    let shallow = read_shallow(copy).await?.into_iter().collect();
    Ok(State { refs, heads, shallow, ..State::default() })
}

type Refs = (BTreeMap<String, CommitId>, BTreeMap<String, String>);

/// Refs, and symbolic refs that lead to one.
async fn list(git: &Git, copy: &Copy) -> Result<Refs, Error> {
    let mut list = git.command("for-each-ref", &copy.path);
    list.arg("--format=%(objectname) %(refname) %(symref)");
    let listed = git.run(&copy.path, "for-each-ref", &mut list, b"").await?;
    let (mut refs, mut heads) = (BTreeMap::new(), BTreeMap::new());
    for line in String::from_utf8_lossy(&listed).lines() {
        let words: Vec<_> = line.split(' ').collect();
        match (words.as_slice(), words.first().and_then(|id| id.parse().ok())) {
            ([_, name, ""] | [_, name], Some(commit)) => drop(refs.insert((*name).to_owned(), commit)),
            ([_, name, target], Some(_)) => drop(heads.insert((*name).to_owned(), (*target).to_owned())),
            _ => {
                return Err(Error::GitAnswer {
                    command: "for-each-ref",
                    repository: copy.path.clone(),
                    what: "a line is not an id and names",
                });
            }
        }
    }
    Ok((refs, heads))
}

/// First those that go, because one that comes may be named like the directory of one that goes.
async fn move_refs<'a>(
    git: &Git,
    copy: &Copy,
    deleted: &[String],
    set: impl Iterator<Item = (&'a str, &'a CommitId)>,
) -> Result<(), Error> {
    let deleted: String = deleted.iter().map(|name| format!("delete {name}\0\0")).collect();
    let set: String = set.map(|(name, commit)| format!("update {name}\0{commit}\0\0")).collect();
    for instructions in [deleted, set] {
        if !instructions.is_empty() {
            repository::update_refs(git, &copy.path, &instructions).await?;
        }
    }
    Ok(())
}

async fn set_head(git: &Git, copy: &Copy, name: &str, target: &str) -> Result<(), Error> {
    let mut symbolic = git.command("symbolic-ref", &copy.path);
    symbolic.args([name, target]);
    git.run(&copy.path, "symbolic-ref", &mut symbolic, b"").await.map(drop)
}

async fn read_shallow(copy: &Copy) -> Result<Vec<CommitId>, Error> {
    let path = copy.path.join("shallow");
    match fs::read_to_string(&path).await {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::File { what: "read", path, source }),
    }
}

async fn write_shallow(git: &Git, copy: &Copy, state: &State) -> Result<(), Error> {
    let path = copy.path.join("shallow");
    let before = read_shallow(copy).await?;
    if before.iter().collect::<std::collections::BTreeSet<_>>() == state.shallow.iter().collect() {
        return Ok(());
    }
    let text: String = state.shallow.iter().map(|commit| format!("{commit}\n")).collect();
    let new = copy.path.join("shallow_new");
    let written = async {
        // To git a file without lines is a boundary too.
        if text.is_empty() {
            return fs::remove_file(&path).await;
        }
        fs::write(&new, text).await?;
        git.give(&new)?;
        fs::rename(&new, &path).await
    };
    written.await.map_err(|source| Error::File { what: "write", path: path.clone(), source })
}

async fn read_notes(copy: &Copy) -> Notes {
    // One that cannot be read says nothing: then all of it is fetched.
    let text = fs::read(notes_path(copy)).await.unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn notes_path(copy: &Copy) -> PathBuf {
    copy.path.join("slipway-copy.json")
}
