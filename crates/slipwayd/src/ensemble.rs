//! `slipwayd ensemble`: the care of this machine's ZooKeeper server.
//!
//! When this ends, the server runs on; the next one adopts it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};
use slipway_ensemble::http::{Api, Credentials};
use slipway_ensemble::members::Members;
use slipway_ensemble::place::s3::{Description, Keys};
use slipway_ensemble::place::{Bucket, Place};
use slipway_ensemble::settings::Settings;
use slipway_ensemble::shared::{Locks, Poll, SETTLING, SharedSettings};
use slipway_ensemble::{Options, Tls, http, instance, quarantine, supervisor};
use tokio::task::JoinSet;

use crate::life;

pub mod args;

/// Between two looks at the shared settings (EX-08).
const SETTINGS_PERIOD: Duration = Duration::from_secs(30);

/// Runs until TERM.
pub fn run(options: args::Ensemble) -> anyhow::Result<()> {
    life::log(options.log_json);
    tokio::runtime::Runtime::new()?.block_on(look_after(options))
}

async fn look_after(args: args::Ensemble) -> anyhow::Result<()> {
    let text = read(&args.credentials_file)?;
    let credentials =
        Credentials::parse(&text).with_context(|| args.credentials_file.display().to_string())?;
    let data_dir = std::path::absolute(&args.data_dir)?;
    let hostname = match &args.hostname {
        Some(name) => name.clone(),
        None => read("/proc/sys/kernel/hostname".as_ref())?.trim().to_owned(),
    };
    let options = Options {
        hostname,
        dir: data_dir.clone(),
        java: args.java.clone(),
        class_path: args.class_path.clone(),
        oom_score_adj: args.oom_score_adj,
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
    std::fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let place = Arc::new(place(&args, &data_dir)?);
    let shared = Arc::new(SharedSettings::<Settings>::new(Arc::clone(&place), "settings"));
    let settings = instance::first_settings(&shared, &options, given(&args)?).await?;
    instance::keep(&data_dir, &settings).context("cannot write down the settings")?;

    let (handle, supervisor) = supervisor::new(options, settings)?;
    let (poll, follower) = Poll::new(Arc::clone(&shared), SETTINGS_PERIOD);
    let listener = tokio::net::TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.listen))?;
    let locks = Locks::new(Arc::clone(&place), "members-locks", SETTLING);
    let members = Members::new(handle.clone(), Arc::clone(&shared), Arc::clone(&place), locks);
    let api = Api::new(handle.clone(), shared, follower.clone(), Arc::new(credentials), args.open_list);

    let mut tasks = JoinSet::new();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    tasks.spawn(supervisor.run(async move {
        // An error means that whoever would say so is gone, which is the same.
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    tasks.spawn(poll.run());
    tasks.spawn(instance::follow(handle.clone(), follower));
    tasks.spawn(members.run());
    tasks.spawn(quarantine::run(handle.clone()));
    tasks.spawn(instance::back_up(handle, place, args.cluster));
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, http::router(api)).await {
            tracing::error!(%error, "HTTP has ended");
        }
    });
    tracing::info!(listen = %args.listen, "ready");
    tokio::select! {
        signal = life::wait_for_signal() => signal?,
        // None of them ends by itself.
        ended = tasks.join_next() => bail!("a part has ended: {ended:?}"),
    }
    tracing::info!("stopping; the server goes on");
    stop.send_replace(true);
    Ok(())
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

fn place(args: &args::Ensemble, data_dir: &std::path::Path) -> anyhow::Result<Place> {
    let Some(endpoint) = &args.s3_endpoint else {
        return Ok(match &args.shared_dir {
            Some(dir) => Place::directory(dir),
            None => {
                let own = data_dir.join("shared");
                std::fs::create_dir_all(&own).context("cannot make the directory for settings")?;
                Place::directory(own)
            }
        });
    };
    let file = args.s3_keys_file.as_deref().context("--s3-keys-file")?;
    let keys = read(file)?;
    let (access, secret) =
        keys.trim().split_once(':').context("the keys are not of the form ACCESS:SECRET")?;
    Ok(Place::S3(Bucket::new(Description {
        endpoint: endpoint.clone(),
        region: args.s3_region.clone(),
        bucket: args.s3_bucket.clone().context("--s3-bucket")?,
        prefix: args.s3_prefix.clone(),
        keys: Keys { access: access.to_owned(), secret: secret.to_owned() },
        authority_pem: args.s3_ca.as_deref().map(read).transpose()?,
        trust_conditions: args.s3_trust_conditions,
    })?))
}

fn read(path: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
