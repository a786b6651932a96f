//! A platform around one builder: store, registry with a stack, journal, repositories.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use slipway_build::{Builder, BuilderHandle, ConfigSource, ConfigVar, Options};
use slipway_model::account::Tenant;
use slipway_model::id::BuildNumber;
use slipway_model::name::EnvironmentPath;
use slipway_model::push::{Build, BuildCancellation, BuildState, BuiltImage, Push, PushOptions};
use slipway_model::unit::{Bytes, Timestamp};
use slipway_registry::image::{Compression, ImageBuilder};
use slipway_registry::{Registry, Repository};
use slipway_store::journal::Journal;
use slipway_store::{Batch, Store};
use tempfile::TempDir;

use crate::runc::{CachesEnd, Limits, Mounted, Runc, mount_tmpfs};

/// The manifest of most pushes.
pub const MANIFEST: (&str, &str) = ("slipway.yaml", "project: acme/shop\ncredential: slwp_1\n");

pub struct World {
    pub folder: PathBuf,
    pub store: Store,
    pub registry: Registry,
    pub journal: Journal,
    pub config: Config,
    pub builder: Option<BuilderHandle>,
    /// How many sandboxes have run.
    pub sandboxes: Arc<AtomicU32>,
    limits: Limits,
    next: AtomicU32,
    // Unmounted before their place is deleted.
    caches: CachesEnd,
    _registry_disk: Option<Mounted>,
    _temporary: Option<TempDir>,
}

/// Config variables of every environment.
#[derive(Clone, Default)]
pub struct Config(pub Vec<ConfigVar>);

impl ConfigSource for Config {
    async fn config(&self, _: &EnvironmentPath) -> Result<Vec<ConfigVar>, String> {
        Ok(self.0.clone())
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Limits::default(), Config::default()).await
    }

    pub async fn with(limits: Limits, config: Config) -> Self {
        let mut world = Self::without_builder(limits, config).await;
        world.start();
        world
    }

    /// A world whose registry has a small disk of its own.
    pub async fn with_registry_of(size: Bytes) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let disk = mount_tmpfs(&temporary.path().join("registry"), size);
        let mut world = Self::open(temporary.path(), Limits::default(), Config::default()).await;
        world._registry_disk = Some(disk);
        world._temporary = Some(temporary);
        world.start();
        world
    }

    pub async fn without_builder(limits: Limits, config: Config) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut world = Self::open(temporary.path(), limits, config).await;
        world._temporary = Some(temporary);
        world
    }

    /// A world in that directory, which may have been one before.
    pub async fn open(folder: &Path, limits: Limits, config: Config) -> Self {
        let at = |name: &str| folder.join(name);
        let store = Store::open(&at("store")).unwrap();
        // Other tests fill disks; how much room there is besides is none of these tests' matter.
        let options = slipway_registry::Options { reserve_bytes: 0, ..Default::default() };
        let registry = Registry::open(&at("registry"), options).unwrap();
        if slipway_build::stack::find("debian-12", &registry).unwrap().is_none() {
            make_stack(&registry);
        }
        let (name, created_by) = ("acme".parse().unwrap(), "ada".parse().unwrap());
        let tenant = Tenant { name, index: 7, created_at: Timestamp(0), created_by };
        store.commit(Batch::new().put(&tenant)).await.unwrap();
        Self {
            journal: Journal::new(at("builds")),
            folder: folder.to_owned(),
            store,
            registry,
            config,
            builder: None,
            sandboxes: Arc::default(),
            limits,
            next: AtomicU32::new(1),
            caches: CachesEnd::default(),
            _registry_disk: None,
            _temporary: None,
        }
    }

    /// Lets go of the files, so that another process can open them.
    pub async fn close(self) -> Option<TempDir> {
        self.store.close().await;
        self._temporary
    }

    pub fn start(&mut self) {
        let sandbox = Runc::new(self.folder.join("sandboxes"), self.limits);
        self.sandboxes = sandbox.uses.clone();
        self.caches = CachesEnd(sandbox.caches.clone());
        let options = Options {
            repositories: self.folder.join("git"),
            cache: self.folder.join("cache"),
            journal: self.journal.clone(),
            stack_default: "debian-12".into(),
            ca_bundle: Some("/etc/ssl/certs/ca-certificates.crt".into()),
            builds_max: 2,
            epoch: None,
        };
        let (store, registry) = (self.store.clone(), self.registry.clone());
        self.builder = Some(Builder::start(options, store, registry, sandbox, self.config.clone()));
    }

    pub fn repository(&self) -> PathBuf {
        self.folder.join("git/acme/shop.git")
    }

    /// Records a push of these files to `acme/shop/dev`. A path that ends in `*` is executable, one
    /// that ends in `@` a symbolic link.
    pub async fn push(&self, files: &[(&str, &str)]) -> Push {
        let commit = self.commit(files);
        self.push_commit(&commit, "acme/shop/dev").await
    }

    pub async fn push_commit(&self, commit: &str, environment: &str) -> Push {
        self.push_with(commit, environment, PushOptions::default()).await
    }

    /// `git push -o no-cache`.
    pub async fn push_without_cache(&self, commit: &str) -> Push {
        self.push_with(commit, "acme/shop/dev", PushOptions { no_cache: true, ..PushOptions::default() })
            .await
    }

    async fn push_with(&self, commit: &str, environment: &str, options: PushOptions) -> Push {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let push = Push {
            environment: environment.parse().unwrap(),
            number: BuildNumber(u64::from(number)),
            commit: commit.parse().unwrap(),
            subject: "test".into(),
            branch: "main".into(),
            by: "ada".parse().unwrap(),
            options,
            forced: false,
            received_at: Timestamp(u64::from(number)),
        };
        self.store.commit(Batch::new().create(&push)).await.unwrap();
        push
    }

    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        let mut stream =
            "commit refs/heads/main\ncommitter a <a@example.com> 1 +0000\ndata 0\n\ndeleteall\n".to_owned();
        for (path, content) in files {
            let (path, mode) = match path.strip_suffix('*') {
                Some(path) => (path, "100755"),
                None => path.strip_suffix('@').map_or((*path, "100644"), |path| (path, "120000")),
            };
            write!(stream, "M {mode} inline {path}\ndata {}\n{content}\n", content.len()).unwrap();
        }
        self.import(&stream)
    }

    /// Feeds `git fast-import`, and tells the commit that `main` is then.
    pub fn import(&self, stream: &str) -> String {
        let repository = self.repository();
        if !repository.exists() {
            git(&repository, &["init", "--quiet", "--bare", "."], "");
        }
        git(&repository, &["fast-import", "--quiet", "--force"], stream);
        git(&repository, &["rev-parse", "refs/heads/main"], "")
    }

    /// Waits for the end of a build.
    pub async fn ended(&self, push: &Push) -> Build {
        let key = (push.environment.clone(), push.number);
        let wait = async {
            loop {
                if let Some(build) = self.store.get::<Build>(&key).await.unwrap()
                    && build.record.state.is_final()
                {
                    return build.record;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(180), wait).await.expect("the build ends")
    }

    pub async fn cancel(&self, push: &Push) {
        let by = "bob".parse().unwrap();
        let wish = BuildCancellation { environment: push.environment.clone(), number: push.number, by };
        self.store.commit(Batch::new().create(&wish)).await.unwrap();
    }

    pub async fn log(&self, push: &Push) -> String {
        let log = self.journal.read(Build::log_path(&push.environment, push.number).as_ref()).await;
        String::from_utf8(log.unwrap_or_default()).unwrap()
    }

    /// Waits until the log of a running build has a text.
    pub async fn log_has(&self, push: &Push, text: &str) {
        let wait = async {
            while !self.log(push).await.contains(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect(text);
    }

    /// Builds these files, which works.
    pub async fn built(&self, files: &[(&str, &str)]) -> BuiltImage {
        let push = self.push(files).await;
        self.succeeded(&push).await
    }

    pub async fn succeeded(&self, push: &Push) -> BuiltImage {
        match self.ended(push).await.state {
            BuildState::Succeeded { image } => image,
            other => panic!("{other:?}\n{}", self.log(push).await),
        }
    }

    /// Builds these files, which fails; tells why.
    pub async fn refused(&self, files: &[(&str, &str)]) -> String {
        let push = self.push(files).await;
        self.failed(&push).await
    }

    pub async fn failed(&self, push: &Push) -> String {
        match self.ended(push).await.state {
            BuildState::Failed { reason } => {
                let log = self.log(push).await;
                assert!(log.contains(&format!(" !     {reason}")), "the pusher is told as well: {log}");
                reason
            }
            other => panic!("{other:?}\n{}", self.log(push).await),
        }
    }

    /// The paths in the layers that the build has put on the stack.
    pub fn files(&self, image: &BuiltImage) -> Vec<String> {
        let mut all = Vec::new();
        self.each_entry(image, |path, _| all.push(path));
        all
    }

    pub fn each_entry(&self, image: &BuiltImage, mut each: impl FnMut(String, &tar::Header)) {
        let repository: Repository = image.image.repository.parse().unwrap();
        let reference = slipway_registry::Reference::Digest(image.image.digest.clone());
        let image = self.registry.image(&repository, &reference).unwrap();
        for layer in &image.manifest.layers[1..] {
            let mut tar = tar::Archive::new(self.registry.open_blob(&layer.digest).unwrap());
            for entry in tar.entries().unwrap() {
                let entry = entry.unwrap();
                each(String::from_utf8_lossy(&entry.path_bytes()).into_owned(), entry.header());
            }
        }
    }
}

/// A stack of two small images: what they hold does not matter to the builder, and the sandbox of
/// these tests knows only one root file system.
fn make_stack(registry: &Registry) {
    let repository: Repository = "stacks/debian-12".parse().unwrap();
    for which in ["run", "build"] {
        let mut writer = registry.layer_writer(&repository, Compression::None).unwrap();
        let mut tar = tar::Builder::new(&mut writer);
        let mut header = tar::Header::new_gnu();
        header.set_size(which.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, "etc/stack", which.as_bytes()).unwrap();
        tar.finish().unwrap();
        drop(tar);
        let layer = writer.finish().unwrap();
        let mut image = ImageBuilder::new(registry, &repository);
        image.push(layer, "test");
        image.finish(Some(&which.parse().unwrap())).unwrap();
    }
}

pub fn git(repository: &Path, arguments: &[&str], stdin: &str) -> String {
    fs::create_dir_all(repository).unwrap();
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(repository)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
