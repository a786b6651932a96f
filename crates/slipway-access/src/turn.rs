//! One after the other: whoever changes the apps of a tenant waits for those who came before, instead
//! of preparing a change that would be refused because theirs was first. Between processes the version
//! of a record decides; here it is only about not being in each other's way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use slipway_model::name::TenantName;
use tokio::sync::OwnedMutexGuard;

/// Turns that nobody takes are forgotten when there are more than so many.
const IDLE_MAX: usize = 64;

/// Whose turn it is, for each tenant. Waiting is in order.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    tenants: Mutex<HashMap<TenantName, Arc<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits for the caller's turn, which lasts until what is returned is dropped.
    pub(crate) async fn take(&self, tenant: &TenantName) -> OwnedMutexGuard<()> {
        let turn = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            if tenants.len() > IDLE_MAX {
                tenants.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            tenants.entry(tenant.clone()).or_default().clone()
        };
        turn.lock_owned().await
    }
}
