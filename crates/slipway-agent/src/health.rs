//! Whether an instance works, as seen from its node (MA-42…45).
//!
//! Until the first success it is asked every 100 ms and failures do not count, so that a deployment
//! waits for the program and for nothing else; then at the check's own interval, and so many failures
//! in a row end it. A service that listens has at least to answer once, and to accept
//! connections from then on. One that does not listen and has
//! no check is healthy once it has lived for a second: long enough for a typing error or a missing
//! module to show. What runs once (a release command, a one-off run) is healthy as soon as it runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use slipway_model::instance::{InstanceRole, InstanceSpec};
use slipway_model::service::{HealthCheck, Probe};
use slipway_shim::exec::ExecSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::agent::Shared;
use crate::bundle;

mod listening;

/// Between two checks before the first success.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// How long something that has no check must live.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Bytes of an answer that are looked at for its status line.
const ANSWER_BYTES_MAX: usize = 1024;

/// What is checked.
pub(crate) struct Target {
    instance: String,
    check: Option<HealthCheck>,
    address: Option<Ipv4Addr>,
    port: Option<u16>,
    init_pid: i32,
    start_timeout: Duration,
    runs_once: bool,
    /// An earlier agent has seen it healthy.
    known_healthy: bool,
    bundle: PathBuf,
}

impl Target {
    pub(crate) fn new(
        shared: &Shared,
        spec: &InstanceSpec,
        init_pid: i32,
        address: Option<Ipv4Addr>,
        known_healthy: bool,
    ) -> Self {
        Self {
            instance: spec.id.to_string(),
            check: spec.health.clone().or_else(|| spec.port.map(|_| HealthCheck::answer())),
            address,
            port: spec.port,
            init_pid,
            start_timeout: spec.start_timeout.duration(),
            runs_once: !matches!(spec.role, InstanceRole::Service { .. }),
            known_healthy,
            bundle: shared.paths.bundle(&spec.id),
        }
    }
}

/// What a check comes to. The sentence says what it saw.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works, for the first time or again.
    Healthy,
    /// It has not worked within its time.
    TooLate(String),
    /// It has failed too often in a row.
    TooOften(String),
}

/// Checks until the instance is given up or nobody listens any more.
pub(crate) async fn watch(shared: Arc<Shared>, target: Target, verdicts: mpsc::Sender<Verdict>) {
    let Some(check) = target.check.clone().filter(|_| !target.runs_once) else {
        if !target.runs_once && !target.known_healthy {
            sleep(SETTLED_AFTER).await;
        }
        let _ = verdicts.send(Verdict::Healthy).await;
        return;
    };
    if !target.known_healthy {
        let verdict = match first_success(&shared, &target, &check).await {
            Ok(()) => Verdict::Healthy,
            Err(last_check) => Verdict::TooLate(explain(last_check, &target)),
        };
        let given_up = verdict != Verdict::Healthy;
        if verdicts.send(verdict).await.is_err() || given_up {
            return;
        }
    }
    let mut failures = 0;
    loop {
        sleep(check.interval.duration().max(FIRST_INTERVAL)).await;
        match ask(&shared, &target, &check, false).await {
            Ok(()) => failures = 0,
            Err(failure) => {
                failures += 1;
                tracing::debug!(instance.id = target.instance, failures, failure, "a health check failed");
                if check.failures_max > 0 && failures >= check.failures_max {
                    let _ = verdicts.send(Verdict::TooOften(explain(failure, &target))).await;
                    return;
                }
            }
        }
    }
}

/// Asks until it answers or its time is over; then the error says what was seen last.
async fn first_success(shared: &Shared, target: &Target, check: &HealthCheck) -> Result<(), String> {
    let mut last = "it did not answer at all".to_owned();
    let asking = async {
        while let Err(seen) = ask(shared, target, check, true).await {
            last = seen;
            sleep(FIRST_INTERVAL).await;
        }
    };
    // A check that this cuts short saw nothing worth telling.
    let in_time = timeout(target.start_timeout, asking).await;
    in_time.map_err(|_| last)
}

async fn ask(shared: &Shared, target: &Target, check: &HealthCheck, is_first: bool) -> Result<(), String> {
    // A semaphore that is never closed.
    let _permit = shared.checks.acquire().await;
    let limit = check.timeout;
    let asked = async {
        match &check.probe {
            Probe::Answer if is_first => http(target, "/").await.map(drop),
            Probe::Tcp | Probe::Answer | Probe::Https(_) => connect(target).await.map(drop),
            Probe::Http(path) => match http(target, path).await? {
                200..=399 => Ok(()),
                status => Err(format!("GET {path} was answered with status {status}")),
            },
            Probe::Command(line) => return command(shared, target, line, limit.duration()).await,
        }
    };
    // A command is ended by whoever runs it, inside; this is for when that does not come back.
    let patience = match check.probe {
        Probe::Command(_) => limit.duration() + Duration::from_secs(1),
        _ => limit.duration(),
    };
    match timeout(patience, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {limit}")),
    }
}

async fn connect(target: &Target) -> Result<TcpStream, String> {
    let (Some(address), Some(port)) = (target.address, target.port) else {
        return Err("it has no address or no port to be asked at".into());
    };
    TcpStream::connect(SocketAddr::from((address, port)))
        .await
        .map_err(|error| format!("nothing answers on port {port} ({error})"))
}

/// The status that one request is answered with. In so many words: an HTTP client would bring pools and redirects that a check must
/// not have.
async fn http(target: &Target, path: &str) -> Result<u16, String> {
    let acceptable = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !acceptable {
        return Err(format!("the path {path:?} of its check is not one"));
    }
    let mut stream = connect(target).await?;
    let host = target.address.map(|address| address.to_string()).unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: slipway-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let lost = |error: std::io::Error| format!("GET {path} was not answered ({error})");
    stream.write_all(request.as_bytes()).await.map_err(lost)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
        if stream.read_buf(&mut answer).await.map_err(lost)? == 0 {
            break;
        }
    }
    status_of(&answer).ok_or_else(|| match answer.as_slice() {
        [] => format!("GET {path} was not answered"),
        _ => format!("GET {path} was answered with what is not HTTP"),
    })
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// Runs a command inside the sandbox, as the program's user, with its environment and its limits.
async fn command(shared: &Shared, target: &Target, line: &str, limit: Duration) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("its check cannot be run: {error}");
    let number = CHECK_NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let spec = ExecSpec {
        bundle: target.bundle.clone(),
        init_pid: target.init_pid,
        cgroups: shared.cgroups.directories_of(&target.instance),
        argv: words_of(&target.bundle, line).map_err(failed)?,
        time_max_ms: limit.as_millis() as u64,
    };
    let file = SpecFile(target.bundle.join(format!("check-{number}.json")));
    slipway_shim::spec::write_whole(&file.0, &spec).map_err(failed)?;
    let mut child = Command::new(&shared.options.shim)
        .arg0(slipway_shim::ARGV0)
        .arg("exec")
        .arg(&file.0)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let status = child.wait().await.map_err(failed)?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(format!("{line:?} ended with status {code}")),
        None => Err(format!("{line:?} was killed")),
    }
}

static CHECK_NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Through the launcher, if the program was started so.
fn words_of(bundle: &Path, line: &str) -> std::io::Result<Vec<String>> {
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(bundle.join("config.json"))?)?;
    let launched = config["process"]["args"][0] == bundle::LAUNCHER;
    let entrypoint = launched.then(|| vec![bundle::LAUNCHER.to_owned()]);
    Ok(bundle::command_line(line, &crate::image::Config { entrypoint, ..Default::default() }))
}

struct SpecFile(PathBuf);

impl Drop for SpecFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Adds what the program listens on instead, if that is the trouble.
fn explain(failure: String, target: &Target) -> String {
    let Some(port) = target.port else { return failure };
    match listening::elsewhere(target.init_pid, port) {
        Some(where_) => format!("{failure}; {where_}"),
        None => failure,
    }
}

#[cfg(test)]
mod tests;
