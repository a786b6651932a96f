//! What to tell the pusher next: a function of what was told and what is stored now.

use std::time::Duration;

use slipway_model::deployment::{Deployment, DeploymentEvent, DeploymentState};
use slipway_model::id::{BuildNumber, ReleaseNumber};
use slipway_model::name::EnvironmentPath;
use slipway_model::push::{Build, BuildState};

/// What is stored about a push at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// Its build, once a builder has taken it up.
    pub(crate) build: Option<Build>,
    /// Pushes to the same environment that are built first, oldest first.
    pub(crate) ahead: Vec<BuildNumber>,
    /// The release that came of it.
    pub(crate) release: Option<ReleaseNumber>,
    /// The leader has looked at the build and made no release of it.
    pub(crate) passed_over: bool,
    /// The deployment of that release.
    pub(crate) deployment: Option<Deployment>,
    /// What the environment runs.
    pub(crate) live: Option<ReleaseNumber>,
}

/// How a push ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its release is live and healthy.
    Live,
    /// It is not; why, in a few words for git's own summary line.
    NotLive(String),
}

/// A line for the pusher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Head(String),
    Detail(String),
    Refusal(String),
}

/// Remembers what the pusher has been told.
#[derive(Debug)]
pub(crate) struct Story {
    environment: EnvironmentPath,
    number: BuildNumber,
    position: Option<String>,
    last_event: Option<DeploymentEvent>,
}

impl Story {
    pub(crate) fn new(environment: EnvironmentPath, number: BuildNumber) -> Self {
        Self { environment, number, position: None, last_event: None }
    }

    /// The lines that are new, and the verdict once there is one.
    pub(crate) fn tell(&mut self, now: &Snapshot) -> (Vec<Line>, Option<Verdict>) {
        let number = self.number;
        let Some(build) = &now.build else { return (self.queue(now), None) };
        match &build.state {
            BuildState::Running => return (Vec::new(), None),
            BuildState::Failed { reason } => {
                let what = format!("build {number} failed");
                return self.end(now, format!("Build {number} failed: {reason}"), &[], what);
            }
            BuildState::Cancelled { by } => {
                let what = format!("build {number} was cancelled");
                return self.end(now, format!("Build {number} was cancelled by {by}."), &[], what);
            }
            BuildState::Succeeded { .. } => {}
        }
        let Some(release) = now.release else {
            if !now.passed_over {
                return (Vec::new(), None);
            }
            let text = format!("Build {number} was not released; 'slipway releases' shows what was.");
            return self.end(now, text, &[], format!("build {number} was not released"));
        };
        let Some(deployment) = &now.deployment else { return (Vec::new(), None) };
        let mut lines = self.events(deployment);
        let (ended, verdict) = match &deployment.state {
            DeploymentState::ReleaseCommand { .. }
            | DeploymentState::Rollout { .. }
            | DeploymentState::Rollback { .. } => {
                return (lines, None);
            }
            DeploymentState::Live { .. } => {
                lines.push(Line::Head(format!("{} runs {release}", self.environment)));
                return (lines, Some(Verdict::Live));
            }
            DeploymentState::Failed { reason, tail, .. } => self.end(
                now,
                format!("{release} did not become live: {reason}"),
                tail,
                format!("{release} did not become live"),
            ),
            DeploymentState::Superseded { by, .. } => {
                let text = format!("{release} was overtaken by deployment {by} before it was live.");
                self.end(now, text, &[], format!("{release} was overtaken by a newer deployment"))
            }
        };
        lines.extend(ended);
        (lines, verdict)
    }

    /// What the pusher is waiting for, for a line when nothing else has been said for long.
    pub(crate) fn heartbeat(&self, now: &Snapshot, since_start: Duration) -> Line {
        let doing = match (&now.build, now.release) {
            (None, _) => "waiting to be built",
            (Some(build), _) if !build.state.is_final() => "building",
            (_, None) => "waiting to be released",
            (_, Some(_)) => "starting the new release",
        };
        Line::Detail(format!("… still {doing} ({} s)", since_start.as_secs()))
    }

    fn queue(&mut self, now: &Snapshot) -> Vec<Line> {
        let Some(first) = now.ahead.first() else { return Vec::new() };
        let position =
            format!("Waiting for build {first} of {}, {} ahead", self.environment, now.ahead.len());
        if self.position.as_ref() == Some(&position) {
            return Vec::new();
        }
        self.position = Some(position.clone());
        vec![Line::Detail(position)]
    }

    /// A deployment keeps a bounded list of events whose middle may vanish, so what is new is what
    /// stands behind the last one told, or what is later.
    fn events(&mut self, deployment: &Deployment) -> Vec<Line> {
        let events = &deployment.events;
        let new = match &self.last_event {
            None => 0,
            Some(last) => match events.iter().rposition(|event| event == last) {
                Some(at) => at + 1,
                None => events.iter().position(|event| event.at > last.at).unwrap_or(events.len()),
            },
        };
        self.last_event = events.last().cloned().or(self.last_event.take());
        events[new..].iter().map(|event| Line::Head(event.text.clone())).collect()
    }

    fn end(
        &self,
        now: &Snapshot,
        text: String,
        tail: &[String],
        verdict: String,
    ) -> (Vec<Line>, Option<Verdict>) {
        let mut lines = vec![Line::Refusal(text)];
        if !tail.is_empty() {
            lines.push(Line::Refusal("The last it printed:".into()));
            lines.extend(tail.iter().map(|line| Line::Detail(format!("| {line}"))));
        }
        lines.push(Line::Refusal(match now.live {
            Some(live) => format!("{} runs {live}.", self.environment),
            None => format!("{} runs nothing yet.", self.environment),
        }));
        (lines, Some(Verdict::NotLive(verdict)))
    }
}

#[cfg(test)]
mod tests;
