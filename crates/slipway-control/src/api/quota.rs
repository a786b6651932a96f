//! What tenants may use, and what they use (ME-03).

use axum::Json;
use axum::extract::State;
use slipway_api::wire::*;
use slipway_model::account::{Quota, Right};
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
    Ok(Json(info(&name, quota.as_ref(), used)))
}

pub async fn list(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<QuotaInfo>> {
    let operator = api.access.operator(&caller).await?;
    let mut items = Vec::new();
    for quota in operator.quotas().await? {
        let used = api.leader.usage(&quota.tenant).await;
        items.push(info(&quota.tenant, Some(&quota), used));
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
    let quota = merge(&name, operator.quota(&name).await?, &wanted);
    operator.set_quotas(std::slice::from_ref(&quota), wanted.force).await?;
    let used = api.leader.usage(&name).await;
    Ok(Json(info(&name, Some(&quota), used)))
}

pub async fn unset(State(api): State<Api>, Asking(caller): Asking, Owner(name): Owner) -> Answer<Done> {
    api.access.operator(&caller).await?.delete_quota(&name).await?;
    Ok(Json(Done {}))
}

/// What is absent stays as it is.
fn merge(tenant: &TenantName, before: Option<Quota>, wanted: &SetQuota) -> Quota {
    let SetQuota { cpus, mem, disk, gpus, instances, ports, weight, force: _ } = *wanted;
    let before = before.unwrap_or_else(|| Quota {
        tenant: tenant.clone(),
        cpus: None,
        mem: None,
        disk: None,
        gpus: None,
        instances: None,
        ports: None,
        weight: 1,
    });
    Quota {
        cpus: cpus.or(before.cpus),
        mem: mem.or(before.mem),
        disk: disk.or(before.disk),
        gpus: gpus.or(before.gpus),
        instances: instances.or(before.instances),
        ports: ports.or(before.ports),
        weight: weight.unwrap_or(before.weight),
        tenant: before.tenant,
    }
}

fn info(tenant: &TenantName, quota: Option<&Quota>, used: Usage) -> QuotaInfo {
    QuotaInfo {
        tenant: tenant.clone(),
        cpus: quota.and_then(|quota| quota.cpus),
        mem: quota.and_then(|quota| quota.mem),
        disk: quota.and_then(|quota| quota.disk),
        gpus: quota.and_then(|quota| quota.gpus),
        instances: quota.and_then(|quota| quota.instances),
        ports: quota.and_then(|quota| quota.ports),
        weight: quota.map_or(1, |quota| quota.weight),
        used: amounts(used.amount),
        used_instances: used.instances,
        used_ports: used.ports,
    }
}

#[cfg(test)]
mod tests;
