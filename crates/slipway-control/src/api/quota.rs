//! What tenants may use, and what they use (ME-03).

use axum::Json;
use axum::extract::State;
use slipway_access::QuotaInForce;
use slipway_api::wire::*;
use slipway_model::account::{Limits, Quota, Right};
use slipway_model::name::TenantName;
use slipway_plan::quota::Usage;

use super::extract::{Asking, Body, Named, Owner};
use super::services::amounts;
use super::{Answer, Api};

pub async fn show(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(name): Named<TenantName>,
) -> Answer<QuotaInfo> {
    let quota = api.access.tenant(&caller, &name, Right::View).await?.quota().await?;
    let used = api.leader.usage(&name).await;
    Ok(Json(info(&name, quota, used)))
}

pub async fn list(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<QuotaInfo>> {
    let operator = api.access.operator(&caller).await?;
    let mut items = Vec::new();
    for (tenant, quota) in operator.quotas_in_force().await? {
        let used = api.leader.usage(&tenant).await;
        items.push(info(&tenant, quota, used));
    }
    Ok(Json(Items { items }))
}

pub async fn set(
    State(api): State<Api>,
    Asking(caller): Asking,
    Owner(name): Owner,
    Body(wanted): Body<SetQuota>,
) -> Answer<QuotaInfo> {
    let operator = api.access.operator(&caller).await?;
    let limits = merge(operator.quota_in_force(&name).await?.limits, &wanted);
    let quota = Quota { tenant: name.clone(), limits: limits.clone() };
    operator.set_quotas(std::slice::from_ref(&quota), wanted.force).await?;
    let used = api.leader.usage(&name).await;
    Ok(Json(info(&name, QuotaInForce { limits, is_default: false }, used)))
}

pub async fn unset(State(api): State<Api>, Asking(caller): Asking, Owner(name): Owner) -> Answer<Done> {
    api.access.operator(&caller).await?.delete_quota(&name).await?;
    Ok(Json(Done {}))
}

pub async fn default(State(api): State<Api>, Asking(caller): Asking) -> Answer<DefaultQuotaInfo> {
    let limits = api.access.operator(&caller).await?.default_quota().await?;
    Ok(Json(default_info(limits)))
}

pub async fn set_default(
    State(api): State<Api>,
    Asking(caller): Asking,
    Body(wanted): Body<SetQuota>,
) -> Answer<DefaultQuotaInfo> {
    let operator = api.access.operator(&caller).await?;
    let limits = merge(operator.default_quota().await?.unwrap_or_default(), &wanted);
    operator.set_default_quota(&limits, wanted.force).await?;
    Ok(Json(default_info(Some(limits))))
}

pub async fn unset_default(State(api): State<Api>, Asking(caller): Asking) -> Answer<Done> {
    api.access.operator(&caller).await?.delete_default_quota().await?;
    Ok(Json(Done {}))
}

/// What is absent stays as it is.
fn merge(before: Limits, wanted: &SetQuota) -> Limits {
    let SetQuota { cpus, mem, disk, gpus, instances, ports, weight, no_limit, force: _ } = wanted;
    let is_limited = |what: Limited| !no_limit.contains(&what);
    Limits {
        cpus: cpus.or(before.cpus).filter(|_| is_limited(Limited::Cpus)),
        mem: mem.or(before.mem).filter(|_| is_limited(Limited::Mem)),
        disk: disk.or(before.disk).filter(|_| is_limited(Limited::Disk)),
        gpus: gpus.or(before.gpus).filter(|_| is_limited(Limited::Gpus)),
        instances: instances.or(before.instances).filter(|_| is_limited(Limited::Instances)),
        ports: ports.or(before.ports).filter(|_| is_limited(Limited::Ports)),
        weight: weight.unwrap_or(before.weight),
    }
}

fn info(tenant: &TenantName, quota: QuotaInForce, used: Option<Usage>) -> QuotaInfo {
    QuotaInfo {
        tenant: tenant.clone(),
        limits: said(quota.limits),
        is_default: quota.is_default,
        used: used.map(|used| amounts(used.amount)),
        used_instances: used.map(|used| used.instances),
        used_ports: used.map(|used| used.ports),
    }
}

fn default_info(limits: Option<Limits>) -> DefaultQuotaInfo {
    DefaultQuotaInfo { is_set: limits.is_some(), limits: said(limits.unwrap_or_default()) }
}

fn said(limits: Limits) -> QuotaLimits {
    let Limits { cpus, mem, disk, gpus, instances, ports, weight } = limits;
    QuotaLimits { cpus, mem, disk, gpus, instances, ports, weight }
}

#[cfg(test)]
mod tests;
