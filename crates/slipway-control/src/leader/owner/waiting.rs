//! Who waits for room, and in which order they get it (ME-02, AU-02).
//!
//! When there is more room than before, those who wait get a **round**: each one look, in the order of
//! weighted fair shares, and each may place as many instances as it was dealt of the room there is. A round
//! that placed something is followed by another. Environments that do not wait are not asked to: the room
//! that a round leaves is room that those who wait cannot use.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use slipway_model::id::ReleaseNumber;
use slipway_model::instance::{Goal, InstanceRole};
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName, TenantName};
use slipway_model::service::Tier;
use slipway_model::unit::{Span, Timestamp};
use slipway_plan::cluster::{Contact, Resources};
use slipway_plan::environment::{Plan, WaitReason, Waiting};
use slipway_plan::fairness::{self, Waiter};
use slipway_plan::placement::{Reason, Refusal};
use slipway_plan::preemption::{Claimant, Occupant, choose, occupants};
use slipway_plan::view::EnvironmentView;

use super::{Held, Owner};

/// Between two looks for room that others could give up.
const PREEMPT_INTERVAL: Span = Span::from_secs(5);

/// Environments that wait for room.
#[derive(Default)]
pub(super) struct Waiters {
    all: BTreeSet<EnvironmentPath>,
    /// The rest of this round.
    queue: VecDeque<EnvironmentPath>,
    /// How many instances each may still place; `None`: only one tenant waits, and nobody counts.
    dealt: Option<BTreeMap<EnvironmentPath, u32>>,
    /// Something was placed in this round, so that another may be worth it.
    has_placed: bool,
    /// There is more room than when this round began, or a look at who waits has to be a round.
    wants_round: bool,
    /// A round is due, and somebody who waits is just being stored.
    is_stalled: bool,
    /// When somebody who waits may take the room of others.
    preempts_at: Option<Timestamp>,
}

impl Waiters {
    /// Somewhere there is more room than before.
    pub(super) fn note_room(&mut self) {
        self.wants_round = true;
    }

    pub(super) fn has_turns(&self) -> bool {
        !self.queue.is_empty() || self.wants_round && !self.all.is_empty() && !self.is_stalled
    }

    /// Something has been stored.
    pub(super) fn note_stored(&mut self) {
        self.is_stalled = false;
    }

    pub(super) fn remove(&mut self, path: &EnvironmentPath) {
        self.all.remove(path);
    }

    pub(super) fn preempts_at(&self) -> Option<Timestamp> {
        self.preempts_at
    }

    /// How many instances a plan of that environment may place now.
    pub(super) fn turn_of(&self, path: &EnvironmentPath) -> Option<u32> {
        let dealt = self.dealt.as_ref().filter(|_| self.all.contains(path))?;
        Some(dealt.get(path).copied().unwrap_or(0))
    }

    /// A plan of that environment places so many.
    pub(super) fn note_placed(&mut self, path: &EnvironmentPath, count: u32) {
        if count == 0 || !self.all.contains(path) {
            return;
        }
        self.has_placed = true;
        if let Some(left) = self.dealt.as_mut().and_then(|dealt| dealt.get_mut(path)) {
            *left = left.saturating_sub(count);
        }
    }

    /// What a plan says of who waits.
    pub(super) fn note_plan(&mut self, path: &EnvironmentPath, plan: &Plan, placed: u32) {
        let refusals = || plan.waiting.iter().filter_map(refusal);
        if refusals().next().is_none() {
            self.all.remove(path);
            return;
        }
        self.all.insert(path.clone());
        let had_no_turn = refusals().any(|refusal| refusal.by_reason.contains_key(&Reason::Turn));
        self.wants_round |= had_no_turn && placed == 0;
    }
}

impl Owner {
    /// The next environment of this round, or of another if there is reason for one.
    pub(super) fn next_waiting(&mut self) -> Option<EnvironmentPath> {
        if self.waiters.queue.is_empty() && self.waiters.has_placed && self.waiters.dealt.is_some() {
            self.waiters.wants_round = true;
        }
        if !self.waiters.queue.is_empty() {
            return self.waiters.queue.pop_front();
        }
        if self.waiters.has_turns() {
            // Who is being stored does not wait for what it has got.
            let is_stored = |path: &EnvironmentPath| {
                self.environments.get(path).is_none_or(|held| held.submitted.is_none())
            };
            if !self.waiters.all.iter().all(is_stored) {
                self.waiters.is_stalled = true;
                return None;
            }
            self.begin_round();
        }
        self.waiters.queue.pop_front()
    }

    fn begin_round(&mut self) {
        self.waiters.wants_round = false;
        self.waiters.has_placed = false;
        let waiters: Vec<Waiter> = self.waiters.all.iter().filter_map(|path| self.waiter(path)).collect();
        let tenants: BTreeSet<&TenantName> =
            waiters.iter().map(|waiter| &waiter.environment.tenant).collect();
        if tenants.len() <= 1 {
            let mut by_time: Vec<_> = waiters.iter().map(|w| (w.since, w.environment.clone())).collect();
            by_time.sort_unstable();
            self.waiters.dealt = None;
            self.waiters.queue = by_time.into_iter().map(|(_, path)| path).collect();
        } else {
            self.deal(waiters);
        }
        // Whoever cannot be dealt anything is told why, by the plan.
        let queued: BTreeSet<_> = self.waiters.queue.iter().cloned().collect();
        for path in self.waiters.all.difference(&queued) {
            self.waiters.queue.push_back(path.clone());
            if let Some(dealt) = &mut self.waiters.dealt {
                dealt.insert(path.clone(), u32::MAX);
            }
        }
    }

    /// Deals out the room there is, as if it were one node.
    fn deal(&mut self, waiters: Vec<Waiter>) {
        let each: BTreeMap<_, _> = waiters.iter().map(|w| (w.environment.clone(), w.each)).collect();
        let reachable = self.cluster.nodes().filter(|(_, contact)| *contact == Contact::Reachable);
        let mut free =
            reachable.fold(Resources::default(), |free, (node, _)| free.plus(self.cluster.free(&node.name)));
        let mut dealt: BTreeMap<EnvironmentPath, u32> = BTreeMap::new();
        let mut queue = VecDeque::new();
        for turn in fairness::order(&self.cluster, waiters) {
            let Some(each) = each.get(&turn.environment) else { continue };
            for _ in 0..turn.instances {
                if !each.fits(free) {
                    break;
                }
                free = free.minus(*each);
                let count = dealt.entry(turn.environment.clone()).or_insert_with(|| {
                    queue.push_back(turn.environment.clone());
                    0
                });
                *count += 1;
            }
        }
        self.waiters.dealt = Some(dealt);
        self.waiters.queue = queue;
    }

    /// What an environment waits for; `None` when its tenant's quota is in the way, and not a lack of room.
    fn waiter(&self, path: &EnvironmentPath) -> Option<Waiter> {
        let held = self.environments.get(path)?;
        let (mut each, mut count) = (Resources::default(), 0_u32);
        for waiting in held.waiting.iter().filter(|waiting| refusal(waiting).is_some_and(is_for_room)) {
            each = largest(each, held.need(waiting.service.as_ref()));
            count = count.saturating_add(waiting.count);
        }
        let since = held.waiting_since?;
        (count > 0).then(|| Waiter { environment: path.clone(), since, each, count })
    }

    /// Whoever waits with the right to take the room of others is given it (AU-02).
    pub(super) fn preempt(&mut self, now: Timestamp) {
        self.waiters.preempts_at = None;
        let right_at = |held: &Held| held.waiting_since.map(|at| at.plus(self.options.policy.preempts_after));
        let mut claims = Vec::new();
        for path in &self.waiters.all {
            let Some(held) = self.environments.get(path) else { continue };
            for waiting in held.waiting.iter().filter(|waiting| refusal(waiting).is_some_and(is_for_room)) {
                let Some(service) = &waiting.service else { continue };
                let Some((release, at)) = held.coming().zip(right_at(held)) else { continue };
                let spec = held.view.releases.get(&release).and_then(|release| release.services.get(service));
                if spec.is_none_or(|spec| spec.tier != Tier::Preferred) {
                    continue;
                }
                let again = if at <= now { now.plus(PREEMPT_INTERVAL) } else { at };
                let sooner = self.waiters.preempts_at.map_or(again, |before| before.min(again));
                self.waiters.preempts_at = Some(sooner);
                if at <= now {
                    claims.push((path.clone(), service.clone(), release));
                }
            }
        }
        if claims.is_empty() {
            return;
        }
        let mut others: Vec<Occupant> = self.environments.values().flat_map(|h| occupants(&h.view)).collect();
        for (path, service, release) in claims {
            let Some(held) = self.environments.get(&path) else { continue };
            let Some(spec) = held.view.releases.get(&release).and_then(|r| r.services.get(&service)) else {
                continue;
            };
            let placed = copies(&held.view, &service, release);
            let claimant = Claimant {
                environment: &path,
                service: &service,
                spec,
                instances: held.view.asked(release, &service),
                placed: &placed,
                since: held.waiting_since.unwrap_or(now),
            };
            let policy = &self.options.policy;
            let Some(preemption) = choose(&mut self.cluster, &claimant, &others, policy, now) else {
                continue;
            };
            tracing::info!(environment = %path, %service, victims = preemption.victims.len(), "takes the room of others");
            preemption.reserve(&mut self.cluster);
            others.retain(|other| !preemption.victims.iter().any(|(_, victim)| *victim == other.instance));
            let victims: BTreeSet<_> = preemption.victims.iter().map(|(path, _)| path.clone()).collect();
            for victim in victims {
                if let Some(held) = self.environments.get_mut(&victim) {
                    preemption.evict(&mut held.view);
                }
                self.mark(&victim);
            }
        }
    }

    /// Somebody who may take the room of others has begun to wait.
    pub(super) fn note_preferred(&mut self, path: &EnvironmentPath) {
        let Some(held) = self.environments.get(path) else { return };
        let is_preferred = |waiting: &Waiting| {
            let release = held.coming().and_then(|release| held.view.releases.get(&release));
            let spec =
                release.zip(waiting.service.as_ref()).and_then(|(release, name)| release.services.get(name));
            spec.is_some_and(|spec| spec.tier == Tier::Preferred)
        };
        if let Some(since) = held.waiting_since.filter(|_| held.waiting.iter().any(is_preferred)) {
            let at = since.plus(self.options.policy.preempts_after);
            self.waiters.preempts_at = Some(self.waiters.preempts_at.map_or(at, |before| before.min(at)));
        }
    }
}

impl Held {
    /// The release that its services are brought to.
    fn coming(&self) -> Option<ReleaseNumber> {
        self.view.deployment().map(|deployment| deployment.to).or(self.view.live())
    }

    /// What one instance takes; of all services, where it is not said which.
    fn need(&self, service: Option<&ServiceName>) -> Resources {
        let release = self.coming().and_then(|release| self.view.releases.get(&release));
        let services = release.into_iter().flat_map(|release| &release.services);
        let own = services.filter(|(name, _)| service.is_none_or(|service| *name == service));
        own.fold(Resources::default(), |need, (_, spec)| largest(need, Resources::of(spec)))
    }
}

fn copies(view: &EnvironmentView, service: &ServiceName, release: ReleaseNumber) -> Vec<NodeName> {
    let is_one = |role: &InstanceRole| matches!(role, InstanceRole::Service { service: of } if of == service);
    let own =
        view.assignments.iter().filter(|a| a.release == release && a.goal == Goal::Run && is_one(&a.role));
    own.map(|assignment| assignment.node.clone()).collect()
}

fn refusal(waiting: &Waiting) -> Option<&Refusal> {
    match &waiting.why {
        WaitReason::NoRoom(refusal) => Some(refusal),
        _ => None,
    }
}

/// False when more room would not help.
fn is_for_room(refusal: &Refusal) -> bool {
    !refusal.by_reason.keys().any(|reason| matches!(reason, Reason::Quota(_)))
}

fn largest(one: Resources, other: Resources) -> Resources {
    Resources {
        cpus: one.cpus.max(other.cpus),
        mem: one.mem.max(other.mem),
        disk: one.disk.max(other.disk),
        gpus: one.gpus.max(other.gpus),
    }
}
