//! The stack that a build uses: a pair of images in the repository `stacks/<name>`, tagged `build`
//! (what recipes run in) and `run` (what the app's layers are put on).

use slipway_model::push::ImageRef;
use slipway_registry::image::Image;
use slipway_registry::{Reference, Registry, Repository};

use crate::error::Error;
use crate::stack;

/// A stack, read for one build.
pub struct Base {
    /// Its name, such as `debian-12`.
    pub name: String,
    /// Where its images are.
    pub repository: Repository,
    /// What the app's layers are put on.
    pub run: Image,
    /// What recipes run in.
    pub build: ImageRef,
}

impl Base {
    /// Reads a stack by name.
    ///
    /// # Errors
    /// [`Error::Stack`] when it is not there, [`Error::Registry`].
    pub fn load(registry: &Registry, name: &str) -> Result<Self, Error> {
        let unusable = |why: &str| Error::Stack { stack: name.to_owned(), why: why.to_owned() };
        let stack = stack::find(name, registry).map_err(|e| unusable(&e.to_string()))?;
        let stack =
            stack.ok_or_else(|| unusable("its images are not on this server; ask its operator, who makes them with `slipwayd stack create`"))?;
        let run = registry.image(&stack.repository, &Reference::Digest(stack.run))?;
        let build = ImageRef { repository: stack.repository.to_string(), digest: stack.build };
        let repository = stack.repository;
        Ok(Self { name: name.to_owned(), repository, run, build })
    }
}
