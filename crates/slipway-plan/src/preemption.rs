//! Taking the room of others (AU-02).
//!
//! A preferred service that has waited for some minutes may take the room of preemptible instances,
//! whosever they are, and of instances of a lower tier of its own tenant. Those of one node give way, as
//! few as possible and the youngest of them, so that as little work as possible is lost; the room is then
//! held for the service ([`Reservation`]), and the victims' own services wait like any other.
//!
//! Who is never a victim: an instance with volumes, for its data would stay behind; one that runs once,
//! for it would not be begun again; and a normal instance where its service would fall below its minimum
//! health. Preemptible services have no such protection: that they may lose everything is what their
//! tier means. Nobody passes a quota this way.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use slipway_model::id::InstanceId;
use slipway_model::instance::{Goal, InstanceRole};
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName, ServicePath, TenantName};
use slipway_model::service::{ServiceSpec, Tier};
use slipway_model::unit::Timestamp;

use crate::cluster::{Cluster, Kind, Reservation, Resources};
use crate::placement::Need;
use crate::policy::Policy;
use crate::quota::Usage;
use crate::rollout::min_healthy;
use crate::view::EnvironmentView;

/// An instance that might give way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupant {
    /// Of which service.
    pub service: ServicePath,
    /// Which.
    pub instance: InstanceId,
    /// Where.
    pub node: NodeName,
    /// Its tier.
    pub tier: Tier,
    /// What it has there.
    pub amount: Resources,
    /// Its ports there.
    pub ports: Vec<u16>,
    /// Since when.
    pub since: Timestamp,
    /// How many of its service may go.
    pub spare: u32,
}

/// All instances of an environment that might give way.
pub fn occupants(view: &EnvironmentView) -> Vec<Occupant> {
    let mut healthy: BTreeMap<&ServiceName, u32> = BTreeMap::new();
    for assignment in view.assignments.iter().filter(|a| a.goal == Goal::Run && view.is_healthy(&a.instance))
    {
        if let InstanceRole::Service { service } = &assignment.role {
            *healthy.entry(service).or_default() += 1;
        }
    }
    let occupant = |assignment: &slipway_model::instance::Assignment| {
        let InstanceRole::Service { service } = &assignment.role else { return None };
        let spec = view.releases.get(&assignment.release)?.services.get(service)?;
        let may_go = assignment.goal == Goal::Run
            && assignment.volumes.is_empty()
            && !view.evicted.contains(&assignment.instance);
        let running = healthy.get(service).copied().unwrap_or(0);
        let spare = match spec.tier {
            Tier::Preemptible => u32::MAX,
            Tier::Normal => {
                let asked = view.asked(assignment.release, service);
                running.saturating_sub(min_healthy(asked, spec.upgrade))
            }
            Tier::Preferred => 0,
        };
        (may_go && spare > 0).then(|| Occupant {
            service: view.path.service(service.clone()),
            instance: assignment.instance.clone(),
            node: assignment.node.clone(),
            tier: spec.tier,
            amount: Resources::of(spec),
            ports: assignment.ports.clone(),
            since: assignment.created_at,
            spare,
        })
    };
    view.assignments.iter().filter_map(occupant).collect()
}

/// A service that waits for room.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// Where.
    pub environment: &'a EnvironmentPath,
    /// Which.
    pub service: &'a ServiceName,
    /// As the release has it that waits.
    pub spec: &'a ServiceSpec,
    /// How many are wanted in all.
    pub instances: u32,
    /// Where those of the same release are that exist already.
    pub placed: &'a [NodeName],
    /// Since when it waits.
    pub since: Timestamp,
}

/// Who gives way to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    /// The service that gets the room.
    pub service: ServicePath,
    /// What is held for it.
    pub reservation: Reservation,
    /// Who goes: all on the reservation's node.
    pub victims: Vec<(EnvironmentPath, InstanceId)>,
}

impl Preemption {
    /// Holds the room. To be called first.
    pub fn reserve(&self, cluster: &mut Cluster) {
        cluster.reserve(&self.service.environment(), &self.service.service, self.reservation.clone());
    }

    /// Tells the plan of one environment which of its instances give way: they leave the routes and are
    /// then stopped.
    pub fn evict(&self, view: &mut EnvironmentView) {
        let own = self.victims.iter().filter(|(environment, _)| *environment == view.path);
        view.evicted.extend(own.map(|(_, instance)| instance.clone()));
    }
}

/// Room for one more instance of a service, taken from others; `None` when it has no right to any, has
/// some already, or when nobody's going would help. The cluster is as before afterwards.
pub fn choose(
    cluster: &mut Cluster,
    claimant: &Claimant<'_>,
    occupants: &[Occupant],
    policy: &Policy,
    now: Timestamp,
) -> Option<Preemption> {
    let Claimant { environment, service, spec, instances, placed, since } = *claimant;
    let has_right = spec.tier == Tier::Preferred
        && spec.volumes.is_empty()
        && now >= since.plus(policy.preempts_after)
        && cluster.reservation(environment, service).is_none();
    if !has_right {
        return None;
    }
    let need = Need::of(spec);
    let mut by_node: BTreeMap<&NodeName, Vec<&Occupant>> = BTreeMap::new();
    for occupant in occupants.iter().filter(|occupant| may_take(claimant, occupant)) {
        by_node.entry(&occupant.node).or_default().push(occupant);
    }
    let rules = cluster.rules_of(&environment.tenant, &spec.constraints);
    let mut batch = cluster.index.begin(&environment.tenant, &need, &rules, instances, placed);
    by_node.retain(|node, _| batch.slot(node).is_some_and(|slot| batch.would_accept(slot)));
    drop(batch);

    let mut choices = Vec::new();
    for (node, on_it) in by_node {
        let Some(victims) = victims(cluster, node, &environment.tenant, &need, on_it) else { continue };
        let own = victims.iter().filter(|victim| victim.service.tenant == environment.tenant);
        let used = own.fold(cluster.usage(&environment.tenant), |used, victim| {
            used.minus(Usage::held(victim.amount, &victim.ports))
        });
        let (allowed, _) = cluster.allows(&environment.tenant, used, Usage::of(&need), 1);
        if allowed == 1 {
            choices.push((node, victims));
        }
    }
    let (node, victims) = choices.into_iter().min_by_key(|(node, victims)| {
        let not_preemptible = victims.iter().filter(|victim| victim.tier != Tier::Preemptible).count();
        let oldest = victims.iter().map(|victim| victim.since).min();
        (victims.len(), not_preemptible, Reverse(oldest), *node)
    })?;
    let node = node.clone();
    let until = now.plus(policy.preempted_for);
    Some(Preemption {
        service: environment.service(service.clone()),
        reservation: Reservation { node, each: need.amount, count: 1, until },
        victims: victims
            .iter()
            .map(|victim| (victim.service.environment(), victim.instance.clone()))
            .collect(),
    })
}

fn may_take(claimant: &Claimant<'_>, occupant: &Occupant) -> bool {
    let is_own = occupant.service.tenant == claimant.environment.tenant;
    occupant.tier == Tier::Preemptible || is_own && occupant.tier < claimant.spec.tier
}

/// As few of these as make room for one instance on their node, the youngest where there is a choice;
/// `None` when all together do not, or when there is room without any.
fn victims<'o>(
    cluster: &Cluster,
    node: &NodeName,
    tenant: &TenantName,
    need: &Need,
    mut candidates: Vec<&'o Occupant>,
) -> Option<Vec<&'o Occupant>> {
    let fits = |victims: &[&Occupant]| {
        let freed = victims.iter().fold(cluster.free(node), |free, victim| free.plus(victim.amount));
        let ports = victims.iter().map(|victim| (&victim.service.tenant, victim.ports.as_slice()));
        need.amount.fits(freed) && cluster.ports_fit_without(node, tenant, &need.ports, ports)
    };
    let mut chosen: Vec<&Occupant> = Vec::new();
    while !fits(&chosen) {
        let freed = chosen.iter().fold(cluster.free(node), |free, victim| free.plus(victim.amount));
        let short = need.amount.minus(freed);
        let may_go = |occupant: &&Occupant| {
            let of_service = chosen.iter().filter(|victim| victim.service == occupant.service).count();
            (of_service as u32) < occupant.spare
        };
        let best = candidates.iter().copied().filter(may_go).max_by_key(|occupant| {
            // One that another tenant gives up rests first.
            let has_port = occupant.service.tenant == *tenant
                && occupant.ports.iter().any(|port| need.ports.contains(&Some(*port)));
            let tier = Reverse(occupant.tier);
            (has_port, coverage(occupant.amount, short), tier, occupant.since, &occupant.instance)
        })?;
        candidates.retain(|occupant| occupant.instance != best.instance);
        chosen.push(best);
    }
    // Who was chosen early may not be needed with those who came later; the oldest is spared first.
    chosen.sort_by_key(|victim| (victim.since, victim.instance.clone()));
    let mut number = 0;
    while number < chosen.len() {
        let without: Vec<_> = chosen.iter().copied().filter(|other| *other != chosen[number]).collect();
        if fits(&without) {
            chosen = without;
        } else {
            number += 1;
        }
    }
    (!chosen.is_empty()).then_some(chosen)
}

/// How much of what is short an amount makes up for, in parts of a million for each kind.
fn coverage(amount: Resources, short: Resources) -> u64 {
    let of_kind = |kind: Kind| {
        let (amount, short) = (amount.of_kind(kind), short.of_kind(kind));
        u128::from(amount.min(short)) * 1_000_000 / u128::from(short.max(1))
    };
    Kind::ALL.into_iter().map(|kind| of_kind(kind) as u64).sum()
}

#[cfg(test)]
mod tests;
