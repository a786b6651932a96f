//! The API finds images by tag in the registry.

use std::time::Duration;

use futures_util::future::BoxFuture;
use slipway_control::api::Images;
use slipway_model::push::ImageRef;
use slipway_registry::{Reference, Registry, Repository};
use tokio::sync::watch;

/// The registry, when it is open. A term may begin before it can have it.
pub type Shelf = watch::Receiver<Option<Registry>>;

/// A request waits so long for the registry to be opened.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// The built-in registry.
pub struct LocalImages {
    pub shelf: Shelf,
    /// The stack that commands without an image run on.
    pub stack: String,
}

impl Images for LocalImages {
    fn resolve(&self, reference: &str) -> BoxFuture<'static, Option<ImageRef>> {
        let shelf = self.shelf.clone();
        let reference = reference.to_owned();
        Box::pin(async move {
            let registry = open(shelf).await?;
            let found = tokio::task::spawn_blocking(move || find(&registry, &reference)).await;
            found.ok().flatten()
        })
    }

    fn of_stack(&self) -> BoxFuture<'static, Option<ImageRef>> {
        let (shelf, stack) = (self.shelf.clone(), self.stack.clone());
        Box::pin(async move {
            let registry = open(shelf).await?;
            let found = tokio::task::spawn_blocking(move || slipway_build::stack::find(&stack, &registry));
            let stack = found.await.ok()?.ok()??;
            Some(ImageRef { repository: stack.repository.to_string(), digest: stack.run })
        })
    }
}

async fn open(mut shelf: Shelf) -> Option<Registry> {
    let opened = tokio::time::timeout(OPEN_PATIENCE, shelf.wait_for(Option::is_some)).await;
    opened.ok()?.ok()?.clone()
}

/// See [`Reference::split`] for how images are written.
fn find(registry: &Registry, image: &str) -> Option<ImageRef> {
    let (repository, reference) = Reference::split(image);
    let repository: Repository = repository.parse().ok()?;
    let digest = match reference.ok()? {
        Reference::Tag(tag) => registry.resolve(&repository, &tag).ok()??,
        Reference::Digest(digest) => digest,
    };
    // It must be there, and be an image.
    registry.image(&repository, &Reference::Digest(digest.clone())).ok()?;
    Some(ImageRef { repository: repository.to_string(), digest })
}
