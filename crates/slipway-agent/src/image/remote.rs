//! Images from a registry on another machine.
//!
//! An image is *fetched* before it is prepared: its documents into memory, and of its layers those that are
//! not unpacked on this node, each into a file that goes as soon as nobody who fetched it needs it any
//! more. All that ask for an image while it is on its way share one pull, and images that have a layer in
//! common share that (F54). To have a layer from somebody else is no right to it: each image's own
//! repository is asked for each of its layers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use slipway_model::id::Digest;
use slipway_model::push::ImageRef;
use slipway_registry::Repository;
use slipway_registry::client::Puller;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

use super::{DOCUMENT_BYTES_MAX, LAYERS_MAX, Manifest, from_registry, parse, repository};
use crate::error::Error;
use crate::layers::{Layers, Packing, Wanted};
use crate::scratch::check_room;

/// Layers that come at once, all images together: one alone seldom fills a link, many only wait for
/// each other.
const LAYERS_AT_ONCE: usize = 3;
/// How often a growing file asks whether the node's disk is still far from full.
const ROOM_CHECK_BYTES: u64 = 16 << 20;
/// Documents that are remembered, so that another instance of an image that is unpacked here starts
/// without asking anybody.
const REMEMBERED_MAX: usize = 256;

/// A registry on another machine; clones share what is on its way.
#[derive(Clone)]
pub struct Remote {
    state: Arc<State>,
}

struct State {
    puller: Puller,
    directory: PathBuf,
    images: Mutex<BTreeMap<Key, Weak<ImageCell>>>,
    blobs: Mutex<BTreeMap<Digest, Weak<BlobCell>>>,
    remembered: Mutex<Vec<(Key, Arc<Documents>)>>,
    at_once: Semaphore,
    sequence: AtomicU64,
}

type Key = (String, Digest);
type ImageCell = OnceCell<Result<Pulled, Arc<Error>>>;
type BlobCell = OnceCell<Result<BlobFile, Arc<Error>>>;

/// An image that can be prepared as long as this is held.
pub(crate) struct Fetched {
    _image: Option<Arc<ImageCell>>,
}

impl Fetched {
    /// Of an image that needs no fetching.
    pub(super) fn nothing() -> Self {
        Self { _image: None }
    }
}

/// What an image consists of, apart from its layers' content.
struct Documents {
    /// Manifests and config by digest, checked.
    by_digest: BTreeMap<Digest, Vec<u8>>,
    layers: Vec<LayerWanted>,
}

#[derive(Clone)]
struct LayerWanted {
    diff_id: Digest,
    blob: Digest,
    packing: Packing,
}

struct Pulled {
    documents: Arc<Documents>,
    blobs: BTreeMap<Digest, Arc<BlobCell>>,
}

/// A layer's blob in a file that goes with this.
struct BlobFile {
    path: PathBuf,
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        // What is left by a crash goes at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

impl Remote {
    /// Pulls by `puller`, by way of files in `directory`, which is emptied.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(directory: &Path, puller: Puller) -> io::Result<Self> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?,
        }
        let state = State {
            puller,
            directory: directory.to_owned(),
            images: Mutex::default(),
            blobs: Mutex::default(),
            remembered: Mutex::default(),
            at_once: Semaphore::new(LAYERS_AT_ONCE),
            sequence: AtomicU64::new(0),
        };
        Ok(Self { state: Arc::new(state) })
    }

    /// Fetches what of an image is not here.
    pub(super) async fn fetch(&self, layers: &Layers, image: &ImageRef) -> Result<Fetched, Error> {
        let key = (image.repository.clone(), image.digest.clone());
        let cell = shared_cell(&self.state.images, &key);
        match cell.get_or_init(|| async { self.pull(layers, image, &key).await.map_err(Arc::new) }).await {
            Ok(_) => Ok(Fetched { _image: Some(cell) }),
            Err(error) => {
                let why = format!("it could not be pulled: {}", error.chain());
                Err(Error::Image { digest: image.digest.clone(), why })
            }
        }
    }

    async fn pull(&self, layers: &Layers, image: &ImageRef, key: &Key) -> Result<Pulled, Error> {
        let since = Instant::now();
        let repository = repository(image)?;
        let documents = match self.state.recall(key) {
            Some(documents) => documents,
            None => {
                let documents = Arc::new(self.documents(&repository, image).await?);
                for layer in &documents.layers {
                    let has = self.state.puller.check_has(&repository, &layer.blob).await;
                    has.map_err(from_registry(&layer.blob))?;
                }
                documents
            }
        };
        let mut pulled = Pulled { documents, blobs: BTreeMap::new() };
        let mut under_way = JoinSet::new();
        for layer in pulled.documents.layers.clone() {
            let wanted = Wanted { diff_id: &layer.diff_id, blob: &layer.blob, packing: layer.packing };
            if pulled.blobs.contains_key(&layer.blob) || layers.has(wanted) {
                continue;
            }
            let cell = shared_cell(&self.state.blobs, &layer.blob);
            pulled.blobs.insert(layer.blob.clone(), Arc::clone(&cell));
            let (state, repository) = (Arc::clone(&self.state), repository.clone());
            let bytes_max = layers.limits().bytes_max;
            under_way.spawn(async move {
                let blob = state.blob(&repository, &layer.blob, bytes_max);
                match cell.get_or_init(|| async { blob.await.map_err(Arc::new) }).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(Error::Image { digest: layer.blob.clone(), why: error.chain() }),
                }
            });
        }
        while let Some(done) = under_way.join_next().await {
            done.map_err(|error| Error::Launch { why: error.to_string() })??;
        }
        self.state.remember(key, &pulled.documents);
        if !pulled.blobs.is_empty() {
            let (layers, milliseconds) = (pulled.blobs.len(), since.elapsed().as_millis());
            tracing::info!(image.repository, image.digest = %image.digest, layers, milliseconds, "pulled an image");
        }
        Ok(pulled)
    }

    async fn documents(&self, repository: &Repository, image: &ImageRef) -> Result<Documents, Error> {
        let bad = |why: &str| Error::Image { digest: image.digest.clone(), why: why.to_owned() };
        let puller = &self.state.puller;
        let mut by_digest = BTreeMap::new();
        let mut digest = image.digest.clone();
        let manifest = loop {
            let bytes = puller.manifest(repository, &digest).await.map_err(from_registry(&digest))?;
            let manifest: Manifest = parse(&digest, &bytes)?;
            by_digest.insert(digest.clone(), bytes.to_vec());
            if manifest.manifests.is_empty() {
                break manifest;
            }
            if by_digest.len() > 1 {
                return Err(bad("its index names an index"));
            }
            digest = manifest
                .for_this_machine()
                .ok_or_else(|| bad("it has no variant for this kind of machine"))?;
        };
        let config =
            manifest.config.as_ref().ok_or_else(|| bad("its manifest names no config"))?.digest.clone();
        let bytes = puller.config(repository, &config).await.map_err(from_registry(&config))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(bad("its config is larger than 4 MiB"));
        }
        let diff_ids = super::diff_ids(&config, &bytes)?;
        by_digest.insert(config, bytes.to_vec());
        if diff_ids.len() != manifest.layers.len() || diff_ids.len() > LAYERS_MAX {
            return Err(bad("its manifest and its config do not have the same layers, or too many"));
        }
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (layer, diff_id) in manifest.layers.into_iter().zip(diff_ids) {
            let packing = Packing::of_media_type(&layer.media_type)?;
            layers.push(LayerWanted { diff_id, blob: layer.digest, packing });
        }
        Ok(Documents { by_digest, layers })
    }

    /// A document of an image that has been fetched.
    pub(super) fn document(&self, image: &ImageRef, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.in_fetched(image, |pulled| pulled.documents.by_digest.get(digest).cloned())
    }

    /// A layer's blob of an image that has been fetched.
    pub(super) fn open_blob(&self, image: &ImageRef, digest: &Digest) -> Result<File, Error> {
        let path = self.in_fetched(image, |pulled| match pulled.blobs.get(digest)?.get()? {
            Ok(blob) => Some(blob.path.clone()),
            Err(_) => None,
        })?;
        File::open(&path).map_err(Error::file("open", &path))
    }

    /// Makes sure that a layer is one of an image that has been fetched.
    pub(super) fn check_has(&self, image: &ImageRef, digest: &Digest) -> Result<(), Error> {
        self.in_fetched(image, |pulled| {
            pulled.documents.layers.iter().any(|layer| layer.blob == *digest).then_some(())
        })
    }

    fn in_fetched<T>(&self, image: &ImageRef, find: impl FnOnce(&Pulled) -> Option<T>) -> Result<T, Error> {
        let key = (image.repository.clone(), image.digest.clone());
        let cell = lock(&self.state.images).get(&key).and_then(Weak::upgrade);
        let found = match cell.as_ref().and_then(|cell| cell.get()) {
            Some(Ok(pulled)) => find(pulled),
            _ => None,
        };
        let why = || "a part of it is not on this node any more".to_owned();
        found.ok_or_else(|| Error::Image { digest: image.digest.clone(), why: why() })
    }
}

impl State {
    /// Brings a blob into a file of its own.
    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes_max: u64,
    ) -> Result<BlobFile, Error> {
        // Never closed.
        let _turn = self.at_once.acquire().await;
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        let blob = BlobFile { path: self.directory.join(format!("{number}-{}", digest.short())) };
        let room = |bytes| {
            check_room(&self.directory, bytes).map_err(|why| Error::Image { digest: digest.clone(), why })
        };
        room(0)?;
        let mut checked = 0;
        let (full, mut is_full) = tokio::sync::mpsc::channel(1);
        let pull = self.puller.blob(repository, digest, bytes_max, &blob.path, |bytes| {
            if bytes - checked >= ROOM_CHECK_BYTES {
                checked = bytes;
                if let Err(error) = room(0) {
                    // Heard of already when there is no room for it.
                    let _ = full.try_send(error);
                }
            }
        });
        tokio::select! {
            pulled = pull => pulled.map_err(from_registry(digest))?,
            Some(error) = is_full.recv() => return Err(error),
        };
        Ok(blob)
    }

    fn recall(&self, key: &Key) -> Option<Arc<Documents>> {
        let remembered = lock(&self.remembered);
        remembered.iter().find(|(known, _)| known == key).map(|(_, documents)| Arc::clone(documents))
    }

    /// The one used longest ago makes room.
    fn remember(&self, key: &Key, documents: &Arc<Documents>) {
        let mut remembered = lock(&self.remembered);
        remembered.retain(|(known, _)| known != key);
        if remembered.len() == REMEMBERED_MAX {
            remembered.remove(0);
        }
        remembered.push((key.clone(), Arc::clone(documents)));
    }
}

/// The one cell that all use who want this now.
fn shared_cell<K: Ord + Clone, T>(
    cells: &Mutex<BTreeMap<K, Weak<OnceCell<T>>>>,
    key: &K,
) -> Arc<OnceCell<T>> {
    let mut cells = lock(cells);
    if let Some(cell) = cells.get(key).and_then(Weak::upgrade) {
        return cell;
    }
    cells.retain(|_, cell| cell.strong_count() > 0);
    let cell = Arc::new(OnceCell::new());
    cells.insert(key.clone(), Arc::downgrade(&cell));
    cell
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
