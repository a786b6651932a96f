//! The apps of tenants as they were read last, so that a change of one app does not have to read ten
//! thousand. Whoever writes an app or a group writes the tenant's [`AppsRoot`](slipway_model::app::AppsRoot)
//! in the same batch, so the version of that record tells whether what is here is still so.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use slipway_model::app::{App, Group, PathId};
use slipway_model::name::TenantName;
use slipway_store::Version;

/// Apps that are kept of all tenants together, at some 4 KiB each. A tenant alone may have half as many.
const APPS_KEPT: usize = 20_000;

/// The apps and groups of one tenant. Clones are cheap, and a change copies what nobody else looks at.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) apps: Arc<BTreeMap<PathId, Arc<App>>>,
    pub(super) groups: Arc<BTreeMap<PathId, Group>>,
}

#[derive(Debug, Default)]
pub(crate) struct AppsCache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    tenants: HashMap<TenantName, Entry>,
    /// Counts uses, to tell which was used last.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    /// Of the root.
    version: Version,
    known: Known,
    used: u64,
}

impl AppsCache {
    /// The apps as they are when the root has that version, if that is known.
    pub(super) fn get(&self, tenant: &TenantName, version: Version) -> Option<Known> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let uses = kept.uses;
        let entry = kept.tenants.get_mut(tenant).filter(|entry| entry.version == version)?;
        entry.used = uses;
        Some(entry.known.clone())
    }

    /// Keeps the apps as they are when the root has that version.
    pub(super) fn put(&self, tenant: &TenantName, version: Version, known: Known) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let used = kept.uses;
        kept.tenants.insert(tenant.clone(), Entry { version, known, used });
        let size =
            |kept: &Kept| -> usize { kept.tenants.values().map(|entry| 1 + entry.known.apps.len()).sum() };
        while size(&kept) > APPS_KEPT {
            let oldest =
                kept.tenants.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            oldest.map(|oldest| kept.tenants.remove(&oldest));
        }
    }

    /// Takes the apps out, so that they can be changed in place.
    pub(super) fn take(&self, tenant: &TenantName) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).tenants.remove(tenant);
    }
}
