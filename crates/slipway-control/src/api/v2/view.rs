//! What of the cluster a caller sees.
//!
//! Whoever has one tenant (a token of that tenant, or a member of no other) sees a Marathon of its own.
//! Operators, and members of several tenants, see each tenant as a group at the top. Which it is,
//! `slipway-access` says; how ids are written in either, [`Ids`].

use std::ops::Deref;

use slipway_access::{AppsView, Caller, Scoped};
use slipway_model::account::{Right, Tenant};
use slipway_model::app::PathId;
use slipway_model::name::TenantName;

use super::ids::Ids;
use super::refusal::Refusal;
use crate::api::Api;

/// A caller's view. What it says of ids, [`Ids`] says.
#[derive(Debug, Clone)]
pub struct View {
    tenants: Vec<Scoped<Tenant>>,
    ids: Ids,
}

impl Deref for View {
    type Target = Ids;

    fn deref(&self) -> &Ids {
        &self.ids
    }
}

impl View {
    /// The view of whoever asks.
    ///
    /// # Errors
    /// When the caller's proof does not count any more, or the store does not answer.
    pub async fn of(api: &Api, caller: &Caller) -> Result<Self, Refusal> {
        let view = api.access.apps_view(caller).await?;
        let is_several = matches!(view, AppsView::Groups(_));
        let tenants = view.tenants().to_vec();
        let names = tenants.iter().map(|tenant| tenant.name.clone()).collect();
        Ok(Self { tenants, ids: Ids::new(names, is_several) })
    }

    /// Every tenant that exists for the caller.
    pub fn tenants(&self) -> &[Scoped<Tenant>] {
        &self.tenants
    }

    /// One of them, for a caller with that right in it.
    ///
    /// # Errors
    /// 403 when the right is not there.
    pub fn tenant(&self, name: &TenantName, right: Right) -> Result<&Scoped<Tenant>, Refusal> {
        let known = self.tenants.iter().find(|tenant| tenant.name == *name);
        let tenant = known.ok_or_else(|| Refusal::no_group(format!("/{name}")))?;
        tenant.require(right)?;
        Ok(tenant)
    }

    /// The tenant and the id of an app that a path names.
    ///
    /// # Errors
    /// 404; 403 when the right is not there.
    pub fn app(&self, id: &str, right: Right) -> Result<(&Scoped<Tenant>, PathId), Refusal> {
        let (tenant, inside) = self.inward(id).ok_or_else(|| Refusal::no_app(id))?;
        Ok((self.tenant(&tenant, right)?, inside))
    }

    /// The tenant and the id of a group that a path names.
    ///
    /// # Errors
    /// 404; 403 when the right is not there.
    pub fn group(&self, id: &str, right: Right) -> Result<(&Scoped<Tenant>, PathId), Refusal> {
        let (tenant, inside) = self.inward(id).ok_or_else(|| Refusal::no_group(id))?;
        Ok((self.tenant(&tenant, right)?, inside))
    }

    /// Whether the caller still sees the same tenants. A store that does not answer takes away nothing.
    pub async fn is_still_right(&self, api: &Api) -> bool {
        let Some(caller) = self.tenants.first().map(Scoped::caller) else { return true };
        match Self::of(api, caller).await {
            Ok(now) => now.ids == self.ids,
            Err(refusal) => refusal.is_temporary(),
        }
    }
}
