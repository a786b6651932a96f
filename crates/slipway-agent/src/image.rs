//! From an image's name to unpacked layers and what its config says.
//!
//! Documents are checked against the digest that names them, from the manifest to the layers' diff
//! ids, so that what runs is what the release says, whoever stored it. And each of them is taken from
//! the image's own repository: its digests were written by a tenant, and to know a digest is no right
//! to what is behind it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use slipway_model::id::Digest;
use slipway_model::push::ImageRef;
use slipway_registry::digest::Hasher;

use crate::error::Error;
use crate::layers::{Layers, Packing, Wanted};

mod remote;

pub(crate) use remote::Fetched;
pub use remote::Remote;

/// A manifest or config of more than this is refused (N37, N41).
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Overlayfs takes 500 lower directories; Docker allows 127 layers.
const LAYERS_MAX: usize = 127;

/// Where images come from.
#[derive(Clone)]
pub enum ImageSource {
    /// The registry of this process.
    Registry(slipway_registry::Registry),
    /// A directory in OCI image layout (image-spec, image-layout.md). For tools and tests.
    Layout(PathBuf),
    /// A registry on another machine.
    Remote(Remote),
}

impl ImageSource {
    /// Brings an image here that is elsewhere. It can be prepared as long as what this returns is held.
    ///
    /// # Errors
    /// When it cannot be had, or is damaged.
    pub(crate) async fn fetch(&self, layers: &Layers, image: &ImageRef) -> Result<Fetched, Error> {
        match self {
            Self::Remote(remote) => remote.fetch(layers, image).await,
            Self::Registry(_) | Self::Layout(_) => Ok(Fetched::nothing()),
        }
    }

    /// A manifest of the image's repository.
    fn manifest(&self, image: &ImageRef, digest: &Digest) -> Result<Vec<u8>, Error> {
        let Self::Registry(registry) = self else { return self.document(image, digest) };
        let repository = repository(image)?;
        let reference = slipway_registry::Reference::Digest(digest.clone());
        let manifest = registry.manifest(&repository, &reference).map_err(from_registry(digest))?;
        let unknown = || slipway_registry::Error::ManifestUnknown {
            repository: repository.clone(),
            reference: digest.to_string(),
        };
        Ok(manifest.ok_or_else(unknown).map_err(from_registry(digest))?.bytes.to_vec())
    }

    /// A blob that is small and ours to check.
    fn document(&self, image: &ImageRef, digest: &Digest) -> Result<Vec<u8>, Error> {
        if let Self::Remote(remote) = self {
            return remote.document(image, digest);
        }
        let bad = |why: String| Error::Image { digest: digest.clone(), why };
        let mut bytes = Vec::new();
        self.open(image, digest)?
            .take(DOCUMENT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| bad(format!("it cannot be read: {error}")))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(bad("it is larger than 4 MiB".into()));
        }
        let mut hasher = Hasher::like(digest);
        hasher.update(&bytes);
        if hasher.finish() != *digest {
            return Err(bad("its content does not have this digest".into()));
        }
        Ok(bytes)
    }

    /// A blob of the image's own repository: what an image names may be anybody's.
    fn open(&self, image: &ImageRef, digest: &Digest) -> Result<File, Error> {
        match self {
            Self::Registry(registry) => {
                registry.open_blob_in(&repository(image)?, digest).map_err(from_registry(digest))
            }
            Self::Layout(root) => {
                let path = root.join("blobs").join(digest.algorithm()).join(digest.hex());
                File::open(&path).map_err(Error::file("open", &path))
            }
            Self::Remote(remote) => remote.open_blob(image, digest),
        }
    }

    /// Makes sure that the image's repository has a blob, without opening it.
    fn check_has(&self, image: &ImageRef, digest: &Digest) -> Result<(), Error> {
        let registry = match self {
            Self::Registry(registry) => registry,
            Self::Layout(_) => return Ok(()),
            Self::Remote(remote) => return remote.check_has(image, digest),
        };
        let repository = repository(image)?;
        match registry.blob_in(&repository, digest).map_err(from_registry(digest))? {
            Some(_) => Ok(()),
            None => {
                let digest = digest.clone();
                let source = slipway_registry::Error::BlobUnknown { repository, digest: digest.clone() };
                Err(Error::Registry { digest, source })
            }
        }
    }
}

fn repository(image: &ImageRef) -> Result<slipway_registry::Repository, Error> {
    let bad = |_| Error::Image {
        digest: image.digest.clone(),
        why: format!("{:?} is not the name of a repository", image.repository),
    };
    image.repository.parse().map_err(bad)
}

fn from_registry(digest: &Digest) -> impl FnOnce(slipway_registry::Error) -> Error {
    move |source| Error::Registry { digest: digest.clone(), source }
}

/// An image that is ready to be started from.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The layers' directories, lowest first.
    pub layers: Vec<PathBuf>,
    /// What its config says.
    pub config: Config,
}

/// The part of an image's config that says how to start it (OCI image-spec, config.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty when not said.
    pub user: Option<String>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// The first words of what is started.
    pub entrypoint: Option<Vec<String>>,
    /// The words after them, unless others are given.
    pub cmd: Option<Vec<String>>,
    /// Where it is started.
    pub working_dir: Option<String>,
}

/// Unpacks an image that is here, or has been [fetched](ImageSource::fetch). Blocks.
///
/// # Errors
/// When it is not there, damaged, or not what we can run.
pub fn prepare(source: &ImageSource, layers: &Layers, image: &ImageRef) -> Result<Unpacked, Error> {
    let bad = |why: &str| Error::Image { digest: image.digest.clone(), why: why.to_owned() };
    let mut manifest: Manifest = parse(&image.digest, &source.manifest(image, &image.digest)?)?;
    if !manifest.manifests.is_empty() {
        let ours = manifest.for_this_machine();
        let digest = ours.ok_or_else(|| bad("it has no variant for this kind of machine"))?;
        manifest = parse(&digest, &source.manifest(image, &digest)?)?;
    }
    let config = manifest.config.ok_or_else(|| bad("its manifest names no config"))?;
    let config: ImageConfig = parse(&config.digest, &source.document(image, &config.digest)?)?;
    let diff_ids = config.rootfs.diff_ids;
    if manifest.layers.is_empty() || manifest.layers.len() != diff_ids.len() {
        return Err(bad("its manifest and its config do not have the same layers"));
    }
    if diff_ids.len() > LAYERS_MAX {
        return Err(bad("it has more than 127 layers"));
    }
    let mut left = layers.limits();
    let mut trees = Vec::with_capacity(diff_ids.len());
    for (layer, diff_id) in manifest.layers.iter().zip(&diff_ids) {
        let packing = Packing::of_media_type(&layer.media_type)?;
        // The tree may be there because somebody else has it.
        source.check_has(image, &layer.digest)?;
        let wanted = Wanted { diff_id, blob: &layer.digest, packing };
        trees.push(layers.ensure(wanted, &mut left, || {
            source.open(image, &layer.digest).map_err(|error| io::Error::other(error.chain()))
        })?);
    }
    Ok(Unpacked { layers: trees, config: config.config.unwrap_or_default() })
}

fn parse<T: for<'de> Deserialize<'de>>(digest: &Digest, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Image { digest: digest.clone(), why: format!("it is malformed: {error}") })
}

/// The layers that a config names, uncompressed.
fn diff_ids(digest: &Digest, config: &[u8]) -> Result<Vec<Digest>, Error> {
    Ok(parse::<ImageConfig>(digest, config)?.rootfs.diff_ids)
}

/// A manifest, or an index of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

impl Manifest {
    /// Which one of an index runs here.
    fn for_this_machine(&self) -> Option<Digest> {
        let ours = self.manifests.iter().find(|entry| entry.platform.is_this_machine());
        ours.map(|entry| entry.digest.clone())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: Digest,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    platform: Platform,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Platform {
    architecture: String,
    os: String,
}

impl Platform {
    fn is_this_machine(&self) -> bool {
        // OCI has Go's names for them.
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        self.os == "linux" && self.architecture == architecture
    }
}

#[derive(Debug, Deserialize)]
struct ImageConfig {
    config: Option<Config>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// The user and group a container's program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Inside the container.
    pub uid: u32,
    /// Inside the container.
    pub gid: u32,
}

/// What `USER` means in this image; names are looked up in its own `/etc/passwd` and `/etc/group`.
///
/// # Errors
/// When a name is not there, or an id is beyond the tenant's range.
pub fn resolve_user(text: &str, layers: &[PathBuf]) -> Result<User, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let in_range = |id: u32| {
        let range = slipway_model::instance::UID_RANGE;
        if id < range {
            Ok(id)
        } else {
            Err(format!("the image's user {text:?} has an id above {}", range - 1))
        }
    };
    let passwd = || lines_of(layers, "passwd");
    let (uid, default_gid) = match user.parse::<u32>() {
        Ok(uid) => {
            let entry = passwd().into_iter().find(|line| line.get(2).is_some_and(|id| id == user));
            (uid, entry.and_then(|line| line.get(3)?.parse().ok()).unwrap_or(0))
        }
        Err(_) => {
            let entry = passwd().into_iter().find(|line| line[0] == user);
            let ids = entry.and_then(|line| Some((line.get(2)?.parse().ok()?, line.get(3)?.parse().ok()?)));
            ids.ok_or_else(|| format!("the image's user {user:?} is not in its /etc/passwd"))?
        }
    };
    let gid = match group {
        None => default_gid,
        Some(group) => match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => {
                let entry = lines_of(layers, "group").into_iter().find(|line| line[0] == group);
                let gid = entry.and_then(|line| line.get(2)?.parse().ok());
                gid.ok_or_else(|| format!("the image's group {group:?} is not in its /etc/group"))?
            }
        },
    };
    Ok(User { uid: in_range(uid)?, gid: in_range(gid)? })
}

/// `/etc/<name>` of the topmost layer that has it, split at the colons. Never through a link.
fn lines_of(layers: &[PathBuf], name: &str) -> Vec<Vec<String>> {
    for layer in layers.iter().rev() {
        if let Some(text) = read_beneath(layer, &format!("etc/{name}")) {
            return text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect();
        }
    }
    Vec::new()
}

fn read_beneath(root: &Path, path: &str) -> Option<String> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
    let flags = OFlags::CLOEXEC | OFlags::RDONLY;
    let root = openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let safely = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(root, path, flags | OFlags::NONBLOCK, Mode::empty(), safely).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(1 << 20).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests;
