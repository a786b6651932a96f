//! Whole instances that care for one ensemble: supervisor, members, quarantine, on a shared directory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use slipway_ensemble::members::Members;
use slipway_ensemble::monitor::State;
use slipway_ensemble::options::CLASS_PATH;
use slipway_ensemble::place::Place;
use slipway_ensemble::settings::{Invalid, Server, Servers, Settings};
use slipway_ensemble::shared::{Keys, Locks, Poll, SharedSettings};
use slipway_ensemble::user::User;
use slipway_ensemble::wire::{self, Client};
use slipway_ensemble::{Handle, Options, instance, quarantine, supervisor};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::writer;

const PASSWORD: &str = "secret";
const LOCK_SETTLING: Duration = Duration::from_millis(100);

struct Instance {
    handle: Handle,
    dir: TempDir,
    tasks: JoinSet<()>,
}

struct Ensemble {
    instances: Vec<Instance>,
    shared_dir: TempDir,
    settings: Settings,
}

impl Ensemble {
    /// Instances on addresses of their own, of which the first `listed` are the ensemble.
    async fn start(count: u8, listed: u8, more: serde_json::Value) -> Self {
        let net = std::process::id() % 200 + 20;
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let host = |at: u8| format!("127.{net}.{number}.{at}");
        let servers: Vec<String> = (1..=listed).map(|at| format!("S:{at}:{}", host(at))).collect();
        let mut settings = serde_json::json!({
            "serversSpec": servers.join(","),
            "javaEnvironment": "-Xmx96m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            "zooCfgExtra": {"tickTime": "200", "initLimit": "50", "syncLimit": "25"},
            "clientPort": 21810, "connectPort": 28880, "electionPort": 38880,
            "checkMs": 300, "backupPeriodMs": 0, "cleanupPeriodMs": 0,
            "autoManageInstancesSettlingPeriodMs": 3000,
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let shared_dir = tempfile::tempdir().unwrap();
        shared(shared_dir.path()).1.replace(None, &settings).await.unwrap();
        let mut ensemble = Self { instances: Vec::new(), shared_dir, settings };
        for at in 1..=count {
            let instance = ensemble.instance(host(at)).await;
            ensemble.instances.push(instance);
        }
        for at in 0..usize::from(listed) {
            ensemble.until("all serve", |all| all.state(at) == State::Serving).await;
        }
        ensemble
    }

    async fn instance(&self, hostname: String) -> Instance {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            hostname,
            dir: dir.path().to_owned(),
            java: "/usr/bin/java".into(),
            class_path: CLASS_PATH.to_owned(),
            oom_score_adj: 0,
            user: User::choose(None).unwrap(),
            tls: None,
            super_password: Some(PASSWORD.to_owned()),
            http_port: 1,
            heading: String::new(),
        };
        let (place, shared) = shared(self.shared_dir.path());
        let (handle, supervisor) = supervisor::new(options, self.settings.clone()).unwrap();
        let (poll, follower) = Poll::new(Arc::clone(&shared), Duration::from_millis(300));
        let locks = Locks::new(Arc::clone(&place), "members-locks", LOCK_SETTLING);
        let mut tasks = JoinSet::new();
        tasks.spawn(supervisor.run(std::future::pending()));
        tasks.spawn(poll.run());
        tasks.spawn(instance::follow(handle.clone(), follower));
        tasks.spawn(Members::new(handle.clone(), shared, place, &keys(), locks).run());
        tasks.spawn(quarantine::run(handle.clone()));
        Instance { handle, dir, tasks }
    }

    fn state(&self, at: usize) -> State {
        self.instances[at].handle.look().borrow().state
    }

    fn mode(&self, at: usize) -> Option<String> {
        self.instances[at].handle.look().borrow().mode.clone()
    }

    fn leader(&self) -> usize {
        let leads = |at: &usize| self.mode(*at).as_deref() == Some("leader");
        (0..self.instances.len()).find(leads).expect("one leads")
    }

    fn host(&self, at: usize) -> String {
        self.instances[at].handle.options().hostname.clone()
    }

    fn addresses(&self) -> Vec<String> {
        (0..self.instances.len()).map(|at| format!("{}:21810", self.host(at))).collect()
    }

    /// What the shared settings say now.
    async fn now(&self) -> Settings {
        shared(self.shared_dir.path()).1.load().await.unwrap().unwrap().0
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            if started.elapsed() > Duration::from_secs(90) {
                for instance in &self.instances {
                    let events = instance.handle.events();
                    let events: Vec<String> = events.into_iter().map(|event| event.sentence).collect();
                    eprintln!("{}: {events:#?}", instance.handle.options().hostname);
                }
                panic!("not in time: {what}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The ids that vote, by ZooKeeper's own word.
    async fn voters(&self) -> Vec<u8> {
        let options = wire::Options {
            timeout: Duration::from_secs(3),
            digest: Some(format!("super:{PASSWORD}")),
            tls: None,
        };
        for address in self.addresses() {
            if let Ok(mut client) = Client::connect(&address, &options).await
                && let Ok(configuration) = client.configuration().await
            {
                return configuration.voters().map(|member| member.id).collect();
            }
        }
        Vec::new()
    }

    async fn until_voters(&self, wanted: &[u8]) {
        let started = Instant::now();
        while self.voters().await != wanted {
            let is_late = started.elapsed() > Duration::from_secs(90);
            if is_late {
                self.until("the voters are as wanted", |_| false).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Instance {
    /// Takes machine, server and instance away at once.
    fn die(&mut self) {
        self.tasks.abort_all();
        self.kill_server();
    }

    fn kill_server(&self) {
        let Ok(text) = std::fs::read_to_string(self.dir.path().join("zookeeper.pid")) else { return };
        let pid = text.split_whitespace().next().unwrap().parse().unwrap();
        // It may be gone.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }

    fn says(&self, words: &str) -> bool {
        self.handle.events().iter().any(|event| event.sentence.contains(words))
    }

    fn version_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data/version-2")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.die();
    }
}

fn keys() -> Keys {
    Keys::new(vec![[7; 32]])
}

fn shared(dir: &Path) -> (Arc<Place>, Arc<SharedSettings<Settings>>) {
    let place = Arc::new(Place::directory(dir));
    let settings = SharedSettings::new(Arc::clone(&place), "settings", &keys()).with_settling(LOCK_SETTLING);
    (place, Arc::new(settings))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ex_12_one_goes_for_good_and_a_waiting_one_takes_its_place_while_writes_go_on() {
    let rules = serde_json::json!({"autoManageInstances": 1, "autoManageInstancesFixedEnsembleSize": 3});
    let mut ensemble = Ensemble::start(4, 3, rules).await;
    let writes = writer::Writes::start(ensemble.addresses());
    writes.some(20);

    let leader = ensemble.leader();
    let gone = (0..3).find(|at| *at != leader).unwrap();
    ensemble.instances[gone].die();
    let left: Vec<u8> = (1..=4).filter(|id| usize::from(*id) != gone + 1).collect();
    ensemble.until_voters(&left).await;
    ensemble.until("the new one follows", |all| all.mode(3).as_deref() == Some("follower")).await;

    writes.some(20);
    let (count, gap) = writes.end();
    println!("{count} writes, the longest without an answer for {gap:?}");
    assert!(gap < Duration::from_secs(8), "{gap:?}");
    let settings = ensemble.now().await;
    let hosts: Vec<(u8, String)> =
        settings.servers_spec.iter().map(|Server { id, host, .. }| (*id, host.clone())).collect();
    assert!(hosts.contains(&(4, ensemble.host(3))), "{hosts:?}");
    assert!(!hosts.iter().any(|(_, host)| *host == ensemble.host(gone)), "{hosts:?}");
    assert_eq!(settings.highest_server_id, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zk_09_an_ensemble_of_one_takes_two_more_in_and_keeps_its_last_voter() {
    let rules = serde_json::json!({"autoManageInstances": 1, "autoManageInstancesFixedEnsembleSize": 3});
    let ensemble = Ensemble::start(3, 1, rules).await;
    ensemble.until_voters(&[1, 2, 3]).await;

    let (_, shared) = shared(ensemble.shared_dir.path());
    let (mut settings, version) = shared.load().await.unwrap().unwrap();
    settings.auto_manage_instances = 0;
    let first = settings.servers_spec.iter().find(|server| server.id == 1).cloned();
    settings.servers_spec = Servers::of(first).unwrap();
    let without_it = Settings { servers_spec: "O:9:elsewhere".parse().unwrap(), ..settings.clone() };
    assert_eq!(without_it.check(), Err(Invalid::NoVoter));
    shared.replace(Some(version), &settings).await.unwrap();
    ensemble.until_voters(&[1]).await;
    ensemble
        .until("those that left have stopped", |all| {
            all.state(1) == State::Latent && all.state(2) == State::Latent
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_an_empty_log_is_moved_aside_while_others_serve_and_left_alone_while_they_do_not() {
    let ensemble = Ensemble::start(3, 3, serde_json::json!({})).await;
    let writes = writer::Writes::start(ensemble.addresses());
    writes.some(50);
    let damaged = (0..3).find(|at| *at != ensemble.leader()).unwrap();
    let empty = |at: usize| {
        let instance = &ensemble.instances[at];
        instance.handle.switch(|switches| switches.restarts = false);
        instance.kill_server();
        let path = instance.version_dir().join("log.7f00000001");
        std::fs::write(&path, "").unwrap();
        path
    };
    empty(damaged);
    let instance = &ensemble.instances[damaged];
    ensemble.until("it is down", |all| all.state(damaged) == State::Down).await;
    instance.handle.switch(|switches| switches.restarts = true);
    ensemble.until("the log is moved aside", |_| instance.says("it is moved aside")).await;
    ensemble.until("it serves again", |all| all.state(damaged) == State::Serving).await;
    let aside = || {
        std::fs::read_dir(instance.dir.path().join("data"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("damaged-"))
            .count()
    };
    assert_eq!(aside(), 1);
    let (_, gap) = writes.end();
    println!("the longest write took {gap:?}");

    // Now without the others.
    for at in (0..3).filter(|at| *at != damaged) {
        ensemble.instances[at].handle.switch(|switches| switches.restarts = false);
        ensemble.instances[at].kill_server();
    }
    let path = empty(damaged);
    ensemble.until("it is down", |all| all.state(damaged) == State::Down).await;
    instance.handle.switch(|switches| switches.restarts = true);
    ensemble.until("it says so", |_| instance.says("it is left as it is, because no quorum")).await;
    assert!(path.exists() && aside() == 1);
}
