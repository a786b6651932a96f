//! A bucket, as a file describes it: for what servers share, and for an ensemble's settings and backups.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use slipway_storage::s3::{Description, Keys};
use slipway_storage::{Bucket, Place};

/// What is done where a bucket's server may let two of many writers win.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// It is not used: the caller asks whether it knows conditions.
    Needed,
    /// One writer wins by another way, unless the file says that it may be trusted.
    Replaced,
}

/// The bucket that the file describes. Nothing is asked of its server yet.
pub fn open(file: &Path, conditions: Conditions) -> anyhow::Result<Place> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut description = parse(&text).with_context(|| file.display().to_string())?;
    description.trust_conditions |= conditions == Conditions::Needed;
    Ok(Place::bucket(Bucket::new(description).with_context(|| file.display().to_string())?))
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
        trust_conditions: match take("trust-conditions").as_deref() {
            Some("yes") => true,
            Some("no") | None => false,
            Some(_) => bail!("trust-conditions is yes or no"),
        },
    };
    match found.keys().next() {
        Some(unknown) => bail!("{unknown} is not known"),
        None => Ok(description),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_described_by_lines() {
        let text = "# Ceph\nendpoint https://s3.example:8080\nbucket slipway\n\nprefix one/two\naccess-key A\n\
                    secret-key b c\n";
        let read = parse(text).unwrap();
        assert_eq!((read.endpoint.as_str(), read.bucket.as_str()), ("https://s3.example:8080", "slipway"));
        assert_eq!((read.region.as_str(), read.prefix.as_str()), ("us-east-1", "one/two"));
        assert_eq!((read.keys.access.as_str(), read.keys.secret.as_str()), ("A", "b c"));
        let trusted = |more: &str| parse(&format!("{text}{more}")).unwrap().trust_conditions;
        assert!(!trusted("") && !trusted("trust-conditions no\n") && trusted("trust-conditions yes\n"));
        for (wrong, why) in [
            ("bucket slipway\naccess-key A\nsecret-key B\n", "endpoint is missing"),
            (&format!("{text}bucket again\n"), "bucket is there twice"),
            (&format!("{text}buket again\n"), "buket is not known"),
            (&format!("{text}region\n"), "region: no value"),
            (&format!("{text}trust-conditions maybe\n"), "trust-conditions is yes or no"),
        ] {
            assert_eq!(parse(wrong).unwrap_err().to_string(), why);
        }
    }
}
