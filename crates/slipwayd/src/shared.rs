//! The storage that the servers of a cluster share: a directory, or a bucket.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use slipway_access::{Keyring, MasterKey};
use slipway_model::id::ClusterId;
use slipway_model::project::Sealed;
use slipway_registry::Registry;
use slipway_storage::{Authenticated, Mark, Place};

use crate::bucket::{self, Conditions};

/// The folder of the repositories.
pub const REPOSITORIES: &str = "repositories";
/// The folder of the images.
pub const IMAGES: &str = "images";
/// The folder of the logs of builds.
pub const BUILDS: &str = "builds";
/// The folder of what tells where instances ran.
pub const RAN: &str = "ran";

#[cfg(test)]
mod tests;

/// What belongs to the cluster as a whole.
const CLUSTER: &str = "cluster";
const ID: &str = "id";
const HOST_KEY: &str = "ssh-host-key";
/// Both are shorter.
const OBJECT_BYTES_MAX: usize = 16 << 10;

/// The bucket that a file describes, or a shared directory, or neither.
pub fn place(shared_dir: Option<&Path>, bucket_file: Option<&Path>) -> anyhow::Result<Option<Place>> {
    Ok(match (bucket_file, shared_dir) {
        // Whether they may be trusted is asked, and nothing here is done without them: see `check`.
        (Some(file), _) => Some(bucket::open(file, Conditions::Needed)?),
        (None, directory) => directory.map(Place::directory),
    })
}

/// The cluster's key. Only who comes to a new storage makes one.
pub async fn master_key(path: &Path, place: &Place) -> anyhow::Result<MasterKey> {
    if !path.exists() && has_objects(place).await.context("the shared storage")? {
        let cluster = place.get(CLUSTER, ID, OBJECT_BYTES_MAX).await.context("the shared storage")?;
        // Nobody has a key to compare it by; it is for the sentence alone.
        let cluster = cluster.map(|text| String::from_utf8_lossy(&text).lines().take(1).collect::<String>());
        bail!(
            "there is no master key at {}, and {place} belongs to {}, which has one: copy it from another \
             server, or name its place with --master-key",
            path.display(),
            cluster.as_deref().unwrap_or("a cluster"),
        );
    }
    Ok(MasterKey::load_or_create(path)?)
}

/// The storage of the cluster that has this master key; it is founded if nothing is there.
pub async fn open(place: Place, master: &MasterKey) -> anyhow::Result<Authenticated> {
    check(&place).await?;
    let key = master.storage_authentication();
    match Authenticated::open(place.clone(), &key).await {
        Ok(Some(storage)) => return Ok(storage),
        Ok(None) => {}
        Err(error @ slipway_storage::Error::Forged { .. }) => {
            return Err(error).context(
                "cannot use the shared storage. If it is the right one, give --master-key a copy of the key \
                 that the other servers have",
            );
        }
        Err(error) => return Err(error).context("cannot use the shared storage"),
    }
    // Another server may found it at this moment, and that comes first.
    let is_founded = || Authenticated::is_founded(&place);
    if has_objects(&place).await.context("the shared storage")? && !is_founded().await? {
        bail!(
            "{place} has objects, and nothing that says whose they are (storage/id): either that was deleted, \
             then put it back from a backup; or an earlier version wrote them, which proved of nothing who \
             wrote it, and which this one does not read: take an empty storage"
        );
    }
    Authenticated::found(place, &key).await.context("the shared storage")
}

/// Refuses a storage without images where the records know of some: most likely a mount point whose file
/// server is not mounted. Who led with it would forget everything, and show git another host key.
pub async fn is_the_clusters(storage: &Authenticated, known: Mark) -> anyhow::Result<()> {
    let images = storage.below(IMAGES)?;
    if known.number == 0 || Registry::is_shared_in(&images).await.context("the shared storage")? {
        return Ok(());
    }
    bail!(
        "{} has no images, and this cluster has some: is it mounted? Or is it the wrong --shared-dir or \
         --shared-s3?",
        storage.place()
    )
}

/// Whether there is anything of ours.
async fn has_objects(place: &Place) -> Result<bool, slipway_storage::Error> {
    if Authenticated::is_founded(place).await? {
        return Ok(true);
    }
    for folder in [REPOSITORIES, IMAGES, BUILDS, RAN] {
        if !place.folders(folder).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(!place.list(CLUSTER).await?.is_empty())
}

/// Refuses the storage of another cluster.
pub async fn claim(storage: &Authenticated, own: &ClusterId) -> anyhow::Result<()> {
    let (place, own) = (storage.place(), own.as_str());
    let closed = storage.close(CLUSTER, ID, own.as_bytes())?;
    if place.create(CLUSTER, ID, closed.bytes).await.context("the shared storage")? {
        return Ok(());
    }
    let found = storage.get(CLUSTER, ID, OBJECT_BYTES_MAX).await.context("the shared storage")?;
    let found = found.map(|(text, _)| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    if found != own {
        bail!(
            "{place} belongs to the cluster {found}, and the records in ZooKeeper are of the cluster {own}: \
             give the right --shared-dir, --shared-s3 or --zookeeper-root"
        );
    }
    Ok(())
}

/// Makes the SSH host key in `file` the one that all servers have. The first server brings its own, if it
/// has one. It is sealed in the storage, under the master key.
pub async fn bring_host_key(storage: &Authenticated, keyring: &Keyring, file: &Path) -> anyhow::Result<()> {
    match sealed_host_key(storage).await {
        Ok(None) => {}
        Ok(Some(sealed)) => return write_host_key(keyring, &sealed, file),
        Err(error) if file.exists() => {
            tracing::warn!("this server goes on with the SSH host key that it has: {error:#}");
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    slipway_git::make_host_key(file)?;
    let own = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let sealed = serde_json::to_vec(&keyring.seal_own(HOST_KEY, &own))?;
    let closed = storage.close(CLUSTER, HOST_KEY, &sealed)?;
    if storage.place().create(CLUSTER, HOST_KEY, closed.bytes).await.context("the shared storage")? {
        return Ok(());
    }
    // Another server was faster.
    let sealed = sealed_host_key(storage).await?.context("the SSH host key went away from the storage")?;
    write_host_key(keyring, &sealed, file)
}

async fn sealed_host_key(storage: &Authenticated) -> anyhow::Result<Option<Sealed>> {
    let found = storage.get(CLUSTER, HOST_KEY, OBJECT_BYTES_MAX).await.context("the shared storage")?;
    let sealed = found.map(|(text, _)| serde_json::from_slice(&text)).transpose();
    sealed.with_context(|| format!("the SSH host key in {} is damaged", storage.place()))
}

fn write_host_key(keyring: &Keyring, sealed: &Sealed, file: &Path) -> anyhow::Result<()> {
    let text = keyring.open_own(HOST_KEY, sealed).context(
        "the SSH host key in the shared storage was sealed under another master key: give this server the \
         cluster's --master-key, or the right --shared-dir or --shared-s3",
    )?;
    if fs::read_to_string(file).is_ok_and(|own| own == text.expose()) {
        return Ok(());
    }
    slipway_git::write_host_key(file, text.expose())
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Refuses a bucket whose server would let two servers create the same object, such as an entry of the
/// registry's log.
async fn check(place: &Place) -> anyhow::Result<()> {
    let Some(bucket) = place.as_bucket() else { return Ok(()) };
    let asked = bucket.knows_conditions("checks", &format!("{:032x}", rand::random::<u128>())).await;
    match asked {
        Ok(true) => Ok(()),
        Ok(false) => bail!(
            "{bucket} does not know If-None-Match, by which one of two servers is told that the other was \
             faster; take another, or a directory that all servers share (--shared-dir)"
        ),
        Err(error) => Err(error).with_context(|| format!("{bucket} cannot be used")),
    }
}
