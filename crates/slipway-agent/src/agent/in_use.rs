//! What must not be tidied away because somebody uses it now.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use slipway_model::id::InstanceId;

use super::Shared;

impl Shared {
    /// Takes layers into use until the returned value is dropped.
    pub(crate) fn use_layers(self: &Arc<Self>, layers: &[PathBuf]) -> LayersInUse {
        let mut table = self.table();
        for layer in layers {
            *table.layers_used.entry(layer.clone()).or_default() += 1;
        }
        LayersInUse { shared: Arc::downgrade(self), layers: layers.to_vec() }
    }

    /// Enters a build, whose id must not be that of anything else.
    pub(crate) fn enter_build(self: &Arc<Self>, id: &InstanceId) -> Option<BuildEntered> {
        let new = self.table().builds.insert(id.clone());
        new.then(|| BuildEntered { shared: Arc::downgrade(self), id: id.clone() })
    }
}

/// Keeps layers from being collected.
pub(crate) struct LayersInUse {
    shared: Weak<Shared>,
    layers: Vec<PathBuf>,
}

impl Drop for LayersInUse {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut table = shared.table();
        for layer in &self.layers {
            if let Some(count) = table.layers_used.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    table.layers_used.remove(layer);
                }
            }
        }
    }
}

/// Keeps a build from being swept.
pub(crate) struct BuildEntered {
    shared: Weak<Shared>,
    id: InstanceId,
}

impl Drop for BuildEntered {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.table().builds.remove(&self.id);
        }
    }
}
