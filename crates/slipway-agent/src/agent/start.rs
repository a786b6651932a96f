//! What has to be there before an agent can take a list: its directories, its lock, a runtime that works, and
//! what an earlier agent has left.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, watch};

use super::{Agent, CHECKS_MAX, Life, REPORTS_WAITING_MAX, Shared, Table};
use crate::cgroup::Cgroups;
use crate::error::Error;
use crate::fetch::Fetcher;
use crate::layers::{Layers, Limits};
use crate::network::Network;
use crate::options::{Options, Paths};
use crate::volumes::Volumes;
use crate::{recovery, runtime};

/// For the lock on the state directory; a process becomes its program within milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

impl Agent {
    /// Makes the agent, and says what it has found. Blocks.
    pub(super) fn start_blocking(options: Options) -> Result<(Self, Vec<recovery::Found>), Error> {
        let paths = Paths::new(&options);
        make_directory(paths.state(), 0o700)?;
        make_directory(paths.run(), 0o711)?;
        make_directory(&paths.bundles(), 0o711)?;
        make_directory(&paths.runtime_root(), 0o700)?;
        make_directory(&paths.scratch(), 0o711)?;
        make_directory(&paths.instances(), 0o700)?;
        make_directory(&paths.logs(), 0o700)?;
        make_directory(&paths.sandboxes(), 0o700)?;
        let lock = lock_directory(&paths.lock())?;
        let cgroups = Cgroups::detect(&options.cgroup_parent)?;
        let runtime = runtime::choose(&options, &paths, &cgroups)?;
        let layers =
            Layers::open(&paths.layers(), Limits::default()).map_err(Error::file("open", &paths.layers()))?;
        let volumes = Volumes::open(&paths.volumes()).map_err(Error::file("open", &paths.volumes()))?;
        let fetcher = Fetcher::open(&paths.fetched()).map_err(Error::file("open", &paths.fetched()))?;
        let network = options.network.clone().map(Network::start).transpose();
        let network = network.map_err(|source| Error::Network { source })?;
        let found = recovery::recover(&paths, &cgroups, network.as_ref());
        let seen = fs::read(paths.list()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let shared = Shared {
            launches: Semaphore::new((2 * processors).max(4)),
            checks: Semaphore::new(CHECKS_MAX),
            leaving: watch::channel(false).0,
            reports: broadcast::channel(REPORTS_WAITING_MAX).0,
            table: Mutex::new(Table { seen: seen.unwrap_or_default(), ..Table::default() }),
            telling_peers: Mutex::new(()),
            _lock: lock,
            options,
            paths,
            cgroups,
            runtime,
            layers,
            network,
            volumes,
            fetcher,
        };
        let shared = Arc::new(shared);
        Ok((Self { _life: Arc::new(Life(Arc::clone(&shared))), shared }, found))
    }
}

/// A process that somebody starts has a copy of every open file until it becomes its program, and so
/// of a lock that has just been given up: that is waited for, another agent is not.
fn lock_directory(path: &Path) -> Result<fs::File, Error> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(Error::file("open", path))?;
    let deadline = std::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if std::time::Instant::now() > deadline => {
                return Err(Error::Busy { path: path.to_owned() });
            }
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(5)),
            Err(errno) => return Err(Error::file("lock", path)(errno.into())),
        }
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(Error::file("make", path))
}
