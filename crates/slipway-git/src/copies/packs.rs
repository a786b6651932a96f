//! Packs between a copy and the storage.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::fs;
use tokio::process::Command;

use super::state::{Pack, State};
use super::{Copies, Copy, folder, local, storage};
use crate::error::Error;
use crate::git::{self, PUSH_FSCK};

/// Putting the objects of a large repository into one pack, or looking through one, takes minutes.
const PACK_TIME_MAX: Duration = Duration::from_secs(1800);

/// A file of ours that goes with the value.
pub(super) struct Passing(PathBuf);

impl Passing {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let _absent = std::fs::remove_file(&self.0);
    }
}

impl Copies {
    /// Puts a pack into the storage, where nothing leads to it yet.
    pub(super) async fn put_pack(
        &self,
        copy: &Copy,
        file: &Path,
        replaces: Vec<String>,
    ) -> Result<Pack, Error> {
        let (sha256, bytes) = examine(file).await?;
        // A name that no upload has ever had: whoever deletes what a push has left cannot mean this one.
        let name = format!("{}-{:016x}.pack", &sha256[..16], rand::random::<u64>());
        let put = self.storage.place().put_file(&folder(copy, "packs"), &name, file).await;
        put.map_err(|source| storage("put a pack of", copy, source))?;
        Ok(Pack { name, bytes, sha256, replaces })
    }

    /// Fetches the packs that a copy lacks, which has those of `has`.
    pub(super) async fn fetch(&self, copy: &Copy, state: &State, has: &[String]) -> Result<(), Error> {
        let mut has = has.to_vec();
        for pack in &state.packs {
            let is_replaced = !pack.replaces.is_empty() && pack.replaces.iter().all(|old| has.contains(old));
            if !has.contains(&pack.name) && !is_replaced {
                self.fetch_one(copy, pack).await?;
            }
            has.push(pack.name.clone());
            // After each: who is killed does not fetch all of it again.
            local::note_packs(copy, state, &has).await?;
        }
        Ok(())
    }

    async fn fetch_one(&self, copy: &Copy, pack: &Pack) -> Result<(), Error> {
        let folder = folder(copy, "packs");
        let damaged = |what| Error::Damaged {
            project: copy.project.clone(),
            object: format!("{folder}/{}", pack.name),
            place: self.storage.place().to_string(),
            what,
        };
        let file = self.passing()?;
        let found = self.storage.place().get_file(&folder, &pack.name, file.path(), pack.bytes).await;
        match found {
            Ok(true) => {}
            Ok(false) => return Err(damaged("is missing")),
            Err(slipway_storage::Error::TooBig(..)) => return Err(damaged("is damaged")),
            Err(source) => return Err(storage("fetch a pack of", copy, source)),
        }
        if examine(file.path()).await? != (pack.sha256.clone(), pack.bytes) {
            return Err(damaged("is damaged"));
        }
        let mut index = self.git.command("index-pack", &copy.path);
        index.args(["--stdin", &format!("--strict{PUSH_FSCK}")]);
        git::limit(&mut index);
        let opened = std::fs::File::open(file.path());
        index.stdin(opened.map_err(|source| Error::File {
            what: "read",
            path: file.path().into(),
            source,
        })?);
        index.stdout(Stdio::null());
        run_long(&mut index, "index-pack", copy).await
    }

    /// A file with all objects that the copy's refs lead to.
    pub(super) async fn pack_all(&self, copy: &Copy) -> Result<Passing, Error> {
        let file = self.passing()?;
        let made = std::fs::File::create(file.path());
        let made = made.map_err(|source| Error::File { what: "make", path: file.path().into(), source })?;
        let mut pack = self.git.command("pack-objects", &copy.path);
        pack.args(["--revs", "--all", "--stdout", "--quiet", "--delta-base-offset"]).stdout(made);
        run_long(&mut pack, "pack-objects", copy).await?;
        Ok(file)
    }

    /// Deletes all packs but those.
    pub(super) async fn delete_packs_but(&self, copy: &Copy, kept: &[Pack]) -> Result<(), Error> {
        let listed = self.storage.place().list(&folder(copy, "packs")).await;
        let listed = listed.map_err(|source| storage("list the packs of", copy, source))?;
        for name in listed.iter().filter(|name| kept.iter().all(|pack| pack.name != **name)) {
            self.delete_pack(copy, name).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_pack(&self, copy: &Copy, name: &str) -> Result<(), Error> {
        let deleted = self.storage.place().delete(&folder(copy, "packs"), name).await;
        deleted.map_err(|source| storage("delete a pack of", copy, source))
    }

    /// A name for a file of ours. Those of a process that was killed go with the next start.
    fn passing(&self) -> Result<Passing, Error> {
        let directory = self.git.passing();
        std::fs::create_dir_all(&directory).map_err(|source| Error::File {
            what: "make",
            path: directory.clone(),
            source,
        })?;
        Ok(Passing(directory.join(format!("{:032x}", rand::random::<u128>()))))
    }
}

/// The packs in a directory, which may not be there.
pub(super) async fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source: io::Error| Error::File { what: "list", path: directory.to_owned(), source };
    let mut listing = match fs::read_dir(directory).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(failed)?,
    };
    let mut found = Vec::new();
    while let Some(entry) = listing.next_entry().await.map_err(failed)? {
        found.extend(Some(entry.path()).filter(|path| path.extension().is_some_and(|end| end == "pack")));
    }
    Ok(found)
}

/// SHA-256 and length of a file.
async fn examine(file: &Path) -> Result<(String, u64), Error> {
    let path = file.to_owned();
    let read = move || {
        let mut file = std::fs::File::open(&path)?;
        let (mut digest, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 16]);
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok((hex::encode(digest.finalize()), bytes)),
                count => {
                    digest.update(&chunk[..count]);
                    bytes += count as u64;
                }
            }
        }
    };
    let examined = tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten();
    examined.map_err(|source| Error::File { what: "read", path: file.to_owned(), source })
}

/// Runs a git command that may take long; what it says on standard error is for the error.
async fn run_long(command: &mut Command, name: &'static str, copy: &Copy) -> Result<(), Error> {
    use tokio::io::AsyncReadExt;
    let failed = |source| Error::RunGit { command: name, repository: copy.path.clone(), source };
    let mut child = command.spawn().map_err(failed)?;
    let stderr = child.stderr.take();
    let work = async {
        let mut said = Vec::new();
        if let Some(pipe) = stderr {
            pipe.take(16 << 10).read_to_end(&mut said).await?;
        }
        Ok((child.wait().await?, said))
    };
    let (status, said) = match tokio::time::timeout(PACK_TIME_MAX, work).await {
        Ok(ended) => ended.map_err(failed)?,
        Err(_) => {
            git::end(&mut child).await;
            return Err(failed(ErrorKind::TimedOut.into()));
        }
    };
    if status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&said).trim().chars().take(500).collect();
    Err(Error::Git { command: name, repository: copy.path.clone(), stderr })
}
