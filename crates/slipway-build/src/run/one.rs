//! One build: its log, its record, and what is said of its end.

use std::path::Path;
use std::time::{Duration, SystemTime};

use slipway_model::name::UserName;
use slipway_model::push::{Build, BuildCancellation, BuildState, Push};
use slipway_model::unit::Timestamp;
use slipway_store::Batch;
use slipway_store::journal;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::build::Job;
use crate::config_source::ConfigSource;
use crate::error::Error;
use crate::output::Output;
use crate::sandbox::Sandbox;

/// How often a build is begun before it is given up as interrupted.
const ATTEMPTS_MAX: u32 = 2;
/// Between two tries to write a build's end, when the store's disk is full.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// One build and its record.
pub(super) struct One<'a, S, C> {
    pub(super) shared: &'a Shared<S, C>,
    pub(super) push: &'a Push,
    pub(super) attempt: u32,
    pub(super) cancel: CancellationToken,
}

impl<S: Sandbox, C: ConfigSource> One<'_, S, C> {
    pub(super) async fn carry_out(&self) {
        let began = now();
        self.write(BuildState::Running, self.attempt, began, None).await;
        let state = match self.output().await {
            Ok(output) => self.build(&output).await,
            Err(error) => Some(failed(&error)),
        };
        match state {
            Some(state) => self.write(state, self.attempt, began, Some(now())).await,
            None => self.write(BuildState::Running, self.attempt - 1, began, None).await,
        }
    }

    /// Builds and closes the log. `None`: the builder is being stopped, and the build with it.
    async fn build(&self, output: &Output) -> Option<BuildState> {
        let result = if self.attempt > ATTEMPTS_MAX {
            Err(Error::refused(
                "interrupted: the builder was killed twice during this build; push again to retry",
            ))
        } else {
            if self.attempt > 1 {
                output.step("The builder was interrupted; building anew");
            }
            self.job(output).run().await
        };
        if self.shared.stop.is_cancelled() {
            output.step("The builder is being restarted; the build begins anew with it");
            return None;
        }
        let state = match result {
            Ok(image) => BuildState::Succeeded { image },
            Err(Error::Cancelled) => {
                let by = self.cancelled_by().await;
                output.alarm(&format!("Cancelled by {by}"));
                BuildState::Cancelled { by }
            }
            Err(error) => {
                if error.is_platforms_fault() {
                    let environment = &self.push.environment;
                    tracing::error!(%environment, build = %self.push.number, reason = error.reason(), "a build failed");
                }
                output.alarm(&error.reason());
                failed(&error)
            }
        };
        if let Err(error) = output.finish() {
            tracing::warn!(environment = %self.push.environment, build = %self.push.number, %error, "a build log is incomplete");
        }
        Some(state)
    }

    fn job<'j>(&'j self, output: &'j Output) -> Job<'j, S, C> {
        let Shared { options, store, registry, sandbox, config, .. } = self.shared;
        Job {
            store,
            registry,
            sandbox,
            config,
            repositories: options.repositories.clone(),
            cache: options.cache.clone(),
            stack_default: &options.stack_default,
            ca_bundle: options.ca_bundle.clone(),
            push: self.push,
            output,
            cancel: &self.cancel,
        }
    }

    pub(super) async fn cancel_unbegun(&self, by: UserName) {
        let at = now();
        if let Ok(output) = self.output().await {
            output.alarm(&format!("Cancelled by {by} before it began"));
            let _ = output.finish();
        }
        self.write(BuildState::Cancelled { by }, self.attempt, at, Some(at)).await;
    }

    pub(super) async fn give_up(&self, reason: &str) {
        let at = now();
        if let Ok(output) = self.output().await {
            output.alarm(reason);
            let _ = output.finish();
        }
        self.write(BuildState::Failed { reason: reason.to_owned() }, self.attempt, at, Some(at)).await;
    }

    async fn output(&self) -> Result<Output, Error> {
        let path = Build::log_path(&self.push.environment, self.push.number);
        let path: &Path = path.as_ref();
        let journal = &self.shared.options.journal;
        match journal.writer(path) {
            // Killed between the end of the log and the end of the record: all of it is said again.
            Err(journal::Error::Finished(_)) => journal.remove(path).await?,
            other => return Ok(Output::new(other?)),
        }
        Ok(Output::new(journal.writer(path)?))
    }

    /// Who asked for it; the pusher, should the request be gone.
    async fn cancelled_by(&self) -> UserName {
        let key = (self.push.environment.clone(), self.push.number);
        let wish = self.shared.store.get::<BuildCancellation>(&key).await;
        wish.ok().flatten().map_or_else(|| self.push.by.clone(), |wish| wish.record.by)
    }

    /// Writes the record, as often as it takes: a build whose end is not written would hold its
    /// environment for ever. Nothing is written once the push is gone with its environment.
    async fn write(
        &self,
        state: BuildState,
        attempt: u32,
        started_at: Timestamp,
        ended_at: Option<Timestamp>,
    ) {
        let mut build = Build {
            environment: self.push.environment.clone(),
            number: self.push.number,
            state,
            attempt,
            started_at,
            ended_at,
        };
        while let Err(error) = self.try_write(&build).await {
            if error.is_callers_fault() && matches!(build.state, BuildState::Succeeded { .. }) {
                let reason =
                    "the services and their commands are too long to be recorded together".to_owned();
                build.state = BuildState::Failed { reason };
                continue;
            }
            if error.is_fenced() {
                // The builder of the newer leader begins this build anew.
                return;
            }
            let environment = &build.environment;
            tracing::error!(%environment, build = %build.number, %error, "a build cannot be recorded");
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = tokio::time::sleep(WRITE_RETRY) => {}
            }
        }
    }

    async fn try_write(&self, build: &Build) -> Result<(), slipway_store::Error> {
        let key = (build.environment.clone(), build.number);
        let store = &self.shared.store;
        loop {
            let push = store.get::<Push>(&key).await?;
            let Some(push) = push.filter(|push| push.record == *self.push) else { return Ok(()) };
            let mut batch = Batch::new().expect::<Push>(&key, push.version).put(build);
            if let Some(epoch) = self.shared.options.epoch {
                batch = batch.fenced(epoch);
            }
            match store.commit(batch).await {
                // A push never changes, so it has been deleted this very moment.
                Err(error) if error.is_conflict() => {}
                other => return other,
            }
        }
    }
}

fn failed(error: &Error) -> BuildState {
    BuildState::Failed { reason: error.reason() }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
