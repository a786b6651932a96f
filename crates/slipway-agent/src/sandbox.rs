//! What an instance and a step of a build have in common: everything that a shim needs is written
//! down before it is started, and everything of it is removed after its end.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use slipway_model::id::InstanceId;
use slipway_model::instance::UID_RANGE;
use slipway_model::unit::{Bytes, Cpus};
use slipway_shim::spec::{Keep, Output, ROOT_NAME, Rootfs, ShimSpec, Upper, Volume};

use crate::agent::Shared;
use crate::bundle;
use crate::error::Error;
use crate::network::Sandbox;
use crate::recovery::{INTENT, Intent};
use crate::shim;

/// Name of the shim's spec in a bundle.
pub(crate) const SHIM_SPEC: &str = "shim-spec.json";
/// For processes that were killed, and for the shim that sees their end.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// A sandbox of either kind.
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a str,
    pub(crate) intent: &'a Intent,
    pub(crate) uid_base: u32,
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) upper: Upper,
    pub(crate) process: bundle::Process,
    pub(crate) network: Option<&'a Sandbox>,
    pub(crate) mem: Bytes,
    pub(crate) cpus: Cpus,
    pub(crate) pids: u32,
    /// Host directory, place inside, read-only.
    pub(crate) binds: Vec<(PathBuf, String, bool)>,
    pub(crate) volumes: Vec<Volume>,
    /// A tree above the layers, with the tenant's own ids.
    pub(crate) fetched: Option<PathBuf>,
    /// Where what it writes is kept after its end.
    pub(crate) keep: Option<Keep>,
    pub(crate) output: Output,
    pub(crate) attach: Option<PathBuf>,
    pub(crate) is_build: bool,
}

/// What the shim is given.
pub(crate) struct Prepared {
    pub(crate) shim: ShimSpec,
    pub(crate) lock: fs::File,
}

/// Writes down the intent, then everything that the shim needs.
pub(crate) fn prepare(shared: &Shared, wanted: Wanted) -> Result<Prepared, Error> {
    let id = wanted.id;
    let directory = shared.paths.instances().join(id);
    let bundle = shared.paths.bundles().join(id);
    let mount_dir = bundle.join("m");
    make_dir(&directory, 0o700)?;
    let intent = directory.join(INTENT);
    slipway_shim::spec::write_whole(&intent, wanted.intent).map_err(Error::file("write", &intent))?;
    let lock = shim::try_lock(&directory).map_err(Error::file("lock", &directory))?;
    let lock = lock.ok_or_else(|| Error::Busy { path: directory.clone() })?;
    make_dir(&bundle, 0o711)?;
    make_dir(&mount_dir, 0o711)?;
    write_names(&bundle, id, wanted.network)?;

    let tty = wanted.process.tty;
    let binds = wanted.binds.iter().map(|(_, target, read_only)| (target, *read_only));
    let volumes = wanted.volumes.iter().map(|volume| (&volume.target, false));
    let binds = binds.chain(volumes).enumerate().map(|(index, (target, read_only))| bundle::Bind {
        source: mount_dir.join(format!("b{index}")),
        target: target.clone(),
        read_only,
    });
    let config = bundle::config(&bundle::Sandbox {
        root: &mount_dir.join(ROOT_NAME),
        cgroup: shared.cgroups.path_of(id),
        limits_swap: shared.cgroups.limits_swap(),
        uid_base: wanted.uid_base,
        uid_count: UID_RANGE,
        netns: wanted.network.map(|sandbox| sandbox.netns_path.as_path()),
        hostname: id,
        shim: &shared.options.shim,
        files: &bundle,
        process: wanted.process,
        mem: wanted.mem,
        cpus: wanted.cpus,
        pids: wanted.pids,
        binds: binds.collect(),
        tmp_in_memory: !wanted.is_build,
    });
    // Has secrets in its environment.
    write_file(&bundle.join("config.json"), config.to_string().as_bytes(), 0o600)?;
    let shim = ShimSpec {
        id: id.to_owned(),
        runtime: shared.runtime.clone(),
        runtime_root: shared.paths.runtime_root(),
        rootfs: Rootfs {
            mount_dir,
            layers: wanted.layers,
            uid_base: wanted.uid_base,
            uid_count: UID_RANGE,
            upper: wanted.upper,
            binds: wanted.binds.into_iter().map(|(source, _, _)| source).collect(),
            fetched: wanted.fetched,
            volumes: wanted.volumes,
        },
        bundle,
        output: wanted.output,
        attach: wanted.attach,
        tty,
        dies_with_agent: wanted.is_build,
        cgroups: shared.cgroups.directories_of(id),
        keep: wanted.keep,
        process_file: directory.join(shim::PROCESS),
        exit_file: directory.join(shim::EXIT),
    };
    Ok(Prepared { shim, lock })
}

/// Removes processes, cgroups, network, bundle and the runtime's record. Blocks.
pub(crate) fn remove_traces(shared: &Shared, id: &InstanceId) -> Result<(), String> {
    shared
        .cgroups
        .destroy(id.as_str(), END_PATIENCE)
        .map_err(|left| format!("processes {left:?} do not end"))?;
    if !shim::kill(&shared.paths.instance(id), END_PATIENCE) {
        return Err("its shim does not end".into());
    }
    if let Some(network) = &shared.network {
        network.release(id).map_err(|error| crate::error::chain(&error))?;
    }
    let _ = fs::remove_dir_all(shared.paths.runtime_root().join(id.as_str()));
    match fs::remove_dir_all(shared.paths.bundle(id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// What is bound over the image's own files in `/etc`.
fn write_names(bundle: &Path, hostname: &str, network: Option<&Sandbox>) -> Result<(), Error> {
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    let mut resolv = String::new();
    if let Some(network) = network {
        hosts.push_str(&format!("{} {hostname}\n", network.address));
        for server in &network.dns {
            resolv.push_str(&format!("nameserver {server}\n"));
        }
        resolv.push_str("options timeout:2 attempts:3\n");
    }
    write_file(&bundle.join("hosts"), hosts.as_bytes(), 0o644)?;
    write_file(&bundle.join("resolv.conf"), resolv.as_bytes(), 0o644)?;
    write_file(&bundle.join("hostname"), format!("{hostname}\n").as_bytes(), 0o644)
}

pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        // Whatever the process's umask says.
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    }
    .map_err(Error::file("make", path))
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    use std::io::Write;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(content)).map_err(Error::file("write", path))
}
