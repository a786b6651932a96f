//! How many transfers run, of whom, and of which repositories.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_model::name::ProjectPath;

use super::Repositories;

/// Pushes and fetches at one time. Each is a git process or two; one that follows its build sleeps.
const TRANSFERS_MAX: usize = 128;
/// Those of one tenant, so that a tenant with full queues does not keep the others out.
const TRANSFERS_OF_TENANT_MAX: usize = 32;
impl Repositories {
    /// Says that a transfer of the project runs, until the mark is dropped; `None` when too many do,
    /// of its tenant or of all.
    pub(crate) fn mark_busy(&self, project: ProjectPath) -> Option<Busy> {
        let mut busy = lock(&self.busy);
        let of_tenant = busy.iter().filter(|(other, _)| other.tenant == project.tenant);
        if of_tenant.map(|(_, count)| count).sum::<usize>() >= TRANSFERS_OF_TENANT_MAX
            || busy.values().sum::<usize>() >= TRANSFERS_MAX
        {
            return None;
        }
        *busy.entry(project.clone()).or_default() += 1;
        Some(Busy { project, busy: self.busy.clone() })
    }

    /// True while any transfer runs.
    pub(crate) fn is_busy(&self) -> bool {
        !lock(&self.busy).is_empty()
    }
}

/// See [`Repositories::mark_busy`].
#[derive(Debug)]
pub(crate) struct Busy {
    project: ProjectPath,
    busy: Arc<Mutex<HashMap<ProjectPath, usize>>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = lock(&self.busy);
        if let Some(count) = busy.get_mut(&self.project) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.project);
            }
        }
    }
}

pub(super) fn lock(busy: &Mutex<HashMap<ProjectPath, usize>>) -> MutexGuard<'_, HashMap<ProjectPath, usize>> {
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}
