//! The loop that looks after one ZooKeeper server (EX-09, EX-10, EX-13).
//!
//! Each `checkMs`, and whenever settings, switches or orders come, it looks at the server and does what
//! is due. It owns the process; everyone else has a [`Handle`]. When the loop ends, the server runs on.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::handle::{Handle, Look, Order, Switches, What};
use crate::monitor::{self, Seen, State};
use crate::options::Options;
use crate::process::{self, Process};
use crate::settings::{Server, Settings};
use crate::{words, zoo_cfg};

mod files;

/// How long the server may take to answer a word, and to end when asked.
const WORD_PATIENCE: Duration = Duration::from_secs(5);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// What an operator decided survives our restart.
const KEPT_FILE: &str = "instance.json";
/// The settings that the server was last started with.
const STARTED_FILE: &str = "started-with.json";

/// The loop's state.
pub struct Supervisor {
    handle: Handle,
    orders: mpsc::Receiver<Order>,
    process: Option<Process>,
    /// Whether that process has answered yet.
    has_answered: bool,
    /// The settings that it was started with; nothing when that was not written down.
    running: Option<Arc<Settings>>,
    is_stopped: bool,
    state: State,
    since: Instant,
    cleaned: Instant,
    kept: Option<Kept>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    switches: Switches,
    is_stopped: bool,
}

/// An instance with these settings, and the loop that must be run for it.
///
/// # Errors
/// The directory cannot be made or is not plain text, so that it could not stand in a configuration.
pub fn new(options: Options, settings: Settings) -> io::Result<(Handle, Supervisor)> {
    let is_plain = |path: &Path| {
        path.to_str().is_some_and(|text| {
            text.starts_with('/') && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\')
        })
    };
    let mut paths = vec![options.dir.as_path()];
    paths.extend(options.tls.iter().flat_map(|tls| [tls.key_store.as_path(), tls.trust_store.as_path()]));
    if let Some(path) = paths.into_iter().find(|path| !is_plain(path)) {
        let sentence = format!("{} is not an absolute path of plain ASCII", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
    }
    std::fs::create_dir_all(&options.dir)?;
    let kept = std::fs::read(options.dir.join(KEPT_FILE)).ok();
    let kept: Option<Kept> = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let on = Switches { restarts: true, cleanup: true, backups: true };
    let process = Process::adopt(&options.dir);
    let (handle, orders) = Handle::new(options, settings, kept.map_or(on, |kept| kept.switches));
    let running = process.and_then(|_| std::fs::read(handle.options().dir.join(STARTED_FILE)).ok());
    let running = running.and_then(|bytes| serde_json::from_slice(&bytes).ok()).map(Arc::new);
    handle.set_running(running.clone());
    if let Some(process) = &process {
        handle.event(format!("adopted the server that runs as process {}", process.pid()));
    }
    let supervisor = Supervisor {
        handle: handle.clone(),
        orders,
        process,
        has_answered: false,
        running,
        is_stopped: kept.is_some_and(|kept| kept.is_stopped),
        state: State::Latent,
        since: Instant::now(),
        cleaned: Instant::now(),
        kept,
    };
    Ok((handle, supervisor))
}

impl Supervisor {
    /// Looks after the server until told to stop. The server runs on.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut settings = self.handle.settings();
        let mut switches = self.handle.switches();
        loop {
            let now = Arc::clone(&settings.borrow_and_update());
            switches.mark_unchanged();
            self.step(&now).await;
            self.keep();
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(Duration::from_millis(now.check_ms)) => {}
                _ = settings.changed() => {}
                _ = switches.changed() => {}
                Some(order) = self.orders.recv() => {
                    // New settings may have come at the same time.
                    let now = Arc::clone(&settings.borrow());
                    let result = self.obey(order.what, &now).await;
                    // Who asked may have gone.
                    let _ = order.done.send(result);
                }
            }
        }
    }

    async fn step(&mut self, settings: &Arc<Settings>) {
        let options = self.handle.options().clone();
        if let Err(error) = process::bound_log(&options.dir) {
            self.handle.event(format!("cannot bound the server's log: {error}"));
        }
        let own = own(settings, &options.hostname);
        let seen = self.look(settings, own.is_some()).await;
        self.handle.set_look(seen.clone());
        if seen.state != self.state {
            self.handle.event(format!("the server is {}", describe(seen.state)));
            (self.state, self.since) = (seen.state, Instant::now());
        }
        let restarts = self.handle.switches().borrow().restarts;
        match own {
            None => self.leave(settings).await,
            Some(_) if self.is_stopped => {}
            Some(own) => {
                if let Some(reason) = self.reason_to_start(settings, restarts) {
                    self.handle.event(reason);
                    self.restart(settings, &own).await;
                }
            }
        }
        self.clean(settings).await;
    }

    /// Why the server must be started again now, if so.
    fn reason_to_start(&self, settings: &Settings, restarts: bool) -> Option<String> {
        if !restarts {
            return None;
        }
        let Some(process) = self.process.filter(Process::is_alive) else {
            return Some("the server does not run; starting it".to_owned());
        };
        // A change on its way is sure of nothing but a start.
        let is_changed = |running: &Arc<Settings>| running.needs_restart_for(settings);
        if self.running.as_ref().map_or_else(|| self.handle.has_turn(), is_changed) {
            return Some("settings have changed that need a restart".to_owned());
        }
        let ticks = settings.ticks();
        // One that was just started first reads its data; initLimit is how long that may take.
        let is_starting = !self.has_answered && process.age() <= ticks.patience();
        let is_due = monitor::needs_restart(self.state, self.since.elapsed(), ticks, restarts);
        (is_due && !is_starting).then(|| format!("the server is {}; restarting it", describe(self.state)))
    }

    async fn look(&mut self, settings: &Settings, is_listed: bool) -> Look {
        let is_alive = self.process.is_some_and(|process| process.is_alive());
        if !is_listed || !is_alive {
            let state = monitor::state(Seen { is_listed, ruok: None, srvr: None });
            return Look { state, mode: None };
        }
        let server = match here(settings, self.handle.options()) {
            Ok(server) => server,
            Err(sentence) => {
                self.handle.event(sentence);
                return Look { state: self.state, mode: None };
            }
        };
        let mut ruok = server.ask_here("ruok", WORD_PATIENCE).await.ok();
        if ruok.is_none() && self.has_answered {
            // One lost answer is not worth a restart.
            ruok = server.ask_here("ruok", WORD_PATIENCE).await.ok();
        }
        let srvr = server.ask_here("srvr", WORD_PATIENCE).await.ok();
        let state = monitor::state(Seen { is_listed, ruok: ruok.as_deref(), srvr: srvr.as_deref() });
        self.has_answered |= state >= State::NotServing;
        Look { state, mode: srvr.as_deref().and_then(monitor::mode).map(str::to_owned) }
    }

    async fn obey(&mut self, what: What, settings: &Arc<Settings>) -> Result<(), String> {
        self.handle.event(format!(
            "asked to {}",
            match what {
                What::Start => "start the server",
                What::Stop => "stop the server",
                What::Restart => "restart the server",
                What::Quarantine => "put the server's data aside",
            }
        ));
        let own = own(settings, &self.handle.options().hostname);
        match what {
            What::Stop => {
                self.is_stopped = true;
                self.end().await;
                return Ok(());
            }
            What::Start if self.process.is_some_and(|process| process.is_alive()) => {
                self.is_stopped = false;
                return Ok(());
            }
            What::Start | What::Restart => {}
            What::Quarantine => {
                self.end().await;
                let moved =
                    files::set_aside(settings, self.handle.options()).map_err(|error| error.to_string())?;
                self.handle.event(format!("the server's data is now in {}", moved.display()));
            }
        }
        self.is_stopped = false;
        let own = own.ok_or("this instance is not among the servers")?;
        self.restart(settings, &own).await;
        let is_alive = self.process.is_some_and(|process| process.is_alive());
        if is_alive { Ok(()) } else { Err("the server did not start; the log says why".to_owned()) }
    }

    async fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop(STOP_PATIENCE).await;
        }
    }

    async fn restart(&mut self, settings: &Arc<Settings>, own: &Server) {
        self.end().await;
        match self.start(settings, own).await {
            Ok(process) => {
                self.process = Some(process);
                self.running = Some(Arc::clone(settings));
                self.handle.set_running(self.running.clone());
                self.has_answered = false;
                let text = serde_json::to_string(&**settings).unwrap_or_default();
                let path = self.handle.options().dir.join(STARTED_FILE);
                if let Err(error) = process::write_atomically(&path, &text) {
                    self.handle.event(format!("cannot write {STARTED_FILE}: {error}"));
                }
            }
            Err(error) => self.handle.event(format!("the server cannot be started: {error}")),
        }
    }

    async fn start(&self, settings: &Settings, own: &Server) -> io::Result<Process> {
        let options = self.handle.options();
        let membership = self.others_say(settings, own).await;
        let config = files::write(settings, options, own, membership.as_deref())?;
        let mut arguments: Vec<String> = settings.java_environment.iter().map(str::to_owned).collect();
        arguments.extend(["-cp".to_owned(), options.class_path.clone()]);
        let (user, score) = (options.user.as_ref(), options.oom_score_adj);
        let (process, unprotected) =
            Process::start(&options.dir, &options.java, &arguments, &config, user, score)?;
        if let Some(error) = unprotected {
            self.handle.event(format!("the server's oom_score_adj stays as it is: {error}"));
        }
        self.handle.event(format!("the server runs as process {}", process.pid()));
        Ok(process)
    }

    /// The membership, by the first of the others that serves: only a quorum's word counts.
    async fn others_say(&self, settings: &Settings, own: &Server) -> Option<String> {
        let tls = self.handle.options().tls.as_ref().and_then(|tls| crate::tls::client(tls).ok());
        let mut asked = tokio::task::JoinSet::new();
        for server in settings.servers_spec.iter().filter(|server| server.id != own.id) {
            let server =
                words::Server { host: server.host.clone(), port: settings.client_port, tls: tls.clone() };
            asked.spawn(async move {
                let srvr = server.ask("srvr", WORD_PATIENCE).await.ok()?;
                monitor::mode(&srvr)?;
                let conf = server.ask("conf", WORD_PATIENCE).await.ok()?;
                conf.lines().any(|line| line.trim().starts_with("server.")).then_some(conf)
            });
        }
        while let Some(answer) = asked.join_next().await {
            if let Ok(Some(conf)) = answer {
                return Some(conf);
            }
        }
        None
    }

    /// Ends the server of an instance that is no longer listed, but not while the ensemble still counts
    /// on it: two such at once could cost the quorum.
    async fn leave(&mut self, settings: &Settings) {
        if !self.process.is_some_and(|process| process.is_alive()) {
            return;
        }
        let options = self.handle.options();
        if let (Ok(server), Some(id)) = (here(settings, options), files::id(settings, options)) {
            let mode = server.ask_here("srvr", WORD_PATIENCE).await.ok();
            let serves = mode.as_deref().and_then(monitor::mode).is_some();
            let conf = server.ask_here("conf", WORD_PATIENCE).await.unwrap_or_default();
            if serves && zoo_cfg::lists(&conf, id) {
                return;
            }
        }
        self.handle.event("this instance is no longer among the servers; stopping the server");
        self.end().await;
    }

    async fn clean(&mut self, settings: &Settings) {
        let period = Duration::from_millis(settings.cleanup_period_ms);
        let is_on = !period.is_zero() && self.handle.switches().borrow().cleanup;
        if !is_on || self.cleaned.elapsed() < period {
            return;
        }
        self.cleaned = Instant::now();
        let dirs =
            (settings.snapshots(&self.handle.options().dir), settings.logs(&self.handle.options().dir));
        let kept = settings.cleanup_max_files;
        let done = tokio::task::spawn_blocking(move || files::purge(&dirs.0, &dirs.1, kept)).await;
        match done.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(0) => {}
            Ok(count) => self.handle.event(format!("deleted {count} old snapshots and logs")),
            Err(error) => self.handle.event(format!("the cleanup failed: {error}")),
        }
    }

    /// Writes down what the operator decided, when that is new.
    fn keep(&mut self) {
        let kept = Kept { switches: *self.handle.switches().borrow(), is_stopped: self.is_stopped };
        if self.kept == Some(kept) {
            return;
        }
        let text = serde_json::to_string(&kept).unwrap_or_default();
        match process::write_atomically(&self.handle.options().dir.join(KEPT_FILE), &text) {
            Ok(()) => self.kept = Some(kept),
            Err(error) => self.handle.event(format!("cannot write {KEPT_FILE}: {error}")),
        }
    }
}

/// Where the server beside us answers.
///
/// # Errors
/// The certificates cannot be read.
pub fn here(settings: &Settings, options: &Options) -> Result<words::Server, String> {
    let tls = options.tls.as_ref().map(crate::tls::client).transpose()?;
    Ok(words::Server { host: options.hostname.clone(), port: settings.client_port, tls })
}

/// This instance's entry; a standalone server has none, and needs none (EX-10).
fn own(settings: &Settings, host: &str) -> Option<Server> {
    let alone = || Server { kind: crate::settings::Kind::Standard, id: 1, host: host.to_owned() };
    if settings.is_standalone() { Some(alone()) } else { settings.server(host).cloned() }
}

/// A state in Exhibitor's words (EX-02).
pub fn describe(state: State) -> &'static str {
    match state {
        State::Latent => "latent",
        State::Down => "down",
        State::NotServing => "not serving",
        State::Serving => "serving",
    }
}
