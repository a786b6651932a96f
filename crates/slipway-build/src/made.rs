//! What earlier builds of an environment made, by the digest of everything that went into it. A
//! recipe whose key is here is not run again; its layers are taken from the registry.
//!
//! The list is a hint, not a record: when it is lost or the registry has let go of a layer, the
//! recipe runs.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use slipway_model::id::Digest;
use slipway_model::push::ImageRef;
use slipway_registry::image::{Descriptor, Layer};
use slipway_registry::{Registry, Repository};

use crate::builder::{Inputs, RECIPES_VERSION, Recipe};
use crate::error::Error;
use crate::source::Tree;

/// Results remembered: enough to go back and forth between a few branches.
const MADE_MAX: usize = 10;
/// The list is read back; nothing of ours is longer.
const LIST_BYTES_MAX: u64 = 256 << 10;

/// The layers that a recipe made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// See [`key`].
    key: String,
    /// The layers, lowest first.
    pub layers: Vec<MadeLayer>,
}

/// A layer as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeLayer {
    descriptor: Descriptor,
    diff_id: Digest,
    /// Unpacked bytes.
    pub size: u64,
}

impl MadeLayer {
    /// A layer to remember.
    pub fn new(layer: &Layer, size: u64) -> Self {
        Self { descriptor: layer.descriptor.clone(), diff_id: layer.diff_id.clone(), size }
    }

    /// The layer as the registry knows it.
    pub fn layer(&self) -> Layer {
        Layer { descriptor: self.descriptor.clone(), diff_id: self.diff_id.clone() }
    }
}

/// The digest of all that decides what a recipe makes: its text and arguments, the image it runs in,
/// and the paths, kinds and contents of the files it sees.
pub fn key(recipe: &Recipe, build: &ImageRef, tree: &Tree, wanted: impl Fn(&[u8]) -> bool) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        // With its length, so that no two lists read the same.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(&RECIPES_VERSION.to_le_bytes());
    add(build.digest.as_str().as_bytes());
    add(recipe.script.as_bytes());
    recipe.arguments.iter().for_each(|argument| add(argument.as_bytes()));
    let sees = |path: &[u8]| match &recipe.inputs {
        Inputs::Tree => wanted(path),
        Inputs::Files(files) => files.iter().any(|file| file.as_bytes() == path),
    };
    for (path, file) in tree.files.iter().filter(|(path, _)| sees(path)) {
        add(path);
        add(&[file.kind as u8]);
        add(file.blob.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The results remembered for one environment.
pub struct Remembered {
    path: PathBuf,
}

impl Remembered {
    /// The list in that directory, which need not exist.
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join("made.json") }
    }

    /// What was made for a key, if the repository still has all of it.
    ///
    /// # Errors
    /// [`Error::Registry`].
    pub fn find(
        &self,
        key: &str,
        registry: &Registry,
        repository: &Repository,
    ) -> Result<Option<Made>, Error> {
        let Some(made) = self.read().into_iter().find(|made| made.key == key) else { return Ok(None) };
        for layer in &made.layers {
            if registry.blob_in(repository, &layer.descriptor.digest)? != Some(layer.descriptor.size) {
                return Ok(None);
            }
        }
        Ok(Some(made))
    }

    /// Remembers what was made, in place of the oldest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remember(&self, key: String, layers: Vec<MadeLayer>) -> Result<(), Error> {
        let mut all = self.read();
        all.retain(|made| made.key != key);
        all.insert(0, Made { key, layers });
        all.truncate(MADE_MAX);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let failed = || Error::io("write", &self.path);
        fs::create_dir_all(directory).map_err(failed())?;
        let json = serde_json::to_vec(&all).map_err(|e| failed()(e.into()))?;
        let new = self.path.with_extension("new");
        fs::write(&new, json).and_then(|()| fs::rename(&new, &self.path)).map_err(failed())
    }

    fn read(&self) -> Vec<Made> {
        use std::io::Read;
        let mut json = Vec::new();
        let read =
            fs::File::open(&self.path).and_then(|file| file.take(LIST_BYTES_MAX).read_to_end(&mut json));
        match read {
            Ok(_) => serde_json::from_slice(&json).unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
