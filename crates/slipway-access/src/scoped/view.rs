//! Whose apps a caller of `/v2` sees, and as what.
//!
//! A caller with one tenant sees a whole Marathon of that tenant: `/prod/db`. So does a token that is limited
//! to a tenant, and this is what programs should have, because it never changes. Who has several tenants, or
//! none yet, sees each as a top group, `/acme/prod/db`; and so does an operator, who has them all, even while
//! there is only one. Being invited to a second tenant changes the ids that a person sees; nothing
//! else could, without leaving one of them out.

use slipway_model::account::{Member, Tenant};

use super::Scoped;
use crate::access::Access;
use crate::caller::Caller;
use crate::error::Error;

/// The tenants whose apps a caller sees.
#[derive(Debug, Clone)]
pub enum AppsView {
    /// One, as everything there is.
    Tenant(Box<Scoped<Tenant>>),
    /// Any number, each a top group, in the order of their names.
    Groups(Vec<Scoped<Tenant>>),
}

impl AppsView {
    /// The tenants.
    pub fn tenants(&self) -> &[Scoped<Tenant>] {
        match self {
            AppsView::Tenant(tenant) => std::slice::from_ref(tenant),
            AppsView::Groups(tenants) => tenants,
        }
    }
}

impl Access {
    /// What a caller of `/v2` sees. Whatever is changed checks the right by itself.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`], [`Error::Store`].
    pub async fn apps_view(&self, caller: &Caller) -> Result<AppsView, Error> {
        let standing = self.standing(caller).await?;
        let found = match &standing.tenant {
            Some(only) => self.get::<Tenant>(only).await?.into_iter().collect(),
            None => self.list::<Tenant>("").await?,
        };
        let mut tenants = Vec::new();
        for found in found {
            let name = &found.record.name;
            let member = self.get::<Member>(&(name.clone(), caller.user().clone())).await?;
            let Some(role) = standing.role_in(name, member.map(|member| member.record.role)) else {
                continue;
            };
            let tenant = found.record.clone();
            tenants.push(Scoped { access: self.clone(), caller: caller.clone(), role, tenant, found });
        }
        let is_one = standing.tenant.is_some() || !standing.operator;
        match <[Scoped<Tenant>; 1]>::try_from(tenants) {
            Ok([one]) if is_one => Ok(AppsView::Tenant(Box::new(one))),
            Ok([one]) => Ok(AppsView::Groups(vec![one])),
            Err(several) => Ok(AppsView::Groups(several)),
        }
    }
}
