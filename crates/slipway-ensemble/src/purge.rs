//! Which files a cleanup deletes (EX-13).

#[cfg(test)]
mod tests;

/// Fewer snapshots are never kept: if the newest is damaged, ZooKeeper falls back on an older one.
const KEPT_MIN: usize = 3;

/// A file in one of the data directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name: `snapshot.<hex>`, `log.<hex>`, or something else, which is never touched.
    pub name: String,
    /// Whether it is whole, as far as one can see. A snapshot that is not does not count as kept.
    pub is_whole: bool,
}

/// The names of the files that nobody needs: snapshots older than the newest `kept`, and logs that
/// end before the oldest snapshot that stays. A log's name says where it begins, so the last log that
/// begins at or before that snapshot may still hold what follows it, and stays.
pub fn purgeable(files: &[File], kept: u32) -> Vec<&str> {
    let kept = usize::try_from(kept).unwrap_or(usize::MAX).max(KEPT_MIN);
    let mut snapshots: Vec<u64> =
        files.iter().filter(|file| file.is_whole).filter_map(|file| zxid(&file.name, "snapshot.")).collect();
    snapshots.sort_unstable();
    let Some(oldest) = snapshots.len().checked_sub(kept).and_then(|at| snapshots.get(at)).copied() else {
        return Vec::new();
    };
    let logs = files.iter().filter_map(|file| zxid(&file.name, "log."));
    let first_log = logs.filter(|begin| *begin <= oldest).max().unwrap_or(0);
    let is_old = |file: &&File| {
        zxid(&file.name, "snapshot.").is_some_and(|at| at < oldest)
            || zxid(&file.name, "log.").is_some_and(|begin| begin < first_log)
    };
    files.iter().filter(is_old).map(|file| file.name.as_str()).collect()
}

/// The transaction in a file's name; a snapshot's may be followed by how it is compressed.
fn zxid(name: &str, prefix: &str) -> Option<u64> {
    let rest = name.strip_prefix(prefix)?;
    let hex = ["", ".gz", ".snappy"].iter().find_map(|end| {
        rest.strip_suffix(end).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })?;
    u64::from_str_radix(hex, 16).ok()
}

/// How a whole snapshot ends: the text `/` with its length.
pub const SNAPSHOT_END: [u8; 5] = [0, 0, 0, 1, b'/'];
