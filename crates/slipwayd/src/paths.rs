//! Where things are, the names that are derived from it, and what the process needs of its host.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};
use slipway_agent::network::{Cidr, Tag};
use slipway_git::GitUser;

/// Whom git runs as: ids that no package uses, below the ranges of `/etc/subuid`.
pub const GIT_USER: GitUser = GitUser { uid: 61_022, gid: 61_022 };

/// Where things are kept, as it was typed.
#[derive(Debug, Clone, clap::Args)]
pub struct Directories {
    /// All that must survive
    #[arg(long, default_value = "/var/lib/slipway", env = "SLIPWAY_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Sockets, mounts and what else a reboot may wipe
    #[arg(long, default_value = "/run/slipway", env = "SLIPWAY_RUN_DIR")]
    pub run_dir: PathBuf,
}

/// The directories of one Slipway, as absolute paths.
#[derive(Debug, Clone)]
pub struct Paths {
    pub data: PathBuf,
    pub run: PathBuf,
}

impl Paths {
    /// Makes the directories. Others may pass through them (git's own user and the runtime of a
    /// tenant must), but not look.
    pub fn make(directories: &Directories) -> anyhow::Result<Self> {
        let make = |path: &Path| {
            let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(path);
            made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o711)))
                .and_then(|()| path.canonicalize())
                .with_context(|| format!("cannot make the directory {}", path.display()))
        };
        let paths = Self { data: make(&directories.data_dir)?, run: make(&directories.run_dir)? };
        for private in [
            paths.store(),
            paths.registry(),
            paths.builds(),
            paths.cache(),
            paths.agent(),
            paths.network(),
            paths.router(),
            paths.ran(),
        ] {
            keep_out(&private, 0o700, None)?;
        }
        // git runs as a user of its own, which must get through to the repositories.
        keep_out(&paths.repositories(), 0o710, Some(GIT_USER.gid))?;
        Ok(paths)
    }

    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// In a cluster, what this server has of it; see [`crate::shared`].
    pub fn registry(&self) -> PathBuf {
        self.data.join("registry")
    }

    /// In a cluster, copies of those in the shared storage.
    pub fn repositories(&self) -> PathBuf {
        self.data.join("git")
    }

    /// In a cluster, those written here, and copies of others in the shared storage.
    pub fn builds(&self) -> PathBuf {
        self.data.join("builds")
    }

    pub fn cache(&self) -> PathBuf {
        self.data.join("cache")
    }

    pub fn agent(&self) -> PathBuf {
        self.data.join("agent")
    }

    pub fn network(&self) -> PathBuf {
        self.data.join("network")
    }

    pub fn ssh_host_key(&self) -> PathBuf {
        self.data.join("ssh_host_ed25519_key")
    }

    /// The router's last good table and access log.
    pub fn router(&self) -> PathBuf {
        self.data.join("router")
    }

    /// Only root reaches what is in here: the API without a token, and the claim.
    pub fn api_socket(&self) -> PathBuf {
        self.run.join("api.sock")
    }

    /// Which node ran which instance; copies go to the servers that lead later.
    pub fn ran(&self) -> PathBuf {
        self.data.join("ran")
    }

    /// Who this machine is in its cluster, and its keys.
    pub fn cluster(&self) -> PathBuf {
        self.data.join("cluster")
    }

    /// Layers that were pulled from the servers' registry.
    pub fn pulled(&self) -> PathBuf {
        self.data.join("pulled")
    }

    pub fn claim_token(&self) -> PathBuf {
        self.run.join("claim-token")
    }

    /// The leader's end of the route feed.
    pub fn router_socket(&self) -> PathBuf {
        self.run.join("router.sock")
    }

    /// Held by the router as long as it lives.
    pub fn router_lock(&self) -> PathBuf {
        self.run.join("router.lock")
    }

    /// Six digits that tell this Slipway's interfaces, tables and cgroups from another's on the same
    /// machine.
    pub fn tag(&self) -> anyhow::Result<Tag> {
        let text: String = self.hash().iter().take(3).map(|byte| format!("{byte:02x}")).collect();
        text.parse().map_err(|error| anyhow::anyhow!("{error}"))
    }

    pub fn cgroup_parent(&self) -> anyhow::Result<String> {
        Ok(format!("slipway-{}", self.tag()?))
    }

    /// One of the 64 /16 networks in 10.64.0.0/10.
    pub fn subnet_default(&self) -> anyhow::Result<Cidr> {
        let text = format!("10.{}.0.0/16", 64 + self.hash()[3] % 64);
        text.parse().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// One of 256 /24 networks beside 10.64.0.0/10, where a cluster's nodes have theirs: a server may be
    /// on the same machine as a node.
    pub fn build_subnet_default(&self) -> anyhow::Result<Cidr> {
        let text = format!("10.63.{}.0/24", self.hash()[3]);
        text.parse().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.data.as_os_str().as_encoded_bytes()).into()
    }
}

/// Makes a directory, or mends the mode of one, so that other users of this machine see nothing of
/// what tenants keep in it.
fn keep_out(folder: &Path, mode: u32, group: Option<u32>) -> anyhow::Result<()> {
    let made = fs::create_dir_all(folder)
        .and_then(|()| std::os::unix::fs::chown(folder, None, group))
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(mode)));
    made.with_context(|| format!("cannot make the directory {} and close it to others", folder.display()))
}

/// A program of ours that is installed beside this one.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where slipwayd itself is")?;
    let path = own.with_file_name(name);
    anyhow::ensure!(path.exists(), "{} is missing; install it beside slipwayd", path.display());
    Ok(path)
}

/// This very program, which git and the agent start under other names. It is named by this process when its
/// file has been replaced, by an upgrade, since it was started: a server must be able to lead until it is
/// started again.
pub fn own_program() -> anyhow::Result<PathBuf> {
    let file = std::env::current_exe().context("cannot tell where slipwayd itself is")?;
    Ok(if file.exists() { file } else { format!("/proc/{}/exe", std::process::id()).into() })
}

/// Each connection, each watched process and each layer takes a descriptor; the soft limit of 1,024
/// is for programs that use `select`.
pub fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Programs in containers count against what the host's root may watch, because root made their user
/// namespaces; the kernel's default of 128 is used up by eight of them. Raised, never lowered.
pub fn raise_watch_limit() {
    const PATH: &str = "/proc/sys/fs/inotify/max_user_instances";
    const WANTED: u32 = 8192;
    let now = fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if now.is_some_and(|now| now < WANTED) {
        match fs::write(PATH, WANTED.to_string()) {
            Ok(()) => tracing::info!(from = now, to = WANTED, "raised fs.inotify.max_user_instances"),
            Err(error) => tracing::warn!(%error, "fs.inotify.max_user_instances stays low"),
        }
    }
}
