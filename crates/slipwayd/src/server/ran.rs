//! Where instances ran, for the servers that lead later: the files that terms write (`hub::ran`) go to
//! the shared storage and come from it, as long as a server runs.
//!
//! A file has one writer, a name that no other has, and only grows: the longer copy is the newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use slipway_storage::Place;

/// What is younger may be lost with a server; most of it is in the next term's lists.
const PERIOD: Duration = Duration::from_secs(10);
/// The newest files; each holds what the ones before it held.
const FILES_MAX: usize = 8;
/// More than all instances that are remembered.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// All files are in one folder of the place.
const FOLDER: &str = "terms";

/// Keeps both alike, for ever.
pub async fn keep_copies(directory: PathBuf, place: Place) {
    let mut said = String::new();
    loop {
        match level(&directory, &place).await {
            Ok(()) => said.clear(),
            Err(error) => {
                let text = format!("{error:#}");
                // Once for each reason, not for each try.
                if text != said {
                    tracing::warn!(
                        "where instances ran is not shared with the other servers: {text}; trying on"
                    );
                    said = text;
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn level(directory: &Path, place: &Place) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut own = BTreeMap::new();
    for entry in fs::read_dir(directory)?.flatten() {
        if let (Ok(name), Ok(found)) = (entry.file_name().into_string(), entry.metadata())
            && !name.starts_with('.')
        {
            own.insert(name, found.len());
        }
    }
    let theirs: BTreeSet<String> = place.list(FOLDER).await?.into_iter().collect();
    // Names begin with numbers that rise.
    let all: BTreeSet<&String> = own.keys().chain(&theirs).collect();
    for (age, name) in all.into_iter().rev().enumerate() {
        let file = directory.join(name);
        if age >= FILES_MAX {
            place.delete(FOLDER, name).await?;
            let _gone = fs::remove_file(file);
            continue;
        }
        let (here, there) = (own.get(name).copied(), place.size(FOLDER, name).await?);
        if here > there {
            place.put_file(FOLDER, name, &file).await?;
        } else if there > here {
            let unfinished = directory.join(format!(".{name}"));
            if place.get_file(FOLDER, name, &unfinished, FILE_BYTES_MAX).await? {
                fs::rename(&unfinished, &file)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
