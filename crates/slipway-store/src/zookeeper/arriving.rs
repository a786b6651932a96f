//! A root that is being filled with the records of an embedded store. See [`crate::transfer()`].

use std::collections::BTreeMap;
use std::sync::Arc;

use slipway_model::id::{ClusterId, Epoch};
use tokio::task::JoinSet;

use super::commit::Writer;
use super::election::LeaderNode;
use super::foundation::{self, Root};
use super::layout::Layout;
use super::session::Client;
use super::wire::{NodeChange, Request};
use super::{ZooKeeperOptions, mirror, start};
use crate::batch::Batch;
use crate::error::Error;
use crate::memory::Stored;

/// Batches on their way at once.
const UNDER_WAY_MAX: usize = 8;

pub(crate) struct Arriving {
    client: Client,
    layout: Layout,
}

impl Arriving {
    pub(crate) fn start(options: ZooKeeperOptions) -> Result<Self, Error> {
        let (client, layout) = start(options)?;
        Ok(Self { client, layout })
    }

    /// What the root says, if it is there.
    pub(crate) async fn look(&self) -> Result<Option<Root>, Error> {
        foundation::look(&self.client, &self.layout).await
    }

    /// Makes the root, unless that was begun before.
    pub(crate) async fn begin(&mut self, cluster: &ClusterId, epoch: Epoch) -> Result<(), Error> {
        let root = foundation::root(&self.client, &self.layout, &Root::new(cluster.clone(), true)).await?;
        let foreign = |why| Err(Error::Foreign { root: self.layout.root().to_owned(), why });
        if root.cluster != *cluster {
            return foreign(format!("it is not empty: the records of {} are in it", root.cluster));
        }
        if !root.moving {
            let why = "this store's records were moved into it already and are in use there, \
                       and the store is an older copy that does not know it";
            return foreign(why.to_owned());
        }
        self.layout = self.layout.clone().of_cluster(cluster);
        foundation::below(&self.client, &self.layout, &LeaderNode::after(epoch)).await?;
        // What was begun before may have begun with an earlier epoch.
        let body = self.client.accept(self.client.ask(Request::data(&self.layout.leader())).await?)?;
        let (leader, version) = LeaderNode::decode(&self.layout, &body)?;
        if leader.epoch < epoch {
            let data = LeaderNode::after(epoch).encode(&self.layout, version + 1);
            let path = self.layout.leader();
            let set = Request::change(&NodeChange::Set { path, data, version });
            self.client.accept(self.client.ask(set).await?)?;
        }
        Ok(())
    }

    pub(crate) async fn records(&self) -> Result<BTreeMap<Arc<str>, Stored>, Error> {
        mirror::list(&self.client, &self.layout, "").await
    }

    pub(crate) async fn commit_all(&self, batches: Vec<Batch>) -> Result<(), Error> {
        let writer = Arc::new(Writer::new(self.client.clone(), self.layout.clone()));
        let mut under_way = JoinSet::new();
        for batch in batches {
            if under_way.len() >= UNDER_WAY_MAX {
                joined(under_way.join_next().await)?;
            }
            let writer = writer.clone();
            under_way.spawn(async move { writer.commit(&batch).await });
        }
        while !under_way.is_empty() {
            joined(under_way.join_next().await)?;
        }
        Ok(())
    }

    /// Opens the root for stores.
    pub(crate) async fn finish(&self, cluster: &ClusterId) -> Result<(), Error> {
        foundation::change(&self.client, &self.layout, &Root::new(cluster.clone(), false)).await?;
        self.client.close().await;
        Ok(())
    }
}

fn joined(done: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> Result<(), Error> {
    match done {
        Some(Ok(result)) => result,
        // A task that panicked; it has said why.
        Some(Err(_)) => Err(Error::Closed),
        None => Ok(()),
    }
}
