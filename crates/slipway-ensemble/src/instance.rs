//! An instance as a whole: the shared settings, the server, its backups.
//!
//! Settings that were once seen are also kept on this node. So an instance starts with them when the
//! shared place is away, and never with a guess: one that knew of no ensemble would found its own.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::backup::{Backups, Dirs, Folder};
use crate::handle::Handle;
use crate::options::Options;
use crate::place::Place;
use crate::process::write_atomically;
use crate::settings::Settings;
use crate::shared::{self, Follower, Keys, Seen, SharedSettings, Version};

#[cfg(test)]
mod tests;

/// The settings that were in force when they were last seen.
const SETTINGS_FILE: &str = "settings.json";
/// Which version of them was the highest.
const SEEN_FILE: &str = "settings-seen";
/// How long the shared place may take at the start.
const FIRST_LOOK: Duration = Duration::from_secs(20);
/// Locked by the instance whose directory it is.
const LOCK_FILE: &str = "instance.lock";
/// Between two looks whether a backup is due.
const BACKUP_LOOK: Duration = Duration::from_secs(1);

/// Why there are no settings to start with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The place is away, and this node has not seen settings before.
    #[error("the shared settings cannot be read, and this node has never seen any: {0}")]
    Unknown(String),
    /// What is there, or was given, cannot be.
    #[error(transparent)]
    Invalid(#[from] crate::settings::Invalid),
}

/// The settings to start with: the shared ones, else those last seen. Where there have never been any,
/// the ones given.
///
/// # Errors
/// See [`Error`].
pub async fn first_settings(
    shared: &SharedSettings<Settings>,
    options: &Options,
    given: Settings,
) -> Result<Settings, Error> {
    let seen = || last_seen(&options.dir);
    let loaded = tokio::time::timeout(FIRST_LOOK, shared.load()).await;
    let settings = match loaded.map(|loaded| loaded.map_err(|error| crate::cause::chain(&error))) {
        Ok(Ok(Some((settings, _)))) => settings,
        // A mount point without its mount is empty, too.
        Ok(Ok(None)) => seen().unwrap_or(given),
        Ok(Err(error)) => seen().ok_or(Error::Unknown(error))?,
        Err(_) => seen().ok_or_else(|| Error::Unknown("no answer in time".to_owned()))?,
    };
    settings.check()?;
    Ok(settings)
}

/// The settings that all instances share, where those with the keys keep them; `dir` is this instance's.
///
/// # Errors
/// What was seen of them before cannot be read.
pub fn shared_settings(place: Arc<Place>, keys: &Keys, dir: &Path) -> io::Result<SharedSettings<Settings>> {
    SharedSettings::new(place, "settings", keys).with_memory(dir.join(SEEN_FILE))
}

/// Writes the shared settings anew: those that are there, if they are believed, or else those that this
/// machine has last seen. It is how settings get another key, and come back after somebody has put old
/// ones back. Says which they are.
///
/// # Errors
/// The place is away or refuses, or there have never been settings here.
pub async fn write_anew(
    shared: &SharedSettings<Settings>,
    dir: &Path,
) -> Result<(Settings, Version), SignError> {
    let settings = match shared.load().await {
        Ok(Some((settings, _))) => settings,
        Ok(None) => last_seen(dir).ok_or(SignError::Nothing)?,
        Err(error @ (shared::Error::Forged(..) | shared::Error::PutBack { .. })) => {
            last_seen(dir).ok_or(error)?
        }
        Err(error) => return Err(error.into()),
    };
    settings.check()?;
    let version = shared.write_anew(&settings).await?;
    Ok((settings, version))
}

/// Why the settings are not written anew.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Neither there nor here are any.
    #[error("there are no shared settings, and this machine has never seen any")]
    Nothing,
    /// They cannot be had or written.
    #[error(transparent)]
    Shared(#[from] shared::Error),
    /// They cannot be.
    #[error(transparent)]
    Invalid(#[from] crate::settings::Invalid),
}

fn last_seen(dir: &Path) -> Option<Settings> {
    let bytes = std::fs::read(dir.join(SETTINGS_FILE)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Claims the directory for one process, until the file is dropped. Two instances would start two servers
/// over the same data.
///
/// # Errors
/// Another process has it, or the file cannot be made.
pub fn claim(dir: &Path) -> io::Result<std::fs::File> {
    let file = std::fs::File::create(dir.join(LOCK_FILE))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        let busy = format!("another instance uses {}: stop it first", dir.display());
        if error == rustix::io::Errno::WOULDBLOCK { io::Error::other(busy) } else { error.into() }
    })?;
    Ok(file)
}

/// Hands each new version of the settings to the instance, for ever. One that cannot be is named and
/// left out: the last good one stays in force.
pub async fn follow(handle: Handle, mut follower: Follower<Settings>) {
    let mut is_old = false;
    while let Some(known) = follower.next().await {
        if let Seen::Old { reason, .. } = &known.seen
            && !is_old
        {
            handle.event(format!("the settings last seen stay in force: {reason}"));
        }
        is_old = matches!(known.seen, Seen::Old { .. });
        let Some((settings, version)) = &known.current else { continue };
        take(&handle, settings, *version);
    }
}

/// Has the instance work by a version of the settings, if that is news and can be.
pub(crate) fn take(handle: &Handle, settings: &Settings, version: Version) {
    if let Err(error) = settings.check() {
        handle.event(format!("version {} of the settings is left out: {error}", version.number()));
        return;
    }
    if !handle.take(settings, version.number()) {
        return;
    }
    handle.event(format!("version {} of the settings is in force", version.number()));
    if let Err(error) = keep(&handle.options().dir, settings) {
        handle.event(format!("cannot write {SETTINGS_FILE}: {error}"));
    }
}

/// Writes down the settings in force, for a start without the shared place.
///
/// # Errors
/// The file cannot be written.
pub fn keep(dir: &Path, settings: &Settings) -> io::Result<()> {
    write_atomically(&dir.join(SETTINGS_FILE), &serde_json::to_string_pretty(settings)?)
}

/// Where the instance on that host puts its backups.
pub fn backups_of(place: Arc<Place>, host: &str, cluster: &str) -> Folder {
    Folder { place, path: format!("backups/{host}"), cluster: cluster.to_owned() }
}

/// Makes backups as the settings say, while the switch is on, for ever (EX-13). They go to a folder
/// named by this host, and are expired by age.
pub async fn back_up(handle: Handle, place: Arc<Place>, cluster: String) {
    let folder = backups_of(place, &handle.options().hostname, &cluster);
    let mut backups: Option<Backups> = None;
    let mut last: Option<tokio::time::Instant> = None;
    let mut is_failing = false;
    loop {
        tokio::time::sleep(BACKUP_LOOK).await;
        let settings = Arc::clone(&handle.settings().borrow());
        let period = Duration::from_millis(settings.backup_period_ms);
        let is_on = !period.is_zero() && handle.switches().borrow().backups;
        let serves = handle.look().borrow().mode.is_some();
        if !is_on || !serves || last.is_some_and(|last| last.elapsed() < period) {
            continue;
        }
        last = Some(tokio::time::Instant::now());
        match one(&mut backups, &folder, &handle, &settings).await {
            Ok(()) => is_failing = false,
            Err(error) => {
                if !is_failing {
                    handle.event(format!("the backup failed: {error}"));
                }
                is_failing = true;
                backups = None;
            }
        }
    }
}

async fn one(
    backups: &mut Option<Backups>,
    folder: &Folder,
    handle: &Handle,
    settings: &Settings,
) -> Result<(), crate::backup::Error> {
    let backups = match backups {
        Some(backups) => backups,
        None => backups.insert(Backups::open(folder.clone(), None).await?),
    };
    let dir = &handle.options().dir;
    let dirs = Dirs { data: settings.snapshots(dir), log: settings.logs(dir) };
    backups.store(&dirs, SystemTime::now()).await?;
    backups.expire(Duration::from_millis(settings.backup_max_store_ms), SystemTime::now()).await?;
    Ok(())
}
