//! What killed processes have left behind is removed, and many packs become one.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slipway_model::name::ProjectPath;
use tokio::fs;

use super::{DISCARDED, Repositories, UNFINISHED, directories, entries, lock, project_of};
use crate::copies::Copy;
use crate::error::Error;
use crate::git;

/// Leftovers younger than this may belong to a git that is about to notice that its client is gone.
const LEFTOVER_AGE_MIN: Duration = Duration::from_secs(60);
/// Putting the packs of a large repository into one takes minutes.
const COLLECT_TIME_MAX: Duration = Duration::from_secs(1800);
/// Packs in one repository before they are put into one; each push adds one, and each slows every
/// look-up down.
const PACKS_MAX: usize = 40;

/// How long it is kept.
const DISCARDED_KEPT: Duration = Duration::from_secs(7 * 86_400);

impl Repositories {
    /// Removes what killed processes have left behind, and puts many packs into one. Skips what is
    /// in use. A repository that cannot be swept is logged and does not stop the others.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        for tenant in directories(self.git.root()).await? {
            for path in directories(&tenant).await? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name.starts_with(UNFINISHED) {
                    remove_if_old(&path, SystemTime::now()).await;
                    continue;
                }
                if let Some(since) =
                    name.strip_prefix(DISCARDED).and_then(|name| name.split('-').next()?.parse().ok())
                {
                    remove_discarded(&path, UNIX_EPOCH + Duration::from_secs(since)).await;
                    continue;
                }
                let Some(project) = project_of(&path) else { continue };
                if lock(&self.busy).contains_key(&project) {
                    continue;
                }
                if let Err(error) = self.sweep_one(&project, &path).await {
                    tracing::warn!(%project, error = &error as &dyn std::error::Error, "could not sweep a repository");
                }
            }
        }
        Ok(())
    }

    async fn sweep_one(&self, project: &ProjectPath, path: &Path) -> Result<(), Error> {
        let now = SystemTime::now();
        let objects = path.join("objects");
        for (directory, is_leftover) in [
            (
                objects.clone(),
                &(|name: &str| name.starts_with("tmp_objdir-")) as &(dyn Fn(&str) -> bool + Sync),
            ),
            (objects.join("pack"), &|name: &str| {
                name.starts_with("tmp_") || name.starts_with(".tmp-") || name.ends_with(".keep")
            }),
            (path.to_owned(), &|name: &str| name.ends_with(".lock") || name.starts_with("shallow_")),
        ] {
            for entry in entries(&directory).await? {
                if is_leftover(entry.file_name().and_then(|name| name.to_str()).unwrap_or_default()) {
                    remove_if_old(&entry, now).await;
                }
            }
        }
        let mut below = vec![path.join("refs")];
        while let Some(directory) = below.pop() {
            below.extend(directories(&directory).await?);
            for entry in entries(&directory).await? {
                if entry.extension().is_some_and(|extension| extension == "lock") {
                    remove_if_old(&entry, now).await;
                }
            }
        }
        let packs = entries(&objects.join("pack")).await?;
        if packs.iter().filter(|entry| entry.extension().is_some_and(|extension| extension == "pack")).count()
            > PACKS_MAX
        {
            self.collect(path).await?;
        }
        if let Some(copies) = &self.copies {
            let copy = Copy { project: project.clone(), path: path.to_owned() };
            copies.tidy(&copy, || lock(&self.busy).contains_key(project)).await?;
        }
        Ok(())
    }

    /// Puts all packs into one. Unreachable objects younger than two weeks stay, as git recommends for
    /// repositories that are being pushed to.
    async fn collect(&self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::RunGit { command: "gc", repository: path.to_owned(), source };
        let mut gc = self.git.command("gc", path);
        gc.arg("--quiet").stdout(Stdio::null()).stderr(Stdio::null());
        let mut gc = gc.spawn().map_err(failed)?;
        match tokio::time::timeout(COLLECT_TIME_MAX, gc.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(failed(io::Error::other(status.to_string()))),
            Ok(Err(source)) => Err(failed(source)),
            Err(_) => {
                git::end(&mut gc).await;
                Err(failed(ErrorKind::TimedOut.into()))
            }
        }
    }
}

async fn remove_discarded(path: &Path, since: SystemTime) {
    if SystemTime::now().duration_since(since).is_ok_and(|age| age > DISCARDED_KEPT)
        && let Err(error) = fs::remove_dir_all(path).await
    {
        tracing::warn!(path = %path.display(), %error, "could not remove the repository of a deleted project");
    }
}

async fn remove_if_old(path: &Path, now: SystemTime) {
    let Ok(metadata) = fs::symlink_metadata(path).await else { return };
    let age =
        metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok()).unwrap_or_default();
    if age < LEFTOVER_AGE_MIN {
        return;
    }
    let removed =
        if metadata.is_dir() { fs::remove_dir_all(path).await } else { fs::remove_file(path).await };
    match removed {
        Ok(()) => tracing::info!(path = %path.display(), "removed what a killed git left behind"),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "could not remove what a killed git left behind")
        }
    }
}
