//! Making an image: layers in one pass, then a config and a manifest over them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use slipway_model::id::Digest;

use super::{
    ARCHITECTURE, Descriptor, History, Image, ImageConfig, Manifest, OS, RootFs, RunConfig, media_type,
};
use crate::digest::Hasher;
use crate::error::Error;
use crate::store::BlobWriter;
use crate::{Registry, Repository, Result, Tag};

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is: fastest to write and read on one machine.
    None,
    /// Zstandard at this level (1 to 19); the same level gives the same bytes.
    Zstd(i32),
}

/// A layer that is stored and can be part of images of its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The stored, perhaps compressed, blob.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
}

/// Takes an uncompressed tar stream; hashes it, compresses it, hashes and stores the result, all in
/// one pass. Dropped before [`LayerWriter::finish`], it leaves nothing.
pub struct LayerWriter {
    diff_id: Hasher,
    sink: Sink,
}

enum Sink {
    Plain(BlobWriter),
    Zstd(zstd::Encoder<'static, BlobWriter>),
}

impl LayerWriter {
    /// Completes the layer.
    pub fn finish(self) -> Result<Layer> {
        let (media_type, writer) = match self.sink {
            Sink::Plain(writer) => (media_type::LAYER, writer),
            Sink::Zstd(encoder) => {
                let writer = encoder.finish().map_err(layer_io)?;
                (media_type::LAYER_ZSTD, writer)
            }
        };
        let blob = writer.finish()?;
        Ok(Layer {
            descriptor: Descriptor::new(media_type, blob.digest, blob.size),
            diff_id: self.diff_id.finish(),
        })
    }
}

impl Write for LayerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.sink {
            Sink::Plain(writer) => writer.write(bytes)?,
            Sink::Zstd(encoder) => encoder.write(bytes)?,
        };
        self.diff_id.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Plain(writer) => writer.flush(),
            Sink::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// The cause of a failed layer is inside the `io::Error` if it is ours.
fn layer_io(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(source) => Error::Io { step: "write", path: "a layer".into(), source },
    }
}

impl Registry {
    /// Starts a layer of `repository`.
    pub fn layer_writer(&self, repository: &Repository, compression: Compression) -> Result<LayerWriter> {
        let blob = self.blob_writer(repository)?;
        let sink = match compression {
            Compression::None => Sink::Plain(blob),
            Compression::Zstd(level) => Sink::Zstd(zstd::Encoder::new(blob, level).map_err(layer_io)?),
        };
        Ok(LayerWriter { diff_id: Hasher::sha256(), sink })
    }
}

/// Collects layers and config into an image of one repository.
pub struct ImageBuilder {
    registry: Registry,
    repository: Repository,
    layers: Vec<Layer>,
    history: Vec<History>,
    config: RunConfig,
    annotations: BTreeMap<String, String>,
}

impl ImageBuilder {
    /// An image with nothing in it.
    pub fn new(registry: &Registry, repository: &Repository) -> Self {
        Self {
            registry: registry.clone(),
            repository: repository.clone(),
            layers: Vec::new(),
            history: Vec::new(),
            config: RunConfig::default(),
            annotations: BTreeMap::new(),
        }
    }

    /// An image over `base`, which is in `base_repository`; its layers are linked, not copied, and
    /// its config is where ours starts.
    pub fn over(
        registry: &Registry,
        repository: &Repository,
        base_repository: &Repository,
        base: &Image,
    ) -> Result<Self> {
        for layer in &base.manifest.layers {
            if !registry.mount_blob(base_repository, repository, &layer.digest)? {
                return Err(Error::BlobUnknown {
                    repository: base_repository.clone(),
                    digest: layer.digest.clone(),
                });
            }
        }
        let with_diff_id = |(descriptor, diff_id): (&Descriptor, &Digest)| Layer {
            descriptor: descriptor.clone(),
            diff_id: diff_id.clone(),
        };
        Ok(Self {
            layers: base.manifest.layers.iter().zip(&base.config.rootfs.diff_ids).map(with_diff_id).collect(),
            history: base.config.history.clone(),
            config: base.config.config.clone(),
            ..Self::new(registry, repository)
        })
    }

    /// Puts a layer of the same repository on top. `created_by` is for people and part of the
    /// image's identity: name what made it, without times or temporary paths.
    pub fn push(&mut self, layer: Layer, created_by: &str) -> &mut Self {
        self.layers.push(layer);
        self.history.push(History { created_by: created_by.to_owned(), empty_layer: false });
        self
    }

    /// How the image is to be run.
    pub fn config(&mut self) -> &mut RunConfig {
        &mut self.config
    }

    /// Sets a variable of the image's environment, replacing an earlier value.
    pub fn env(&mut self, key: &str, value: &str) -> &mut Self {
        let is_same = |pair: &String| pair.split('=').next() == Some(key);
        self.config.env.retain(|pair| !is_same(pair));
        self.config.env.push(format!("{key}={value}"));
        self
    }

    /// Adds free text to the manifest.
    pub fn annotate(&mut self, key: &str, value: &str) -> &mut Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Writes config and manifest. The same layers, config and annotations give the same digest.
    pub fn finish(self, tag: Option<&Tag>) -> Result<Digest> {
        let (descriptors, diff_ids) =
            self.layers.into_iter().map(|layer| (layer.descriptor, layer.diff_id)).unzip();
        let config = ImageConfig {
            architecture: ARCHITECTURE.to_owned(),
            os: OS.to_owned(),
            config: self.config,
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids },
            history: self.history,
        };
        let config = self.registry.put_blob(&self.repository, &to_json(&config))?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST.to_owned(),
            config: Descriptor::new(media_type::CONFIG, config.digest, config.size),
            layers: descriptors,
            annotations: self.annotations,
        };
        self.registry.put_manifest(&self.repository, &to_json(&manifest), media_type::MANIFEST, tag)
    }
}

pub(super) fn to_json(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("a document of strings, numbers and maps is JSON")
}
