//! `slipwayd router`: the process that serves requests, whatever happens to all others.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slipway_router::access_log::AccessLogOptions;
use slipway_router::limits::Limits;
use slipway_router::tls::TlsOptions;
use slipway_router::{Listen, Options, Router};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::paths::{Paths, own_program};
use crate::{args, life};

/// One of two access log files.
const ACCESS_LOG_BYTES_MAX: u64 = 64 << 20;
/// Between two looks whether there is a router. Without one nothing answers, so it is short.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// After a router that could not be started: somebody has to do something first.
const TRY_AGAIN: Duration = Duration::from_secs(3);
/// The router says little; its access log is another file.
const LOG_BYTES_MAX: i64 = 8 << 20;
/// Requests under way at a stop get this long.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Serves until TERM.
pub fn run(options: args::Router) -> anyhow::Result<()> {
    life::log(false);
    std::thread::spawn(keep_log_short);
    crate::paths::raise_file_limit();
    let paths = Paths::make(&options.directories)?;
    let _lock = own_lock(&paths)?;
    fs::create_dir_all(paths.router()).context("cannot make the router's directory")?;
    let tls = options.tls_cert.zip(options.tls_key).map(|(certificate, key)| TlsOptions { certificate, key });
    let router = Router::start(Options {
        listen: vec![Listen::Address(options.listen)],
        listen_tls: options.listen_tls.map(Listen::Address).into_iter().collect(),
        tls,
        https_only: false,
        limits: Limits::default(),
        access_log: Some(AccessLogOptions {
            path: paths.router().join("access.log"),
            bytes_max: ACCESS_LOG_BYTES_MAX,
        }),
        table_file: Some(paths.router().join("routes.json")),
        feed: Some(paths.router_socket()),
        ..Options::default()
    })?;
    tracing::info!(addresses = ?router.addresses(), "the router serves");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // The terminal that started the server may close; the router stays.
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return anyhow::Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => {}
            }
        }
    })?;
    router.stop(STOP_GRACE);
    Ok(())
}

/// Router processes with our run directory, and their command lines.
pub fn running(paths: &Paths) -> Vec<(Pid, Vec<Vec<u8>>)> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words: Vec<Vec<u8>> = command.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        let is_router = words.get(1).is_some_and(|word| word == b"router");
        if is_router && words.iter().any(|word| word == paths.run.as_os_str().as_bytes()) {
            found.push((Pid::from_raw(pid), words));
        }
    }
    found
}

/// Ends a router that was started with other options than these, so that one with these can take its
/// place: addresses that nothing answers on would be told to everybody.
pub fn replace_if_other(router: &args::Router, paths: &Paths) -> anyhow::Result<()> {
    let wanted = arguments(router, paths);
    for (pid, words) in running(paths) {
        let given = words.iter().skip(1).filter(|word| !word.is_empty()).map(Vec::as_slice);
        if given.eq(wanted.iter().map(|word| word.as_bytes())) {
            continue;
        }
        tracing::warn!("the router that runs has other options; it finishes its requests and is replaced");
        // It may be gone by now.
        let _gone = kill(pid, Signal::SIGTERM);
        for _ in 0..200 {
            if lock(paths)?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(60));
        }
    }
    Ok(())
}

/// The command line of a router with these options.
fn arguments(router: &args::Router, paths: &Paths) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["router".into(), "--data-dir".into(), paths.data.clone().into()];
    words.extend(["--run-dir".into(), paths.run.clone().into()]);
    words.extend(["--listen".into(), router.listen.to_string().into()]);
    if let (Some(listen), Some(certificate), Some(key)) =
        (router.listen_tls, &router.tls_cert, &router.tls_key)
    {
        words.extend(["--listen-tls".into(), listen.to_string().into()]);
        words.extend(["--tls-cert".into(), certificate.into(), "--tls-key".into(), key.into()]);
    }
    words
}

/// The lock for a router's whole life. Whoever looks whether there is a router holds it for a moment.
fn own_lock(paths: &Paths) -> anyhow::Result<Flock<fs::File>> {
    for _ in 0..20 {
        if let Some(lock) = lock(paths)? {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("another router serves {} already", paths.run.display())
}

/// Starts the router again whenever there is none, for ever. `trouble` says why there is none.
pub async fn keep(router: args::Router, paths: Paths, trouble: watch::Sender<Option<String>>) {
    let look = move || match lock(&paths)? {
        None => anyhow::Ok(false),
        Some(free) => {
            drop(free);
            spawn(&router, &paths)?;
            Ok(true)
        }
    };
    keep_looking(look, trouble, [LOOK_INTERVAL, TRY_AGAIN]).await;
}

/// `look` starts the router if there is none, and says whether it had to. It may block. It is asked again after
/// the first of the two waits, or after the second when there is no router.
async fn keep_looking(
    look: impl Fn() -> anyhow::Result<bool> + Send + Sync + 'static,
    trouble: watch::Sender<Option<String>>,
    [look_interval, try_again]: [Duration; 2],
) {
    let look = Arc::new(look);
    let mut wait = if trouble.borrow().is_some() { try_again } else { look_interval };
    loop {
        tokio::time::sleep(wait).await;
        let look = Arc::clone(&look);
        let failed = match tokio::task::spawn_blocking(move || look()).await {
            Ok(Ok(was_started)) => {
                // What is no news must not look like it: nodes tell everything anew then.
                if trouble.send_if_modified(|known| known.take().is_some()) {
                    tracing::info!("the router runs now");
                } else if was_started {
                    tracing::warn!("the router had ended and was started again");
                }
                wait = look_interval;
                continue;
            }
            Ok(Err(error)) => error,
            Err(error) => anyhow::Error::new(error).context("looking after the router ended by a panic"),
        };
        say_trouble(&trouble, &failed);
        wait = try_again;
    }
}

/// Says that there is no router, and why: once for each reason, not for each try.
pub fn say_trouble(trouble: &watch::Sender<Option<String>>, error: &anyhow::Error) {
    let text = format!("its router does not run, which is tried again every few seconds: {error:#}");
    let is_news = trouble.send_if_modified(|known| {
        let is_news = known.as_ref() != Some(&text);
        *known = Some(text);
        is_news
    });
    if is_news {
        tracing::error!("this machine's router does not run; trying on: {error:#}");
    }
}

/// Keeps the file that standard error goes to within its bound, by emptying it: what is appended goes
/// to the new end. A terminal or a pipe is left alone.
fn keep_log_short() {
    let stderr = std::io::stderr();
    loop {
        std::thread::sleep(Duration::from_secs(60));
        let too_long = nix::sys::stat::fstat(&stderr).is_ok_and(|stat| {
            stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG && stat.st_size > LOG_BYTES_MAX
        });
        if too_long && nix::unistd::ftruncate(&stderr, 0).is_ok() {
            tracing::info!("emptied this log, which had reached its bound");
        }
    }
}

/// The router's lock; `None` when a router has it.
pub fn lock(paths: &Paths) -> anyhow::Result<Option<Flock<fs::File>>> {
    let path = paths.router_lock();
    let file = fs::File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Starts a router process that outlives this one.
pub fn spawn(router: &args::Router, paths: &Paths) -> anyhow::Result<()> {
    fs::create_dir_all(paths.router()).context("cannot make the router's directory")?;
    let log_path = paths.router().join("router.log");
    let log = open_log(&log_path)?;
    let mut command = Command::new(own_program()?);
    // What people look for in a list of processes, wherever the program is.
    command.arg0("slipwayd").args(arguments(router, paths));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // A group of its own: Ctrl-C in the server's terminal is not meant for it.
    let mut child = command.process_group(0).spawn().context("cannot start the router")?;
    // It has started when it holds its lock and answers; it has failed when it ends before.
    for _ in 0..100 {
        if let Some(status) = child.try_wait()? {
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default().trim_start_matches("slipwayd: ");
            bail!("the router ended with {status}: {last}");
        }
        if lock(paths)?.is_none() && std::net::TcpStream::connect(reachable(router.listen)).is_ok() {
            // Waiting for it is nobody's business but init's, once this process is gone; until then
            // a thread reaps it.
            std::thread::spawn(move || child.wait());
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the router does not answer on {}; see {}", router.listen, log_path.display())
}

fn open_log(path: &Path) -> anyhow::Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// An address that listens everywhere is reached on loopback.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

#[cfg(test)]
mod tests;
