//! The server's files: its configuration, its id, and what a cleanup deletes.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::options::{Options, Tls};
use crate::process::write_for;
use crate::settings::{Server, Settings};
use crate::{purge, quarantine, user, zoo_cfg};

/// Below both data directories.
const VERSION_DIR: &str = "version-2";
const ID_FILE: &str = "myid";
/// The dynamic file that we write; ZooKeeper puts versions behind the name of its own.
const DYNAMIC_FILE: &str = "zoo.cfg.dynamic";
/// Copies that the server's user can read.
const KEY_STORE_FILE: &str = "key-store.pem";
const TRUST_STORE_FILE: &str = "trust-store.pem";

/// Writes the configuration, and returns its path. `membership` is what servers say that serve.
pub fn write(
    settings: &Settings,
    options: &Options,
    own: &Server,
    membership: Option<&str>,
) -> io::Result<PathBuf> {
    let (conf, user) = (zoo_cfg::dir(&options.dir), options.user.as_ref());
    let (data, logs) = (settings.snapshots(&options.dir), settings.logs(&options.dir));
    [&conf, &data, &logs].into_iter().try_for_each(|dir| user::make_dir(dir))?;
    if let Some(user) = user {
        user.let_pass(&options.dir)?;
        user.give_all(&conf)?;
        user.give_data(&data, &logs)?;
        user.give_data(&logs, &data)?;
    }
    write_for(user, &data.join(ID_FILE), &format!("{}\n", own.id))?;
    let dynamic =
        if settings.is_standalone() { None } else { Some(dynamic(settings, options, own, membership)?) };
    let path = conf.join(zoo_cfg::FILE);
    // The operator's own are mostly root's alone.
    let tls = options.tls.as_ref().filter(|_| user.is_some()).map(|tls| copies(options, tls)).transpose()?;
    let readable = Options { tls: tls.or_else(|| options.tls.clone()), ..options.clone() };
    write_for(user, &path, &zoo_cfg::file(settings, &readable, dynamic.as_deref()))?;
    Ok(path)
}

fn copies(options: &Options, tls: &Tls) -> io::Result<Tls> {
    let copy = |from: &Path, name: &str| {
        let text = fs::read_to_string(from)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", from.display())))?;
        let path = zoo_cfg::dir(&options.dir).join(name);
        write_for(options.user.as_ref(), &path, &text)?;
        Ok::<_, io::Error>(path)
    };
    Ok(Tls {
        key_store: copy(&tls.key_store, KEY_STORE_FILE)?,
        trust_store: copy(&tls.trust_store, TRUST_STORE_FILE)?,
    })
}

/// The dynamic file to start with: ZooKeeper's own if we are in it, else one that we write.
fn dynamic(
    settings: &Settings,
    options: &Options,
    own: &Server,
    membership: Option<&str>,
) -> io::Result<PathBuf> {
    let (conf, user) = (zoo_cfg::dir(&options.dir), options.user.as_ref());
    let newest = match newest_dynamic(&conf)? {
        Some(path) => Some(path),
        // Where earlier versions had it.
        None => match newest_dynamic(&options.dir)? {
            Some(path) => {
                let own = conf.join(path.file_name().unwrap_or_default());
                write_for(user, &own, &user::read_text(&path)?)?;
                Some(own)
            }
            None => None,
        },
    };
    let old = newest.as_deref().map(user::read_text).transpose()?;
    // Where a quorum's word leaves us out, ours is of an ensemble that is no more.
    let is_left_out = membership.is_some_and(|text| !zoo_cfg::lists(text, own.id));
    if let (Some(path), Some(text)) = (newest, &old)
        && zoo_cfg::lists(text, own.id)
        && !is_left_out
    {
        return Ok(path);
    }
    let tls = options.tls.is_some();
    let text = match membership.or(old.as_deref()) {
        Some(text) => zoo_cfg::joining(text, settings, own, tls),
        None => zoo_cfg::founding(settings, tls),
    };
    let path = conf.join(DYNAMIC_FILE);
    write_for(user, &path, &text)?;
    Ok(path)
}

fn newest_dynamic(dir: &Path) -> io::Result<Option<PathBuf>> {
    Ok(zoo_cfg::newest_dynamic(fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()))))
}

/// The id that the server was last started with.
pub fn id(settings: &Settings, options: &Options) -> Option<u8> {
    user::read_text(&settings.snapshots(&options.dir).join(ID_FILE)).ok()?.trim().parse().ok()
}

/// Deletes what nobody needs; returns how many files.
pub fn purge(snapshots: &Path, logs: &Path, kept: u32) -> io::Result<usize> {
    let dirs = if snapshots == logs { vec![snapshots] } else { vec![snapshots, logs] };
    let mut files = Vec::new();
    let mut paths = Vec::new();
    for dir in dirs {
        let dir = dir.join(VERSION_DIR);
        // Not where a link leads.
        if !fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir()) {
            continue;
        }
        let Ok(entries) = fs::read_dir(dir) else { continue };
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
        let mut file = user::open_plain(path)?;
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
