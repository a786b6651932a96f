//! Definitions that were read before. A change of one app is decided on all of its tenant's, and what is
//! listed is selected by what they say; reading ten thousand again each time would take a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use slipway_marathon::app::AppDefinition;
use slipway_marathon::error::Error;
use slipway_model::app::{App, PathId};
use slipway_model::name::TenantName;
use slipway_model::unit::Timestamp;

/// Definitions that are kept; beyond, all are forgotten. One of usual size takes 2 KiB.
const KEPT_MAX: usize = 20_000;

/// By app, the newest version that was asked for.
#[derive(Debug, Default)]
pub struct Definitions(Mutex<HashMap<(TenantName, PathId), Read>>);

/// A version, and what it says.
type Read = (Timestamp, Arc<AppDefinition>);

impl Definitions {
    /// What an app's definition says.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(&self, app: &App) -> Result<Arc<AppDefinition>, Error> {
        let key = (app.tenant.clone(), app.id.clone());
        // A version never changes, so whatever is there is right even after a panic.
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, known)) = lock().get(&key)
            && *version == app.version
        {
            return Ok(known.clone());
        }
        let read = Arc::new(AppDefinition::from_json(&app.definition)?);
        let mut all = lock();
        if all.len() >= KEPT_MAX {
            all.clear();
        }
        all.insert(key, (app.version, read.clone()));
        Ok(read)
    }
}
