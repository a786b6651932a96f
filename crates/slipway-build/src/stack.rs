//! The stack: the pair of images that programs are built in and run on.
//!
//! Both live in the registry, in repository `stacks/<name>`, tagged `run` and `build`. The build
//! image is the run image and one layer more, so that what was linked while building is there when
//! it runs. They are made once per recipe from Debian packages ([`create()`]), or taken from an image
//! made elsewhere ([`import()`]).
//!
//! The rules that other parts rely on: the entry point is `/slipway/launch`, the user is `app`
//! (1000:1000) with home `/app`, which it owns.
//!
//! All work happens on a thread with a mount namespace of its own. Whatever happens to it, an
//! error, a panic, a kill of the whole process, its mounts vanish with it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use slipway_model::id::Digest;
use slipway_registry::image::{self, Image};
use slipway_registry::{Reference, Registry, Repository, Tag};

mod create;
mod program;
mod recipe;
mod tree;

/// A stack in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// `stacks/<name>`.
    pub repository: Repository,
    /// The image that programs run on.
    pub run: Digest,
    /// The image that they are built in.
    pub build: Digest,
}

/// A stack that could not be made, by the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no recipe of that name.
    #[error("there is no recipe for a stack named {name:?}; the known one is {}", recipe::DEBIAN_12.name)]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// The name cannot be that of a repository.
    #[error("{name:?} is not a stack name")]
    BadName {
        /// What was asked for.
        name: String,
    },
    /// Another creation is at work in the same directory.
    #[error("a stack is being made already; {path} is locked")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// A program that is needed is not there or cannot be started.
    #[error("failed to start {program}; is it installed?")]
    Start {
        /// Which.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// A program failed.
    #[error("failed to {step}: {program} ended with {status}\n{output}")]
    Program {
        /// What it was for.
        step: &'static str,
        /// Which.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines that it said.
        output: String,
    },
    /// A mount or the namespace for it failed; this needs root.
    #[error("failed to {step}")]
    Mount {
        /// What was tried.
        step: &'static str,
        /// The cause.
        source: nix::Error,
    },
    /// A file operation failed.
    #[error("failed to {step} {path}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The registry did not take or give an image.
    #[error("the registry refused")]
    Registry(#[from] slipway_registry::Error),
}

impl Error {
    fn io(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, path: path.to_owned(), source }
    }
}

/// The repository of a stack.
///
/// # Errors
/// [`Error::BadName`].
pub fn repository(name: &str) -> Result<Repository, Error> {
    let bad = |_| Error::BadName { name: name.to_owned() };
    if name.contains('/') {
        return Err(Error::BadName { name: name.to_owned() });
    }
    format!("stacks/{name}").parse().map_err(bad)
}

/// The tag of the image that programs run on.
#[must_use]
pub fn run_tag() -> Tag {
    "run".parse().expect("the word is a tag")
}

/// The tag of the image that programs are built in.
#[must_use]
pub fn build_tag() -> Tag {
    "build".parse().expect("the word is a tag")
}

/// The stack of that name, if the registry has it.
///
/// # Errors
/// [`Error::BadName`], [`Error::Registry`].
pub fn find(name: &str, registry: &Registry) -> Result<Option<Stack>, Error> {
    let repository = repository(name)?;
    let run = registry.resolve(&repository, &run_tag())?;
    let build = registry.resolve(&repository, &build_tag())?;
    Ok(run.zip(build).map(|(run, build)| Stack { repository, run, build }))
}

/// Makes a stack from its recipe, or returns at once if the registry has what that recipe makes.
///
/// `work_dir` needs 3 GB for a while; nothing is left in it. `progress` is told in words how it
/// goes. `ca_bundle` is a file of certificates that the packages' servers are checked against; it
/// is visible while packages are installed and not part of the images. Needs root.
///
/// # Errors
/// A variant of [`Error`] for each step.
pub fn create(
    name: &str,
    registry: &Registry,
    work_dir: &Path,
    progress: &mut (dyn FnMut(&str) + Send),
    ca_bundle: Option<&Path>,
) -> Result<Stack, Error> {
    let repository = repository(name)?;
    let recipe = recipe::find(name).ok_or_else(|| Error::UnknownName { name: name.to_owned() })?;
    if let Some(stack) = find(name, registry)?
        && is_made_by(registry, &stack, &recipe.digest())?
    {
        progress("the stack is there already");
        return Ok(stack);
    }
    fs::create_dir_all(work_dir).map_err(Error::io("create", work_dir))?;
    // A thread of its own, because entering a mount namespace is for good.
    std::thread::scope(|scope| {
        let made =
            scope.spawn(|| create::create(recipe, &repository, registry, work_dir, progress, ca_bundle));
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The annotation that says which recipe made an image.
const RECIPE_ANNOTATION: &str = "slipway.stack.recipe";

fn is_made_by(registry: &Registry, stack: &Stack, recipe: &Digest) -> Result<bool, Error> {
    let says_so = |image: &Image| {
        image.manifest.annotations.get(RECIPE_ANNOTATION).is_some_and(|own| own == recipe.as_str())
    };
    let run = registry.image(&stack.repository, &Reference::Digest(stack.run.clone()))?;
    let build = registry.image(&stack.repository, &Reference::Digest(stack.build.clone()))?;
    Ok(says_so(&run) && says_so(&build))
}

/// Takes a stack made elsewhere: an OCI layout directory or a docker-archive for the run image, and
/// perhaps one for the build image. A layout that [`export`] wrote has both. Without a build image
/// programs are built in the run image.
///
/// # Errors
/// [`Error::BadName`], [`Error::Registry`].
pub fn import(name: &str, registry: &Registry, run: &Path, build: Option<&Path>) -> Result<Stack, Error> {
    let repository = repository(name)?;
    let names = image::layout_names(run)?;
    let has_both = ["run", "build"].iter().all(|wanted| names.iter().any(|own| own == wanted));
    if build.is_none() && has_both {
        image::import(registry, run, Some("run"), &repository, &run_tag())?;
        image::import(registry, run, Some("build"), &repository, &build_tag())?;
    } else {
        image::import(registry, run, None, &repository, &run_tag())?;
        image::import(registry, build.unwrap_or(run), None, &repository, &build_tag())?;
    }
    find(name, registry)?.ok_or_else(|| Error::UnknownName { name: name.to_owned() })
}

/// Writes both images of a stack into one OCI layout directory.
///
/// # Errors
/// [`Error::BadName`], [`Error::Registry`].
pub fn export(name: &str, registry: &Registry, layout: &Path) -> Result<(), Error> {
    Ok(image::export_layout(registry, &repository(name)?, &[run_tag(), build_tag()], layout)?)
}

#[cfg(test)]
mod tests;
