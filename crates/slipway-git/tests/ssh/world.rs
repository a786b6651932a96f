//! A server with people and projects, and clients with real `git` and `ssh`.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use sha2::{Digest, Sha256};
use slipway_access::{Access, MasterKey};
use slipway_git::{GitServer, GitUser, Options, SharedStorage};
use slipway_model::account::{Member, Role, SshKey, Tenant, User};
use slipway_model::id::CommitId;
use slipway_model::limit::PUSH_BYTES_MAX;
use slipway_model::name::EnvironmentPath;
use slipway_model::project::{Environment, Project};
use slipway_model::unit::{Bytes, Timestamp};
use slipway_store::journal::Journal;
use slipway_store::{Batch, Store};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::platform;

/// Debian's `nobody` and `nogroup`: the unprivileged user that every machine has.
const NOBODY: GitUser = GitUser { uid: 65534, gid: 65534 };

/// Everything a case needs. Ends with the case.
pub struct World {
    pub dir: TempDir,
    pub store: Store,
    pub server: Option<GitServer>,
    pub address: SocketAddr,
    _platform: tokio::task::JoinHandle<()>,
}

/// What a case may want differently.
pub struct Wishes {
    pub push_bytes_max: Bytes,
    pub heartbeat: Duration,
    /// In a cluster.
    pub shared: Option<SharedStorage>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { push_bytes_max: PUSH_BYTES_MAX, heartbeat: Duration::from_secs(10), shared: None }
    }
}

/// What a command said and how it ended.
pub struct Said {
    pub ok: bool,
    pub status: i32,
    pub text: String,
}

impl Said {
    /// Asserts that it succeeded and said all of this.
    #[track_caller]
    pub fn succeeds(&self, texts: &[&str]) {
        assert!(self.ok, "failed: {}", self.text);
        self.says(texts);
    }

    /// Asserts that it failed and said all of this.
    #[track_caller]
    pub fn fails(&self, texts: &[&str]) {
        assert!(!self.ok, "succeeded: {}", self.text);
        self.says(texts);
    }

    #[track_caller]
    pub fn says(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.text.contains(text), "{text:?} is not in: {}", self.text);
        }
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Wishes::default()).await
    }

    pub async fn with(wishes: Wishes) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::at(dir, wishes).await
    }

    pub async fn at(dir: TempDir, wishes: Wishes) -> Self {
        let (store, server, address) = start(dir.path(), wishes).await;
        let platform = tokio::spawn(platform::run(store.clone(), journal(dir.path())));
        std::fs::create_dir_all(dir.path().join("home")).unwrap();
        for name in ["ada", "eve", "stranger", "vic"] {
            make_key(dir.path(), name, &["-t", "ed25519"]).await;
        }
        let world = Self { dir, store, server: Some(server), address, _platform: platform };
        world.populate().await;
        world
    }

    /// Ada develops acme's shop and blog, Vic may only look, Eve belongs to another tenant, and the
    /// stranger is not known.
    async fn populate(&self) {
        let mut batch = Batch::new();
        for (name, tenant, role) in
            [("ada", "acme", Role::Developer), ("vic", "acme", Role::Viewer), ("eve", "evil", Role::Owner)]
        {
            let user: slipway_model::name::UserName = name.parse().unwrap();
            batch = batch
                .create(&User {
                    name: user.clone(),
                    password_hash: None,
                    operator: false,
                    disabled: false,
                    created_at: Timestamp(0),
                })
                .create(&self.key_record(name, name))
                .create(&Member { tenant: tenant.parse().unwrap(), user, role, since: Timestamp(0) });
        }
        for (index, tenant) in ["acme", "evil"].into_iter().enumerate() {
            let (name, by) = (tenant.parse().unwrap(), "ada".parse().unwrap());
            batch =
                batch.create(&Tenant { name, index: index as u32, created_at: Timestamp(0), created_by: by });
        }
        for project in ["acme/shop", "acme/blog", "evil/lair"] {
            batch = batch.create(&Project {
                path: project.parse().unwrap(),
                credential_hash: hex::encode(Sha256::digest(credential(project))),
                created_at: Timestamp(0),
                created_by: "ada".parse().unwrap(),
            });
        }
        for environment in ["acme/shop/dev", "acme/shop/prod", "acme/blog/dev", "evil/lair/dev"] {
            batch = batch.create(&environment_record(environment));
        }
        self.store.commit(batch).await.unwrap();
    }

    /// The record of a key that `make_key` has made, for a user.
    pub fn key_record(&self, key: &str, user: &str) -> SshKey {
        let text = std::fs::read_to_string(self.key_file(key).with_extension("pub")).unwrap();
        let public = russh::keys::PublicKey::from_openssh(&text).unwrap();
        SshKey {
            fingerprint: public.fingerprint(russh::keys::HashAlg::Sha256).to_string().parse().unwrap(),
            user: user.parse().unwrap(),
            label: key.into(),
            public_key: text.split(' ').take(2).collect::<Vec<_>>().join(" "),
            created_at: Timestamp(0),
        }
    }

    fn key_file(&self, name: &str) -> PathBuf {
        self.dir.path().join("keys").join(name)
    }

    /// What `ssh` needs to be this person, and to trust this server and no other.
    pub fn ssh_options(&self, who: &str) -> Vec<String> {
        let known_hosts = self.dir.path().join("known_hosts");
        let host_key = self.server.as_ref().map(|server| server.host_key().to_owned());
        if let Some(host_key) = host_key {
            std::fs::write(&known_hosts, format!("[127.0.0.1]:{} {host_key}\n", self.address.port()))
                .unwrap();
        }
        [
            "-F",
            "/dev/null",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            &format!("UserKnownHostsFile={}", known_hosts.display()),
            "-i",
            &self.key_file(who).display().to_string(),
            "-p",
            &self.address.port().to_string(),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Runs `ssh` as somebody, with arguments after the host.
    pub async fn ssh(&self, who: &str, options: &[&str], command: &[&str]) -> Said {
        let mut ssh = Command::new("ssh");
        ssh.args(self.ssh_options(who))
            .args(options)
            .arg("git@127.0.0.1")
            .args(command)
            .stdin(std::process::Stdio::null());
        said(self.clean(&mut ssh).output().await.unwrap())
    }

    /// A git command of somebody in a directory.
    pub fn git_command(&self, who: &str, directory: &Path, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.current_dir(directory).args(arguments);
        self.clean(&mut git);
        git.env("GIT_SSH_COMMAND", format!("ssh {}", self.ssh_options(who).join(" ")));
        git
    }

    /// Runs it.
    pub async fn git(&self, who: &str, directory: &Path, arguments: &[&str]) -> Said {
        said(self.git_command(who, directory, arguments).output().await.unwrap())
    }

    fn clean<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path().join("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Ada")
            .env("GIT_AUTHOR_EMAIL", "ada@example.com")
            .env("GIT_COMMITTER_NAME", "Ada")
            .env("GIT_COMMITTER_EMAIL", "ada@example.com")
            .kill_on_drop(true)
    }

    /// A work tree with a manifest of acme/shop and one commit, and remotes for its environments.
    pub async fn checkout(&self, name: &str) -> PathBuf {
        let directory = self.dir.path().join("work").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        self.git("ada", &directory, &["init", "-q", "-b", "main"]).await.succeeds(&[]);
        for environment in ["dev", "prod"] {
            self.git(
                "ada",
                &directory,
                &["remote", "add", environment, &self.url(&format!("acme/shop/{environment}"))],
            )
            .await
            .succeeds(&[]);
        }
        std::fs::write(directory.join("slipway.yaml"), manifest("acme/shop")).unwrap();
        self.commit(&directory, "First").await;
        directory
    }

    pub fn url(&self, environment: &str) -> String {
        format!("ssh://git@{}/{environment}.git", self.address)
    }

    /// Commits everything, with something new in it.
    pub async fn commit(&self, directory: &Path, subject: &str) -> CommitId {
        std::fs::write(
            directory.join("app.py"),
            format!("print({:?}, {:016x})\n", subject, rand::random::<u64>()),
        )
        .unwrap();
        self.git("ada", directory, &["add", "-A"]).await.succeeds(&[]);
        self.git("ada", directory, &["commit", "-q", "--allow-empty", "-m", subject]).await.succeeds(&[]);
        self.head(directory).await
    }

    pub async fn head(&self, directory: &Path) -> CommitId {
        self.git("ada", directory, &["rev-parse", "HEAD"]).await.text.trim().parse().unwrap()
    }

    pub async fn push(&self, directory: &Path, arguments: &[&str]) -> Said {
        self.git("ada", directory, &[&["push"], arguments].concat()).await
    }

    /// The repository of acme/shop on the server.
    pub fn repository(&self) -> PathBuf {
        self.dir.path().join("data/git/acme/shop.git")
    }

    /// A ref as it is stored, namespace included.
    pub async fn stored_ref(&self, name: &str) -> Option<CommitId> {
        let repository = self.repository();
        let mut git = Command::new("git");
        git.args(["-c", "safe.directory=*", "rev-parse", "--verify", "-q", name]).env("GIT_DIR", &repository);
        String::from_utf8(git.output().await.unwrap().stdout).unwrap().trim().parse().ok()
    }

    pub async fn main_of(&self, environment: &str) -> Option<CommitId> {
        self.stored_ref(&format!("refs/namespaces/{environment}/refs/heads/main")).await
    }

    /// What is stored under `objects`, as names relative to it.
    pub fn stored_objects(&self) -> Vec<String> {
        let objects = self.repository().join("objects");
        let mut found = Vec::new();
        let mut below = vec![objects.clone()];
        while let Some(directory) = below.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    below.push(entry.path());
                } else {
                    found.push(entry.path().strip_prefix(&objects).unwrap().display().to_string());
                }
            }
        }
        found
    }
}

/// Opens the store in a directory and serves git from it.
pub async fn start(dir: &Path, wishes: Wishes) -> (Store, GitServer, SocketAddr) {
    // Git's user has to get through it.
    std::fs::create_dir_all(dir.join("data")).unwrap();
    for directory in [dir, &dir.join("data")] {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
    }
    let store = Store::open(&dir.join("data/store")).unwrap();
    let (server, address) = serve(dir, "data/git", &store, wishes).await;
    (store, server, address)
}

/// Serves git from a directory of repositories of its own, below `dir`.
pub async fn serve(dir: &Path, repositories: &str, store: &Store, wishes: Wishes) -> (GitServer, SocketAddr) {
    let access = Access::open(store.clone(), MasterKey::load_or_create(&dir.join("master.key")).unwrap())
        .await
        .unwrap();
    let is_root = rustix::process::getuid().is_root();
    let options = Options {
        host_key: dir.join("data/ssh_host_key"),
        repositories: dir.join(repositories),
        shared: wishes.shared,
        journal: journal(dir),
        hook_program: std::env::current_exe().unwrap(),
        run_dir: dir.join("run").join(repositories),
        user: is_root.then_some(NOBODY),
        push_bytes_max: wishes.push_bytes_max,
        heartbeat: wishes.heartbeat,
        public_url: "ssh://git@slipway.example".into(),
    };
    let server = GitServer::start(options, store.clone(), access).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let entrance = server.entrance();
    tokio::spawn(async move {
        while let Ok((stream, source)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            entrance.take(stream, source);
        }
    });
    (server, address)
}

pub fn journal(dir: &Path) -> Journal {
    Journal::new(dir.join("data/builds"))
}

pub async fn make_key(dir: &Path, name: &str, kind: &[&str]) {
    std::fs::create_dir_all(dir.join("keys")).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-N", "", "-C", name, "-f"]).arg(dir.join("keys").join(name)).args(kind);
    assert!(keygen.status().await.unwrap().success());
}

pub fn credential(project: &str) -> String {
    format!("slwp_{}", project.replace('/', "_"))
}

pub fn manifest(project: &str) -> String {
    format!("project: {project}\ncredential: {}\n", credential(project))
}

pub fn environment_record(path: &str) -> Environment {
    Environment {
        path: path.parse::<EnvironmentPath>().unwrap(),
        deploy_branch: "main".into(),
        config: Default::default(),
        scale: Default::default(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        created_at: Timestamp(0),
        app: None,
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
    }
}

pub fn said(output: Output) -> Said {
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Said { ok: output.status.success(), status: output.status.code().unwrap_or(-1), text }
}

/// Waits until something holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("waited 15 s in vain: {what}");
}
