//! What every handler works with: the parts that answer, and what is asked of them.

use std::sync::Arc;

use super::asked::Asked;
use super::definitions::Definitions;
use super::events::Hub;
use super::listing::Places;
use super::metrics::Counters;
use super::view::View;
use crate::api::Api;

/// What every handler works with.
pub struct Context {
    pub(super) api: Api,
    pub(super) hub: Arc<Hub>,
    pub(super) definitions: Arc<Definitions>,
    pub(super) listings: Arc<Places>,
    pub(super) counters: Arc<Counters>,
    pub(super) asked: Asked,
    pub(super) view: View,
}
