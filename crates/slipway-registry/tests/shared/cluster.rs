//! Servers with directories of their own over one storage.

use std::path::{Path, PathBuf};

use slipway_model::id::Digest;
use slipway_registry::digest::digest_of;
use slipway_registry::store::CollectPolicy;
use slipway_registry::{Error, Options, Reference, Registry, Repository, SharedLog, Tag};
use slipway_storage::{Authenticated, Mark, Place};
use std::time::Duration;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub fn repository() -> Repository {
    "acme/shop".parse().unwrap()
}

/// The cluster's.
pub const KEY: [u8; 32] = [7; 32];

/// A storage, and room for servers.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub storage: Authenticated,
    pub options: Options,
}

impl Cluster {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shared = dir.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        Self::over(Place::directory(shared), dir)
    }

    pub fn over(place: Place, dir: tempfile::TempDir) -> Self {
        let options = Options { reserve_bytes: 0, ..Options::default() };
        Self { dir, storage: found(place), options }
    }

    /// A server begins to lead; whoever led before is not told.
    pub fn lead(&self, server: &str) -> Registry {
        self.try_lead(server).unwrap()
    }

    pub fn try_lead(&self, server: &str) -> Result<Registry, Error> {
        self.try_lead_at(server, Mark::default())
    }

    /// Where it is known elsewhere that the log has so many entries at least.
    pub fn try_lead_from(&self, server: &str, entries: u64) -> Result<Registry, Error> {
        self.try_lead_at(server, self.storage.mark(entries))
    }

    /// Where it is known elsewhere that the log is so far at least.
    pub fn try_lead_at(&self, server: &str, at_least: Mark) -> Result<Registry, Error> {
        let shared = SharedLog { storage: self.storage.clone(), at_least };
        Registry::open_shared(&self.root(server), self.options.clone(), shared)
    }

    pub fn root(&self, server: &str) -> PathBuf {
        self.dir.path().join(server)
    }

    /// The objects that hold blobs, when the storage is a directory.
    pub fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.dir.path().join("shared/blobs"), &mut found);
        found.sort();
        found
    }

    pub fn object_of(&self, digest: &Digest) -> PathBuf {
        let is_it = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(digest.hex());
        let found: Vec<_> = self.objects().into_iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }
}

/// Founds a storage in the place, or opens the one that is there.
pub fn found(place: Place) -> Authenticated {
    let founding = Authenticated::found(place, &KEY);
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(founding)).unwrap()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

pub fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

/// Pushes an image of one layer, as a builder does.
pub fn push(registry: &Registry, name: &str, layer: &[u8]) -> Result<Digest, Error> {
    let config =
        registry.put_blob(&repository(), format!("{{\"of\":\"{}\"}}", digest_of(layer)).as_bytes())?;
    let layer = registry.put_blob(&repository(), layer)?;
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest, "size": config.size },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.digest, "size": layer.size }],
    });
    registry.put_manifest(&repository(), manifest.to_string().as_bytes(), MANIFEST, Some(&tag(name)))
}

/// The layer of the image that a tag points to, read whole.
#[track_caller]
pub fn pull(registry: &Registry, name: &str) -> Option<Vec<u8>> {
    let image = registry.manifest(&repository(), &Reference::Tag(tag(name))).unwrap()?;
    let manifest: serde_json::Value = serde_json::from_slice(&image.bytes).unwrap();
    let digest = |at: &serde_json::Value| at["digest"].as_str().unwrap().parse::<Digest>().unwrap();
    registry.read_blob(&digest(&manifest["config"]), 1 << 20).unwrap();
    Some(registry.read_blob(&digest(&manifest["layers"][0]), 1 << 30).unwrap())
}

pub fn at_once() -> CollectPolicy {
    CollectPolicy { blob_grace: Duration::ZERO, untagged_grace: Some(Duration::ZERO) }
}

#[track_caller]
pub fn is_deposed<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Deposed)), "{result:?}");
}
