//! A server that does not start because of its own data (F12, F13).
//!
//! ZooKeeper refuses to start over a newest transaction log of zero bytes or one whose checksums are
//! wrong, and it is right: it cannot know whether what it lost was acknowledged. A quorum of the others
//! can. While one serves, all that was ever acknowledged is there, so the damaged data are moved aside
//! and the server fetches everything anew. Without one the damaged data may be the only copy: then
//! nothing is touched, and the instance says so.
//!
//! Data are never deleted here. When [`KEPT_MAX`] were moved aside the next are left where they are: a
//! disk that damages data again and again wants a person.

use std::fmt;
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;

use crate::configuration::majority;
use crate::handle::{Handle, What};
use crate::monitor::{self, State};
use crate::options::Options;
use crate::process;
use crate::settings::{Kind, Settings};
use crate::user;
use crate::words;

#[cfg(test)]
mod tests;

/// How many sets of damaged data are kept before no more are moved aside.
pub const KEPT_MAX: usize = 3;
/// Where both of ZooKeeper's directories have their files.
const VERSION_DIR: &str = "version-2";
/// The promise not to follow leaders older than this. It is kept when the data go: without it the
/// server could help such a leader to a quorum.
const PROMISE_FILE: &str = "acceptedEpoch";
pub(crate) const ASIDE: &str = "damaged-";
/// A start writes less than this until it fails.
const OUTPUT_BYTES_MAX: u64 = 256 << 10;
/// The first words of a server that starts, also of one that an earlier version of this program started.
const START: &str = "Reading configuration from:";
const WORD_PATIENCE: Duration = Duration::from_secs(3);

/// What is wrong with the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The newest transaction log has no bytes, as after a full disk or a loss of power.
    EmptyLog(PathBuf),
    /// The server said that it cannot load them; its own words.
    Unloadable(String),
}

/// How the rest of the ensemble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Others {
    /// All that vote, this server included if it does.
    pub voters: usize,
    /// The others that vote and serve.
    pub serving: usize,
    /// Whether one of those leads.
    pub has_leader: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The data are not the reason.
    Sound,
    /// Move the data aside; the others have everything.
    SetAside(Damage),
    /// Leave them: these may be the only ones.
    NoQuorum(Damage),
    /// Leave them: it happened too often.
    TooOften(Damage),
}

/// Decides about a server that is down.
pub fn decide(damage: Option<Damage>, others: Others, kept: usize) -> Verdict {
    let Some(damage) = damage else { return Verdict::Sound };
    let has_quorum = others.has_leader && others.serving >= majority(others.voters);
    match (has_quorum, kept < KEPT_MAX) {
        (false, _) => Verdict::NoQuorum(damage),
        (true, false) => Verdict::TooOften(damage),
        (true, true) => Verdict::SetAside(damage),
    }
}

/// What the data directory and the words of the last start tell.
///
/// # Errors
/// The directory of the logs cannot be read.
pub fn damage(output: &str, logs: &Path) -> io::Result<Option<Damage>> {
    let said = complaint(output);
    let newest = newest_log(&logs.join(VERSION_DIR))?;
    // A server that runs has an empty log for a moment; only one that could not load is damaged by it.
    Ok(match (said, newest) {
        (None, _) => None,
        (Some(_), Some((path, 0))) => Some(Damage::EmptyLog(path)),
        (Some(line), _) => Some(Damage::Unloadable(line.to_owned())),
    })
}

/// The line by which a server that starts says that it cannot load its data.
fn complaint(output: &str) -> Option<&str> {
    let last = [process::STARTED, START].iter().filter_map(|words| output.rfind(words)).max();
    let last = last.map_or(output, |at| &output[at..]);
    // It goes on behind this for most other reasons, such as a port that is taken.
    let could_not_load = ["Unable to load database on disk", "Unable to run quorum server"];
    let why = [
        "EOFException",
        "CRC check failed",
        "CRC corruption",
        "Unreasonable length",
        "Len error",
        "No snapshot found, but there are log entries",
        "Failed to process transaction",
    ];
    let has_failed = last.lines().any(|line| could_not_load.iter().any(|said| line.contains(said)));
    last.lines().find(|line| has_failed && why.iter().any(|said| line.contains(said)))
}

/// The log with the highest transaction, and its size.
fn newest_log(dir: &Path) -> io::Result<Option<(PathBuf, u64)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut newest = None;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("log."));
        let Some(zxid) = number.and_then(|number| u64::from_str_radix(number, 16).ok()) else { continue };
        newest = newest.max(Some((zxid, entry.path(), entry.metadata()?.len())));
    }
    Ok(newest.map(|(_, path, bytes)| (path, bytes)))
}

/// The end of what the server wrote.
fn output(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(OUTPUT_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How many sets of data were moved aside before.
fn kept(dir: &Path) -> io::Result<usize> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    Ok(names.iter().filter(|name| name.to_str().is_some_and(|name| name.starts_with(ASIDE))).count())
}

/// Moves the data of a server that does not run aside, so that it starts without them; returns where
/// they are. `data` and `logs` may be one directory.
///
/// # Errors
/// There is no more room for another set, or the file system refuses.
pub fn set_aside(data: &Path, logs: &Path) -> io::Result<PathBuf> {
    if kept(data)? >= KEPT_MAX {
        let sentence =
            format!("{} holds {KEPT_MAX} sets of damaged data; look at them first", data.display());
        return Err(io::Error::other(sentence));
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let name = format!("{ASIDE}{now_ms}");
    let promise = user::read_text(&data.join(VERSION_DIR).join(PROMISE_FILE)).ok();
    // It is for the server to read again, which might have put a link to another's file there.
    let promise = promise.filter(|text| text.trim().parse::<u64>().is_ok());
    // The snapshots come first: without them ZooKeeper does not start over logs, so that a crash
    // between the two leaves nothing that looks whole.
    for dir in if data == logs { vec![data] } else { vec![data, logs] } {
        match fs::rename(dir.join(VERSION_DIR), dir.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved?,
        }
        fs::File::open(dir)?.sync_all()?;
    }
    if let Some(promise) = promise {
        let dir = data.join(VERSION_DIR);
        fs::create_dir(&dir)?;
        process::write_atomically(&dir.join(PROMISE_FILE), &promise)?;
    }
    Ok(data.join(name))
}

/// Watches over the data of an instance's server until it is dropped.
pub async fn run(handle: Handle) {
    let mut look = handle.look();
    let mut said = None;
    loop {
        if look.borrow_and_update().state == State::Down {
            let settings = handle.settings().borrow().clone();
            let verdict = verdict(&settings, handle.options()).await;
            // Each thing is said once, not with each look.
            if said.as_ref() != Some(&verdict) && !matches!(verdict, Verdict::Sound) {
                handle.event(verdict.to_string());
            }
            if matches!(verdict, Verdict::SetAside(_))
                && let Err(sentence) = handle.order(What::Quarantine).await
            {
                handle.event(format!("the damaged data could not be moved aside: {sentence}"));
            }
            said = Some(verdict);
        }
        let period = Duration::from_millis(handle.settings().borrow().check_ms);
        // It stays down while others come and go, so time alone is a reason to look again.
        if let Ok(Err(_)) = tokio::time::timeout(period, look.changed()).await {
            return;
        }
    }
}

/// Looks at everything that decides.
pub async fn verdict(settings: &Settings, options: &Options) -> Verdict {
    let (data, logs) = (settings.snapshots(&options.dir), settings.logs(&options.dir));
    let found = output(&options.dir.join(process::LOG_FILE)).and_then(|output| damage(&output, &logs));
    match found {
        Ok(None) | Err(_) => Verdict::Sound,
        Ok(damage) => decide(damage, others(settings, options).await, kept(&data).unwrap_or(KEPT_MAX)),
    }
}

async fn others(settings: &Settings, options: &Options) -> Others {
    let tls = options.tls.as_ref().and_then(|tls| crate::tls::client(tls).ok());
    let voters: Vec<_> =
        settings.servers_spec.iter().filter(|server| server.kind == Kind::Standard).collect();
    let mut asked = JoinSet::new();
    for server in voters.iter().filter(|server| server.host != options.hostname) {
        let server =
            words::Server { host: server.host.clone(), port: settings.client_port, tls: tls.clone() };
        asked.spawn(async move {
            let srvr = server.ask("srvr", WORD_PATIENCE).await.ok()?;
            monitor::mode(&srvr).map(str::to_owned)
        });
    }
    let modes: Vec<String> = asked.join_all().await.into_iter().flatten().collect();
    let votes = |mode: &&String| ["leader", "follower"].contains(&mode.as_str());
    Others {
        voters: voters.len(),
        serving: modes.iter().filter(votes).count(),
        has_leader: modes.iter().any(|mode| mode == "leader"),
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyLog(path) => write!(f, "the newest transaction log {} is empty", path.display()),
            Self::Unloadable(line) => write!(f, "the server cannot load its data: {}", line.trim()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sound => write!(f, "the data are not why the server is down"),
            Self::SetAside(damage) => {
                write!(f, "{damage}; the others have everything, so it is moved aside and fetched anew")
            }
            Self::NoQuorum(damage) => write!(
                f,
                "{damage}; it is left as it is, because no quorum of the others serves and this may be \
                 the only copy: bring the others back, or restore a backup"
            ),
            Self::TooOften(damage) => write!(
                f,
                "{damage}; {KEPT_MAX} sets of damaged data were moved aside before: look at the disk, then \
                 remove them"
            ),
        }
    }
}
