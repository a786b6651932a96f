//! Quotas of tenants (ME-02, ME-03).

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::{DefaultQuota, Limits, Quota, Tenant};
use slipway_model::instance::Node;
use slipway_model::name::TenantName;
use slipway_model::unit::{Bytes, Cpus};
use slipway_store::Batch;

use super::Operator;
use crate::access::{Access, TRIES, too_busy};
use crate::error::Error;

/// The highest weight: enough for any order of tenants, little enough to multiply with.
const WEIGHT_MAX: u32 = 1000;

/// What holds for a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuotaInForce {
    /// How much it may use; no limit but that of ports where nobody has set anything.
    pub limits: Limits,
    /// It is the default quota: the tenant has none of its own.
    pub is_default: bool,
}

impl QuotaInForce {
    /// The tenant's own quota, or else the default one, or else none.
    fn of(own: Option<Quota>, default: Option<DefaultQuota>) -> Self {
        match (own, default) {
            (Some(own), _) => Self { limits: own.limits, is_default: false },
            (None, Some(default)) => Self { limits: default.limits, is_default: true },
            (None, None) => Self::default(),
        }
    }
}

impl Access {
    pub(crate) async fn quota_in_force(&self, tenant: &TenantName) -> Result<QuotaInForce, Error> {
        let own = self.get::<Quota>(tenant).await?.map(|quota| quota.record);
        let default = self.get::<DefaultQuota>(&()).await?.map(|quota| quota.record);
        Ok(QuotaInForce::of(own, default))
    }
}

impl Operator {
    /// What holds for each tenant that has a quota; with a default quota, all have one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn quotas_in_force(&self) -> Result<Vec<(TenantName, QuotaInForce)>, Error> {
        let mut own: BTreeMap<_, _> =
            self.quotas().await?.into_iter().map(|quota| (quota.tenant.clone(), quota)).collect();
        let default = self.access.get::<DefaultQuota>(&()).await?.map(|quota| quota.record);
        let mut tenants: BTreeSet<_> = own.keys().cloned().collect();
        if default.is_some() {
            let all = self.access.list::<Tenant>("").await?;
            tenants.extend(all.into_iter().map(|tenant| tenant.record.name));
        }
        let in_force = |tenant: TenantName| {
            let quota = QuotaInForce::of(own.remove(&tenant), default.clone());
            (tenant, quota)
        };
        Ok(tenants.into_iter().map(in_force).collect())
    }

    /// What holds for a tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such tenant, [`Error::Store`].
    pub async fn quota_in_force(&self, tenant: &TenantName) -> Result<QuotaInForce, Error> {
        if self.access.get::<Tenant>(tenant).await?.is_none() {
            return Err(no_tenant(tenant));
        }
        self.access.quota_in_force(tenant).await
    }

    /// The default quota; `None` when nobody has set one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn default_quota(&self) -> Result<Option<Limits>, Error> {
        Ok(self.access.get::<DefaultQuota>(&()).await?.map(|quota| quota.record.limits))
    }

    /// Sets the quota of each tenant that has none of its own, in place of the one there was. The rules are
    /// those of [`set_quotas`](Self::set_quotas), for each tenant alone: together they may well be allowed
    /// more than there is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a weight of 0 or over 1,000, [`Error::Rule`] for a limit above what there is,
    /// [`Error::Store`].
    pub async fn set_default_quota(&self, limits: &Limits, force: bool) -> Result<(), Error> {
        refuse_weight(limits)?;
        if !force {
            refuse_more_than_there_is([("each tenant", limits)], &self.nodes().await?)?;
        }
        let quota = DefaultQuota { limits: limits.clone() };
        for _ in 0..TRIES {
            if self.access.commit(Batch::new().put(&quota)).await? {
                tracing::info!(by = %self.caller.user(), "default quota set");
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// Takes the default quota away.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, [`Error::Store`].
    pub async fn delete_default_quota(&self) -> Result<(), Error> {
        for _ in 0..TRIES {
            let found = self.access.get::<DefaultQuota>(&()).await?;
            let found = found.ok_or_else(|| Error::NotFound { what: "a default quota".to_owned() })?;
            if self.access.commit(Batch::new().delete::<DefaultQuota>(&(), found.version)).await? {
                tracing::info!(by = %self.caller.user(), "default quota deleted");
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// The quotas that somebody has set.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn quotas(&self) -> Result<Vec<Quota>, Error> {
        Ok(self.access.list::<Quota>("").await?.into_iter().map(|quota| quota.record).collect())
    }

    /// The own quota of a tenant; `None` when nobody has set one.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such tenant, [`Error::Store`].
    pub async fn quota(&self, tenant: &TenantName) -> Result<Option<Quota>, Error> {
        if self.access.get::<Tenant>(tenant).await?.is_none() {
            return Err(no_tenant(tenant));
        }
        Ok(self.access.get::<Quota>(tenant).await?.map(|quota| quota.record))
    }

    /// Sets quotas in place of those that there were, all of them or none (ME-03). A limit that all
    /// nodes together do not have is likely to be a slip, and is set by `force` only. What runs already
    /// is not stopped by a quota.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such tenant, [`Error::Invalid`] for a weight of 0 or over
    /// 1,000 or a tenant that is named twice, [`Error::Rule`] for a limit above what there is,
    /// [`Error::Store`].
    pub async fn set_quotas(&self, quotas: &[Quota], force: bool) -> Result<(), Error> {
        for (place, quota) in quotas.iter().enumerate() {
            if quotas[..place].iter().any(|other| other.tenant == quota.tenant) {
                return Err(Error::invalid(format!("the quota of {} is given twice", quota.tenant)));
            }
            refuse_weight(&quota.limits)?;
        }
        if !force {
            let limits = quotas.iter().map(|quota| (quota.tenant.as_str(), &quota.limits));
            refuse_more_than_there_is(limits, &self.nodes().await?)?;
        }
        for _ in 0..TRIES {
            let mut batch = Batch::new();
            for quota in quotas {
                let tenant = self.access.get::<Tenant>(&quota.tenant).await?;
                let tenant = tenant.ok_or_else(|| no_tenant(&quota.tenant))?;
                batch = batch.put(quota).expect::<Tenant>(&quota.tenant, tenant.version);
            }
            if batch.is_empty() || self.access.commit(batch).await? {
                for Quota { tenant, .. } in quotas {
                    tracing::info!(tenant.name = %tenant, by = %self.caller.user(), "quota set");
                }
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// Takes the quota from a tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has none, [`Error::Store`].
    pub async fn delete_quota(&self, tenant: &TenantName) -> Result<(), Error> {
        for _ in 0..TRIES {
            let found = self.access.get::<Quota>(tenant).await?;
            let found = found.ok_or_else(|| Error::NotFound { what: format!("the quota of {tenant}") })?;
            if self.access.commit(Batch::new().delete::<Quota>(tenant, found.version)).await? {
                tracing::info!(tenant.name = %tenant, by = %self.caller.user(), "quota deleted");
                return Ok(());
            }
        }
        Err(too_busy())
    }
}

fn refuse_weight(limits: &Limits) -> Result<(), Error> {
    if !(1..=WEIGHT_MAX).contains(&limits.weight) {
        return Err(Error::invalid(format!("a weight is between 1 and {WEIGHT_MAX}")));
    }
    Ok(())
}

/// With each, whose limits they are.
fn refuse_more_than_there_is<'q>(
    all_limits: impl IntoIterator<Item = (&'q str, &'q Limits)>,
    nodes: &[Node],
) -> Result<(), Error> {
    let cpus: u64 = nodes.iter().map(|node| u64::from(node.cpus.0)).sum();
    let mem: u64 = nodes.iter().map(|node| node.mem.0).sum();
    let disk: u64 = nodes.iter().map(|node| node.disk.0).sum();
    let gpus: u64 = nodes.iter().map(|node| u64::from(node.gpus)).sum();
    let ports = |(first, last): (u16, u16)| if first > last { 0 } else { u64::from(last - first) + 1 };
    let ports: u64 = nodes.iter().map(|node| ports(node.ports)).sum();
    for (whose, quota) in all_limits {
        let limits = [
            ("processors", quota.cpus.map(|cpus| u64::from(cpus.0)), cpus),
            ("memory", quota.mem.map(|mem| mem.0), mem),
            ("disk", quota.disk.map(|disk| disk.0), disk),
            ("gpus", quota.gpus.map(u64::from), gpus),
            ("ports", quota.ports.map(u64::from), ports),
        ];
        let above = limits.into_iter().find(|(_, limit, all)| limit.is_some_and(|limit| limit > *all));
        if let Some((what, _, all)) = above {
            let (all, than) = match what {
                "processors" => (Cpus(u32::try_from(all).unwrap_or(u32::MAX)).to_string(), "fewer"),
                "memory" | "disk" => (Bytes(all).to_string(), "less"),
                _ => (all.to_string(), "fewer"),
            };
            return Err(Error::rule(format!(
                "all nodes together have {all} {what}, {than} than {} would be allowed to use; give --force \
                 (\"force\": true) if that is meant",
                whose
            )));
        }
    }
    Ok(())
}

fn no_tenant(tenant: &TenantName) -> Error {
    Error::NotFound { what: tenant.to_string() }
}
