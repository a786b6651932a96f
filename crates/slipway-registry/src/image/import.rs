//! Taking in an image made elsewhere: an OCI layout directory, or the tar that `docker save` makes.
//! Everything is checked on the way: blobs against their digests, layers of an archive against the
//! diff-ids of its config (N37).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use slipway_model::id::Digest;

use super::builder::to_json;
use super::{
    CONFIG_BYTES_MAX, Compression, Descriptor, ImageConfig, Index, Layer, Manifest, is_index, media_type,
    pick_platform,
};
use crate::error::Error;
use crate::store::MANIFEST_BYTES_MAX;
use crate::{Registry, Repository, Result, Tag};

/// The annotation by which an image of a layout is named.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedImage {
    /// Its manifest in the repository.
    pub digest: Digest,
}

/// Imports one image into `repository` and tags it. `path` is an OCI layout directory or a
/// docker-archive; `name` picks one of several in it by its reference name (layout) or tag
/// (archive), and may be left out when there is one.
pub fn import(
    registry: &Registry,
    path: &Path,
    name: Option<&str>,
    repository: &Repository,
    tag: &Tag,
) -> Result<ImportedImage> {
    let digest = if path.is_dir() {
        import_layout(registry, path, name, repository, tag)?
    } else {
        import_archive(registry, path, name, repository, tag)?
    };
    Ok(ImportedImage { digest })
}

/// The reference names of the images in a layout; none for an archive.
pub fn layout_names(path: &Path) -> Result<Vec<String>> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let index: Index = read_json(&path.join("index.json"), MANIFEST_BYTES_MAX as u64)?;
    Ok(index.manifests.into_iter().filter_map(|mut image| image.annotations.remove(REF_NAME)).collect())
}

fn refused(path: &Path, why: impl Into<String>) -> Error {
    Error::Import { path: path.to_owned(), why: why.into() }
}

fn import_layout(
    registry: &Registry,
    layout: &Path,
    name: Option<&str>,
    repository: &Repository,
    tag: &Tag,
) -> Result<Digest> {
    let mut index: Index = read_json(&layout.join("index.json"), MANIFEST_BYTES_MAX as u64)?;
    if let Some(name) = name {
        index.manifests.retain(|image| image.annotations.get(REF_NAME).is_some_and(|own| own == name));
    }
    if index.manifests.is_empty() {
        return Err(refused(layout, format!("it has no image {}", name.unwrap_or_default())));
    }
    let mut wanted = pick_platform(&index)?.clone();
    // An index in the index is how multi-platform images are laid out; deeper is nobody's practice.
    if is_index(&wanted.media_type) {
        let inner: Index = read_json(&blob_of(layout, &wanted.digest), MANIFEST_BYTES_MAX as u64)?;
        wanted = pick_platform(&inner)?.clone();
    }
    let bytes = read_bounded(&blob_of(layout, &wanted.digest), MANIFEST_BYTES_MAX as u64)?;
    let manifest: Manifest = super::parse(&bytes)?;
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        if registry.blob_in(repository, &blob.digest)?.is_none() {
            copy_blob(registry, &blob_of(layout, &blob.digest), repository, blob)?;
        }
    }
    registry.put_manifest(repository, &bytes, &wanted.media_type, Some(tag))
}

fn blob_of(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs").join(digest.algorithm()).join(digest.hex())
}

fn copy_blob(registry: &Registry, from: &Path, repository: &Repository, blob: &Descriptor) -> Result<()> {
    let mut file = File::open(from).map_err(Error::io("open", from))?;
    let mut writer = registry.blob_writer(repository)?;
    writer.expect(&blob.digest);
    copy(&mut file, &mut writer).map_err(Error::io("copy", from))?;
    writer.finish_expecting(&blob.digest).map(drop)
}

/// Copies in pieces large enough to pass the writer's own gathering by.
fn copy(from: &mut impl Read, to: &mut impl io::Write) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

/// One image of a docker-archive's `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ArchivedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn import_archive(
    registry: &Registry,
    archive: &Path,
    name: Option<&str>,
    repository: &Repository,
    tag: &Tag,
) -> Result<Digest> {
    let images: Vec<ArchivedImage> = {
        let bytes = read_member(archive, "manifest.json")?;
        serde_json::from_slice(&bytes).map_err(|error| refused(archive, format!("manifest.json: {error}")))?
    };
    let named = |image: &&ArchivedImage| {
        name.is_none_or(|name| image.repo_tags.iter().flatten().any(|tag| tag == name))
    };
    let image = images.iter().find(named).ok_or_else(|| refused(archive, "it has no such image"))?;
    let config_bytes = read_member(archive, &image.config)?;
    let config: ImageConfig = super::parse(&config_bytes)?;
    if config.rootfs.diff_ids.len() != image.layers.len() {
        return Err(refused(archive, "its config and its manifest do not have the same number of layers"));
    }
    let stored = store_layers(registry, archive, image, repository)?;
    let mut layers = Vec::new();
    for (path, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
        let layer = stored.get(path).ok_or_else(|| refused(archive, format!("{path} is missing")))?;
        if layer.diff_id != *diff_id {
            return Err(refused(archive, format!("{path} has diff-id {}, not {diff_id}", layer.diff_id)));
        }
        layers.push(layer.descriptor.clone());
    }
    let config = registry.put_blob(repository, &config_bytes)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        config: Descriptor::new(media_type::CONFIG, config.digest, config.size),
        layers,
        annotations: Default::default(),
    };
    registry.put_manifest(repository, &to_json(&manifest), media_type::MANIFEST, Some(tag))
}

/// Stores the image's layers in one walk over the archive. Old archives hold a layer once and link
/// to it from elsewhere; the links are followed by name, never through the file system.
fn store_layers(
    registry: &Registry,
    archive: &Path,
    image: &ArchivedImage,
    repository: &Repository,
) -> Result<HashMap<String, Layer>> {
    let mut stored: HashMap<String, Layer> = HashMap::new();
    let mut links = Vec::new();
    for entry in open_archive(archive)?.entries().map_err(Error::io("read", archive))? {
        let mut entry = entry.map_err(Error::io("read", archive))?;
        let path = member_name(&entry);
        if let Ok(Some(target)) = entry.link_name() {
            links.push((path, resolve_link(&member_name(&entry), &target)));
        } else if image.layers.contains(&path) || path.ends_with("/layer.tar") {
            stored.insert(
                path,
                store_layer(registry, &mut entry, repository).map_err(|error| match error {
                    Error::Io { source, .. } => Error::io("unpack a layer of", archive)(source),
                    other => other,
                })?,
            );
        }
    }
    for (path, target) in links {
        if let Some(layer) = stored.get(&target).cloned() {
            stored.insert(path, layer);
        }
    }
    Ok(stored)
}

fn store_layer(registry: &Registry, from: &mut impl Read, repository: &Repository) -> Result<Layer> {
    let mut from = BufReader::new(from);
    let starts_as_gzip = io::BufRead::fill_buf(&mut from)
        .map_err(Error::io("read", Path::new("layer")))?
        .starts_with(&[0x1f, 0x8b]);
    let mut writer = registry.layer_writer(repository, Compression::Zstd(1))?;
    let copied = if starts_as_gzip {
        copy(&mut flate2::bufread::MultiGzDecoder::new(from), &mut writer)
    } else {
        copy(&mut from, &mut writer)
    };
    copied.map_err(Error::io("read", Path::new("layer")))?;
    writer.finish()
}

fn open_archive(archive: &Path) -> Result<tar::Archive<BufReader<File>>> {
    let file = File::open(archive).map_err(Error::io("open", archive))?;
    Ok(tar::Archive::new(BufReader::with_capacity(256 << 10, file)))
}

fn member_name<R: Read>(entry: &tar::Entry<'_, R>) -> String {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    name.trim_start_matches("./").to_owned()
}

/// `../<id>/layer.tar` seen from `<other>/layer.tar`.
fn resolve_link(from: &str, target: &Path) -> String {
    let mut parts: Vec<String> = Path::new(from)
        .parent()
        .into_iter()
        .flatten()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    for part in target {
        match part.to_string_lossy().as_ref() {
            ".." => drop(parts.pop()),
            "." => {}
            name => parts.push(name.to_owned()),
        }
    }
    parts.join("/")
}

fn read_member(archive: &Path, wanted: &str) -> Result<Vec<u8>> {
    for entry in open_archive(archive)?.entries().map_err(Error::io("read", archive))? {
        let mut entry = entry.map_err(Error::io("read", archive))?;
        if member_name(&entry) == wanted {
            let mut bytes = Vec::new();
            entry
                .by_ref()
                .take(CONFIG_BYTES_MAX)
                .read_to_end(&mut bytes)
                .map_err(Error::io("read", archive))?;
            return Ok(bytes);
        }
    }
    Err(refused(archive, format!("it has no {wanted}; is it an image archive?")))
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(bytes_max).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

fn read_json<T: DeserializeOwned>(path: &Path, bytes_max: u64) -> Result<T> {
    let bytes = read_bounded(path, bytes_max)?;
    serde_json::from_slice(&bytes).map_err(|error| refused(path, error.to_string()))
}
