//! When the quorum is lost for good (F15): one server founds the ensemble anew, with its own data or with
//! a backup.
//!
//! This gives up what only the others have. So it is nothing that an instance decides, only a person,
//! and not while as many servers run as a quorum needs: these may yet find each other. Servers that only
//! seemed lost must do no harm when they come back:
//!
//! - They are not in the list any more, so that their instances stop them.
//! - The new history begins [`EPOCHS`] epochs above the old one. ZooKeeper numbers transactions by epoch,
//!   so that no number means two things, and a server that knows old ones gives them up to follow.
//! - The new membership has a higher version than any old one, and wins where the two meet.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;

use crate::backup::{self, Dirs, Folder, Id};
use crate::configuration::majority;
use crate::instance;
use crate::monitor::{self, State};
use crate::options::Options;
use crate::place::Place;
use crate::process::{self, Process};
use crate::settings::{Kind, Server, Servers, Settings};
use crate::shared::{self, SharedSettings, Version};
use crate::{user, words, zoo_cfg};

#[cfg(test)]
mod tests;

/// Above the old epochs; each election takes one.
const EPOCHS: u64 = 1 << 16;
/// A server that loses its leader, or has much to do, may not answer for a moment; taken for gone it would
/// be a second ensemble beside the new one. So it is asked so often, with that between.
const WORD_TRIES: usize = 3;
const WORD_PAUSE: Duration = Duration::from_secs(1);
const WORD_PATIENCE: Duration = Duration::from_secs(5);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Where both of ZooKeeper's directories have their files.
const VERSION_DIR: &str = "version-2";
const PROMISE_FILE: &str = "acceptedEpoch";
/// What data are called that were replaced by a backup.
pub(crate) const ASIDE: &str = "given-up-";

/// With which data the ensemble begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Those of this server.
    Own,
    /// A backup that the instance on that host has made, the newest if none is named.
    Backup(String, Option<Id>),
}

/// Why nothing is recovered. Nothing was changed, if it does not say so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot be read or written.
    #[error("failed to use the shared settings")]
    Shared(#[from] shared::Error),
    /// There is no ensemble to recover.
    #[error("there are no shared settings, or they have no list of servers: this is no ensemble")]
    NoEnsemble,
    /// A quorum serves, or might.
    #[error("{running} of {voters} servers that vote run ({hosts}): they can be a quorum. {}", ADVICE)]
    Quorum {
        /// Those that answer.
        running: usize,
        /// Those in the list.
        voters: usize,
        /// Their names.
        hosts: String,
    },
    /// The server has nothing to begin with.
    #[error("there are no data in {}: take those of a backup (--backup HOST)", .0.display())]
    NoData(PathBuf),
    /// The backup is not there or not whole. With the data moved aside before: those are named there.
    #[error("failed to restore a backup")]
    Backup(#[from] backup::Error),
    /// A file is in the way.
    #[error("failed to use {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The name could not stand in the list.
    #[error(transparent)]
    Server(#[from] crate::settings::Error),
    /// Every id was given.
    #[error("all ids were given; name a host of the list")]
    NoIds,
}

const ADVICE: &str = "Look why they do not find each other, or wait; if they really must go, stop them";

/// What a recovery would do.
pub struct Plan {
    options: Options,
    cluster: String,
    settings: Settings,
    version: Version,
    own: Server,
    from: From,
    /// Those that were asked and do not serve, but this one.
    given_up: Vec<String>,
    /// When the data, or the backup, were written last.
    written: Option<SystemTime>,
}

impl Plan {
    /// Looks whether and how this host could begin anew. Its instance must not run.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn make(
        options: Options,
        shared: &SharedSettings<Settings>,
        place: &Arc<Place>,
        cluster: &str,
        from: From,
    ) -> Result<Self, Error> {
        let (settings, version) = shared.load().await?.ok_or(Error::NoEnsemble)?;
        if settings.is_standalone() {
            return Err(Error::NoEnsemble);
        }
        let voters: Vec<&Server> =
            settings.servers_spec.iter().filter(|server| server.kind == Kind::Standard).collect();
        let running = running(&voters, &settings, &options).await;
        // This one counts as well: with it the others may be enough.
        if running.len() >= majority(voters.len()) {
            let (running, hosts) = (running.len(), running.join(", "));
            return Err(Error::Quorum { running, voters: voters.len(), hosts });
        }
        let own = match settings.server(&options.hostname) {
            Some(own) => Server { kind: Kind::Standard, ..own.clone() },
            None => {
                let id = highest_id(&settings).checked_add(1).filter(|id| *id < 255).ok_or(Error::NoIds)?;
                Server { kind: Kind::Standard, id, host: options.hostname.clone() }
            }
        };
        let dirs = dirs(&settings, &options);
        let (from, written) = match from {
            From::Own => {
                let written = newest(&dirs).ok_or_else(|| Error::NoData(dirs.data.join(VERSION_DIR)))?;
                (From::Own, Some(written.at))
            }
            From::Backup(host, id) => {
                let all = folder(place, &host, cluster).list().await?;
                let found = all.iter().find(|known| id.is_none_or(|id| id == **known)).copied();
                let Id(ms) = found.ok_or(backup::Error::Missing(id))?;
                (From::Backup(host, found), UNIX_EPOCH.checked_add(Duration::from_millis(ms)))
            }
        };
        let others = settings.servers_spec.iter().filter(|server| server.host != own.host);
        let given_up = others.map(|server| server.host.clone()).collect();
        Ok(Self { options, cluster: cluster.to_owned(), settings, version, own, from, given_up, written })
    }

    /// Does it. Done again after it was broken off, it begins anew.
    ///
    /// # Errors
    /// See [`Error`]. Others have not changed before the settings are written, which comes last.
    pub async fn carry_out(self, shared: &SharedSettings<Settings>, place: &Arc<Place>) -> Result<(), Error> {
        if let Some(process) = Process::adopt(&self.options.dir) {
            process.stop(STOP_PATIENCE).await;
        }
        let dirs = dirs(&self.settings, &self.options);
        // The old epochs as far as this host knows them, also those of data that go.
        let mut epoch = known_epoch(&dirs);
        if let From::Backup(host, id) = &self.from {
            set_aside(&dirs)?;
            let restored = backup::restore(&dirs, &folder(place, host, &self.cluster), *id).await?;
            tracing::info!(backup = restored.id.0, files = restored.files, "a backup is restored");
            epoch = epoch.max(known_epoch(&dirs));
        }
        let epoch = epoch + EPOCHS;
        let promise = dirs.data.join(VERSION_DIR).join(PROMISE_FILE);
        process::write_atomically(&promise, &epoch.to_string())
            .map_err(|error| Error::File(promise, error))?;

        let settings = Settings {
            servers_spec: Servers::of([self.own.clone()])?,
            highest_server_id: highest_id(&self.settings).max(self.own.id),
            rolling: None,
            ..self.settings.of(&self.own.host)
        };
        let membership = zoo_cfg::founding(&settings, self.options.tls.is_some());
        // The version of a membership is the number of the transaction that made it, and stands behind
        // the file's name.
        let conf = zoo_cfg::dir(&self.options.dir);
        user::make_dir(&conf).map_err(|error| Error::File(conf.clone(), error))?;
        let path = conf.join(format!("{}.dynamic.{:x}", zoo_cfg::FILE, epoch << 32));
        process::write_atomically(&path, &membership).map_err(|error| Error::File(path, error))?;
        let dir = &self.options.dir;
        instance::keep(dir, &settings).map_err(|error| Error::File(dir.clone(), error))?;
        shared.replace(Some(self.version), &settings).await?;
        Ok(())
    }
}

/// What will be, and what will be lost.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, given_up, .. } = self;
        let written = self.written.map_or_else(|| "an unknown time".to_owned(), time);
        match &self.from {
            From::Own => writeln!(
                f,
                "{} begins anew with its own data, last written at {written}.\nLost: what the others have \
                 acknowledged and this server has not seen.",
                own.host
            )?,
            From::Backup(host, _) => writeln!(
                f,
                "{} begins anew with the backup of {host} from {written}. Data that it has are kept beside it, \
                 as {ASIDE}….\nLost: everything written since.",
                own.host
            )?,
        }
        writeln!(f, "The only server is then {}. Given up: {}.", own.host, given_up.join(", "))?;
        write!(f, "Before one of these comes back into the list, delete its data directory.")
    }
}

/// The voters that answer, whether they serve or not. This host's is about to be stopped, but as long as
/// it could help the others to a quorum it counts.
async fn running(voters: &[&Server], settings: &Settings, options: &Options) -> Vec<String> {
    let tls = options.tls.as_ref().and_then(|tls| crate::tls::client(tls).ok());
    let mut asked = JoinSet::new();
    for server in voters {
        let words = words::Server { host: server.host.clone(), port: settings.client_port, tls: tls.clone() };
        let is_own = server.host == options.hostname;
        // The only one there is may be given up for a backup once it does not run.
        let could_help = is_own && voters.len() > 1 && newest(&dirs(settings, options)).is_some();
        asked.spawn(async move {
            // Stopped or not, this one could be started.
            let runs = could_help || answers(&words).await;
            runs.then_some(words.host)
        });
    }
    let mut hosts: Vec<String> = asked.join_all().await.into_iter().flatten().collect();
    hosts.sort();
    hosts
}

async fn answers(server: &words::Server) -> bool {
    for again in 0..WORD_TRIES {
        if again > 0 {
            tokio::time::sleep(WORD_PAUSE).await;
        }
        let ruok = server.ask("ruok", WORD_PATIENCE).await.ok();
        let seen = monitor::Seen { is_listed: true, ruok: ruok.as_deref(), srvr: None };
        if monitor::state(seen) >= State::NotServing {
            return true;
        }
    }
    false
}

fn highest_id(settings: &Settings) -> u8 {
    let listed = settings.servers_spec.iter().map(|server| server.id).max().unwrap_or(0);
    listed.max(settings.highest_server_id)
}

fn dirs(settings: &Settings, options: &Options) -> Dirs {
    let settings = settings.of(&options.hostname);
    Dirs { data: settings.snapshots(&options.dir), log: settings.logs(&options.dir) }
}

fn folder(place: &Arc<Place>, host: &str, cluster: &str) -> Folder {
    instance::backups_of(Arc::clone(place), host, cluster)
}

/// The newest file with data.
struct Newest {
    at: SystemTime,
    /// The highest epoch in a name.
    epoch: u64,
}

fn newest(dirs: &Dirs) -> Option<Newest> {
    let mut newest: Option<Newest> = None;
    for dir in [&dirs.data, &dirs.log] {
        let entries = fs::read_dir(dir.join(VERSION_DIR)).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let Some(epoch) = name.to_str().and_then(epoch_of) else { continue };
            let at = entry.metadata().and_then(|found| found.modified()).unwrap_or(UNIX_EPOCH);
            newest = Some(match newest {
                Some(old) => Newest { at: old.at.max(at), epoch: old.epoch.max(epoch) },
                None => Newest { at, epoch },
            });
        }
    }
    newest
}

/// `log.100000001` and `snapshot.100000001` are named by a transaction, of epoch 1 here.
fn epoch_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("log.").or_else(|| name.strip_prefix("snapshot."))?;
    let number = number.split('.').next()?;
    Some(u64::from_str_radix(number, 16).ok()? >> 32)
}

/// The highest epoch that a server has seen: in its data, or by its promise.
fn known_epoch(dirs: &Dirs) -> u64 {
    let promise = user::read_text(&dirs.data.join(VERSION_DIR).join(PROMISE_FILE)).ok();
    let promise = promise.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    newest(dirs).map_or(0, |newest| newest.epoch).max(promise)
}

fn set_aside(dirs: &Dirs) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let log = (dirs.log != dirs.data).then_some(&dirs.log);
    // The snapshots first: without them ZooKeeper does not start over logs.
    for dir in [&dirs.data].into_iter().chain(log) {
        let old = dir.join(VERSION_DIR);
        match fs::rename(&old, dir.join(format!("{ASIDE}{now}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::File(old, error)),
            _ => sync(dir)?,
        }
    }
    Ok(())
}

fn sync(dir: &Path) -> Result<(), Error> {
    match fs::File::open(dir).and_then(|dir| dir.sync_all()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::File(dir.to_owned(), error)),
        _ => Ok(()),
    }
}

fn time(at: SystemTime) -> String {
    crate::http::time(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
