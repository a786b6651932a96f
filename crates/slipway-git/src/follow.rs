//! Following a recorded push on behalf of its pusher: the queue, the build's output line by line,
//! the deployment's events, and the verdict. It only watches; whether anybody follows changes nothing.

use std::time::Duration;

use slipway_model::deployment::Deployment;
use slipway_model::id::BuildNumber;
use slipway_model::limit::LOG_LINE_BYTES_MAX;
use slipway_model::name::EnvironmentPath;
use slipway_model::project::EnvironmentStatus;
use slipway_model::push::{Build, BuildState, Push};
use slipway_model::release::{Origin, Release};
use slipway_store::journal::Follower;
use tokio::time::Instant;

use crate::error::Error;
use crate::pusher::Pusher;
use crate::receive::Incoming;
use crate::records::Records;
use crate::server::{Shared, raised};

mod story;

pub(crate) use story::Verdict;
use story::{Line, Snapshot, Story};

/// Longest that a push is followed: a full queue of builds that each take their whole time.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(5 * 3600);
/// How long to wait for more output of a build that has ended but whose log was not finished, as
/// when its builder was killed.
const LOG_END_WAIT: Duration = Duration::from_millis(500);

/// Tells the pusher everything about the push until its fate is known.
pub(crate) async fn follow(
    shared: &Shared,
    push: &Incoming,
    number: BuildNumber,
    pusher: &mut Pusher,
) -> Result<Verdict, Error> {
    let environment = &push.environment.path;
    let (mut gone, mut stop) = (push.gone.clone(), shared.stop.clone());
    let store = &shared.records.0;
    let below = environment.to_string();
    let mut builds = store.watch::<Build>(&below);
    let mut releases = store.watch::<Release>(&below);
    let mut deployments = store.watch::<Deployment>(&below);
    // A status has the environment's own path as its key, so it is watched with its neighbours.
    let mut statuses = store.watch::<EnvironmentStatus>(&environment.project().to_string());

    let mut log = Log::open(shared, environment, number);
    let mut story = Story::new(environment.clone(), number);
    let started = Instant::now();
    let mut last_said = started;
    let mut snapshot = look(&shared.records, environment, number).await?;
    loop {
        if snapshot.build.as_ref().is_some_and(|build| build.state.is_final()) {
            log.finish(pusher).await;
        }
        let (lines, verdict) = story.tell(&snapshot);
        if !lines.is_empty() {
            last_said = Instant::now();
        }
        say(pusher, lines).await;
        if let Some(verdict) = verdict {
            if verdict == Verdict::Live {
                shared.keeper.settle(environment).await?;
            }
            return Ok(verdict);
        }
        if pusher.is_gone() {
            return Ok(gone_away());
        }
        tokio::select! {
            Some(lines) = log.next() => {
                pusher.lines(&lines).await;
                last_said = Instant::now();
                continue;
            }
            _ = builds.next() => {}
            _ = releases.next() => {}
            _ = deployments.next() => {}
            _ = statuses.next() => {}
            () = tokio::time::sleep_until(last_said + shared.options.heartbeat) => {
                say(pusher, vec![story.heartbeat(&snapshot, started.elapsed())]).await;
                last_said = Instant::now();
                continue;
            }
            () = tokio::time::sleep_until(started + FOLLOW_TIME_MAX) => {
                return Ok(goes_on(pusher, environment, number, "This takes too long to be followed").await);
            }
            () = raised(&mut gone) => return Ok(gone_away()),
            () = raised(&mut stop) => {
                return Ok(goes_on(pusher, environment, number, "Slipway is being restarted").await);
            }
        }
        snapshot = look(&shared.records, environment, number).await?;
    }
}

/// Pushes of an environment whose builds have not ended, oldest first.
pub(crate) async fn undecided_pushes(
    records: &Records,
    environment: &EnvironmentPath,
) -> Result<Vec<BuildNumber>, Error> {
    let builds = records.list::<Build>(environment).await?;
    let is_over =
        |number| builds.iter().any(|build| build.record.number == number && build.record.state.is_final());
    let pushes = records.list::<Push>(environment).await?;
    Ok(pushes.iter().map(|push| push.record.number).filter(|number| !is_over(*number)).collect())
}

async fn look(
    records: &Records,
    environment: &EnvironmentPath,
    number: BuildNumber,
) -> Result<Snapshot, Error> {
    // The status first: whatever the leader wrote together with it is then there to be seen.
    let status = records.get::<EnvironmentStatus>(environment, environment).await?;
    let build = records.get::<Build>(environment, &(environment.clone(), number)).await?;
    let mut snapshot =
        Snapshot { live: status.as_ref().and_then(|status| status.live), ..Snapshot::default() };
    match build.as_ref().map(|build| &build.state) {
        None => {
            let mut ahead = undecided_pushes(records, environment).await?;
            ahead.retain(|other| *other < number);
            snapshot.ahead = ahead;
        }
        Some(BuildState::Succeeded { .. }) => {
            let releases = records.list::<Release>(environment).await?;
            let of_build = |release: &Release| release.origin == Origin::Build { number };
            snapshot.release =
                releases.into_iter().map(|found| found.record).find(of_build).map(|release| release.number);
            snapshot.passed_over = status.is_some_and(|status| status.last_build_seen >= number);
        }
        Some(_) => {}
    }
    if let Some(release) = snapshot.release {
        let deployments = records.list::<Deployment>(environment).await?;
        let brings_it =
            |deployment: &Deployment| deployment.to == release && deployment.from != Some(release);
        snapshot.deployment = deployments.into_iter().map(|found| found.record).find(brings_it);
    }
    snapshot.build = build;
    Ok(snapshot)
}

async fn say(pusher: &mut Pusher, lines: Vec<Line>) {
    for line in lines {
        match line {
            Line::Head(text) => pusher.head(&text).await,
            Line::Detail(text) => pusher.detail(&text).await,
            Line::Refusal(text) => pusher.refuse(&[text]).await,
        }
    }
}

fn gone_away() -> Verdict {
    Verdict::NotLive("the client went away".into())
}

async fn goes_on(
    pusher: &mut Pusher,
    environment: &EnvironmentPath,
    number: BuildNumber,
    why: &str,
) -> Verdict {
    pusher
        .refuse(&[format!(
            "{why}. Build {number} goes on without you: slipway builds logs -f {number} -e {environment}"
        )])
        .await;
    Verdict::NotLive(format!("not known yet; build {number} goes on"))
}

/// The build's output, in whole lines.
struct Log {
    follower: Option<Follower>,
    /// The start of a line whose end has not been written.
    rest: Vec<u8>,
}

impl Log {
    fn open(shared: &Shared, environment: &EnvironmentPath, number: BuildNumber) -> Self {
        let path = Build::log_path(environment, number);
        Self { follower: shared.options.journal.follow(path.as_ref(), 0).ok(), rest: Vec::new() }
    }

    /// The next whole lines, or `None` at the end. May be cancelled at any time.
    async fn next(&mut self) -> Option<String> {
        loop {
            match self.follower.as_mut()?.next().await {
                Ok(Some(chunk)) => self.rest.extend_from_slice(&chunk.bytes),
                Ok(None) => self.follower = None,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the log of a build cannot be followed"
                    );
                    self.follower = None;
                }
            }
            let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            // A line without an end is shown in pieces rather than collected.
            let is_long = self.rest.len() > LOG_LINE_BYTES_MAX;
            if whole > 0 || is_long || (self.follower.is_none() && !self.rest.is_empty()) {
                let rest = if whole > 0 { self.rest.split_off(whole) } else { Vec::new() };
                let mut lines =
                    String::from_utf8_lossy(&std::mem::replace(&mut self.rest, rest)).into_owned();
                if whole == 0 {
                    lines.push('\n');
                }
                return Some(lines);
            }
        }
    }

    /// Shows what is left of a build that has ended.
    async fn finish(&mut self, pusher: &mut Pusher) {
        while let Ok(Some(lines)) = tokio::time::timeout(LOG_END_WAIT, self.next()).await {
            pusher.lines(&lines).await;
        }
        self.follower = None;
        if !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            pusher.lines(&format!("{}\n", String::from_utf8_lossy(&line))).await;
        }
    }
}
