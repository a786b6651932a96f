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
use crate::said::Said;

/// What is younger may be lost with a server; most of it is in the next term's lists.
const PERIOD: Duration = Duration::from_secs(10);
/// More than all instances that are remembered.
const FILE_BYTES_MAX: usize = 64 << 20;

/// All files are in one folder of the place.
const FOLDER: &str = "terms";

/// Keeps both alike, for ever.
pub async fn keep(directory: PathBuf, storage: Authenticated) {
    let mut said = Said::default();
    loop {
        match level(&directory, &storage).await {
            Ok(()) => said.over(),
            Err(error) => said.why(&format!("{error:#}"), |why| {
                tracing::warn!("where instances ran is not shared with the other servers: {why}; trying on");
            }),
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
    let listed = storage.place().list(FOLDER).await?;
    let theirs: BTreeSet<String> = listed.into_iter().filter(|name| is_a_terms(name)).collect();
    // Names begin with numbers that rise.
    let all: BTreeSet<&String> = own.keys().chain(&theirs).collect();
    let (mut newer, mut refused) = (0, None);
    for name in all.into_iter().rev() {
        let (file, here) = (directory.join(name), own.get(name).copied());
        if newer >= FILES_MAX {
            storage.place().delete(FOLDER, name).await?;
            let _gone = fs::remove_file(file);
            continue;
        }
        match level_one(&file, here, name, storage).await {
            Ok(is_there) => newer += usize::from(is_there),
            // Whoever can write there must not have the others given up, nor kept from being copied, by names.
            Err(error) if is_lasting(&error) => {
                newer += usize::from(here.is_some());
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Whether a name is one that a term gives.
fn is_a_terms(name: &str) -> bool {
    let is_all = |part: &str, is: fn(&u8) -> bool| !part.is_empty() && part.as_bytes().iter().all(is);
    name.split_once('-').is_some_and(|(number, random)| {
        is_all(number, u8::is_ascii_digit) && is_all(random, u8::is_ascii_hexdigit)
    })
}

fn is_lasting(error: &anyhow::Error) -> bool {
    error.downcast_ref::<slipway_storage::Error>().is_some_and(|error| !error.is_worth_a_retry())
}

/// Whether there is such a file now, at the one end or the other, that is believed.
async fn level_one(
    file: &Path,
    here: Option<u64>,
    name: &str,
    storage: &Authenticated,
) -> anyhow::Result<bool> {
    let there = storage.size(FOLDER, name).await?;
    if here > there {
        storage.put(FOLDER, name, &fs::read(file)?).await?;
    } else if there > here {
        let Some((text, _)) = storage.get(FOLDER, name, FILE_BYTES_MAX).await? else {
            return Ok(here.is_some());
        };
        if here.is_none_or(|here| here < text.len() as u64) {
            // Not before it is known to be believed: whoever begins to lead reads what is in the directory.
            let unfinished = file.with_file_name(format!("{UNFINISHED}{name}"));
            fs::write(&unfinished, text)?;
            fs::rename(&unfinished, file)?;
        }
    }
    Ok(here.is_some() || there.is_some())
}

#[cfg(test)]
mod tests;
