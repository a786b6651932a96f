//! The storage that the servers of a cluster share: a directory, or a bucket.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use slipway_storage::s3::{Description, Keys};
use slipway_storage::{Bucket, Place};

/// The folder of the repositories.
pub const REPOSITORIES: &str = "repositories";
/// The folder of the images.
pub const IMAGES: &str = "images";

/// The bucket that a file describes, or else the shared directory.
pub fn place(shared_dir: &Path, bucket_file: Option<&Path>) -> anyhow::Result<Place> {
    Ok(match bucket_file {
        Some(file) => Place::bucket(bucket(file)?),
        None => Place::directory(shared_dir),
    })
}

/// Refuses a bucket whose server would let two servers create the same object, such as an entry of the
/// registry's log.
pub async fn check(place: &Place) -> anyhow::Result<()> {
    let Some(bucket) = place.as_bucket() else { return Ok(()) };
    let asked = bucket.knows_conditions("checks", &format!("{:032x}", rand::random::<u128>())).await;
    match asked {
        Ok(true) => Ok(()),
        Ok(false) => bail!(
            "{bucket} does not know If-None-Match, by which one of two servers is told that the other was \
             faster; take another, or keep images and repositories in the shared directory"
        ),
        Err(error) => Err(error).with_context(|| format!("{bucket} cannot be used")),
    }
}

fn bucket(file: &Path) -> anyhow::Result<Bucket> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let description = parse(&text).with_context(|| file.display().to_string())?;
    Bucket::new(description).with_context(|| file.display().to_string())
}

/// A name and its value on each line; lines that begin with # say nothing.
fn parse(text: &str) -> anyhow::Result<Description> {
    let mut found = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) =
            line.split_once(char::is_whitespace).with_context(|| format!("{line}: no value"))?;
        if found.insert(name, value.trim().to_owned()).is_some() {
            bail!("{name} is there twice");
        }
    }
    let mut take = |name: &str| found.remove(name);
    let need = |name: &str, value: Option<String>| value.with_context(|| format!("{name} is missing"));
    let authority_pem = take("authority-file")
        .map(|file| fs::read_to_string(&file).with_context(|| format!("cannot read {file}")));
    let description = Description {
        endpoint: need("endpoint", take("endpoint"))?,
        region: take("region").unwrap_or_else(|| "us-east-1".to_owned()),
        bucket: need("bucket", take("bucket"))?,
        prefix: take("prefix").unwrap_or_default(),
        keys: Keys {
            access: need("access-key", take("access-key"))?,
            secret: need("secret-key", take("secret-key"))?,
        },
        authority_pem: authority_pem.transpose()?,
        trust_conditions: true,
    };
    match found.keys().next() {
        Some(unknown) => bail!("{unknown} is not known"),
        None => Ok(description),
    }
}

#[cfg(test)]
mod tests;
