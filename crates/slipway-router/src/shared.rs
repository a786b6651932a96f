//! What the workers and the keeper of the table share. Locks here are taken when the table changes
//! or somebody asks, never for a request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_model::id::InstanceId;
use slipway_model::name::ServicePath;
use tokio::sync::Notify;

use crate::counters::{Counters, ServiceCounts};

/// One worker's part.
#[derive(Debug)]
pub(crate) struct WorkerShared {
    /// Number of the last change that the worker has taken in: nothing it sends from then on obeys
    /// an older table, and all it sent before is counted.
    adopted: AtomicU64,
    draining: Mutex<Vec<(InstanceId, Arc<AtomicU32>)>>,
    services: Mutex<BTreeMap<ServicePath, Arc<Counters>>>,
    /// Wakes the keeper.
    changed: Arc<Notify>,
}

impl WorkerShared {
    pub(crate) fn new(changed: Arc<Notify>) -> Self {
        Self { adopted: AtomicU64::new(0), draining: Mutex::default(), services: Mutex::default(), changed }
    }

    pub(crate) fn adopt(&self, number: u64) {
        self.adopted.store(number, Ordering::Release);
        self.changed.notify_one();
    }

    pub(crate) fn adopted(&self) -> u64 {
        self.adopted.load(Ordering::Acquire)
    }

    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn set_draining(&self, draining: impl Iterator<Item = (InstanceId, Arc<AtomicU32>)>) {
        *lock(&self.draining) = draining.collect();
    }

    /// Adds this worker's requests under way with retired instances.
    pub(crate) fn add_draining(&self, sum: &mut BTreeMap<InstanceId, u32>) {
        for (instance, under_way) in lock(&self.draining).iter() {
            let count = under_way.load(Ordering::Acquire);
            if count > 0 {
                *sum.entry(instance.clone()).or_default() += count;
            }
        }
    }

    pub(crate) fn counters_of(&self, service: &ServicePath) -> Arc<Counters> {
        Arc::clone(lock(&self.services).entry(service.clone()).or_default())
    }

    pub(crate) fn forget_service(&self, service: &ServicePath) {
        lock(&self.services).remove(service);
    }

    pub(crate) fn add_counts(&self, sum: &mut BTreeMap<ServicePath, ServiceCounts>) {
        for (service, counters) in lock(&self.services).iter() {
            sum.entry(service.clone()).or_default().add(counters);
        }
    }
}

/// Everything behind these locks is whole after each statement, so a panic elsewhere while one was
/// held does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
