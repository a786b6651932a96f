//! Where instances ran, for the servers that lead later: the files that terms write go to the shared
//! storage and come from it, as long as a server runs.
//!
//! A file has one writer, a name that no other has, and only grows: the longer copy is the newer one. In the
//! storage it is authenticated: whoever could write there, and has a node of the cluster, could otherwise have
//! that node asked for the files of instances that it never ran.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use slipway_storage::Authenticated;

use super::{FILES_MAX, UNFINISHED};

/// What is younger may be lost with a server; most of it is in the next term's lists.
const PERIOD: Duration = Duration::from_secs(10);
/// More than all instances that are remembered.
const FILE_BYTES_MAX: usize = 64 << 20;

/// All files are in one folder of the place.
const FOLDER: &str = "terms";

/// Keeps both alike, for ever.
pub async fn keep(directory: PathBuf, storage: Authenticated) {
    let mut said = String::new();
    loop {
        match level(&directory, &storage).await {
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

async fn level(directory: &Path, storage: &Authenticated) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut own = BTreeMap::new();
    for entry in fs::read_dir(directory)?.flatten() {
        if let (Ok(name), Ok(found)) = (entry.file_name().into_string(), entry.metadata())
            && !name.starts_with(UNFINISHED)
        {
            own.insert(name, found.len());
        }
    }
    let theirs: BTreeSet<String> = storage.place().list(FOLDER).await?.into_iter().collect();
    // Names begin with numbers that rise.
    let all: BTreeSet<&String> = own.keys().chain(&theirs).collect();
    for (age, name) in all.into_iter().rev().enumerate() {
        let file = directory.join(name);
        if age >= FILES_MAX {
            storage.place().delete(FOLDER, name).await?;
            let _gone = fs::remove_file(file);
            continue;
        }
        let (here, there) = (own.get(name).copied(), storage.size(FOLDER, name).await?);
        if here > there {
            storage.put(FOLDER, name, &fs::read(&file)?).await?;
        } else if there > here
            && let Some((text, _)) = storage.get(FOLDER, name, FILE_BYTES_MAX).await?
            && here.is_none_or(|here| here < text.len() as u64)
        {
            // Not before it is known to be believed: whoever begins to lead reads what is in the directory.
            let unfinished = directory.join(format!("{UNFINISHED}{name}"));
            fs::write(&unfinished, text)?;
            fs::rename(&unfinished, &file)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
