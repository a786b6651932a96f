//! Writing images out as an OCI layout directory, for another registry or another machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::builder::to_json;
use super::import::REF_NAME;
use super::{Descriptor, Index, media_type};
use crate::error::Error;
use crate::{Reference, Registry, Repository, Result, Tag};

/// Writes the images that `tags` point to into `layout`, which must not hold anything yet. Each is
/// named by its tag in the layout.
pub fn export_layout(
    registry: &Registry,
    repository: &Repository,
    tags: &[Tag],
    layout: &Path,
) -> Result<()> {
    let mut index = Index {
        schema_version: 2,
        media_type: media_type::INDEX.to_owned(),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    };
    for tag in tags {
        let image = registry.image(repository, &Reference::Tag(tag.clone()))?;
        let digest = Reference::Digest(image.digest.clone());
        let unknown =
            || Error::ManifestUnknown { repository: repository.clone(), reference: digest.to_string() };
        let stored = registry.manifest(repository, &digest)?.ok_or_else(unknown)?;
        write(layout, &image.digest, |path| fs::write(path, &stored.bytes))?;
        for blob in std::iter::once(&image.manifest.config).chain(&image.manifest.layers) {
            registry.bring(&blob.digest)?;
            write(layout, &blob.digest, |path| fs::copy(registry.blob_path(&blob.digest), path).map(drop))?;
        }
        let mut descriptor = Descriptor::new(&stored.media_type, image.digest, stored.bytes.len() as u64);
        descriptor.annotations.insert(REF_NAME.to_owned(), tag.to_string());
        index.manifests.push(descriptor);
    }
    let put = |name: &str, bytes: &[u8]| {
        fs::write(layout.join(name), bytes).map_err(Error::io("write", &layout.join(name)))
    };
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    // Last, so that a layout that was cut off has no index and is refused.
    put("index.json", &to_json(&index))
}

fn write(
    layout: &Path,
    digest: &slipway_model::id::Digest,
    fill: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<()> {
    let folder = layout.join("blobs").join(digest.algorithm());
    fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let path = folder.join(digest.hex());
    if path.exists() {
        return Ok(());
    }
    fill(&path).map_err(Error::io("write", &path))
}
