//! A backup becomes a server's data again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::piece::{self, Digest, blocking};
use super::source::{Kind, VERSION_DIR};
use super::{CLUSTER_FILE, Dirs, Error, Folder, Id, PART_BYTES, StoredFile, retry};

/// What the directory is called until everything is there.
const UNFINISHED: &str = "version-2.unfinished";
/// The one file that may be there before: it says which server this is, not what it knows.
const MYID: &str = "myid";
/// Data that were moved aside before.
const ASIDE: [&str; 2] = [crate::quarantine::ASIDE, crate::recover::ASIDE];
/// Gzip makes what cannot be made smaller a little bigger.
const GZIP_BYTES_MAX: usize = PART_BYTES + (PART_BYTES >> 8) + 1024;

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Which backup.
    pub id: Id,
    /// How many files.
    pub files: usize,
    /// How many bytes these have.
    pub bytes: u64,
}

/// Restores a backup, the newest if none is named, into the directories of a server that does not run
/// and has no data. Nothing is there before all of it is there and has the right checksums.
///
/// # Errors
/// The directories are not empty, the backup is not there, is another cluster's, or is broken; or the
/// place is away.
pub async fn restore(into: &Dirs, from: &Folder, id: Option<Id>) -> Result<Restored, Error> {
    let is_one_dir = into.data == into.log;
    let dirs: &[&Path] = if is_one_dir { &[&into.data] } else { &[&into.log, &into.data] };
    for dir in dirs {
        let path = dir.to_path_buf();
        if !blocking(dir, move || is_empty(&path)).await? {
            return Err(Error::NotEmpty(dir.to_path_buf()));
        }
    }
    for dir in dirs {
        let path = dir.to_path_buf();
        blocking(dir, move || begin(&path)).await?;
    }
    let outcome = fill(into, from, id).await;
    for dir in dirs {
        let path = dir.to_path_buf();
        let is_restored = outcome.is_ok();
        blocking(dir, move || if is_restored { finish(&path) } else { abandon(&path) }).await?;
    }
    outcome
}

async fn fill(into: &Dirs, from: &Folder, id: Option<Id>) -> Result<Restored, Error> {
    let id = match id {
        Some(id) => id,
        None => from.list().await?.first().copied().ok_or(Error::Missing(None))?,
    };
    let manifest = from.manifest(id).await?;
    let mut restored = Restored { id, files: 0, bytes: 0 };
    for stored in &manifest.files {
        let dir = match Kind::of(&stored.name) {
            Some(Kind::Snapshot(_)) => &into.data,
            Some(Kind::Log(_)) => &into.log,
            None => {
                let reason = format!("{:?} is no name of a ZooKeeper file", stored.name);
                return Err(Error::Broken { id, reason });
            }
        };
        restore_file(&dir.join(UNFINISHED).join(&stored.name), from, id, stored).await?;
        restored.files += 1;
        restored.bytes += stored.bytes;
    }
    let path = into.data.join(CLUSTER_FILE);
    let (written, cluster) = (path.clone(), format!("{}\n", from.cluster));
    blocking(&path, move || {
        let mut file = File::create(written)?;
        file.write_all(cluster.as_bytes())?;
        file.sync_all()
    })
    .await?;
    Ok(restored)
}

async fn restore_file(path: &Path, from: &Folder, id: Id, stored: &StoredFile) -> Result<(), Error> {
    let broken = |reason: &str| Error::Broken { id, reason: format!("{}: {reason}", stored.name) };
    let made = path.to_path_buf();
    let mut file =
        blocking(path, move || OpenOptions::new().write(true).create_new(true).mode(0o600).open(made))
            .await?;
    let mut bytes = 0;
    for part in &stored.parts {
        let unpacked = fetch(from, *part).await?.map_err(|reason| broken(&reason))?;
        bytes += unpacked.len() as u64;
        file = blocking(path, move || {
            file.write_all(&unpacked)?;
            Ok(file)
        })
        .await?;
    }
    if bytes != stored.bytes {
        return Err(broken("its parts have another length than it"));
    }
    blocking(path, move || file.sync_all()).await
}

/// The inner error is the part's own.
async fn fetch(from: &Folder, part: Digest) -> Result<Result<Vec<u8>, String>, Error> {
    let (folder, name) = (from.parts(), part.object());
    let gzip = match retry(|| from.place.get(&folder, &name, GZIP_BYTES_MAX)).await {
        Ok(Some(gzip)) => gzip,
        Ok(None) => return Ok(Err(format!("the part {name} is gone"))),
        Err(crate::place::Error::TooBig(..)) => return Ok(Err(format!("the part {name} is too big"))),
        Err(error) => return Err(error.into()),
    };
    let unpacked = tokio::task::spawn_blocking(move || piece::unpack(&gzip, part)).await.ok().flatten();
    Ok(unpacked.ok_or_else(|| format!("the part {name} is damaged")))
}

/// A restore that was broken off may have left its directory, and the cluster's id without data.
fn is_empty(dir: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        let is_aside = name.to_str().is_some_and(|name| ASIDE.iter().any(|aside| name.starts_with(aside)));
        if !is_aside && ![MYID, UNFINISHED, CLUSTER_FILE].iter().any(|harmless| name == *harmless) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn begin(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    abandon(dir)?;
    fs::DirBuilder::new().mode(0o700).create(dir.join(UNFINISHED))
}

fn finish(dir: &Path) -> io::Result<()> {
    let unfinished: PathBuf = dir.join(UNFINISHED);
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, dir.join(VERSION_DIR))?;
    File::open(dir)?.sync_all()
}

fn abandon(dir: &Path) -> io::Result<()> {
    for gone in [fs::remove_dir_all(dir.join(UNFINISHED)), fs::remove_file(dir.join(CLUSTER_FILE))] {
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
