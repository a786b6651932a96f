//! A push, from the moment git has all of it to git's answer: two hooks, judged here.
//!
//! *pre-receive* runs while the objects are still in quarantine: what is refused here leaves nothing
//! behind. *proc-receive* runs once they are in the repository. For the branch that deploys it is the
//! arrow "receive → [Push]": it keeps the commit with a ref of ours, writes the record, and then only
//! watches; from the record on, the push happens whether or not anybody is still listening. git is
//! told `ok` only when the release is live and the ref moved, and never moves that ref itself; other
//! branches are left to git ("fall-through").

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use slipway_access::Scoped;
use slipway_model::id::{BuildNumber, CommitId};
use slipway_model::limit::PUSH_QUEUE_MAX;
use slipway_model::manifest;
use slipway_model::name::UserName;
use slipway_model::project::{Environment, EnvironmentStatus, Project};
use slipway_model::push::{Build, Push, PushOptions};
use slipway_model::unit::Timestamp;
use slipway_store::Batch;
use tokio::sync::watch;

use crate::error::Error;
use crate::follow::{self, Verdict};
use crate::git::see_quarantine;
use crate::hook_server::Streams;
use crate::pusher::Pusher;
use crate::repository::Repository;
use crate::server::Shared;

mod objects;
mod options;
mod rules;
mod tree;

use objects::{Commit, Objects};
use rules::RefUpdate;
use tree::Tree;

/// Push records kept of one environment: more than releases, so that each release finds its push.
const PUSHES_KEPT: usize = 200;
/// Bytes of the list of updates that git gives its hooks; the number of refs is bounded before.
pub(crate) const UPDATES_BYTES_MAX: u64 = 1 << 20;
/// LFS pointers and submodules that are named before "and more".
const NAMED_MAX: usize = 5;

/// A push while git works on it.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Where the objects go.
    pub(crate) repository: Repository,
    /// Where the push goes to, as it was when the pusher's right was checked.
    pub(crate) environment: Environment,
    pub(crate) project: Scoped<Project>,
    /// Who pushes.
    pub(crate) by: UserName,
    /// Becomes true when the client has gone away.
    pub(crate) gone: watch::Receiver<bool>,
    /// What is learnt on the way.
    pub(crate) progress: Mutex<Progress>,
}

/// How far a push has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Commits of the pusher's shallow clone that have no parents there.
    shallow: Vec<CommitId>,
    /// git has received all objects, checked them, and asked us.
    received: bool,
    /// What pre-receive found worth deploying.
    candidate: Option<Candidate>,
}

/// A commit that will be built.
#[derive(Debug, Clone)]
struct Candidate {
    update: RefUpdate,
    subject: String,
    forced: bool,
    options: PushOptions,
}

/// Why a push goes no further.
enum Stop {
    /// The pusher can do something about it: lines that say what.
    Refused(Vec<String>),
    /// The pusher cannot.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

fn refused(line: String) -> Stop {
    Stop::Refused(vec![line])
}

impl Incoming {
    /// True once git has all objects and has asked us about them.
    pub(crate) fn was_received(&self) -> bool {
        self.progress().received
    }

    /// Remembers what the head of the push says about a shallow clone.
    pub(crate) fn note_shallow(&self, mut commits: Vec<CommitId>) {
        self.progress().shallow.append(&mut commits);
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hook `pre-receive`. True when git may go on.
pub(crate) async fn pre_receive(
    shared: &Shared,
    push: &Incoming,
    mut streams: Streams,
    quarantine: Option<PathBuf>,
    options: &[String],
) -> Result<bool, Error> {
    push.progress().received = true;
    let mut updates = Vec::new();
    for line in streams.read_lines(UPDATES_BYTES_MAX).await? {
        updates.push(RefUpdate::parse(&line).ok_or(Error::Hook("pre-receive: not two ids and a name"))?);
    }
    let mut pusher = Pusher::new(streams.stderr)?;
    match judge(shared, push, &mut pusher, &updates, quarantine.as_deref(), options).await {
        Ok(candidate) => {
            push.progress().candidate = candidate;
            Ok(true)
        }
        Err(Stop::Refused(lines)) => {
            pusher.refuse(&lines).await;
            Ok(false)
        }
        Err(Stop::Failed(error)) => {
            pusher
                .refuse(&[
                    "Slipway could not examine the push. This is not your fault; nothing was changed.".into()
                ])
                .await;
            Err(error)
        }
    }
}

/// Everything that can be said against a push while it can still be undone.
async fn judge(
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
    let forced = !update.old.is_zero() && !contains(push, &update, quarantine).await?;
    Ok(Some(Candidate { update, subject: commit.subject, forced, options }))
}

/// The path that git told its hook must be where git puts quarantines.
fn in_repository<'a>(quarantine: &'a Path, repository: &Path) -> Result<&'a Path, Error> {
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
async fn contains(push: &Incoming, update: &RefUpdate, quarantine: Option<&Path>) -> Result<bool, Error> {
    let repository = &push.repository;
    let mut ask = repository.git.command("merge-base", &repository.path);
    ask.args(["--is-ancestor", update.old.as_str(), update.new.as_str()]);
    see_quarantine(&mut ask, &repository.path, quarantine);
    match repository.git.ask(&repository.path, "merge-base", &mut ask).await {
        // A shallow history cannot be walked to its end: not known to contain it.
        Err(Error::Git { .. }) => Ok(false),
        answer => answer,
    }
}

/// The hook `proc-receive`. True when it answered git as git expects, whatever the answer.
pub(crate) async fn proc_receive(
    shared: &Shared,
    push: &Incoming,
    mut streams: Streams,
) -> Result<bool, Error> {
    let updates = streams.read_proc_receive(UPDATES_BYTES_MAX).await?;
    keep_shallow(push).await?;
    let candidate = push.progress().candidate.take();
    let mut answers = Vec::new();
    let mut pusher = Pusher::new(streams.stderr)?;
    for update in updates.iter().filter_map(|line| RefUpdate::parse(line)) {
        match &candidate {
            Some(candidate) if candidate.update == update => {
                let verdict = deploy(shared, push, candidate, &mut pusher).await;
                answers.push(match verdict {
                    Ok(Verdict::Live) => format!("ok {}", update.name),
                    Ok(Verdict::NotLive(reason)) => format!("ng {} {reason}", update.name),
                    Err(error) => {
                        tracing::error!(
                            environment = %push.environment.path,
                            error = &error as &dyn std::error::Error,
                            "a push could not be recorded or followed"
                        );
                        format!("ng {} slipway failed; nothing is lost, push again", update.name)
                    }
                });
            }
            _ => answers.extend([format!("ok {}", update.name), "option fall-through".into()]),
        }
    }
    streams.stdout.answer_proc_receive(&answers).await?;
    Ok(true)
}

/// Records the push, then tells the pusher what becomes of it.
async fn deploy(
    shared: &Shared,
    push: &Incoming,
    candidate: &Candidate,
    pusher: &mut Pusher,
) -> Result<Verdict, Error> {
    let number = match record(shared, push, candidate).await {
        Ok(number) => number,
        Err(Stop::Refused(lines)) => {
            pusher.refuse(&lines).await;
            return Ok(Verdict::NotLive(lines.into_iter().next().unwrap_or_default()));
        }
        Err(Stop::Failed(error)) => {
            pusher.refuse(&[why_not_recorded(&error)]).await;
            return Err(error);
        }
    };
    let environment = &push.environment.path;
    let forced = if candidate.forced { " (forced: what ran before is not part of it)" } else { "" };
    pusher
        .head(&format!(
            "Build {number} of {environment}: {} {}{forced}",
            candidate.update.new.short(),
            candidate.subject
        ))
        .await;
    if candidate.options.detach {
        shared.keeper.settle(environment).await?;
        pusher
            .detail(&format!("Recorded. Follow it with: slipway builds logs -f {number} -e {environment}"))
            .await;
        return Ok(Verdict::Live);
    }
    follow::follow(shared, push, number, pusher).await
}

fn why_not_recorded(error: &Error) -> String {
    match error {
        Error::Record { source, .. } if source.is_full() => {
            "The server's disk is full, so the push could not be recorded. Nothing was changed.".into()
        }
        _ => "Slipway could not record the push. This is not your fault; nothing was changed.".into(),
    }
}

/// The arrow "receive → [Push]". Once it returns, the push happens.
async fn record(shared: &Shared, push: &Incoming, candidate: &Candidate) -> Result<BuildNumber, Stop> {
    let environment = &push.environment.path;
    let branch = &push.environment.deploy_branch;
    let _turn = shared.turns.take(environment).await;
    let current = push.repository.read_ref(&push.repository.branch_ref(branch)).await?;
    if current.as_ref().is_some_and(|current| *current != candidate.update.old)
        || (current.is_none() && !candidate.update.old.is_zero())
    {
        return Err(refused(format!("{branch} has moved while you were pushing: fetch, and push again")));
    }
    if waiting(shared, push).await? >= PUSH_QUEUE_MAX {
        return Err(queue_full(push));
    }
    let pushes = shared.records.list::<Push>(environment).await?;
    let number = newest_number(shared, push, &pushes).await?.next();
    // The ref first: a record without it could lose its commit, a ref without a record is
    // overwritten by the next push.
    push.repository.write_ref(&push.repository.build_ref(number), Some(&candidate.update.new)).await?;
    let record = Push {
        environment: environment.clone(),
        number,
        commit: candidate.update.new.clone(),
        subject: candidate.subject.clone(),
        branch: branch.clone(),
        by: push.by.clone(),
        options: candidate.options.clone(),
        forced: candidate.forced,
        received_at: Timestamp::from(SystemTime::now()),
    };
    let mut batch = Batch::new().create(&record);
    let surplus = (pushes.len() + 1).saturating_sub(PUSHES_KEPT);
    for old in pushes.iter().take(surplus) {
        batch = batch.delete::<Push>(&(environment.clone(), old.record.number), old.version);
    }
    let written = shared.records.0.commit(batch).await;
    written.map_err(|source| Error::Record {
        environment: environment.clone(),
        number,
        source: source.into(),
    })?;
    if let Some(oldest_kept) = pushes.get(surplus)
        && surplus > 0
    {
        push.repository.forget_builds_before(oldest_kept.record.number).await?;
    }
    Ok(number)
}

/// The highest number ever given to a push of the environment, also when its records are gone.
async fn newest_number(
    shared: &Shared,
    push: &Incoming,
    pushes: &[slipway_store::Versioned<Push>],
) -> Result<BuildNumber, Error> {
    let environment = &push.environment.path;
    let status = shared.records.get::<EnvironmentStatus>(environment, environment).await?;
    let of_pushes = pushes.iter().map(|push| push.record.number);
    let of_builds = shared.records.list::<Build>(environment).await?;
    let of_builds = of_builds.iter().map(|build| build.record.number);
    let of_status = status.iter().map(|status| status.last_build_seen);
    Ok(of_pushes.chain(of_builds).chain(of_status).max().unwrap_or(BuildNumber(0)))
}

/// Pushes of the environment that have not been built to the end.
async fn waiting(shared: &Shared, push: &Incoming) -> Result<usize, Error> {
    Ok(follow::undecided_pushes(&shared.records, &push.environment.path).await?.len())
}

fn queue_full(push: &Incoming) -> Stop {
    refused(format!(
        "{PUSH_QUEUE_MAX} pushes to {} are waiting to be built already; push again when some are done ('slipway builds')",
        push.environment.path
    ))
}

/// A push from a shallow clone ends at commits whose parents are not here; the repository has to know
/// them before a ref leads to them. Does nothing the second time.
pub(crate) async fn keep_shallow(push: &Incoming) -> Result<(), Error> {
    let named = std::mem::take(&mut push.progress().shallow);
    if named.is_empty() {
        return Ok(());
    }
    let mut objects = Objects::open(&push.repository, None)?;
    let mut without_parents = Vec::new();
    for id in named {
        let Some(object) = objects.read(&id).await?.filter(|object| object.kind == "commit") else {
            continue;
        };
        for parent in Commit::parse(&object.content).parents {
            if objects.read(&parent).await?.is_none() {
                without_parents.push(id);
                break;
            }
        }
    }
    push.repository.add_shallow(&without_parents).await
}
