//! Host names that apps ask for in their labels (MA-80).
//!
//! They are claimed as if somebody had said `slipway domains add`, by whoever may do that
//! ([`Right::Administer`]), and have to be proven in the same way before anything is routed. A name that
//! the tenant has proven for another of its services moves to the app that asks for it last, which is how
//! one goes from a blue app to a green one; except when only paths of it are asked for, which its apps may
//! share. What an app gives up goes to another that asks for it, if there is one. An app is not refused for a name that it cannot have, because
//! its labels may be meant for a load balancer of the tenant's own; except for one that somebody else has
//! proven to be theirs.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::{Right, Tenant};
use slipway_model::app::{PathId, app_service, environment_of};
use slipway_model::limit::DOMAIN_PROOF_TIME;
use slipway_model::name::ServicePath;
use slipway_model::project::{HostClaim, HostState};
use slipway_store::Batch;

use super::{AppHosts, AppsChange};
use crate::domain_name;
use crate::error::Error;
use crate::scoped::Scoped;
use crate::scoped::domain::{challenge, give_up};

impl Scoped<Tenant> {
    /// Adds the claims that change with a change of apps.
    ///
    /// # Errors
    /// [`Error::Taken`] for a name that another tenant has proven, [`Error::Store`].
    pub(super) async fn claim_hosts(&self, mut batch: Batch, change: &AppsChange) -> Result<Batch, Error> {
        // A name is claimed once in a batch, and not while it is given up with a deleted app.
        let mut claimed = BTreeSet::new();
        let deleted: BTreeSet<_> = change.delete.iter().map(|id| environment_of(&self.name, id)).collect();
        // Whoever asks for a whole name comes before those who ask for paths of it.
        let asked = change.hosts.iter().flat_map(|(id, hosts)| {
            parsed(&hosts.asked, hosts).map(move |host| (hosts.by_path.contains(&host), id, host))
        });
        let asked: BTreeSet<_> = asked.collect();
        for (is_by_path, id, host) in asked {
            if claimed.contains(&host) {
                continue;
            }
            let service = self.service_of(id);
            let found = self.access.get::<HostClaim>(&host).await?;
            let is_leaving =
                found.as_ref().is_some_and(|found| deleted.contains(&found.record.service.environment()));
            if is_leaving {
                continue;
            }
            let state = match found.as_ref().map(|found| &found.record) {
                None => HostState::Unproven { challenge: challenge() },
                Some(claim) => match self.next_state(claim, &service, is_by_path)? {
                    Some(state) => state,
                    None => continue,
                },
            };
            if self.require(Right::Administer).is_err() {
                tracing::info!(tenant.name = %self.name, app.id = %id, host, "asked for by who may not claim it");
                continue;
            }
            claimed.insert(host.clone());
            let claim = HostClaim { host, service, state, created_at: self.access.now() };
            batch = match found {
                Some(found) => batch.update(&claim, found.version),
                None => batch.create(&claim),
            };
        }
        let heirs = self.heirs(&change.heirs);
        for (id, hosts) in &change.hosts {
            let service = self.service_of(id);
            for host in parsed(&hosts.dropped, hosts) {
                let found = self.access.get::<HostClaim>(&host).await?;
                let is_ours = |claim: &HostClaim| {
                    claim.service == service
                        && !matches!(claim.state, HostState::Platform | HostState::Tombstone)
                };
                if let Some(found) = found.filter(|found| is_ours(&found.record))
                    && claimed.insert(host)
                {
                    batch = give_up(batch, found, &heirs);
                }
            }
        }
        Ok(batch)
    }

    fn service_of(&self, app: &PathId) -> ServicePath {
        environment_of(&self.name, app).service(app_service())
    }

    /// The services of those apps.
    pub(super) fn heirs(&self, apps: &BTreeMap<String, PathId>) -> BTreeMap<String, ServicePath> {
        apps.iter().map(|(host, app)| (host.clone(), self.service_of(app))).collect()
    }

    /// The state in which a name that somebody has becomes that service's; `None` when nothing changes.
    fn next_state(
        &self,
        claim: &HostClaim,
        service: &ServicePath,
        is_by_path: bool,
    ) -> Result<Option<HostState>, Error> {
        let is_own = claim.service.tenant == self.name;
        let is_over = self.access.now().since(claim.created_at) >= DOMAIN_PROOF_TIME;
        let anew = || Some(HostState::Unproven { challenge: challenge() });
        Ok(match &claim.state {
            HostState::Unproven { .. } | HostState::Proven if claim.service == *service => None,
            HostState::Unproven { .. } | HostState::Proven if is_own && is_by_path => None,
            HostState::Proven if is_own => Some(HostState::Proven),
            HostState::Proven => return Err(Error::Taken { what: format!("a claim of {}", claim.host) }),
            HostState::Unproven { .. } if is_own => Some(claim.state.clone()),
            HostState::Unproven { .. } if is_over => anew(),
            HostState::Tombstone if is_own => anew(),
            HostState::Unproven { .. } | HostState::Tombstone | HostState::Platform => None,
        })
    }
}

fn parsed<'a>(names: &'a BTreeSet<String>, hosts: &'a AppHosts) -> impl Iterator<Item = String> + 'a {
    names.iter().filter_map(|name| domain_name::parse(name, &hosts.base).ok())
}
