//! OCI documents (image-spec 1.1) as far as we read and write them.
//!
//! Reading takes Docker's equivalents as well and ignores what it does not know. Writing is
//! reproducible: fields in the order below, maps sorted, no time stamps, so that the same layers
//! and config give the same digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipway_model::id::Digest;

use crate::error::Error;
use crate::{Reference, Registry, Repository, Result};

mod builder;

mod export;

mod import;

pub use builder::{Compression, ImageBuilder, Layer, LayerWriter};
pub use export::export_layout;
pub use import::{ImportedImage, import, layout_names};

/// The platform that Slipway builds for and runs.
pub const OS: &str = "linux";
/// See [`OS`].
pub const ARCHITECTURE: &str = "amd64";
/// A config longer than this is not read (N41): labels and environment belong elsewhere.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// The media types that are known by name here.
pub mod media_type {
    /// An image.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// A list of images.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An image's config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// An uncompressed layer.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer compressed with gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer compressed with Zstandard.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's image.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's list of images.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's layer, compressed with gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
}

/// A reference to a blob or manifest by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What is behind it.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// In an index: what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// In a list of referrers: what kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Free text for tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor without the optional parts.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, platform: None, artifact_type: None, annotations: BTreeMap::new() }
    }

    /// True for a layer that may live somewhere else and need not be in the registry.
    pub fn is_non_distributable(&self) -> bool {
        self.media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
            || self.media_type == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    }
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, …
    pub architecture: String,
    /// `linux`, …
    pub os: String,
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What it says it is.
    #[serde(default)]
    pub media_type: String,
    /// The config blob.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free text for tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index: one image for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What it says it is.
    #[serde(default)]
    pub media_type: String,
    /// The images.
    pub manifests: Vec<Descriptor>,
    /// Free text for tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image's config blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `amd64`, …
    pub architecture: String,
    /// `linux`, …
    pub os: String,
    /// How to run it.
    #[serde(default)]
    pub config: RunConfig,
    /// The uncompressed layers.
    pub rootfs: RootFs,
    /// How it was made, a line per layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

/// How to run an image: the part of the config that a bundle is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// User and perhaps group, by name or number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports that the program may listen on, such as `8080/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    /// `KEY=value`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// What is run first.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub entrypoint: Vec<String>,
    /// Its default arguments.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
    /// Where it starts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Free text for tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
}

/// Docker writes `null` for an empty list.
fn null_as_default<'de, T: Deserialize<'de> + Default, D: serde::Deserializer<'de>>(
    d: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// The uncompressed layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digest of each layer's tar, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// One step of how an image was made. Without a time stamp, so that it can be made again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// What made the layer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// True when the step made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// An image that can be run: its manifest and its config, read and checked.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the manifest.
    pub digest: Digest,
    /// Its layers.
    pub manifest: Manifest,
    /// How to run it.
    pub config: ImageConfig,
}

impl Registry {
    /// Reads the image that `reference` means; of an index, the one for our platform.
    pub fn image(&self, repository: &Repository, reference: &Reference) -> Result<Image> {
        let unknown = |reference: &Reference| Error::ManifestUnknown {
            repository: repository.clone(),
            reference: reference.to_string(),
        };
        let mut stored = self.manifest(repository, reference)?.ok_or_else(|| unknown(reference))?;
        if is_index(&stored.media_type) {
            let index: Index = parse(&stored.bytes)?;
            let ours = pick_platform(&index)?;
            let reference = Reference::Digest(ours.digest.clone());
            stored = self.manifest(repository, &reference)?.ok_or_else(|| unknown(&reference))?;
        }
        let manifest: Manifest = parse(&stored.bytes)?;
        let digest = &manifest.config.digest;
        if self.blob_in(repository, digest)?.is_none() {
            return Err(Error::BlobUnknown { repository: repository.clone(), digest: digest.clone() });
        }
        let config = self.read_blob(digest, CONFIG_BYTES_MAX)?;
        let config: ImageConfig = parse(&config)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let why =
                format!("{} layers and {} diff-ids", manifest.layers.len(), config.rootfs.diff_ids.len());
            return Err(Error::ManifestInvalid { why });
        }
        Ok(Image { digest: stored.digest, manifest, config })
    }
}

/// The image of an index that we can run.
pub(crate) fn pick_platform(index: &Index) -> Result<&Descriptor> {
    let fits = |platform: &Platform| platform.os == OS && platform.architecture == ARCHITECTURE;
    let found = index.manifests.iter().find(|image| image.platform.as_ref().is_none_or(fits));
    found.ok_or_else(|| Error::ManifestInvalid {
        why: format!("the index has no image for {OS}/{ARCHITECTURE}"),
    })
}

pub(crate) fn is_index(media_type: &str) -> bool {
    matches!(media_type, media_type::INDEX | media_type::DOCKER_LIST)
}

pub(crate) fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::ManifestInvalid { why: error.to_string() })
}

/// What every kind of manifest may refer to; enough to check and count.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AnyManifest {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    pub(crate) config: Option<Descriptor>,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) manifests: Vec<Descriptor>,
    pub(crate) subject: Option<Descriptor>,
    annotations: BTreeMap<String, String>,
}

impl AnyManifest {
    /// Reads a manifest that was sent as `media_type`.
    pub(crate) fn parse(bytes: &[u8], media_type: &str) -> Result<Self> {
        let manifest: Self = parse(bytes)?;
        let invalid = |why: &str| Err(Error::ManifestInvalid { why: why.to_owned() });
        let is_image = matches!(media_type, media_type::MANIFEST | media_type::DOCKER_MANIFEST);
        if !is_image && !is_index(media_type) {
            return invalid("its media type is not one of an image or an index");
        }
        if manifest.schema_version != 2 {
            return invalid("schemaVersion is not 2");
        }
        if manifest.media_type.as_deref().is_some_and(|own| own != media_type) {
            return invalid("its mediaType is not the content type that it was sent with");
        }
        if is_image && manifest.config.is_none() {
            return invalid("an image has a config");
        }
        if is_image != manifest.manifests.is_empty() && is_image {
            return invalid("an image has no manifests");
        }
        if !is_image && (manifest.config.is_some() || !manifest.layers.is_empty()) {
            return invalid("an index has no config and no layers");
        }
        Ok(manifest)
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers).chain(&self.manifests)
    }

    /// How it appears in the referrers list of its subject.
    pub(crate) fn as_referrer(&self, digest: &Digest, size: u64, media_type: &str) -> Descriptor {
        let of_config = self.config.as_ref().map(|config| config.media_type.clone());
        let artifact_type = self.artifact_type.clone().filter(|kind| !kind.is_empty()).or(of_config);
        let annotations = self.annotations.clone();
        Descriptor { artifact_type, annotations, ..Descriptor::new(media_type, digest.clone(), size) }
    }
}
