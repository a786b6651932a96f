//! `slipwayd stack`: makes, imports and exports stacks. Works on the registry's directory itself,
//! so no server may be running on it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use slipway_build::stack::{self, Stack};
use slipway_registry::{Options, Registry};

use crate::args;
use crate::places::Places;

/// Does what was typed.
pub fn stack(verb: args::Stack) -> anyhow::Result<()> {
    match verb {
        args::Stack::Create { name, places, shared_dir, ca_bundle } => {
            let places = made(&places, shared_dir.as_deref())?;
            let registry = open(&places.registry())?;
            let work = places.data.join("stack-work");
            let made = create(&name, &registry, &work, &ca_bundle)?;
            told(&name, &made);
            Ok(())
        }
        args::Stack::Import { name, path, build, places, shared_dir } => {
            let places = made(&places, shared_dir.as_deref())?;
            let registry = open(&places.registry())?;
            let made = stack::import(&name, &registry, &path, build.as_deref())?;
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

fn made(places: &args::Places, shared_dir: Option<&Path>) -> anyhow::Result<Places> {
    Places::make_with(places, shared_dir.unwrap_or(&places.data_dir))
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
