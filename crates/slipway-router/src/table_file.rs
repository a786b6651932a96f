//! The last good table on disk, so that a router that starts while there is no leader serves at once.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use slipway_model::route::RouteTable;

/// Reads the file. Absent or unreadable: no table, generation 0, and the leader will send one.
pub(crate) fn read_or_warn(path: &Path) -> RouteTable {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return RouteTable::default(),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "cannot read the last route table");
            return RouteTable::default();
        }
    };
    match serde_json::from_slice(&bytes) {
        Ok(table) => table,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the last route table is damaged; waiting for the leader's");
            RouteTable::default()
        }
    }
}

/// Writes the file; a reader sees the old one or the new one, also after a power cut.
pub(crate) fn write_or_warn(path: &Path, table: &RouteTable) {
    if let Err(error) = write(path, table) {
        tracing::warn!(%error, path = %path.display(), "cannot keep the route table");
    }
}

fn write(path: &Path, table: &RouteTable) -> io::Result<()> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let mut file = File::create(&next)?;
    file.write_all(&serde_json::to_vec(table)?)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}
