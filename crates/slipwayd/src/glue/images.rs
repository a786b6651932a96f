//! The API finds images by tag in the registry.

use futures_util::future::BoxFuture;
use slipway_control::api::Images;
use slipway_model::id::Digest;
use slipway_model::push::ImageRef;
use slipway_registry::{Registry, Repository, Tag};

/// The built-in registry.
pub struct LocalImages(pub Registry);

impl Images for LocalImages {
    fn resolve(&self, reference: &str) -> BoxFuture<'static, Option<ImageRef>> {
        let registry = self.0.clone();
        let reference = reference.to_owned();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || find(&registry, &reference)).await;
            found.ok().flatten()
        })
    }
}

/// `repository@digest`, `repository:tag`, or `repository` for the tag `latest`.
fn find(registry: &Registry, reference: &str) -> Option<ImageRef> {
    if let Some((repository, digest)) = reference.split_once('@') {
        let repository: Repository = repository.parse().ok()?;
        let digest: Digest = digest.parse().ok()?;
        registry.image(&repository, &slipway_registry::Reference::Digest(digest.clone())).ok()?;
        return Some(ImageRef { repository: repository.to_string(), digest });
    }
    let (repository, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
    let repository: Repository = repository.parse().ok()?;
    let tag: Tag = tag.parse().ok()?;
    let digest = registry.resolve(&repository, &tag).ok()??;
    Some(ImageRef { repository: repository.to_string(), digest })
}
