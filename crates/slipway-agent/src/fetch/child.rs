//! The process that fetches: what it gives up before it begins, and the order of its work.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chdir, chroot, setgroups, setresgid, setresuid};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::tree::Tree;
use super::uri::{self, Target};
use super::{Answer, Item, Order, get, unpack};

/// An order is a list of URIs and some numbers.
const ORDER_BYTES_MAX: u64 = 1 << 20;
/// Address space: buffers of a connection and of a decompressor, many times over.
const MEMORY_MAX: u64 = 2 << 30;
/// Seconds of processor; unpacking what a disk of some gigabytes holds takes a tenth of it.
const CPU_SECONDS_MAX: u64 = 300;

/// The program, when it was started as [`super::ARGV0`]. Must be called before there is a second thread.
pub fn main() -> ExitCode {
    let answer = match work() {
        Ok(()) => Answer::Done,
        Err((index, why)) => Answer::Failed { index, why },
    };
    println!("{}", serde_json::to_string(&answer).unwrap_or_default());
    ExitCode::SUCCESS
}

/// Which item failed, and why.
type Failed = (usize, String);

fn work() -> Result<(), Failed> {
    let first = |why: String| (0, why);
    let mut text = Vec::new();
    let read = io::stdin().take(ORDER_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| first(format!("no order came: {error}")))?;
    let order: Order =
        serde_json::from_slice(&text).map_err(|error| first(format!("an odd order came: {error}")))?;
    let tls = tls(&order).map_err(first)?;
    confine(&order).map_err(|error| first(format!("the process could not be confined: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| first(format!("no runtime: {error}")))?;
    // From here on `/` is the order's directory.
    let mut tree = Tree::open("/files".as_ref(), order.bytes_max, order.entries_max).map_err(first)?;
    let mut index = 0;
    let all = async {
        for item in &order.items {
            one(&order, item, index, &tls, &mut tree).await?;
            index += 1;
        }
        Ok(())
    };
    let time_max = Duration::from_millis(order.time_max_ms);
    match runtime.block_on(async { tokio::time::timeout(time_max, all).await }) {
        Ok(done) => done.map_err(|why| (index, why)),
        Err(_) => Err((index, format!("it was not there after {time_max:?}"))),
    }
}

async fn one(
    order: &Order,
    item: &Item,
    index: usize,
    tls: &TlsConnector,
    tree: &mut Tree,
) -> Result<(), String> {
    let fetch = &item.fetch;
    let path = PathBuf::from(format!("/tmp/{index}"));
    let said = |error: io::Error| format!("it cannot be written: {error}");
    if item.is_here {
        tree.budget.spend(fs::metadata(&path).map_err(said)?.len())?;
    } else {
        let target = Target::parse(&fetch.uri)?;
        let mut options = OpenOptions::new();
        let file =
            options.write(true).create_new(true).custom_flags(libc::O_NOFOLLOW).mode(0o600).open(&path);
        get::download(target, order.resolver, tls, &mut file.map_err(said)?, &mut tree.budget).await?;
    }
    let called = uri::base_name(&fetch.uri);
    let mut file = File::open(&path).map_err(said)?;
    let bytes = file.metadata().map_err(said)?.len();
    // As Mesos: what shall be run is not unpacked.
    let packing = if fetch.extract && !fetch.executable { unpack::Packing::of(&called) } else { None };
    if let Some(packing) = packing {
        unpack::unpack(packing, file, tree)?;
    } else {
        let name = fetch.dest.as_deref().unwrap_or(&called);
        if name.is_empty() {
            return Err("its last part is no name for a file, and no other was given".into());
        }
        let mode = if fetch.executable { 0o755 } else { 0o644 };
        tree.file(name.as_bytes(), mode, &mut file, bytes)?;
    }
    if !fetch.cache {
        fs::remove_file(&path).map_err(said)?;
    }
    // What is kept is not the instance's.
    tree.budget.give_back(bytes);
    Ok(())
}

fn tls(order: &Order) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    if order.items.iter().any(|item| item.fetch.uri.starts_with("https:") || !item.is_here) {
        // Without any, http can still be fetched.
        for certificate in CertificateDer::pem_file_iter(&order.ca_bundle).into_iter().flatten().flatten() {
            let _ = roots.add(certificate);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The instance's network, the order's directory as the whole file system, the tenant's user, no way back.
fn confine(order: &Order) -> io::Result<()> {
    let network = File::open(&order.netns)?;
    setns(network.as_fd(), CloneFlags::CLONE_NEWNET)?;
    drop(network);
    chroot(&order.directory)?;
    chdir("/")?;
    // Started by the agent without another descriptor; this is for whoever starts it otherwise.
    // SAFETY: takes integers.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, 128),
        (Resource::RLIMIT_AS, MEMORY_MAX),
        (Resource::RLIMIT_CPU, CPU_SECONDS_MAX),
        (Resource::RLIMIT_FSIZE, order.bytes_max.saturating_add(1)),
    ];
    for (resource, most) in limits {
        setrlimit(resource, most, most)?;
    }
    setgroups(&[])?;
    let (uid, gid) = (Uid::from_raw(order.uid), Gid::from_raw(order.gid));
    if uid.is_root() || gid.as_raw() == 0 {
        return Err(io::Error::other("the order names the host's root"));
    }
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // After the change of user, which would clear it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    nix::sys::prctl::set_no_new_privs()?;
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    debug_assert!(fs::metadata("/tmp").is_ok_and(|data| data.permissions().mode() & 0o077 == 0));
    Ok(())
}
