//! A push, from the moment git has all of it to git's answer: two hooks, judged here.
//!
//! *pre-receive* runs while the objects are still in quarantine: what is refused here leaves nothing
//! behind. *proc-receive* runs once they are in the repository. For the branch that deploys it is the
//! arrow "receive → [Push]": it keeps the commit with a ref of ours, writes the record, and then only
//! watches; from the record on, the push happens whether or not anybody is still listening. git is
//! told `ok` only when the release is live and the ref moved, and never moves that ref itself; other
//! branches are left to git ("fall-through").

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use slipway_access::Scoped;
use slipway_model::id::{BuildNumber, CommitId};
use slipway_model::limit::PUSH_QUEUE_MAX;
use slipway_model::name::UserName;
use slipway_model::project::{Environment, EnvironmentStatus, Project};
use slipway_model::push::{Build, Push, PushOptions};
use slipway_model::unit::Timestamp;
use slipway_store::Batch;
use tokio::fs;
use tokio::sync::watch;

use crate::copies::Pack;
use crate::error::Error;
use crate::follow::{self, Verdict};
use crate::hook_server::Streams;
use crate::pusher::Pusher;
use crate::repository::{Busy, Repository};
use crate::server::Shared;

mod judge;
mod objects;
mod options;
mod rules;
mod tree;

use judge::judge;
use objects::{Commit, Objects};
pub(crate) use rules::RefUpdate;

/// Push records kept of one environment: more than releases, so that each release finds its push.
const PUSHES_KEPT: usize = 200;
/// Bytes of the list of updates that git gives its hooks; the number of refs is bounded before.
pub(crate) const UPDATES_BYTES_MAX: u64 = 1 << 20;

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
    /// Held as long as a hook works on it, which may be longer than git does.
    pub(crate) _busy: Busy,
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
    /// Where all servers have what was received; nothing on one machine.
    packs: Vec<Pack>,
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
    let judged = match judge(shared, push, &mut pusher, &updates, quarantine.as_deref(), options).await {
        Ok(candidate) => admit(push, quarantine.as_deref()).await.map(|packs| (candidate, packs)),
        Err(stop) => Err(stop),
    };
    match judged {
        Ok((candidate, packs)) => {
            let mut progress = push.progress();
            (progress.candidate, progress.packs) = (candidate, packs);
            Ok(true)
        }
        Err(Stop::Refused(lines)) => {
            pusher.refuse(&lines).await;
            Ok(false)
        }
        Err(Stop::Failed(error)) => {
            let why = error.words_for_a_pusher();
            let else_wise =
                "Slipway could not examine the push. This is not your fault; nothing was changed.";
            pusher.refuse(&[why.unwrap_or_else(|| else_wise.into())]).await;
            Err(error)
        }
    }
}

/// Puts what was received where all servers have it, and makes it fit to be moved into the repository.
async fn admit(push: &Incoming, quarantine: Option<&Path>) -> Result<Vec<Pack>, Stop> {
    let Some(quarantine) = quarantine else { return Ok(Vec::new()) };
    let quarantine = judge::in_repository(quarantine, &push.repository.path)?;
    drop_marks(&quarantine.join("pack")).await.map_err(|source| Error::RunGit {
        command: "receive-pack",
        repository: push.repository.path.clone(),
        source,
    })?;
    Ok(push.repository.put_packs(quarantine).await?)
}

/// Removes the `.keep` files that git puts beside packs, so that a collection passes over them until
/// their refs are there. Here a push takes as long as its build: were git killed in that time, its mark
/// would stay, and as it names the process, git would refuse the same pack from any other push ("differ
/// in contents"). The mark is not needed: nothing is collected while a push runs, and the commit gets
/// its ref before the build begins.
async fn drop_marks(packs: &Path) -> io::Result<()> {
    let mut listing = match fs::read_dir(packs).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listing => listing?,
    };
    while let Some(entry) = listing.next_entry().await? {
        if Path::new(&entry.file_name()).extension().is_some_and(|extension| extension == "keep") {
            fs::remove_file(entry.path()).await?;
        }
    }
    Ok(())
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
    let updates: Vec<_> = updates.iter().filter_map(|line| RefUpdate::parse(line)).collect();
    let is_candidate =
        |update: &RefUpdate| candidate.as_ref().is_some_and(|candidate| candidate.update == *update);
    let others: Vec<_> = updates.iter().filter(|update| !is_candidate(update)).cloned().collect();
    answers.extend(answer_others(push, &others).await);
    for update in updates {
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
            _ => {}
        }
    }
    streams.stdout.answer_proc_receive(&answers).await?;
    Ok(true)
}

/// What git is told of updates that deploy nothing. On one machine it makes them itself; in a cluster they
/// have been made when it is told.
async fn answer_others(push: &Incoming, updates: &[RefUpdate]) -> Vec<String> {
    let packs = push.progress().packs.clone();
    let made = push.repository.update(updates, packs).await;
    let answer = |(at, update): (usize, &RefUpdate)| match &made {
        Ok(None) => vec![format!("ok {}", update.name), "option fall-through".into()],
        Ok(Some(faults)) => match faults.get(at).copied().flatten() {
            None => vec![format!("ok {}", update.name)],
            Some(fault) => vec![format!("ng {} {fault}", update.name)],
        },
        Err(error) if error.is_overtaken() => vec![format!("ng {} fetch first", update.name)],
        Err(_) => vec![format!("ng {} slipway failed; push again", update.name)],
    };
    if let Err(error) = &made {
        tracing::error!(
            environment = %push.environment.path,
            error = error as &dyn std::error::Error,
            "the branches or tags of a push could not be moved"
        );
    }
    updates.iter().enumerate().flat_map(answer).collect()
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
        _ => error.words_for_a_pusher().unwrap_or_else(|| {
            "Slipway could not record the push. This is not your fault; nothing was changed.".into()
        }),
    }
}

/// The arrow "receive → [Push]". Once it returns, the push happens.
async fn record(shared: &Shared, push: &Incoming, candidate: &Candidate) -> Result<BuildNumber, Stop> {
    let environment = &push.environment.path;
    let branch = &push.environment.deploy_branch;
    let _turn = shared.turns.take(environment).await;
    let current = push.repository.read_ref(&push.repository.branch_ref(branch)).await?;
    let is_as_seen =
        current.as_ref().map_or(candidate.update.old.is_zero(), |at| *at == candidate.update.old);
    // Pushes before this one may have become live since its client looked. Nothing of them is lost when
    // they are part of it.
    let is_ahead = match &current {
        Some(current) if !is_as_seen => judge::contains(push, current, &candidate.update.new, None).await?,
        _ => is_as_seen,
    };
    if !is_ahead {
        return Err(refused(format!("{branch} has moved while you were pushing: fetch, and push again")));
    }
    if waiting(shared, push).await? >= PUSH_QUEUE_MAX {
        return Err(queue_full(push));
    }
    let pushes = shared.records.list::<Push>(environment).await?;
    let number = newest_number(shared, push, &pushes).await?.next();
    // The ref first: a record without it could lose its commit, a ref without a record is
    // overwritten by the next push.
    let packs = push.progress().packs.clone();
    push.repository.write_ref(&push.repository.build_ref(number), Some(&candidate.update.new), packs).await?;
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
    if let Some(mark) = push.repository.mark().await {
        batch = batch.put(&mark);
    }
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
