//! The authority's record: made once, by whoever comes first.

use std::sync::Arc;

use slipway_link::authority::Authority;
use slipway_model::cluster;
use slipway_store::Batch;

use super::subnet::POOL;
use crate::access::Access;
use crate::error::Error;

/// What its key is sealed as.
const PLACE: &str = "the key of the cluster's authority";

impl Access {
    /// The authority whose certificates count in this cluster. Made if there is none yet; servers that
    /// start together end up with the same.
    ///
    /// # Errors
    /// [`Error::Unsealable`] when the stored key is not under this master key; [`Error::Store`].
    pub async fn cluster_authority(&self) -> Result<Arc<Authority>, Error> {
        self.cluster.authority.get_or_try_init(|| self.open_authority()).await.cloned()
    }

    async fn open_authority(&self) -> Result<Arc<Authority>, Error> {
        if let Some(found) = self.get::<cluster::Authority>(&()).await? {
            return self.opened(&found.record);
        }
        let (made, key) =
            Authority::create(self.store.cluster_id().as_str()).map_err(Error::link("make the authority"))?;
        let record = cluster::Authority {
            cluster: made.cluster().to_owned(),
            certificate: made.certificate().to_owned(),
            key: self.keyring.seal_own(PLACE, &key),
            pool: POOL.parse().expect("the constant is a block"),
            next_subnet: 0,
            created_at: self.now(),
        };
        if self.commit(Batch::new().create(&record)).await? {
            tracing::info!(cluster = record.cluster, "the cluster has an authority for certificates now");
            return Ok(Arc::new(made));
        }
        let found = self.get::<cluster::Authority>(&()).await?;
        self.opened(&found.ok_or_else(crate::access::too_busy)?.record)
    }

    fn opened(&self, record: &cluster::Authority) -> Result<Arc<Authority>, Error> {
        let key = self.keyring.open_own(PLACE, &record.key)?;
        let opened = Authority::open(&record.cluster, &record.certificate, key.expose());
        opened.map(Arc::new).map_err(Error::link("open the authority"))
    }
}
