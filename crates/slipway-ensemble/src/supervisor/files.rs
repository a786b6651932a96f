//! The server's files: its configuration, its id, and what a cleanup deletes.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::options::Options;
use crate::process::write_atomically;
use crate::settings::{Server, Settings};
use crate::{config, purge, quarantine};

/// Below both data directories.
const VERSION_DIR: &str = "version-2";
const ID_FILE: &str = "myid";
/// The dynamic file that we write; ZooKeeper puts versions behind the name of its own.
const DYNAMIC_FILE: &str = "zoo.cfg.dynamic";

/// Writes the configuration, and returns its path. `membership` is what servers say that serve.
pub fn write(
    settings: &Settings,
    options: &Options,
    own: &Server,
    membership: Option<&str>,
) -> io::Result<PathBuf> {
    let data = settings.snapshots(&options.dir);
    fs::create_dir_all(&data)?;
    fs::create_dir_all(settings.logs(&options.dir))?;
    write_atomically(&data.join(ID_FILE), &format!("{}\n", own.id))?;
    let dynamic =
        if settings.is_standalone() { None } else { Some(dynamic(settings, options, own, membership)?) };
    let path = options.dir.join(config::FILE);
    write_atomically(&path, &config::file(settings, options, dynamic.as_deref()))?;
    Ok(path)
}

/// The dynamic file to start with: ZooKeeper's own if we are in it, else one that we write.
fn dynamic(
    settings: &Settings,
    options: &Options,
    own: &Server,
    membership: Option<&str>,
) -> io::Result<PathBuf> {
    let names = fs::read_dir(&options.dir)?.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = config::newest_dynamic(names);
    let old = newest.as_ref().map(fs::read_to_string).transpose()?;
    // Where a quorum's word leaves us out, ours is of an ensemble that is no more.
    let is_left_out = membership.is_some_and(|text| !config::lists(text, own.id));
    if let (Some(path), Some(text)) = (newest, &old)
        && config::lists(text, own.id)
        && !is_left_out
    {
        return Ok(path);
    }
    let tls = options.tls.is_some();
    let text = match membership.or(old.as_deref()) {
        Some(text) => config::joining(text, settings, own, tls),
        None => config::founding(settings, tls),
    };
    let path = options.dir.join(DYNAMIC_FILE);
    write_atomically(&path, &text)?;
    Ok(path)
}

/// The id that the server was last started with.
pub fn id(settings: &Settings, options: &Options) -> Option<u8> {
    fs::read_to_string(settings.snapshots(&options.dir).join(ID_FILE)).ok()?.trim().parse().ok()
}

/// Deletes what nobody needs; returns how many files.
pub fn purge(snapshots: &Path, logs: &Path, kept: u32) -> io::Result<usize> {
    let dirs = if snapshots == logs { vec![snapshots] } else { vec![snapshots, logs] };
    let mut files = Vec::new();
    let mut paths = Vec::new();
    for dir in dirs {
        let Ok(entries) = fs::read_dir(dir.join(VERSION_DIR)) else { continue };
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            files.push(purge::File { name: name.to_owned(), is_whole: is_whole(&path, name) });
            paths.push(path);
        }
    }
    let gone = purge::purgeable(&files, kept);
    for path in paths.iter().filter(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| gone.contains(&name))
    }) {
        fs::remove_file(path)?;
    }
    Ok(gone.len())
}

/// Whether a file ends as it should. How a compressed one ends is not looked at.
fn is_whole(path: &Path, name: &str) -> bool {
    let is_plain = name.starts_with("snapshot.") && !name.ends_with(".gz") && !name.ends_with(".snappy");
    let end = || -> io::Result<[u8; 5]> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-5))?;
        let mut end = [0; 5];
        file.read_exact(&mut end)?;
        Ok(end)
    };
    if is_plain { end().is_ok_and(|end| end == purge::SNAPSHOT_END) } else { true }
}

/// Moves the server's data aside, so that it starts without and fetches it from the others. The id is
/// written anew at the start.
pub fn set_aside(settings: &Settings, options: &Options) -> io::Result<PathBuf> {
    quarantine::set_aside(&settings.snapshots(&options.dir), &settings.logs(&options.dir))
}
