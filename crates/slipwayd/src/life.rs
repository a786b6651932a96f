//! What each of our long-lived processes does alike: say what happens, and end when it is told to.

use tokio::signal::unix::{SignalKind, signal};

/// Logs to standard error, as `SLIPWAY_LOG` says how much.
pub fn log(as_json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SLIPWAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    if as_json { log.json().init() } else { log.init() }
}

/// Waits for the signal to end.
pub async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
