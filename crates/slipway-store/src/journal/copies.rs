//! In a cluster: journals outlive the server that wrote them, as objects in shared storage.
//!
//! A server writes into a file of its own, and every [`PERIOD`] what has grown goes up whole: as
//! `NUMBER.log.part` until it is finished, then as `NUMBER.log`. Whoever reads a journal that is not being
//! written here gets the object first, if it differs from what is there. So the end of a log that a server
//! took with it is lost, at most so much as comes in a moment, and the build begins anew anyway.
//!
//! Objects are [authenticated](slipway_storage::Authenticated), so that nobody who can write the storage has
//! one tenant's log shown as another's, or one of his own. That there was a longer one is not noticed.
//!
//! The mode bits of the file say how far it is: still open, finished here, finished and up.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use slipway_model::limit::BUILD_LOG_BYTES_MAX;
use slipway_storage::{Authenticated, Error};
use tokio::sync::Notify;

use super::{MODE_FINISHED, MODE_OPEN};

/// How often what has grown goes up.
const PERIOD: Duration = Duration::from_secs(3);
const MODE_UP: u32 = 0o400;
/// Copies of journals that are up go after so long; who reads one gets it again.
const COPY_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest journal.
const BYTES_MAX: usize = BUILD_LOG_BYTES_MAX.0 as usize;
/// How often all files are looked at, the first time when a server starts.
const ROUND: Duration = Duration::from_secs(24 * 3600);
/// So many files are looked at.
const FILES_MAX: usize = 100_000;
/// An environment's path and the file.
const DEPTH_MAX: usize = 6;

#[derive(Debug)]
pub(super) struct Copies {
    root: PathBuf,
    storage: Authenticated,
    /// By path below the root: what is written here, and what waits to go up.
    writing: Mutex<BTreeMap<PathBuf, Progress>>,
    finished: Notify,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// So many bytes are up.
    sent: u64,
    is_finished: bool,
}

impl Copies {
    pub(super) fn new(root: PathBuf, storage: Authenticated) -> Self {
        Self { root, storage, writing: Mutex::default(), finished: Notify::new() }
    }

    /// Somebody writes it from now on.
    pub(super) fn begin(&self, path: &Path) {
        self.writing().insert(path.to_owned(), Progress::default());
    }

    pub(super) fn finish(&self, path: &Path) {
        self.writing().entry(path.to_owned()).or_default().is_finished = true;
        self.finished.notify_one();
    }

    /// Puts up what is written, for ever.
    pub(super) async fn keep(&self) {
        let mut looked: Option<Instant> = None;
        let mut said = String::new();
        loop {
            if looked.is_none_or(|at| at.elapsed() > ROUND) {
                self.look_round();
                looked = Some(Instant::now());
            }
            let all: Vec<_> =
                self.writing().iter().map(|(path, progress)| (path.clone(), *progress)).collect();
            for (path, progress) in all {
                if let Err(error) = self.send(&path, progress).await {
                    let text = error.to_string();
                    // Once for each reason, not for each try.
                    if said != text {
                        tracing::warn!("logs of builds do not reach the shared storage: {text}; trying on");
                        said = text;
                    }
                    break;
                }
            }
            let _sooner = tokio::time::timeout(PERIOD, self.finished.notified()).await;
        }
    }

    /// What an earlier process has finished, once.
    pub(super) async fn send_all(&self) -> Result<usize, (PathBuf, Error)> {
        self.look_round();
        let all: Vec<_> = self.writing().iter().map(|(path, progress)| (path.clone(), *progress)).collect();
        for (path, progress) in &all {
            self.send(path, *progress).await.map_err(|error| (path.clone(), error))?;
        }
        Ok(all.len())
    }

    async fn send(&self, path: &Path, progress: Progress) -> Result<(), Error> {
        let Some((folder, name)) = split(path) else { return Ok(()) };
        let file = self.root.join(path);
        let Ok(length) = fs::metadata(&file).map(|found| found.len()) else {
            // Removed before it was up.
            self.writing().remove(path);
            return Ok(());
        };
        if !progress.is_finished {
            if length != progress.sent {
                let text = Self::text_of(&file).await?;
                self.storage.put(folder, &part(name), &text).await?;
                if let Some(progress) = self.writing().get_mut(path) {
                    progress.sent = text.len() as u64;
                }
            }
            return Ok(());
        }
        self.storage.put(folder, name, &Self::text_of(&file).await?).await?;
        self.storage.place().delete(folder, &part(name)).await?;
        // Unless it has been begun anew meanwhile.
        let mut writing = self.writing();
        if writing.get(path).is_some_and(|progress| progress.is_finished) {
            writing.remove(path);
            let _gone = fs::set_permissions(&file, Permissions::from_mode(MODE_UP));
        }
        Ok(())
    }

    /// Makes the file what the storage has, unless it is written here. When the storage is away, what is
    /// there has to do.
    pub(super) async fn bring(&self, path: &Path) {
        let Some((folder, name)) = split(path) else { return };
        if self.writing().contains_key(path) {
            return;
        }
        if let Err(error) = self.bring_newest(path, folder, name).await {
            tracing::warn!(log = %path.display(), %error, "a build's log may be old or missing");
        }
    }

    async fn bring_newest(&self, path: &Path, folder: &str, name: &str) -> Result<(), Error> {
        let file = self.root.join(path);
        let there = fs::metadata(&file).ok();
        let mode = there.as_ref().map(|found| found.permissions().mode() & 0o777);
        if let Some(size) = self.storage.size(folder, name).await? {
            let is_it = mode == Some(MODE_UP) && there.is_some_and(|found| found.len() == size);
            return if is_it { Ok(()) } else { self.fetch(folder, name, &file, MODE_UP).await };
        }
        if self.storage.size(folder, &part(name)).await?.is_some() {
            // Finished here, and not up yet, is newer.
            return if mode == Some(MODE_FINISHED) {
                Ok(())
            } else {
                self.fetch(folder, &part(name), &file, MODE_OPEN).await
            };
        }
        if mode == Some(MODE_UP) {
            // It was up, and has been deleted by another server.
            let _gone = fs::remove_file(&file);
        }
        Ok(())
    }

    async fn fetch(&self, folder: &str, name: &str, file: &Path, mode: u32) -> Result<(), Error> {
        let failed = |source: io::Error| Error::File { path: file.to_owned(), source };
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let Some((text, _)) = self.storage.get(folder, name, BYTES_MAX).await? else { return Ok(()) };
        let unfinished = file.with_extension(format!("fetch-{:08x}", rand::random::<u32>()));
        let named = tokio::fs::write(&unfinished, text).await.and_then(|()| {
            fs::set_permissions(&unfinished, Permissions::from_mode(mode))?;
            fs::rename(&unfinished, file)
        });
        let _renamed = fs::remove_file(&unfinished);
        named.map_err(failed)
    }

    async fn text_of(file: &Path) -> Result<Vec<u8>, Error> {
        let failed = |source: io::Error| Error::File { path: file.to_owned(), source };
        tokio::fs::read(file).await.map_err(failed)
    }

    /// Deletes it in the storage, too.
    pub(super) async fn remove(&self, path: &Path) -> Result<(), Error> {
        let Some((folder, name)) = split(path) else { return Ok(()) };
        self.writing().remove(path);
        self.storage.place().delete(folder, name).await?;
        self.storage.place().delete(folder, &part(name)).await
    }

    /// Finished journals that are not up, such as what an earlier process has left, go up, and copies that
    /// nobody has needed for long go.
    fn look_round(&self) {
        let mut folders = vec![(self.root.clone(), 0)];
        let mut files = 0;
        while let Some((folder, depth)) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                files += 1;
                let (path, Ok(found)) = (entry.path(), entry.metadata()) else { continue };
                if files > FILES_MAX {
                    tracing::warn!(
                        directory = %self.root.display(), "more than {FILES_MAX} logs of builds; the others stay, \
                         and may not reach the shared storage"
                    );
                    return;
                }
                let age = found.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
                match found.permissions().mode() & 0o777 {
                    _ if found.is_dir() && depth < DEPTH_MAX => folders.push((path, depth + 1)),
                    MODE_FINISHED => {
                        if let Ok(path) = path.strip_prefix(&self.root) {
                            self.finish(path);
                        }
                    }
                    MODE_UP if age.is_some_and(|age| age > COPY_LIFE) => _ = fs::remove_file(path),
                    _ => {}
                }
            }
        }
    }

    fn writing(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Progress>> {
        // Nothing here can be half-changed by a panic.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn split(path: &Path) -> Option<(&str, &str)> {
    let folder = path.parent()?.to_str().filter(|folder| !folder.is_empty())?;
    Some((folder, path.file_name()?.to_str()?))
}

fn part(name: &str) -> String {
    format!("{name}.part")
}

#[cfg(test)]
mod tests;
