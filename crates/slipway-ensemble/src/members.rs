//! Who belongs to the ensemble (EX-11, EX-12, ZK-09): the loop that looks, decides and acts.
//!
//! Every instance runs it, and every one tells the shared place that it is there. Each looks at all
//! servers by itself and decides as if it had the lock. Only when that says that something is to be
//! done, it takes the lock, reads the settings and ZooKeeper's configuration once more, decides anew,
//! and does that one thing. Both writes carry the version that was read: whoever was slow writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::cause::chain;
use crate::configuration::{Configuration, Member, Role};
use crate::handle::Handle;
use crate::monitor::{self, State};
use crate::options::Options;
use crate::place::{self, Place};
use crate::settings::{Kind, Server, Servers, Settings};
use crate::shared::{self, Keys, Locks, SharedSettings, Trusted};
use crate::{instance, wire, words, zoo_cfg};

pub mod decide;

mod rolling;

use decide::{Change, Decision, Instance, Reason, Rules, Situation, Size};

/// Where the instances say that they are there.
const PRESENCE_FOLDER: &str = "instances";
const PRESENCE_BYTES_MAX: usize = 64;
/// More instances than this are not looked at.
const INSTANCES_MAX: usize = 1000;
/// Rounds without a new sign after which an instance is not there any more.
const ROUNDS_SILENT_MAX: u32 = 3;
const LOCK: &str = "members";
const LOCK_TTL: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);

/// The loop's state.
pub struct Members {
    handle: Handle,
    shared: Arc<SharedSettings<Settings>>,
    /// Where the instances say that they are there.
    trusted: Trusted,
    place: Arc<Place>,
    locks: Locks,
    beat: u64,
    presence: BTreeMap<String, Presence>,
    states: BTreeMap<String, (State, Instant)>,
    list: (Servers, Instant),
    /// Those that ZooKeeper counted on when it was last asked. One that was taken from the list is
    /// among them until its vote is gone.
    counted: Vec<Server>,
    turn: rolling::TurnSeen,
    /// The last sign that none of us wrote, for the operator.
    foreign: Option<place::Error>,
}

struct Presence {
    sign: Bytes,
    silent: u32,
    since: Instant,
    /// When the sign came.
    heard: Instant,
}

/// What all servers are like, by our own looks.
struct Looks {
    instances: Vec<Instance>,
    leader: Option<u8>,
    serving: Vec<Server>,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shared settings could not be read or written.
    #[error("failed to change the list of servers")]
    Settings(#[from] shared::Error),
    /// The place where instances say that they are there is away.
    #[error("failed to see which instances are there")]
    Place(#[from] place::Error),
    /// ZooKeeper was not asked, or refused.
    #[error("failed to change ZooKeeper's own list of servers")]
    Wire(#[from] wire::Error),
    /// The certificates cannot be read.
    #[error("{0}")]
    Tls(String),
}

impl Members {
    /// The loop for an instance; `locks` must be the same for all.
    pub fn new(
        handle: Handle,
        shared: Arc<SharedSettings<Settings>>,
        place: Arc<Place>,
        keys: &Keys,
        locks: Locks,
    ) -> Self {
        let list = (handle.settings().borrow().servers_spec.clone(), Instant::now());
        let (presence, states) = (BTreeMap::new(), BTreeMap::new());
        let (counted, turn) = (Vec::new(), rolling::TurnSeen::default());
        let (trusted, foreign) = (Trusted::new(&place, keys), None);
        Self {
            handle,
            shared,
            trusted,
            foreign,
            place,
            locks,
            beat: 0,
            presence,
            states,
            list,
            counted,
            turn,
        }
    }

    /// Runs until it is dropped, one round for each `checkMs`.
    pub async fn run(mut self) {
        let mut said = String::new();
        loop {
            let sentence = match self.round().await {
                Ok(Decision::Wait(reason @ (Reason::Needed(_) | Reason::LastVoter(_) | Reason::NoIds))) => {
                    reason.to_string()
                }
                Ok(Decision::Wait(reason @ (Reason::Moved(_) | Reason::Refused(_)))) => reason.to_string(),
                Ok(_) => self.foreign.as_ref().map(|error| chain(error)).unwrap_or_default(),
                Err(error) => chain(&error),
            };
            // Each thing is said once, not with each round.
            if !sentence.is_empty() && sentence != said {
                self.handle.event(sentence.clone());
            }
            said = sentence;
            let period = Duration::from_millis(self.handle.settings().borrow().check_ms);
            let is_rolling = self.handle.shared().rolling.is_some();
            tokio::time::sleep(if is_rolling { period.min(rolling::PERIOD) } else { period }).await;
        }
    }

    /// Looks at everything, and does the next thing if there is one and the lock is free.
    ///
    /// # Errors
    /// The shared place or ZooKeeper did not answer, or refused; the next round begins anew.
    pub async fn round(&mut self) -> Result<Decision, Error> {
        if self.handle.shared().rolling.is_some() {
            self.drive().await?;
            return Ok(Decision::Wait(Reason::Rolling));
        }
        let settings = self.handle.settings().borrow().clone();
        if settings.is_standalone() {
            return Ok(Decision::Wait(Reason::Standalone));
        }
        // Without the shared place nobody new can be taken in, but the rest can go on.
        let present = self.meet().await;
        let looks = self.look(&settings).await;
        let idle = self.decide(&settings, &looks).await?;
        if matches!(idle, Decision::Wait(_)) {
            return Ok(present.map(|()| idle)?);
        }
        let Some(lock) = self.locks.lock(LOCK, LOCK_TTL, Duration::ZERO).await? else {
            return Ok(Decision::Wait(Reason::NoLock));
        };
        let done = lock.guard(self.act(&looks)).await;
        lock.release().await;
        done.unwrap_or(Ok(Decision::Wait(Reason::NoLock)))
    }

    async fn act(&mut self, looks: &Looks) -> Result<Decision, Error> {
        let Some((settings, version)) = self.shared.load().await? else {
            return Ok(Decision::Wait(Reason::Standalone));
        };
        if settings.rolling.is_some() {
            return Ok(Decision::Wait(Reason::Rolling));
        }
        let (client, configuration) = self.ask(&settings, looks).await?;
        let decision = decide::decide(&self.situation(&settings, looks, Some(&configuration)));
        match &decision {
            Decision::Wait(_) => {}
            Decision::Rewrite { list, highest_id, why } => {
                let mut new = settings.clone();
                (new.servers_spec, new.highest_server_id) = (list.clone(), *highest_id);
                let version = self.shared.replace(Some(version), &new).await?;
                self.handle.event(format!("{why}: the servers are now {list}"));
                instance::take(&self.handle, &new, version);
            }
            Decision::Reconfigure(change) => {
                let mut client = client;
                let tls = self.handle.options().tls.is_some();
                let change = reconfiguration(change, &configuration, &settings, tls)?;
                let new = client.reconfigure(&change, configuration.version).await?;
                let members: Vec<String> = new.members.iter().map(ToString::to_string).collect();
                self.handle.event(format!("ZooKeeper's own list is now {}", members.join(" ")));
                client.close().await;
            }
        }
        Ok(decision)
    }

    async fn decide(&mut self, settings: &Settings, looks: &Looks) -> Result<Decision, Error> {
        let configuration = match self.ask(settings, looks).await {
            Ok((client, configuration)) => {
                client.close().await;
                self.counted = configuration.members.iter().map(server).collect();
                Some(configuration)
            }
            // A server that does not answer is what NoQuorum means.
            Err(Error::Wire(error)) if !matches!(error, wire::Error::Configuration(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(decide::decide(&self.situation(settings, looks, configuration.as_ref())))
    }

    fn situation<'a>(
        &mut self,
        settings: &'a Settings,
        looks: &'a Looks,
        configuration: Option<&'a Configuration>,
    ) -> Situation<'a> {
        if self.list.0 != settings.servers_spec {
            self.list = (settings.servers_spec.clone(), Instant::now());
        }
        Situation {
            rules: rules(settings),
            list: &settings.servers_spec,
            highest_id: settings.highest_server_id,
            instances: &looks.instances,
            configuration,
            leader: looks.leader,
            since_change: self.list.1.elapsed(),
        }
    }

    /// A session with the first server that answers, and what it says. The leader comes last: what it
    /// is asked might be to end itself.
    async fn ask(&self, settings: &Settings, looks: &Looks) -> Result<(wire::Client, Configuration), Error> {
        let options = wire_options(self.handle.options())?;
        let mut servers: Vec<&Server> = looks.serving.iter().collect();
        servers.sort_by_key(|server| Some(server.id) == looks.leader);
        let mut failed = wire::Error::Timeout(PATIENCE);
        for server in servers {
            let address = format!("{}:{}", server.host, settings.client_port);
            match wire::Client::connect(&address, &options).await {
                Err(error) => failed = error,
                Ok(mut client) => match client.configuration().await {
                    Err(error) => failed = error,
                    Ok(configuration) => return Ok((client, configuration)),
                },
            }
        }
        Err(failed.into())
    }

    /// Says that we are here, and sees who else is.
    async fn meet(&mut self) -> Result<(), place::Error> {
        self.beat += 1;
        let sign = format!("{} {} {}", std::process::id(), self.beat, rolling::runs_by(&self.handle));
        self.trusted.put(PRESENCE_FOLDER, &self.handle.options().hostname, sign.as_bytes()).await?;
        self.foreign = None;
        let mut names = self.place.list(PRESENCE_FOLDER).await?;
        names.truncate(INSTANCES_MAX);
        for name in names {
            let sign = match self.trusted.get(PRESENCE_FOLDER, &name, PRESENCE_BYTES_MAX).await {
                Ok(Some(sign)) => sign,
                Ok(None) => continue,
                // Whoever wrote it is not there for us.
                Err(error @ place::Error::Forged { .. }) => {
                    self.foreign = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            // What is there at first may be long dead, so it counts from its second sign on.
            let (now, silent) = (Instant::now(), ROUNDS_SILENT_MAX);
            let first = || Presence { sign: sign.clone(), silent, since: now, heard: now };
            let presence = self.presence.entry(name).or_insert_with(first);
            if presence.sign == sign {
                presence.silent = presence.silent.saturating_add(1);
                continue;
            }
            if presence.silent >= ROUNDS_SILENT_MAX {
                presence.since = now;
            }
            (presence.sign, presence.silent, presence.heard) = (sign, 0, now);
        }
        Ok(())
    }

    async fn look(&mut self, settings: &Settings) -> Looks {
        let tls = self.handle.options().tls.as_ref().and_then(|tls| crate::tls::client(tls).ok());
        let mut asked = JoinSet::new();
        let is_listed = |host: &str| settings.servers_spec.iter().any(|server| server.host == host);
        let left = self.counted.iter().filter(|server| !is_listed(&server.host));
        let looked_at: Vec<Server> = settings.servers_spec.iter().chain(left).cloned().collect();
        for server in looked_at.iter().cloned() {
            let (host, port, tls) = (server.host.clone(), settings.client_port, tls.clone());
            let words = words::Server { host, port, tls };
            asked.spawn(async move {
                let ruok = words.ask("ruok", PATIENCE).await.ok();
                let srvr = words.ask("srvr", PATIENCE).await.ok();
                let state = monitor::state(monitor::Seen {
                    is_listed: true,
                    ruok: ruok.as_deref(),
                    srvr: srvr.as_deref(),
                });
                let is_leader = srvr.as_deref().and_then(monitor::mode) == Some("leader");
                (server, state, is_leader)
            });
        }
        let now = Instant::now();
        let mut looks = Looks { instances: Vec::new(), leader: None, serving: Vec::new() };
        for (server, state, is_leader) in asked.join_all().await {
            let known = self.states.entry(server.host.clone()).or_insert((state, now));
            if known.0 != state {
                *known = (state, now);
            }
            let since = known.1.elapsed();
            looks.instances.push(Instance { host: server.host.clone(), state, since });
            looks.leader = looks.leader.or_else(|| is_leader.then_some(server.id));
            if state == State::Serving {
                looks.serving.push(server);
            }
        }
        let is_looked_at = |host: &str| looked_at.iter().any(|server| server.host == host);
        self.states.retain(|host, _| is_looked_at(host));
        for (host, presence) in self.presence.iter().filter(|(host, _)| !is_looked_at(host)) {
            if presence.silent < ROUNDS_SILENT_MAX {
                let since = presence.since.elapsed();
                looks.instances.push(Instance { host: host.clone(), state: State::Latent, since });
            }
        }
        looks
    }
}

/// What the settings say about changes that nobody asks for.
pub fn rules(settings: &Settings) -> Rules {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Rules {
        automatic: settings.auto_manage_instances != 0,
        size: match settings.auto_manage_instances_fixed_ensemble_size {
            0 => Size::Flexible,
            size => Size::Fixed(count(size)),
        },
        observer_threshold: count(settings.observer_threshold),
        settling: Duration::from_millis(settings.auto_manage_instances_settling_period_ms),
    }
}

/// A change in ZooKeeper's words. One that is known there keeps the addresses it has.
///
/// # Errors
/// The settings make a line that is no server's.
pub fn reconfiguration(
    change: &Change,
    configuration: &Configuration,
    settings: &Settings,
    tls: bool,
) -> Result<wire::Reconfiguration, wire::Error> {
    let member = |(server, role): &(Server, Role)| {
        let known = configuration.member(server.id).cloned();
        let made = || zoo_cfg::member(settings, server, tls).parse::<Member>();
        Ok::<_, wire::Error>(Member { role: *role, ..known.map_or_else(made, Ok)? })
    };
    let joining = change.joining.iter().map(member).collect::<Result<_, _>>()?;
    Ok(wire::Reconfiguration { joining, leaving: change.leaving.into_iter().collect() })
}

/// A member as it would stand in the list.
fn server(member: &Member) -> Server {
    let kind = if member.role == Role::Participant { Kind::Standard } else { Kind::Observer };
    Server { kind, id: member.id, host: member.host.clone() }
}

fn wire_options(options: &Options) -> Result<wire::Options, Error> {
    let tls = options.tls.as_ref().map(crate::tls::client).transpose().map_err(Error::Tls)?;
    let digest = options.super_password.as_ref().map(|password| format!("super:{password}"));
    Ok(wire::Options { timeout: PATIENCE, digest, tls })
}
