//! `slipwayd ensemble`: the care of this machine's ZooKeeper server.
//!
//! Alone, or inside `slipwayd server`. When this ends, the server runs on; the next one adopts it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use sha2::{Digest as _, Sha256};
use slipway_ensemble::backup::Id;
use slipway_ensemble::http::{Api, Credentials};
use slipway_ensemble::members::Members;
use slipway_ensemble::place::Place;
use slipway_ensemble::recover::{From, Plan};
use slipway_ensemble::settings::Settings;
use slipway_ensemble::shared::{Keys, Locks, Poll, SETTLING, SharedSettings};
use slipway_ensemble::user::User;
use slipway_ensemble::{Options, Tls, http, instance, quarantine, supervisor};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::bucket::{self, Conditions};
use crate::front::seat::Seats;
use crate::{front, life};

pub mod args;

/// Between two looks at the shared settings (EX-08).
const SETTINGS_PERIOD: Duration = Duration::from_secs(30);
/// Connections at once, and of one address; operators and the other instances have a few.
const CONNECTIONS_MAX: usize = 256;
const CONNECTIONS_OF_SOURCE_MAX: usize = 64;
/// After a failed accept, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the last step may take at the end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Runs until TERM, or does what else was asked.
pub fn run(options: args::Ensemble) -> anyhow::Result<()> {
    life::log(options.log_json);
    tokio::runtime::Runtime::new()?.block_on(async {
        match &options.command {
            Some(args::Command::Recover(wanted)) => recover(&options, wanted).await,
            Some(args::Command::Sign) => sign(&options).await,
            None => look_after(&options).await,
        }
    })
}

async fn look_after(args: &args::Ensemble) -> anyhow::Result<()> {
    let mut running = Running::start(args).await?;
    tokio::select! {
        signal = life::wait_for_signal() => signal?,
        () = running.ended() => bail!("a part has ended; see the log above"),
    }
    running.stop().await;
    Ok(())
}

/// An instance with all its parts, which end with the value. The server runs on.
pub struct Running {
    tasks: JoinSet<()>,
    supervisor: JoinHandle<()>,
    stop: watch::Sender<bool>,
    /// Nobody else uses the directory meanwhile.
    _claim: File,
}

impl Running {
    /// Starts the instance, and its server if none runs.
    pub async fn start(args: &args::Ensemble) -> anyhow::Result<Self> {
        let (options, credentials) = options(args)?;
        let data_dir = options.dir.clone();
        let claim = instance::claim(&data_dir)?;
        let keys = credentials.keys();
        let (place, shared) = shared(args, &keys, &data_dir)?;
        let settings = instance::first_settings(&shared, &options, given(args)?).await?;
        instance::keep(&data_dir, &settings).context("cannot write down the settings")?;

        let (handle, supervisor) = supervisor::new(options, settings)?;
        let (poll, follower) = Poll::new(Arc::clone(&shared), SETTINGS_PERIOD);
        let listener = TcpListener::bind(args.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", args.listen))?;
        let locks = Locks::new(Arc::clone(&place), "members-locks", SETTLING);
        let members = Members::new(handle.clone(), Arc::clone(&shared), Arc::clone(&place), &keys, locks);
        let api = Api::new(handle.clone(), shared, follower.clone(), Arc::new(credentials), args.open_list);

        let mut tasks = JoinSet::new();
        let (stop, mut stopped) = watch::channel(false);
        let supervisor = tokio::spawn(supervisor.run(async move {
            // An error means that whoever would say so is gone, which is the same.
            let _ = stopped.wait_for(|stop| *stop).await;
        }));
        tasks.spawn(poll.run());
        tasks.spawn(instance::follow(handle.clone(), follower));
        tasks.spawn(members.run());
        tasks.spawn(quarantine::run(handle.clone()));
        tasks.spawn(instance::back_up(handle, place, args.cluster.clone()));
        tasks.spawn(answer(listener, http::router(api)));
        tracing::info!(listen = %args.listen, "looking after this machine's ZooKeeper server");
        Ok(Self { tasks, supervisor, stop, _claim: claim })
    }

    /// Returns when a part has ended that should not.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = self.tasks.join_next() => {}
            _ = &mut self.supervisor => {}
        }
    }

    /// Ends the instance between two steps; the server goes on.
    pub async fn stop(mut self) {
        tracing::info!("stopping; the ZooKeeper server goes on");
        self.tasks.shutdown().await;
        self.stop.send_replace(true);
        // It may be in the middle of a restart of the server. The next instance finishes that.
        let _late = tokio::time::timeout(STOP_PATIENCE, &mut self.supervisor).await;
    }
}

/// Answers requests for ever. Whoever only holds connections open, for which nobody asks who he is, takes
/// neither the others' places nor the descriptors of the server that this may be a part of.
async fn answer(listener: TcpListener, routes: Router) {
    let seats = Arc::new(Seats::new(CONNECTIONS_MAX, CONNECTIONS_OF_SOURCE_MAX));
    let end = CancellationToken::new();
    let _ends_with_this = end.clone().drop_guard();
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(seat) = seats.take(Some(from.ip())) else { continue };
        let (routes, end) = (routes.clone(), end.clone());
        tokio::spawn(async move {
            front::http::serve(stream, routes, |_| {}, end).await;
            drop(seat);
        });
    }
}

/// Returns when a part of the instance has ended that should not; never without an instance.
pub async fn ended(running: &mut Option<Running>) {
    match running {
        Some(running) => running.ended().await,
        None => std::future::pending().await,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// Founds the ensemble anew, when a person says so.
async fn recover(args: &args::Ensemble, wanted: &args::Recover) -> anyhow::Result<()> {
    let (options, credentials) = options(args)?;
    let data_dir = options.dir.clone();
    let _claim = instance::claim(&data_dir)?;
    let (place, shared) = shared(args, &credentials.keys(), &data_dir)?;
    let from = match wanted.backup.as_deref().map(|text| text.split_once('/').unwrap_or((text, ""))) {
        None => From::Own,
        Some((host, "")) => From::Backup(host.to_owned(), None),
        Some((host, number)) => From::Backup(host.to_owned(), Some(Id(number.parse().context("--backup")?))),
    };
    let plan = Plan::make(options, &shared, &place, &args.cluster, from).await?;
    eprintln!("{plan}");
    if !wanted.give_up_the_others {
        bail!("nothing was done. If that is what you want, add --give-up-the-others");
    }
    plan.carry_out(&shared, &place).await?;
    eprintln!("Done. Start `slipwayd ensemble` here; when it serves, add new servers to serversSpec.");
    Ok(())
}

/// Writes the shared settings anew with the credentials of now, when a person says so. The instance here
/// may run meanwhile.
async fn sign(args: &args::Ensemble) -> anyhow::Result<()> {
    let (options, credentials) = options(args)?;
    let (_, shared) = shared(args, &credentials.keys(), &options.dir)?;
    let (settings, version) = instance::write_anew(&shared, &options.dir).await?;
    let servers = if settings.is_standalone() {
        "none, each machine is alone".to_owned()
    } else {
        settings.servers_spec.to_string()
    };
    eprintln!("Version {} of the settings is signed. Its servers: {servers}.", version.number());
    Ok(())
}

/// What the instance is started with, and who may ask it.
fn options(args: &args::Ensemble) -> anyhow::Result<(Options, Credentials)> {
    let text = read(&args.credentials_file)?;
    let credentials =
        Credentials::parse(&text).with_context(|| args.credentials_file.display().to_string())?;
    let data_dir = std::path::absolute(&args.data_dir)?;
    let hostname = match &args.hostname {
        Some(name) => name.clone(),
        None => read("/proc/sys/kernel/hostname".as_ref())?.trim().to_owned(),
    };
    std::fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let options = Options {
        hostname,
        dir: data_dir,
        java: args.java.clone(),
        class_path: args.class_path.clone(),
        oom_score_adj: args.oom_score_adj,
        user: User::choose(args.zookeeper_user.as_deref())?,
        tls: args
            .tls_key_store
            .clone()
            .zip(args.tls_trust.clone())
            .map(|(key_store, trust_store)| Tls { key_store, trust_store }),
        // Who may do everything here may also change the list of servers; nobody needs a second secret.
        super_password: Some(hex(&Sha256::digest(format!("slipway ensemble, super\n{text}")))),
        http_port: args.listen.port(),
        heading: args.heading.clone(),
    };
    Ok((options, credentials))
}

/// Where the machines find each other.
fn shared(
    args: &args::Ensemble,
    keys: &Keys,
    data_dir: &Path,
) -> anyhow::Result<(Arc<Place>, Arc<SharedSettings<Settings>>)> {
    let place = Arc::new(place(args, data_dir)?);
    let shared = instance::shared_settings(Arc::clone(&place), keys, data_dir);
    let shared = Arc::new(shared.context("cannot read which settings were seen")?);
    Ok((place, shared))
}

/// The settings of the command line, for where there have never been any.
fn given(args: &args::Ensemble) -> anyhow::Result<Settings> {
    let settings: Settings =
        serde_json::from_str(args.settings.as_deref().unwrap_or("{}")).context("--settings")?;
    Ok(Settings {
        servers_spec: args.servers.parse().context("--servers")?,
        client_port: args.client_port,
        connect_port: args.connect_port,
        election_port: args.election_port,
        ..settings
    })
}

fn place(args: &args::Ensemble, data_dir: &Path) -> anyhow::Result<Place> {
    match (&args.shared_s3, &args.shared_dir) {
        (Some(file), _) => bucket::open(file, Conditions::Replaced),
        (None, Some(dir)) => Ok(Place::directory(dir)),
        (None, None) => {
            let own = data_dir.join("shared");
            std::fs::create_dir_all(&own).context("cannot make the directory for settings")?;
            Ok(Place::directory(own))
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
