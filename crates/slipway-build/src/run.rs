//! The builder's loop: it watches pushes, builds and cancellations, takes from the [`Queue`] what is
//! next, and writes what becomes of it.
//!
//! A build's record has one writer, this loop with its tasks ([`one`]). `Running` is written before anything is done, the end
//! after everything is: a kill in between leaves a `Running` record without a builder, which the next
//! life begins anew, once. If that life is killed as well, the build itself may be the cause, so the
//! third one fails it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use slipway_model::id::Epoch;
use slipway_model::name::UserName;
use slipway_model::push::{Build, BuildCancellation, Push};
use slipway_model::record::Record;
use slipway_registry::Registry;
use slipway_store::journal::Journal;
use slipway_store::{Store, Watch, WatchEvent};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clear::Traces;
use crate::config_source::ConfigSource;
use crate::queue::{BuildKey, Ended, Pushed, Queue};
use crate::sandbox::Sandbox;

mod one;

use one::One;

/// Where a builder finds things, and how much it does at once.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bare repositories, `<tenant>/<project>.git` below it. Only read.
    pub repositories: PathBuf,
    /// What builds remember, `<tenant>/<project>/<environment>/` below it. Ours alone.
    pub cache: PathBuf,
    /// Output of builds, `<tenant>/<project>/<environment>/<number>.log`.
    pub journal: Journal,
    /// The stack of projects that name none.
    pub stack_default: String,
    /// The operator's CA bundle, bound into every build sandbox.
    pub ca_bundle: Option<PathBuf>,
    /// Builds at once; at least 1.
    pub builds_max: usize,
    /// The leader's epoch: nothing is written any more once there is a newer one (S2). `None` where
    /// nobody is elected.
    pub epoch: Option<Epoch>,
}

/// Starts builders.
pub struct Builder;

/// A running builder.
pub struct BuilderHandle {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Builder {
    /// Starts the loop. There must be one for a store. Needs a runtime of several threads.
    pub fn start<S: Sandbox, C: ConfigSource>(
        options: Options,
        store: Store,
        registry: Registry,
        sandbox: S,
        config: C,
    ) -> BuilderHandle {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared { options, store, registry, sandbox, config, stop: stop.clone() });
        let task = tokio::spawn(Loop::new(shared).run());
        BuilderHandle { stop, task }
    }
}

impl BuilderHandle {
    /// Waits until the loop has ended, which without [`BuilderHandle::stop`] it only does by a panic.
    pub async fn ended(&mut self) {
        // The panic has been reported where it happened.
        let _ = (&mut self.task).await;
    }

    /// Ends the loop and what it builds. Builds under way stay `Running`, and the next builder
    /// begins them anew; this does not count as an attempt.
    pub async fn stop(self) {
        self.stop.cancel();
        // A panic of the loop has been reported where it happened.
        let _ = self.task.await;
    }
}

struct Shared<S, C> {
    options: Options,
    store: Store,
    registry: Registry,
    sandbox: S,
    config: C,
    stop: CancellationToken,
}

impl<S, C> Shared<S, C> {
    fn traces(&self) -> Traces<'_, S> {
        let Options { journal, cache, .. } = &self.options;
        Traces { store: &self.store, journal, cache, sandbox: &self.sandbox }
    }
}

struct Loop<S, C> {
    shared: Arc<Shared<S, C>>,
    queue: Queue,
    /// Builds that an earlier life left running, with how often they were begun.
    left_running: HashMap<BuildKey, u32>,
    /// How to stop each build under way.
    cancels: HashMap<BuildKey, CancellationToken>,
    builds: JoinSet<()>,
    /// Which build each task is, for when it dies without saying.
    tasks: HashMap<tokio::task::Id, Push>,
}

impl<S: Sandbox, C: ConfigSource> Loop<S, C> {
    fn new(shared: Arc<Shared<S, C>>) -> Self {
        Self {
            shared,
            queue: Queue::default(),
            left_running: HashMap::new(),
            cancels: HashMap::new(),
            builds: JoinSet::new(),
            tasks: HashMap::new(),
        }
    }

    async fn run(mut self) {
        let store = &self.shared.store;
        let mut builds: Watch<Build> = store.watch("");
        let mut pushes: Watch<Push> = store.watch("");
        let mut cancellations: Watch<BuildCancellation> = store.watch("");
        // What is finished has to be known before any push is looked at.
        self.builds_seen(builds.next().await);
        let stop = self.shared.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                event = builds.next() => self.builds_seen(event),
                event = pushes.next() => self.pushes_seen(event).await,
                event = cancellations.next() => for wish in all_of(event) { self.cancel(wish) },
                Some(ended) = self.builds.join_next_with_id() => match ended {
                    Ok((id, ())) => self.ended(id).await,
                    Err(error) => self.died(&error).await,
                },
            }
            self.start_what_may();
        }
        self.cancels.values().for_each(CancellationToken::cancel);
        while self.builds.join_next().await.is_some() {}
    }

    fn builds_seen(&mut self, event: WatchEvent<Build>) {
        if let WatchEvent::Removed(key) = &event {
            if let Some(key) = parse_key::<Build>(key) {
                self.queue.forgotten(&key);
            }
            return;
        }
        for build in all_of(event) {
            let key = (build.environment, build.number);
            // What is under way here is known better from its task.
            if self.cancels.contains_key(&key) {
                continue;
            }
            if build.state.is_final() {
                self.queue.recorded(key, build.started_at);
            } else {
                self.left_running.insert(key, build.attempt);
            }
        }
    }

    async fn pushes_seen(&mut self, event: WatchEvent<Push>) {
        let gone = match &event {
            WatchEvent::Removed(key) => parse_key::<Push>(key).into_iter().collect(),
            WatchEvent::Whole(_) => self.shared.traces().orphans().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "builds without a push cannot be looked for");
                Vec::new()
            }),
            _ => Vec::new(),
        };
        for key in gone {
            self.queue.withdrawn(&key);
            match self.cancels.get(&key) {
                Some(cancel) => cancel.cancel(),
                None => self.clear(&key).await,
            }
        }
        for push in all_of(event) {
            let key = (push.environment.clone(), push.number);
            if self.queue.pushed(push) == Pushed::InPlaceOfRunning
                && let Some(cancel) = self.cancels.get(&key)
            {
                cancel.cancel();
            }
        }
    }

    async fn ended(&mut self, id: tokio::task::Id) {
        let Some(push) = self.tasks.remove(&id) else { return };
        let key = (push.environment.clone(), push.number);
        self.cancels.remove(&key);
        if self.queue.ended(&push) == Ended::Withdrawn {
            self.clear(&key).await;
        }
    }

    /// Failing is no matter: the next start finds the same again.
    async fn clear(&self, key: &BuildKey) {
        if let Err(error) = self.shared.traces().clear(key).await {
            tracing::warn!(environment = %key.0, build = %key.1, %error, "a build's traces cannot be cleared away");
        }
    }

    /// A bug of ours must not hold an environment for ever.
    async fn died(&mut self, error: &tokio::task::JoinError) {
        let Some(push) = self.tasks.get(&error.id()).cloned() else { return };
        tracing::error!(environment = %push.environment, build = %push.number, %error, "a build's task has died");
        let one =
            One { shared: &self.shared, push: &push, attempt: 1, cancel: self.shared.stop.child_token() };
        one.give_up("the builder failed; this is a fault of the platform, which has been logged").await;
        self.ended(error.id()).await;
    }

    fn cancel(&mut self, wish: BuildCancellation) {
        let key = (wish.environment.clone(), wish.number);
        self.queue.cancel(wish);
        if let Some(cancel) = self.cancels.get(&key) {
            cancel.cancel();
        }
    }

    fn start_what_may(&mut self) {
        while let Some((push, by)) = self.queue.take_cancelled() {
            self.spawn(push, Some(by));
        }
        while let Some(push) = self.queue.start_next(self.shared.options.builds_max.max(1)) {
            self.spawn(push, None);
        }
    }

    fn spawn(&mut self, push: Push, cancelled_by: Option<UserName>) {
        let key = (push.environment.clone(), push.number);
        let attempt = self.left_running.remove(&key).unwrap_or(0) + 1;
        let cancel = self.shared.stop.child_token();
        self.cancels.insert(key, cancel.clone());
        let (shared, of_task) = (self.shared.clone(), push.clone());
        let task = self.builds.spawn(async move {
            let build = One { shared: &shared, push: &push, attempt, cancel };
            match cancelled_by {
                Some(by) => build.cancel_unbegun(by).await,
                None => build.carry_out().await,
            }
        });
        self.tasks.insert(task.id(), of_task);
    }
}

/// The records of an event that tells what there is.
fn all_of<R: Record>(event: WatchEvent<R>) -> Vec<R> {
    match event {
        WatchEvent::Whole(all) => all.into_iter().map(|versioned| versioned.record).collect(),
        WatchEvent::Put(versioned) => vec![versioned.record],
        // The store has logged it.
        WatchEvent::Removed(_) | WatchEvent::Unreadable(_) => Vec::new(),
    }
}

fn parse_key<R: Record>(key: &str) -> Option<BuildKey> {
    let (environment, number) = key.strip_prefix(R::PREFIX)?.rsplit_once('/')?;
    Some((environment.parse().ok()?, number.parse().ok()?))
}
