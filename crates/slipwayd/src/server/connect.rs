//! Reaching the cluster's records.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use slipway_access::MasterKey;
use slipway_store::{Acl, Error, Store, ZooKeeperOptions, ZooKeeperTls};

use crate::args;
use crate::said::Said;

/// A request of the store waits so long for a server of ZooKeeper to answer. Whoever waits is a person.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to reach ZooKeeper at the start.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What was typed, as the store wants it. Records are authenticated under the master key.
pub fn options(typed: &args::ZooKeeper, master: &MasterKey) -> anyhow::Result<ZooKeeperOptions> {
    let mut options = ZooKeeperOptions::new(typed.zookeeper.clone(), &typed.zookeeper_root);
    options.session_timeout = typed.session.duration();
    options.patience = PATIENCE;
    options.authentication = Some(master.store_authentication());
    options.keep_mirror = true;
    if let (Some(authority), Some(certificate), Some(key)) =
        (&typed.zookeeper_ca, &typed.zookeeper_cert, &typed.zookeeper_key)
    {
        let (authority, certificate, key) = (authority.clone(), certificate.clone(), key.clone());
        options.tls = Some(ZooKeeperTls { authority, certificate, key });
    }
    if let Some(path) = &typed.zookeeper_auth_file {
        options.auth = vec![("digest".to_owned(), credential(path)?)];
        options.acl = vec![Acl::creator()];
    }
    Ok(options)
}

fn credential(path: &Path) -> anyhow::Result<Vec<u8>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.trim_end();
    if line.lines().count() != 1 || !line.contains(':') {
        bail!("{} must hold one line, NAME:PASSWORD", path.display());
    }
    Ok(line.as_bytes().to_vec())
}

/// Connects, however long it takes. What waiting cannot mend is an error.
pub async fn connect(options: &ZooKeeperOptions) -> anyhow::Result<Store> {
    let mut said = Said::default();
    loop {
        let error = match Store::connect(options.clone()).await {
            Ok(store) => return Ok(store),
            Err(error @ (Error::Unavailable { .. } | Error::Uncertain { .. })) => error,
            Err(error @ Error::Foreign { .. }) => {
                return Err(error).context(
                    "is --zookeeper-root another cluster's, or is --master-key not a copy of the master key \
                     that the other servers have?",
                );
            }
            Err(error) => return Err(error.into()),
        };
        said.why(&error.to_string(), |error| {
            tracing::warn!(error, servers = ?options.servers, "ZooKeeper cannot be reached; trying on");
        });
        tokio::time::sleep(TRY_AGAIN).await;
    }
}
