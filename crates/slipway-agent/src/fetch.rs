//! Files from elsewhere, put into a sandbox before its program starts (MA-62, ME-15).
//!
//! What a URI leads to is the tenant's choice, so it is asked for by a process that can reach what the
//! tenant's own sandbox can, and no more: it enters the instance's network namespace, asks the resolver that
//! the instance would ask, is shut into the directory that it writes to, and is the tenant's user, before it
//! sends the first packet or looks at the first byte of an archive. So there is no list of forbidden
//! addresses to keep: the switch's rules are the one there is, for each redirect too.
//!
//! ```text
//! <state>/fetch/<instance>/tmp/      being fetched; gone before the start
//! <state>/fetch/<instance>/tree/     a tree above the image's layers: the working directory with the files
//! <state>/fetched/<tenant>/<sha256>  kept for the next instance that wants the same URI
//! ```
//!
//! The files count as what the instance may write ([`InstanceSpec::disk`]) but are not in its memory: they
//! are below what it writes, and an archive is not kept beside what was in it. What a tenant has kept is
//! never given to another, and never asked for again as long as it is there (ME-15).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_model::id::InstanceId;
use slipway_model::instance::{InstanceSpec, uid_range};
use slipway_model::limit::INSTANCE_FETCHES_MAX;
use slipway_model::name::TenantName;
use slipway_model::service::Fetch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::agent::Shared;
use crate::error::Error;
use crate::image::User;
use crate::network::Sandbox;
use crate::scratch::check_room;

mod cache;
mod child;
mod get;
mod resolve;
mod tree;
mod unpack;
mod uri;
mod zip;

pub use child::main;

use cache::Cache;

/// The name a program must be started under (its `argv[0]`) to fetch; see [`main`].
pub const ARGV0: &str = "slipway-fetch";

/// All files of one instance together.
const TIME_MAX: Duration = Duration::from_secs(600);
/// For a process that was told to end with its time, before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the process may say: one line.
const ANSWER_BYTES_MAX: u64 = 16 << 10;
/// Files and directories out of all archives of an instance, as many as it may make itself.
const ENTRIES_MAX: u64 = 100_000;
/// Instances of the node for which something is fetched at once.
const AT_ONCE_MAX: usize = 16;
/// The same for one tenant, so that slow servers of one keep nobody else waiting.
const AT_ONCE_OF_TENANT_MAX: usize = 4;

/// What the process is told, on its standard input: URIs may have credentials in them.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    /// Where packets come from.
    netns: PathBuf,
    /// Who is asked for names.
    resolver: std::net::Ipv4Addr,
    /// Certificates of those who may vouch for a server.
    ca_bundle: PathBuf,
    /// The process is shut into this; has `tmp` and `files`.
    directory: PathBuf,
    uid: u32,
    gid: u32,
    items: Vec<Item>,
    bytes_max: u64,
    entries_max: u64,
    time_max_ms: u64,
}

/// One file.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    fetch: Fetch,
    /// It is in `tmp` already.
    is_here: bool,
}

/// What the process says, on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done,
    /// Of this item, for this reason.
    Failed {
        index: usize,
        why: String,
    },
}

/// What is needed to fetch; shared by all instances of a node.
#[derive(Debug)]
pub(crate) struct Fetcher {
    cache: Cache,
    all: Semaphore,
    tenants: Mutex<BTreeMap<TenantName, Arc<Semaphore>>>,
}

impl Fetcher {
    pub(crate) fn open(cache: &Path) -> std::io::Result<Self> {
        Ok(Self { cache: Cache::open(cache)?, all: Semaphore::new(AT_ONCE_MAX), tenants: Mutex::default() })
    }

    fn of_tenant(&self, tenant: &TenantName) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(AT_ONCE_OF_TENANT_MAX));
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(new))
    }
}

/// Fetches what an instance wants before it starts. Dropping this ends the process; what it has left is
/// removed with everything else of the instance.
pub(crate) async fn fetch(
    shared: &Arc<Shared>,
    spec: &InstanceSpec,
    user: User,
    network: Option<&Sandbox>,
) -> Result<(), Error> {
    if spec.fetch.len() > INSTANCE_FETCHES_MAX {
        return Err(Error::Launch {
            why: format!("it wants more than {INSTANCE_FETCHES_MAX} files to be fetched"),
        });
    }
    let broken = |error: tokio::task::JoinError| Error::Launch { why: error.to_string() };
    let no_network = || Error::Launch { why: "without a network nothing can be fetched".into() };
    let network = network.ok_or_else(no_network)?;
    // Semaphores that are never closed.
    let of_tenant = shared.fetcher.of_tenant(&spec.tenant);
    let _turn_of_tenant = of_tenant.acquire().await;
    let _turn = shared.fetcher.all.acquire().await;
    let items = {
        let (shared, spec) = (Arc::clone(shared), spec.clone());
        tokio::task::spawn_blocking(move || stage(&shared, &spec, user)).await.map_err(broken)??
    };
    let base = uid_range(spec.tenant_index);
    let order = Order {
        netns: network.netns_path.clone(),
        resolver: network.dns.first().copied().unwrap_or(network.gateway),
        ca_bundle: shared.options.ca_bundle.clone(),
        directory: shared.paths.fetch(&spec.id),
        uid: base + user.uid,
        gid: base + user.gid,
        items,
        bytes_max: spec.disk.0,
        entries_max: ENTRIES_MAX,
        time_max_ms: TIME_MAX.as_millis() as u64,
    };
    let answer = run(&shared.options.fetcher, &order).await;
    let failed = |uri: &str, why: String| Error::Fetch { uri: uri::shown(uri), why };
    match answer.map_err(|why| failed(&spec.fetch[0].uri, why))? {
        Answer::Done => {}
        Answer::Failed { index, why } => {
            let uri = spec.fetch.get(index).map_or("", |fetch| fetch.uri.as_str());
            return Err(failed(uri, why.chars().take(500).collect()));
        }
    }
    let (shared, spec) = (Arc::clone(shared), spec.clone());
    tokio::task::spawn_blocking(move || keep(&shared, &spec, &order.items)).await.map_err(broken)
}

/// Runs the process to its end.
async fn run(fetcher: &Path, order: &Order) -> Result<Answer, String> {
    let said = |error: std::io::Error| format!("the process that fetches is not there: {error}");
    let mut child = Command::new(fetcher)
        .arg0(ARGV0)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(said)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let talk = async {
        let text = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        if let Some(mut stdin) = stdin {
            stdin.write_all(&text).await.map_err(said)?;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.map_err(said)?;
        }
        let _ = child.wait().await;
        serde_json::from_slice(&answer)
            .map_err(|_| "the process that fetches ended before it was done".to_owned())
    };
    match tokio::time::timeout(TIME_MAX + PATIENCE, talk).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("it took longer than {TIME_MAX:?}")),
    }
}

/// Makes the directories and puts in what is kept here. Blocks.
fn stage(shared: &Shared, spec: &InstanceSpec, user: User) -> Result<Vec<Item>, Error> {
    let directory = shared.paths.fetch(&spec.id);
    let base = uid_range(spec.tenant_index);
    let (uid, gid) = (Some(base + user.uid), Some(base + user.gid));
    check_room(shared.paths.state(), 0).map_err(|why| Error::Launch { why })?;
    remove(shared, &spec.id);
    let made = |path: &Path, mode| {
        fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::file("make", path))
    };
    made(&directory, 0o711)?;
    for name in ["tmp", "files"] {
        let path = directory.join(name);
        made(&path, 0o700)?;
        chown(&path, uid, gid).map_err(Error::file("give away", &path))?;
    }
    let mut items = Vec::with_capacity(spec.fetch.len());
    for (index, fetch) in spec.fetch.iter().enumerate() {
        let target = directory.join("tmp").join(index.to_string());
        // Trouble with what is kept is no reason not to ask (ME-15).
        let is_here = fetch.cache && shared.fetcher.cache.take(&spec.tenant, &fetch.uri, &target);
        if is_here {
            chown(&target, uid, gid).map_err(Error::file("give away", &target))?;
        }
        items.push(Item { fetch: fetch.clone(), is_here });
    }
    Ok(items)
}

/// Keeps what shall be kept, and removes what is no longer needed. Blocks.
fn keep(shared: &Shared, spec: &InstanceSpec, items: &[Item]) {
    let tmp = shared.paths.fetch(&spec.id).join("tmp");
    for (index, item) in items.iter().enumerate().filter(|(_, item)| item.fetch.cache && !item.is_here) {
        shared.fetcher.cache.put(&spec.tenant, &item.fetch.uri, &tmp, &index.to_string());
    }
    let _ = fs::remove_dir_all(&tmp);
}

/// Puts the fetched files into a tree above the image's, at the working directory. Blocks.
pub(crate) fn arrange(
    shared: &Shared,
    spec: &InstanceSpec,
    layers: &[PathBuf],
    working_directory: &str,
    user: User,
) -> Result<PathBuf, Error> {
    let directory = shared.paths.fetch(&spec.id);
    let (tree, files) = (directory.join("tree"), directory.join("files"));
    let base = uid_range(spec.tenant_index);
    let parts: Vec<&str> = working_directory.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let own = |path: &Path, below: &str, otherwise: (u32, u32, u32)| {
        // A directory of this tree hides the attributes of the same one in the image.
        let (mode, uid, gid) = directory_in(layers, below)
            .map_err(|why| Error::Launch {
                why: format!("nothing can be fetched into {working_directory}: {why}"),
            })?
            .unwrap_or(otherwise);
        chown(path, Some(base + uid), Some(base + gid))
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
            .map_err(Error::file("give away", path))
    };
    let mut at = tree.clone();
    for (index, part) in parts.iter().enumerate() {
        let made = fs::DirBuilder::new().mode(0o755).create(&at);
        made.map_err(Error::file("make", &at))?;
        own(&at, &parts[..index].join("/"), (0o755, 0, 0))?;
        at.push(part);
    }
    fs::rename(&files, &at).map_err(Error::file("move", &files))?;
    own(&at, &parts.join("/"), (0o755, user.uid, user.gid))?;
    Ok(tree)
}

/// Mode and owner of a directory in an image; `None` where it has none.
fn directory_in(layers: &[PathBuf], path: &str) -> Result<Option<(u32, u32, u32)>, String> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
    use rustix::io::Errno;
    let flags = OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::RDONLY;
    let safely = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for layer in layers.iter().rev() {
        let root = openat(CWD, layer, flags, Mode::empty()).map_err(|errno| errno.to_string())?;
        let path = if path.is_empty() { "." } else { path };
        match openat2(&root, path, flags, Mode::empty(), safely) {
            Ok(directory) => {
                let data = fs::File::from(directory).metadata().map_err(|error| error.to_string())?;
                return Ok(Some((data.mode() & 0o1777, data.uid(), data.gid())));
            }
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(format!("{path:?} of the image is a link or a file"));
            }
            Err(errno) => return Err(errno.to_string()),
        }
    }
    Ok(None)
}

/// Removes what was fetched for an instance. Blocks.
pub(crate) fn remove(shared: &Shared, id: &InstanceId) {
    match fs::remove_dir_all(shared.paths.fetch(id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(instance.id = %id, %error, "what was fetched for it is still there");
        }
        _ => {}
    }
}
