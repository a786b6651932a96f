//! Which of a server's files a backup needs, and how much of each.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::log::{self, Tail};
use super::piece::blocking;
use super::{Dirs, Error};
use crate::user::open_plain;

/// ZooKeeper's directory for its format, in both directories.
pub(super) const VERSION_DIR: &str = "version-2";
/// A server purges its files now and then.
const FILES_MAX: usize = 10_000;
/// A transaction that is being written is whole a moment later.
const MOMENT: Duration = Duration::from_millis(200);
const SNAPSHOT_MAGIC: &[u8; 4] = b"ZKSN";
/// Each snapshot ends with the path `/` of the last node.
const SNAPSHOT_END: &[u8; 5] = b"\0\0\0\x01/";

/// A file for the backup.
pub(super) struct Source {
    pub name: String,
    pub path: PathBuf,
    /// How much of it is whole.
    pub bytes: u64,
}

/// What a file of ZooKeeper's is by its name, with the number of its first or last transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Snapshot(u64),
    Log(u64),
}

impl Kind {
    pub fn of(name: &str) -> Option<Self> {
        let (kind, number) = name.split_once('.')?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let number = u64::from_str_radix(number, 16).ok().filter(|_| is_number)?;
        match kind {
            "snapshot" => Some(Self::Snapshot(number)),
            "log" => Some(Self::Log(number)),
            _ => None,
        }
    }
}

/// The newest whole snapshot, the log that was open when it was begun, and all later ones. A snapshot
/// is fuzzy: it needs the transactions that came while it was written.
pub(super) async fn choose(dirs: Dirs) -> Result<Vec<Source>, Error> {
    let (data, log) = (dirs.data.join(VERSION_DIR), dirs.log.join(VERSION_DIR));
    let listed = data.clone();
    let snapshots = blocking(&data, move || files(&listed)).await?;
    let listed = log.clone();
    let logs = blocking(&log, move || files(&listed)).await?;

    let mut snapshots: Vec<(u64, String)> = snapshots
        .into_iter()
        .filter_map(|name| match Kind::of(&name) {
            Some(Kind::Snapshot(number)) => Some((number, name)),
            _ => None,
        })
        .collect();
    snapshots.sort_unstable();
    let mut chosen = Vec::new();
    let mut from = 0;
    for (number, name) in snapshots.into_iter().rev() {
        let path = data.join(&name);
        let looked_at = path.clone();
        if let Some(bytes) = blocking(&path, move || whole_snapshot(&looked_at)).await? {
            chosen.push(Source { name, path, bytes });
            from = number;
            break;
        }
    }

    let mut logs: Vec<(u64, String)> = logs
        .into_iter()
        .filter_map(|name| match Kind::of(&name) {
            Some(Kind::Log(number)) => Some((number, name)),
            _ => None,
        })
        .collect();
    logs.sort_unstable();
    let open_then = logs.iter().rposition(|(number, _)| *number <= from).unwrap_or(0);
    let newest = logs.len().saturating_sub(1);
    for (at, (_, name)) in logs.into_iter().enumerate().skip(open_then) {
        let path = log.join(&name);
        let bytes = whole_log(&path, at == newest).await?;
        if bytes > 0 {
            chosen.push(Source { name, path, bytes });
        }
    }
    if chosen.is_empty() { Err(Error::Nothing(data)) } else { Ok(chosen) }
}

async fn whole_log(path: &Path, is_newest: bool) -> Result<u64, Error> {
    let look = || {
        let looked_at = path.to_owned();
        blocking(path, move || log::extent(&open_plain(&looked_at)?))
    };
    let mut extent = look().await?;
    if is_newest && extent.tail == Tail::Damaged {
        tokio::time::sleep(MOMENT).await;
        extent = look().await?;
    }
    match extent.tail {
        Tail::Empty | Tail::Half => Ok(extent.whole),
        Tail::Damaged if is_newest => {
            tracing::warn!(path = %path.display(), at = extent.whole, "the backup of this log ends where it is damaged");
            Ok(extent.whole)
        }
        Tail::Damaged => Err(Error::Damaged { path: path.to_owned(), at: extent.whole }),
    }
}

fn whole_snapshot(path: &Path) -> io::Result<Option<u64>> {
    let mut file = open_plain(path)?;
    let bytes = file.metadata()?.len();
    if bytes < (SNAPSHOT_MAGIC.len() + SNAPSHOT_END.len()) as u64 {
        return Ok(None);
    }
    let (mut magic, mut end) = ([0; SNAPSHOT_MAGIC.len()], [0; SNAPSHOT_END.len()]);
    file.read_exact(&mut magic)?;
    file.seek(SeekFrom::Start(bytes - end.len() as u64))?;
    file.read_exact(&mut end)?;
    Ok((magic == *SNAPSHOT_MAGIC && end == *SNAPSHOT_END).then_some(bytes))
}

fn files(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        if names.len() == FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} files")));
        }
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}
