//! What can be said against a push while its objects are still in quarantine.

use std::path::Path;

use slipway_model::id::CommitId;
use slipway_model::limit::PUSH_QUEUE_MAX;
use slipway_model::manifest;

use super::objects::{Commit, Objects};
use super::rules::{self, RefUpdate};
use super::tree::{self, Tree};
use super::{Candidate, Incoming, Stop, options, queue_full, refused, waiting};
use crate::error::Error;
use crate::git::see_quarantine;
use crate::pusher::Pusher;
use crate::server::Shared;

/// LFS pointers and submodules that are named before "and more".
const NAMED_MAX: usize = 5;

/// Everything that can be said against a push while it can still be undone.
pub(super) async fn judge(
    shared: &Shared,
    push: &Incoming,
    pusher: &mut Pusher,
    updates: &[RefUpdate],
    quarantine: Option<&Path>,
    options: &[String],
) -> Result<Option<Candidate>, Stop> {
    let environment = &push.environment.path;
    let decision =
        rules::decide(updates, environment, &push.environment.deploy_branch).map_err(Stop::Refused)?;
    let (options, warnings) = options::read(options);
    for line in warnings.iter().chain(&decision.notices) {
        pusher.note(line).await;
    }
    let Some(update) = decision.deploy else { return Ok(None) };
    if waiting(shared, push).await? >= PUSH_QUEUE_MAX {
        return Err(queue_full(push));
    }
    let quarantine = quarantine.map(|path| in_repository(path, &push.repository.path)).transpose()?;
    let mut objects = Objects::open(&push.repository, quarantine)?;
    let commit = match objects.read(&update.new).await? {
        Some(object) if object.kind == "commit" => Commit::parse(&object.content),
        Some(object) => return Err(refused(format!("{} is a {}, not a commit", update.new, object.kind))),
        None => return Err(refused(format!("{} is not in the push", update.new))),
    };
    let tree = list_tree(push, &update.new, quarantine).await?;
    check_manifest(push, &mut objects, &tree).await?;
    check_lfs(&mut objects, &tree).await?;
    if !tree.submodules.is_empty() {
        let named = named(tree.submodules.iter().map(String::as_str), tree.submodules.len());
        pusher.note(&format!("Submodules are not fetched; these directories will be empty: {named}")).await;
    }
    let forced = !update.old.is_zero() && !contains(push, &update.old, &update.new, quarantine).await?;
    Ok(Some(Candidate { update, subject: commit.subject, forced, options }))
}

/// The path that git told its hook must be where git puts quarantines.
pub(super) fn in_repository<'a>(quarantine: &'a Path, repository: &Path) -> Result<&'a Path, Error> {
    let is_ours = quarantine.parent() == Some(&repository.join("objects"))
        && quarantine
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("tmp_objdir-"));
    is_ours.then_some(quarantine).ok_or(Error::Hook("the quarantine is not in the repository"))
}

async fn list_tree(push: &Incoming, commit: &CommitId, quarantine: Option<&Path>) -> Result<Tree, Stop> {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
    let repository = &push.repository;
    let failed = |source| Error::RunGit { command: "ls-tree", repository: repository.path.clone(), source };
    let mut list = repository.git.command("ls-tree", &repository.path);
    list.args(["-r", "-z", "-l", "--full-tree", commit.as_str()]);
    list.stderr(std::process::Stdio::null());
    see_quarantine(&mut list, &repository.path, quarantine);
    let mut git = list.spawn().map_err(failed)?;
    let mut listing =
        BufReader::new(git.stdout.take().ok_or_else(|| failed(std::io::Error::other("no pipe")))?);
    let mut tree = Tree::default();
    let mut entry = Vec::new();
    loop {
        entry.clear();
        // A path can be as long as a tree object; one that is too long is refused by its length.
        let read = (&mut listing).take(64 << 10).read_until(0, &mut entry).await.map_err(failed)?;
        if read == 0 {
            break;
        }
        tree.add(entry.strip_suffix(&[0]).unwrap_or(&entry)).map_err(refused)?;
    }
    if !git.wait().await.map_err(failed)?.success() {
        let what = "the tree cannot be listed";
        return Err(Error::GitAnswer { command: "ls-tree", repository: repository.path.clone(), what }.into());
    }
    Ok(tree)
}

async fn check_manifest(push: &Incoming, objects: &mut Objects<'_>, tree: &Tree) -> Result<(), Stop> {
    let project = &push.project.path;
    let Some(id) = &tree.manifest else {
        return Err(Stop::Refused(vec![
            "There is no slipway.yaml at the root of the tree.".into(),
            format!(
                "It needs two lines, 'project: {project}' and 'credential: …'; \
                 'slipway projects credential {project}' makes a new credential."
            ),
        ]));
    };
    let Some(object) = objects.read(id).await? else {
        return Err(refused("slipway.yaml is not in the push".into()));
    };
    let manifest = manifest::parse(&object.content).map_err(|error| refused(error.to_string()))?;
    if manifest.project != *project {
        return Err(refused(format!(
            "slipway.yaml is that of {}, but this is a push to {project}",
            manifest.project
        )));
    }
    if !push.project.accepts_credential(&manifest.credential) {
        return Err(Stop::Refused(vec![
            format!(
                "The credential in slipway.yaml is not that of {project}; it belongs to another project or was renewed."
            ),
            format!("'slipway projects credential {project}' makes a new one and revokes the old."),
        ]));
    }
    Ok(())
}

async fn check_lfs(objects: &mut Objects<'_>, tree: &Tree) -> Result<(), Stop> {
    let mut uses_lfs = false;
    for id in &tree.attributes {
        uses_lfs |= objects.read(id).await?.is_some_and(|object| tree::uses_lfs(&object.content));
    }
    if !uses_lfs {
        return Ok(());
    }
    let mut pointers = Vec::new();
    for (id, path) in &tree.maybe_pointers {
        if objects.read(id).await?.is_some_and(|object| object.content.starts_with(tree::POINTER_START)) {
            pointers.push(path.as_str());
        }
    }
    if pointers.is_empty() {
        return Ok(());
    }
    let named = named(pointers.iter().copied(), pointers.len());
    Err(Stop::Refused(vec![
        format!("{} files are stored in Git LFS, so the tree holds only pointers to them: {named}", pointers.len()),
        "Slipway does not fetch from Git LFS; commit the files themselves ('git lfs migrate export --include=…').".into(),
    ]))
}

fn named<'a>(names: impl Iterator<Item = &'a str>, count: usize) -> String {
    let more = if count > NAMED_MAX { ", …" } else { "" };
    names.take(NAMED_MAX).collect::<Vec<_>>().join(", ") + more
}

/// True when the new commit contains the old one.
pub(super) async fn contains(
    push: &Incoming,
    old: &CommitId,
    new: &CommitId,
    quarantine: Option<&Path>,
) -> Result<bool, Error> {
    let repository = &push.repository;
    let mut ask = repository.git.command("merge-base", &repository.path);
    ask.args(["--is-ancestor", old.as_str(), new.as_str()]);
    see_quarantine(&mut ask, &repository.path, quarantine);
    match repository.git.ask(&repository.path, "merge-base", &mut ask).await {
        // A shallow history cannot be walked to its end: not known to contain it.
        Err(Error::Git { .. }) => Ok(false),
        answer => answer,
    }
}
