//! `slipwayd stack`: makes, imports and exports stacks. Works on the registry's directory itself,
//! so no server may be running on it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use slipway_build::stack::{self, Stack};
use slipway_registry::{Options, Registry, SharedLog};
use slipway_storage::Mark;

use crate::args;
use crate::paths::Paths;

/// Does what was typed.
pub fn stack(verb: args::Stack) -> anyhow::Result<()> {
    match verb {
        args::Stack::Create { name, directories, storage, ca_bundle } => {
            let paths = Paths::make(&directories)?;
            let work = paths.data.join("stack-work");
            let made =
                with_registry(&paths, &storage, |registry| create(&name, registry, &work, &ca_bundle))?;
            told(&name, &made);
            Ok(())
        }
        args::Stack::Import { name, path, build, directories, storage } => {
            let paths = Paths::make(&directories)?;
            let made = with_registry(&paths, &storage, |registry| {
                Ok(stack::import(&name, registry, &path, build.as_deref())?)
            })?;
            told(&name, &made);
            Ok(())
        }
        args::Stack::Export { name, to, ca_bundle } => {
            if to.exists() {
                bail!("{} exists already", to.display());
            }
            let folder = to.parent().context("give a directory to make")?;
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            // Beside the goal, on the same disk, and gone afterwards.
            let work = folder.join(format!(".slipway-stack-{}", std::process::id()));
            let exported = export(&name, &to, &work, &ca_bundle);
            let _ignored = fs::remove_dir_all(&work);
            exported
        }
    }
}

/// Works on the machine's registry, or on a cluster's: the server that leads there notices that somebody
/// else has written, and begins anew.
fn with_registry<T>(
    paths: &Paths,
    storage: &args::Storage,
    work: impl FnOnce(&Registry) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let root = paths.registry();
    if storage.shared.place()?.is_none() {
        return work(&open(&root)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _on_it = runtime.enter();
    let images = runtime.block_on(storage.open())?.below(crate::shared::IMAGES)?;
    // How far it is at least is in ZooKeeper, which the servers ask.
    let shared = SharedLog { storage: images, at_least: Mark::default() };
    let registry = Registry::open_shared(&root, Options::default(), shared)
        .with_context(|| format!("cannot open the cluster's registry by {}", root.display()))?;
    work(&registry)
}

fn export(name: &str, to: &Path, work: &Path, ca_bundle: &Path) -> anyhow::Result<()> {
    let registry = open(&work.join("registry"))?;
    let made = create(name, &registry, &work.join("work"), ca_bundle)?;
    // A rename at the end, so that a layout that is there is whole.
    let partial: PathBuf = work.join("layout");
    stack::export(name, &registry, &partial)?;
    fs::rename(&partial, to).with_context(|| format!("cannot make {}", to.display()))?;
    told(name, &made);
    Ok(())
}

fn create(name: &str, registry: &Registry, work: &Path, ca_bundle: &Path) -> anyhow::Result<Stack> {
    let mut progress = |words: &str| eprintln!("-----> {words}");
    let ca_bundle = ca_bundle.exists().then_some(ca_bundle);
    Ok(stack::create(name, registry, work, &mut progress, ca_bundle)?)
}

fn open(folder: &Path) -> anyhow::Result<Registry> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Registry::open(folder, Options::default()).with_context(|| {
        format!("cannot open the registry in {}; if slipwayd runs, stop it first: programs and router go on meanwhile", folder.display())
    })
}

fn told(name: &str, made: &Stack) {
    println!("stack {name}: run {} build {}", made.run, made.build);
}
