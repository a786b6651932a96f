//! A path in a sandbox, and how it is opened.
//!
//! What an instance may have changed is reached in two steps. The directory at its top is opened once, from
//! outside, where nobody in the sandbox can move it; everything below it is opened with `RESOLVE_IN_ROOT`:
//! a link, however written, leads to somewhere below.
//!
//! While an instance lives, what it writes is in a memory file system that only its shim's mount namespace
//! has; it is reached through that process.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use slipway_model::id::InstanceId;
use slipway_model::instance::uid_range;
use slipway_shim::keep::FILES;

use super::kept::about;
use crate::agent::Shared;
use crate::error::Error;
use crate::shim;

/// Longest path.
const PATH_BYTES_MAX: usize = 4096;
/// Names at the top of a sandbox.
const LOG: &str = "log";
const LOG_ROTATED: &str = "log.1";
const FETCHED: &str = "fetched";

/// A path in a sandbox, as far as it can be told without looking below.
pub(super) struct Place {
    path: String,
    pub(super) uid_base: u32,
    pub(super) at: At,
}

pub(super) enum At {
    /// The sandbox itself: what there is.
    Top(Vec<(&'static str, PathBuf)>),
    /// A file of ours, by its place on the host.
    Log(PathBuf),
    /// Below a directory that is opened, this.
    Below(OwnedFd, String),
}

impl Place {
    pub(super) fn find(shared: &Shared, id: &InstanceId, path: &str) -> Result<Self, Error> {
        let about = about(shared, id).ok_or_else(|| Error::UnknownInstance(id.clone()))?;
        let mut place =
            Self { path: path.to_owned(), uid_base: uid_range(about.tenant_index), at: At::Top(Vec::new()) };
        if path.len() > PATH_BYTES_MAX || path.contains('\0') {
            return Err(place.error("it is no path".into()));
        }
        let log = shared.paths.log_of(&about.environment, &about.role, id);
        let mut rotated = log.as_os_str().to_owned();
        rotated.push(".1");
        let inner = path.trim_start_matches('/');
        let (first, rest) = inner.split_once('/').unwrap_or((inner, ""));
        let rest = rest.trim_start_matches('/');
        place.at = match first {
            "" | "." => {
                let tops = [(LOG, log), (LOG_ROTATED, PathBuf::from(rotated))];
                let mut there: Vec<_> = tops.into_iter().filter(|(_, path)| path.exists()).collect();
                let below = [(FILES, written(shared, id)), (FETCHED, fetched(shared, id))];
                there.extend(below.into_iter().filter_map(|(name, path)| Some((name, path?))));
                At::Top(there)
            }
            LOG if rest.is_empty() => At::Log(log),
            LOG_ROTATED if rest.is_empty() => At::Log(PathBuf::from(rotated)),
            FILES => At::Below(place.root(shared, id, written(shared, id))?, rest.to_owned()),
            FETCHED => At::Below(place.root(shared, id, fetched(shared, id))?, rest.to_owned()),
            _ => return Err(place.error("there is no such file".into())),
        };
        Ok(place)
    }

    /// Opens the directory that everything else is looked for below.
    fn root(&self, shared: &Shared, id: &InstanceId, path: Option<PathBuf>) -> Result<OwnedFd, Error> {
        let path = path.ok_or_else(|| self.error("there is no such file".into()))?;
        let flags = OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW;
        let root = openat(CWD, &path, flags, Mode::empty()).map_err(|errno| self.error(errno.to_string()))?;
        let through_a_process = path.starts_with("/proc");
        // Its id might be another's by now: looked at after it was opened.
        if through_a_process && !matches!(shim::try_lock(&shared.paths.instance(id)), Ok(None)) {
            return Err(self.error("the instance has just ended".into()));
        }
        Ok(root)
    }

    /// Opens a file that may be read.
    pub(super) fn open(&self) -> Result<File, Error> {
        let file = match &self.at {
            At::Top(_) => return Err(self.error("it is a directory".into())),
            At::Log(path) => File::open(path).map_err(|error| self.said(&error))?,
            // A pipe that nobody writes to must not be waited for.
            At::Below(root, path) => self.beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?.into(),
        };
        let data = file.metadata().map_err(|error| self.said(&error))?;
        if data.is_file() { Ok(file) } else { Err(self.error("it is not a file".into())) }
    }

    pub(super) fn beneath(&self, root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
        let path = if path.is_empty() { "." } else { path };
        let safely = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        let opened = openat2(root, path, flags, Mode::empty(), safely);
        opened.map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => self.error("there is no such file".into()),
            errno => self.error(errno.to_string()),
        })
    }

    pub(super) fn error(&self, why: String) -> Error {
        Error::SandboxFile { path: self.path.chars().take(200).collect(), why }
    }

    pub(super) fn said(&self, error: &std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::NotFound => self.error("there is no such file".into()),
            _ => self.error(error.to_string()),
        }
    }
}

/// What the instance has written: in its shim's namespace while it lives, on the disk after that.
fn written(shared: &Shared, id: &InstanceId) -> Option<PathBuf> {
    let kept = shared.paths.sandbox(id).join(FILES);
    if kept.is_dir() {
        return Some(kept);
    }
    let directory = shared.paths.instance(id);
    let process = shim::read_process(&directory)?;
    let upper = shared.paths.bundle(id).join("m").join("upper");
    let through = PathBuf::from(format!("/proc/{}/root", process.pid)).join(upper.strip_prefix("/").ok()?);
    matches!(shim::try_lock(&directory), Ok(None)).then_some(through)
}

fn fetched(shared: &Shared, id: &InstanceId) -> Option<PathBuf> {
    Some(shared.paths.fetch(id).join("tree")).filter(|path| path.is_dir())
}
