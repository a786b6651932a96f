//! A few instances on one machine. All servers end with them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use slipway_ensemble::http::{Api, Credentials};
use slipway_ensemble::members::Members;
use slipway_ensemble::monitor::State;
use slipway_ensemble::options::CLASS_PATH;
use slipway_ensemble::place::Place;
use slipway_ensemble::process::Process;
use slipway_ensemble::settings::Settings;
use slipway_ensemble::shared::{Keys, Locks, Poll, SETTLING, SharedSettings};
use slipway_ensemble::user::User;
use slipway_ensemble::{Handle, Options, Tls, http, instance, supervisor};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

const TOKEN: &str = "token-of-the-tests";
pub const AUTH: (&str, &str) = ("Authorization", "Bearer token-of-the-tests");
/// A Java on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(90);

pub fn keys() -> Keys {
    Keys::new(vec![[7; 32]])
}

/// What the instances share.
pub struct Lab {
    shared: TempDir,
    settings: Settings,
    tls: Option<Tls>,
    pub user: Option<User>,
    pub hosts: Vec<String>,
    pub client_port: u16,
    http_port: u16,
}

impl Lab {
    pub fn new(count: u8, more: Value) -> Self {
        let [x, y]: [u8; 2] = [rand::random_range(1..250), rand::random_range(1..250)];
        let hosts: Vec<String> = (1..=count).map(|at| format!("127.{x}.{y}.{at}")).collect();
        // Below those that the kernel gives to others; nobody else has these addresses.
        let base = rand::random_range(20_000..30_000);
        let servers: Vec<String> =
            hosts.iter().enumerate().map(|(at, host)| format!("S:{}:{host}", at + 1)).collect();
        let mut settings = serde_json::json!({
            "serversSpec": servers.join(","),
            "clientPort": base,
            "connectPort": base + 1,
            "electionPort": base + 2,
            "checkMs": 200,
            "backupPeriodMs": 0,
            "javaEnvironment": "-Xmx96m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            "zooCfgExtra": { "tickTime": "500", "initLimit": "60", "syncLimit": "20" },
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(settings).unwrap();
        settings.check().unwrap();
        Self {
            shared: tempfile::tempdir().unwrap(),
            settings,
            tls: None,
            user: User::choose(None).unwrap(),
            hosts,
            client_port: base,
            http_port: base + 3,
        }
    }

    /// What the instance on that host is started with.
    pub fn options(&self, at: usize, dir: &Path) -> Options {
        Options {
            hostname: self.hosts[at].clone(),
            dir: dir.to_owned(),
            java: "/usr/bin/java".into(),
            class_path: CLASS_PATH.to_owned(),
            oom_score_adj: 0,
            user: self.user.clone(),
            tls: self.tls.clone(),
            super_password: Some("a password for tests".to_owned()),
            http_port: self.http_port,
            heading: String::new(),
        }
    }

    /// The place, and the settings there.
    pub fn shared(&self) -> (Arc<Place>, Arc<SharedSettings<Settings>>) {
        let place = Arc::new(Place::directory(self.shared.path()));
        let shared = SharedSettings::new(Arc::clone(&place), "settings", &keys());
        (place, Arc::new(shared))
    }

    /// The same with certificates.
    pub fn with_tls(count: u8) -> Self {
        let lab = Self::new(count, serde_json::json!({}));
        let tls = crate::certificates::make(lab.shared.path(), &lab.hosts);
        Self { tls: Some(tls), ..lab }
    }
}

/// An instance with all its parts, as `slipwayd ensemble` puts them together.
pub struct Instance {
    pub handle: Handle,
    base: String,
    dir: Option<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    supervisor: JoinHandle<()>,
    /// End with the value.
    tasks: JoinSet<()>,
}

impl Instance {
    pub async fn start(lab: &Lab, at: usize) -> Self {
        Self::start_in(lab, at, tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(lab: &Lab, at: usize, dir: TempDir) -> Self {
        let options = lab.options(at, dir.path());
        let (place, shared) = lab.shared();
        let settings = instance::first_settings(&shared, &options, lab.settings.clone()).await.unwrap();
        let (handle, supervisor) = supervisor::new(options, settings).unwrap();
        let (poll, follower) = Poll::new(Arc::clone(&shared), Duration::from_millis(300));
        let credentials = Arc::new(Credentials::parse(TOKEN).unwrap());
        let locks = Locks::new(Arc::clone(&place), "members-locks", SETTLING);
        let members = Members::new(handle.clone(), Arc::clone(&shared), place, &keys(), locks);
        let api = Api::new(handle.clone(), shared, follower.clone(), credentials, true);
        let address = (lab.hosts[at].as_str(), lab.http_port);
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let supervisor = tokio::spawn(supervisor.run(async move { drop(stopped.await) }));
        let mut tasks = JoinSet::new();
        tasks.spawn(poll.run());
        tasks.spawn(instance::follow(handle.clone(), follower));
        tasks.spawn(members.run());
        tasks.spawn(async move { axum::serve(listener, http::router(api)).await.unwrap() });
        let base = format!("http://{}:{}/exhibitor/v1/", lab.hosts[at], lab.http_port);
        Self { handle, base, dir: Some(dir), stop: Some(stop), supervisor, tasks }
    }

    /// Ends the instance as TERM would. The server stays, and so does the directory.
    pub async fn end(mut self) -> TempDir {
        drop(self.stop.take());
        (&mut self.supervisor).await.unwrap();
        self.tasks.shutdown().await;
        self.dir.take().unwrap()
    }

    pub async fn serves(&self) {
        self.reaches(State::Serving).await;
    }

    pub async fn reaches(&self, state: State) {
        let mut look = self.handle.look();
        let reached = tokio::time::timeout(PATIENCE, look.wait_for(|look| look.state == state)).await;
        if reached.is_err() {
            panic!("it is not {state:?}: {:#?} {}", self.handle.events(), self.log());
        }
    }

    fn log(&self) -> String {
        let dir = self.dir.as_ref().unwrap().path();
        std::fs::read_to_string(dir.join(slipway_ensemble::process::LOG_FILE)).unwrap_or_default()
    }

    pub async fn json(&self, path: &str) -> Value {
        let (status, text) = self.get(path, &[AUTH]).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        self.request("GET", path, headers, Body::empty()).await
    }

    pub async fn post(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> (u16, String) {
        let headers = [&[AUTH, ("Content-Type", "application/json")], headers].concat();
        self.request("POST", path, &headers, Body::from(body.to_string())).await
    }

    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> (u16, String) {
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
        let mut request = axum::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = client.request(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(dir) = &self.dir else { return };
        // Or the loop would start it again.
        self.supervisor.abort();
        if let Some(process) = Process::adopt(dir.path()) {
            kill(process.pid());
        }
    }
}

/// The server's process, if it runs.
pub fn pid_of(instance: &Instance) -> Option<i32> {
    Process::adopt(instance.dir.as_ref()?.path()).map(|process| process.pid())
}

pub fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

pub fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "it does not come to pass that {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
