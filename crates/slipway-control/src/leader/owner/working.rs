//! Looking at environments: what should be done, and handing it to the store.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use slipway_model::instance::{Goal, Node, NodeOrderKind};
use slipway_model::name::{EnvironmentPath, NodeName};
use slipway_model::route::Route;
use slipway_model::unit::{Span, Timestamp};
use slipway_plan::action::Action;
use slipway_plan::cluster::Contact;
use slipway_plan::environment::{Plan, plan};
use slipway_plan::intake;
use slipway_plan::view::EnvironmentView;

use super::storing::{Done, Submit};
use super::{Held, Others, Owner, new_id, now};
use crate::leader::commit::Prepared;
use crate::leader::events::Happened;
use crate::routes::{Claims, routes_of, urls_of};

/// The look at everything is taken in so many parts, so that nobody waits for it.
pub(super) const LOOK_PARTS: u32 = 60;
/// Each node is sent its list again in every so manieth part: a list is many times as much work as a look
/// (MA-74 reconciles as rarely).
const LISTS_EVERY: usize = 600;
/// Environments looked at before messages and queries get their turn.
const LOOKS_A_TURN: usize = 128;
/// Batches under way at once: some groups of the store's.
const UNDER_WAY_MAX: usize = 512;
/// Looks at one environment without anything new: a plan needs three or four.
const PASSES_MAX: u32 = 32;
/// Before an environment that does not come to rest is looked at again.
const AFTER_RESTLESSNESS: Span = Span::from_secs(1);
/// Before an environment whose planning panicked is looked at again.
const QUARANTINE: Span = Span::from_secs(60);

impl Owner {
    /// One turn.
    pub(super) fn work(&mut self) {
        let now = now();
        while let Some((at, path)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, path.clone()));
            if let Some(held) = self.environments.get_mut(&path) {
                held.next = None;
            }
            self.mark(&path);
        }
        if !self.is_settled {
            self.settle(now);
        }
        if self.is_settled {
            if self.cluster.expire(now) {
                self.waiters.note_room();
            }
            if self.waiters.preempts_at().is_some_and(|at| at <= now) {
                self.preempt(now);
            }
            for look in 0..LOOKS_A_TURN {
                if self.under_way.len() >= UNDER_WAY_MAX {
                    break;
                }
                // New room is first theirs who wait for it; but a long queue is not in everybody's way.
                let next = if look % 2 == 0 {
                    self.next_waiting().or_else(|| self.marked.pop())
                } else {
                    self.marked.pop().or_else(|| self.next_waiting())
                };
                let Some(path) = next else { break };
                self.work_on(&path);
            }
            self.look_at_groups();
            if self.routers.has_news() && self.table_pace.wait(self.has_work()) == Duration::ZERO {
                self.publish_table();
            }
        }
        if !self.marked_nodes.is_empty() && self.lists_pace.wait(self.has_work()) == Duration::ZERO {
            let began = Instant::now();
            self.send_lists();
            self.lists_pace.took(began);
        }
    }

    /// Whether there is anything to do that need not be waited for.
    pub(super) fn has_work(&self) -> bool {
        let has_looks = !self.marked.is_empty() || self.waiters.has_turns();
        self.is_settled && has_looks && self.under_way.len() < UNDER_WAY_MAX
    }

    /// Plans until there is something to store, or nothing left to do in that environment now.
    pub(super) fn work_on(&mut self, path: &EnvironmentPath) {
        loop {
            let Some(held) = self.environments.get_mut(path) else { return };
            if held.submitted.is_some() {
                held.is_marked_again = true;
                return;
            }
            if let Some(asked) = held.kills.pop() {
                self.kill(path, asked);
                continue;
            }
            held.passes += 1;
            if held.passes > PASSES_MAX {
                tracing::warn!(environment = %path, "an environment needs more steps than expected");
                held.passes = 0;
                self.set_timer(path, Some(now().plus(AFTER_RESTLESSNESS)));
                return;
            }
            if self.fetch_push(path) {
                return;
            }
            let now = now();
            let Some(plan) = self.plan(path, now) else { return };
            if !plan.actions.is_empty() {
                match self.submit(path, plan, Vec::new(), now) {
                    Submit::UnderWay => return,
                    Submit::Done => continue,
                }
            }
            if !self.take_plan(path, plan, now) {
                self.rest(path);
                return;
            }
        }
    }

    /// Takes in what a plan says beyond its actions. True when that may call for another look.
    pub(super) fn take_plan(&mut self, path: &EnvironmentPath, plan: Plan, now: Timestamp) -> bool {
        let Some(held) = self.environments.get_mut(path) else { return false };
        let placed = plan.actions.iter().filter(|action| matches!(action, Action::Assign(_))).count();
        self.waiters.note_plan(path, &plan, placed as u32);
        let is_same = held.view.retiring == plan.retiring;
        held.view.retiring = plan.retiring;
        held.waiting_since = if plan.waiting.is_empty() { None } else { held.waiting_since.or(Some(now)) };
        held.waiting = plan.waiting;
        if !held.waiting.is_empty() {
            self.note_preferred(path);
        }
        self.groups.mark(path);
        self.set_timer(path, plan.next);
        let has_new_routes = self.publish(path, now);
        !is_same || has_new_routes
    }

    /// Nothing is left to do. An environment that nobody wants and of which nothing is left is not kept in
    /// memory.
    fn rest(&mut self, path: &EnvironmentPath) {
        let Some(held) = self.environments.get_mut(path) else { return };
        held.passes = 0;
        let is_empty = |held: &Held| {
            held.view.wanted.is_none()
                && held.view.status.is_none()
                && held.routes.is_empty()
                && held.view == EnvironmentView::new(path.clone())
        };
        if is_empty(held) {
            self.set_timer(path, None);
            self.waiters.remove(path);
            self.environments.remove(path);
            self.paths.remove(path);
        }
    }

    /// Both questions to `slipway-plan`, contained: whatever panics keeps only this environment waiting.
    fn plan(&mut self, path: &EnvironmentPath, now: Timestamp) -> Option<Plan> {
        let held = self.environments.get_mut(path)?;
        let traffic = held.view.assignments.iter().filter_map(|assignment| {
            let traffic = self.routers.traffic(&assignment.instance, now)?;
            Some((assignment.instance.clone(), traffic))
        });
        held.view.traffic = traffic.collect();
        // They are told when a deployment ends, and never asked for otherwise.
        held.view.urls = match held.view.deployment() {
            Some(_) => {
                let routes = held.routes(&mut self.claims);
                urls_of(&routes, self.routers.table(), |key| self.options.public.of(key))
            }
            None => BTreeMap::new(),
        };
        held.view.turn = self.waiters.turn_of(path);
        // What is retiring already is the first to go when something has to.
        held.first_to_go.retain(|_, until| now < *until);
        let retiring = held.view.retiring.clone();
        let waiting = held.waiting.clone();
        held.view.retiring.extend(held.first_to_go.keys().cloned());

        let view = &self.environments[path].view;
        let policy = &self.options.policy;
        let base_domain = self.options.base_domain.as_str();
        let others = Others { base_domain, claims: &self.claims, environments: &self.environments };
        let cluster = &mut self.cluster;
        #[cfg(test)]
        let faults = &self.options.faults;
        let decide = || {
            #[cfg(test)]
            faults.panic_if_poisoned(path);
            let wishes = intake::next(view, &others, policy, now, &mut new_id);
            if wishes.is_empty() {
                return plan(view, cluster, policy, now, &mut new_id);
            }
            // Of what waits it says nothing.
            let (retiring, waiting) = (retiring.clone(), waiting.clone());
            Plan { actions: wishes, retiring, waiting, next: Some(now) }
        };
        let planned = catch_unwind(AssertUnwindSafe(decide));
        if let Some(held) = self.environments.get_mut(path) {
            held.view.retiring = retiring;
        }
        if planned.is_err() {
            tracing::error!(environment = %path, "planning panicked; the environment is left as it is for a minute");
            self.set_timer(path, Some(now.plus(QUARANTINE)));
        }
        planned.ok()
    }

    /// Begins to decide once four fifths of the known nodes have told what they run, or half of them and
    /// time is up (ME-05, F25): until then the routers keep the last good table. The first table is made
    /// of everything at once: a router must not be told that the environments which come later have no
    /// instances.
    fn settle(&mut self, now: Timestamp) {
        let all = self.cluster.nodes().count();
        let reachable = self.cluster.nodes().filter(|(_, contact)| *contact == Contact::Reachable).count();
        let is_late = now >= self.started_at.plus(self.options.settle_time);
        let are_enough = if is_late { reachable * 2 >= all } else { all > 0 && reachable * 5 >= all * 4 };
        if !are_enough {
            return;
        }
        self.is_settled = true;
        let silent = self.cluster.nodes().filter(|(_, contact)| *contact == Contact::Unknown);
        let silent: Vec<_> = silent.map(|(node, _)| node.name.clone()).collect();
        for name in &silent {
            self.cluster.set_contact(name, Contact::Unreachable { since: now });
        }
        let epoch = self.leadership.epoch;
        tracing::info!(nodes = all, silent = silent.len(), epoch = epoch.0, "the leader begins to decide");
        self.events.tell(None, now, Happened::LeaderBegan { epoch });
        let none = BTreeMap::new();
        for held in self.environments.values_mut() {
            held.routes = held.routes(&mut self.claims);
            self.routers.replace(&none, &held.routes, now);
        }
        for held in self.environments.values() {
            for assignment in held.view.assignments.iter().filter(|a| a.goal == Goal::Run) {
                self.routers.suspect(&assignment.instance, now);
            }
        }
        self.routers.begin();
        self.publish_table();
        self.marked.extend(self.environments.keys().cloned());
    }

    /// The next part of the look at everything.
    pub(super) fn look_at_some(&mut self, part: usize) {
        let count = self.paths.len().div_ceil(LOOK_PARTS as usize);
        let after = self.looked_at.take();
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let some: Vec<_> =
            self.paths.range::<EnvironmentPath, _>((from, Bound::Unbounded)).take(count).cloned().collect();
        if some.len() == count {
            self.looked_at = some.last().cloned();
        }
        self.marked.extend(some.iter().map(|path| EnvironmentPath::clone(path)));
        let nodes = self.cluster.nodes().skip(part % LISTS_EVERY).step_by(LISTS_EVERY);
        self.marked_nodes.extend(nodes.map(|(node, _)| node.name.clone()));
        if part.is_multiple_of(LOOK_PARTS as usize) {
            self.groups.mark_all();
        }
        self.forget_gone_nodes();
    }

    /// A node that will not come back is forgotten once nothing is assigned to it any more.
    fn forget_gone_nodes(&mut self) {
        let is_over = |name: &&NodeName| {
            let has_none = self.by_node.get(*name).is_none_or(BTreeSet::is_empty);
            has_none && self.cluster.node(name).is_some() && self.cluster.contact(name) != Contact::Reachable
        };
        let gone = self.orders.values().filter(|order| order.order == NodeOrderKind::Gone);
        let over: Vec<_> = gone.map(|order| &order.node).filter(is_over).cloned().collect();
        for name in over {
            tracing::info!(node.name = %name, "a node that is gone is forgotten");
            self.cluster.remove(&name);
            self.by_node.remove(&name);
            let mut prepared = Prepared::new(self.leadership.epoch);
            prepared.delete::<Node>(name.clone());
            self.carry_out(prepared, move |stored| Done::Node { name, stored });
        }
    }

    /// Takes the environment's routes into the table if they have changed.
    pub(super) fn publish(&mut self, path: &EnvironmentPath, now: Timestamp) -> bool {
        let Some(held) = self.environments.get_mut(path) else { return false };
        let routes = held.routes(&mut self.claims);
        if held.routes == routes {
            return false;
        }
        let before = std::mem::replace(&mut held.routes, routes);
        self.routers.replace(&before, &held.routes, now)
    }

    /// Hands the routers the table of this moment.
    pub(super) fn publish_table(&mut self) {
        let began = Instant::now();
        self.ports.table.send_replace(self.routers.publish());
        self.table_pace.took(began);
    }
}

impl Held {
    /// The routes that it should have now.
    fn routes(&mut self, claims: &mut Claims) -> BTreeMap<String, Route> {
        if self.asking.refresh(&self.view) {
            claims.share(&self.path, self.asking.shared_hosts());
        }
        routes_of(&self.view, &self.asking, claims)
    }
}
