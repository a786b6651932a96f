//! The look before a batch is sent: everything that it depends on, in one go.

use std::sync::Arc;

use super::Writer;
use super::levels::Needed;
use super::slot::Slot;
use crate::batch::{Batch, Change, Condition};
use crate::error::Error;
use crate::zookeeper::election::LeaderNode;
use crate::zookeeper::layout::Layout;
use crate::zookeeper::plan::Seen;
use crate::zookeeper::wire::{Code, NodeChange, Request, Stat};

/// What was seen, and what else the `multi` says.
pub(super) struct Look {
    pub(super) seen: Seen,
    pub(super) slot: Option<Stat>,
    /// The leader's node and its content version, if the batch is fenced.
    pub(super) leader: Option<(LeaderNode, i32)>,
}

impl Look {
    pub(super) fn slot_version(&self) -> Option<i32> {
        self.slot.map(|stat| stat.version)
    }

    pub(super) fn fence(&self, batch: &Batch) -> Result<(), Error> {
        match (batch.epoch, &self.leader) {
            (Some(epoch), Some((leader, _))) if leader.epoch != epoch => {
                Err(Error::Fenced { epoch, newest: leader.epoch })
            }
            _ => Ok(()),
        }
    }
}

impl Writer {
    /// Reads all that the batch depends on.
    pub(super) async fn look(&self, batch: &Batch, slot: &Slot<'_>, sync: bool) -> Result<Look, Error> {
        self.open_window().await?;
        let mut keys: Vec<&Arc<str>> = batch.operations.iter().map(|operation| &operation.key).collect();
        keys.sort();
        keys.dedup();
        let mut buckets: Vec<u32> = batch
            .operations
            .iter()
            .filter(|operation| {
                operation.condition != Condition::None || !matches!(operation.change, Change::Put(_))
            })
            .map(|operation| Layout::bucket(&operation.key))
            .collect();
        buckets.sort_unstable();
        buckets.dedup();
        let Needed { known: mut there, unknown } = self.levels.above(batch);

        let exists = |path: String| Request::exists(&path, false);
        // The buckets before the nodes: see `plan`.
        let mut requests = Vec::new();
        if sync {
            requests.push(Request::sync(&self.layout.leader()));
        }
        if batch.epoch.is_some() {
            requests.push(Request::data(&self.layout.leader()));
        }
        requests.push(exists(slot.path.clone()));
        requests.extend(buckets.iter().map(|bucket| exists(self.layout.deletions(*bucket))));
        requests.extend(keys.iter().map(|key| exists(self.layout.record(key))));
        requests.extend(unknown.iter().map(|level| exists(self.layout.record(level))));
        let mut answers = self.client.ask_all(&requests).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Err(Code::NO_NODE));
        if sync {
            self.client.accept(next())?;
        }

        let mut leader = None;
        if batch.epoch.is_some() {
            leader = Some(LeaderNode::decode(&self.layout, &self.client.accept(next())?)?);
        }
        let slot = self.client.stat(next())?;
        let mut seen = Seen {
            transaction: self.client.transaction(),
            within: self.window.transactions(),
            ..Seen::default()
        };
        for bucket in buckets {
            let stat = self.client.stat(next())?;
            let missing = || Error::Refused { why: "a part of the store's own nodes is missing".to_owned() };
            seen.buckets.insert(bucket, stat.ok_or_else(missing)?.version);
        }
        for key in keys {
            seen.nodes.insert(key.clone(), self.client.stat(next())?);
        }
        for level in unknown {
            if self.client.stat(next())?.is_some() {
                there.insert(level);
            }
        }
        seen.levels = there;
        Ok(Look { seen, slot, leader })
    }

    /// Has the servers write something on this connection. After an election of theirs transactions
    /// are counted anew, so what was seen before the first of them says nothing about what comes.
    async fn open_window(&self) -> Result<(), Error> {
        let mut opened = self.opened.lock().await;
        let connection = self.client.connection();
        if *opened != connection {
            let touch = NodeChange::Set { path: self.layout.writers(), data: Vec::new(), version: -1 };
            self.client.accept(self.client.ask(Request::change(&touch)).await?)?;
            *opened = connection;
        }
        Ok(())
    }
}
