//! The leader: plans one environment after the other, with a batch under way for each.

use super::*;

impl Shared {
    pub(super) fn lead(&mut self) {
        let mut leader = self.leader.take().unwrap_or_else(|| self.begin());
        let paths: Vec<_> = leader.views.keys().cloned().collect();
        leader.cluster.expire(self.now);
        for path in paths {
            if self.dice.percent(30) && !leader.under_way.contains_key(&path) {
                self.look_at(&mut leader, &path);
            }
        }
        self.leader = Some(leader);
    }

    pub(super) fn begin(&mut self) -> Leader {
        let mut cluster = Cluster::default();
        for machine in self.machines.values() {
            let contact = Contact::Unreachable { since: self.now };
            cluster
                .put(machine.node.clone(), if machine.is_connected { Contact::Reachable } else { contact });
        }
        self.orders.iter().for_each(|(name, order)| cluster.set_order(name, Some(*order)));
        self.quotas.iter().for_each(|(tenant, quota)| cluster.set_quota(tenant, Some(quota.clone())));
        let mut views = self.disk.clone();
        for view in views.values_mut() {
            cluster.take_in(view);
            for (name, machine) in self.machines.iter().filter(|(_, machine)| machine.is_connected) {
                view.hear_all(name, &reports(machine, self.now), self.now);
            }
        }
        let (under_way, waits_since, reasons) = Default::default();
        Leader { views, cluster, under_way, waits_since, reasons }
    }

    /// Plans one environment, and hands what is to be stored over.
    pub(super) fn look_at(&mut self, leader: &mut Leader, path: &EnvironmentPath) {
        let view = &leader.views[path];
        let dice = &mut self.dice;
        let mut ids = || dice.id();
        let wishes = intake::next(view, &Alone, &self.policy, self.now, &mut ids);
        let made = if wishes.is_empty() {
            plan(view, &mut leader.cluster, &self.policy, self.now, &mut ids)
        } else {
            Plan { actions: wishes, retiring: view.retiring.clone(), ..Plan::default() }
        };
        let refused =
            made.waiting.iter().find(|w| matches!(w.why, WaitReason::NoRoom(_)) && w.service == Some(web()));
        match refused {
            Some(waiting) => {
                leader.reasons.insert(path.clone(), waiting.why.to_string());
                leader.waits_since.entry(path.clone()).or_insert(self.now);
            }
            None => {
                leader.reasons.remove(path);
                leader.waits_since.remove(path);
            }
        }
        self.preempt_for(leader, path);
        if made.actions.is_empty() {
            leader.views.get_mut(path).expect("it is there").retiring = made.retiring;
            return;
        }
        leader.cluster.promise(&leader.views[path], &made.actions);
        leader.under_way.insert(path.clone(), made);
    }

    pub(super) fn preempt_for(&mut self, leader: &mut Leader, path: &EnvironmentPath) {
        let Some(since) = leader.waits_since.get(path).copied() else { return };
        let view = &leader.views[path];
        let coming = view.deployment().map(|deployment| deployment.to);
        let (Some(aim), service) = (coming.or(view.live()), web()) else { return };
        let Some(spec) = view.releases.get(&aim).and_then(|release| release.services.get(&service)) else {
            return;
        };
        let placed: Vec<_> = view.assignments.iter().map(|a| a.node.clone()).collect();
        let instances = view.asked(aim, &service);
        let occupants: Vec<_> = leader.views.values().flat_map(preemption::occupants).collect();
        let claimant =
            Claimant { environment: path, service: &service, spec, instances, placed: &placed, since };
        let chosen = preemption::choose(&mut leader.cluster, &claimant, &occupants, &self.policy, self.now);
        if let Some(chosen) = chosen {
            chosen.reserve(&mut leader.cluster);
            leader.views.values_mut().for_each(|view| chosen.evict(view));
        }
    }

    /// A batch under way is stored, or refused.
    pub(super) fn some_batch_ends(&mut self) {
        let Some(mut leader) = self.leader.take() else { return };
        let is_refused = self.dice.percent(self.troubles.refused_batch);
        let Some((path, made)) = leader.under_way.pop_first() else {
            self.leader = Some(leader);
            return;
        };
        if is_refused {
            leader.cluster.withdraw(&leader.views[&path], &made.actions);
        } else {
            self.store(&path, &made.actions);
            let view = leader.views.get_mut(&path).expect("it is there");
            made.actions.iter().for_each(|action| action.apply(view, &mut leader.cluster));
            view.retiring = made.retiring;
        }
        self.leader = Some(leader);
    }

    pub(super) fn store(&mut self, path: &EnvironmentPath, actions: &[Action]) {
        let view = self.disk.get_mut(path).expect("it is there");
        for action in actions {
            action.apply(view, &mut Cluster::default());
            if let Action::Assign(assignment) = action {
                assert!(self.ever.insert(assignment.instance.clone()), "an id is used twice");
                for volume in &assignment.volumes {
                    let place = self.volumes.entry(volume.clone()).or_insert(assignment.node.clone());
                    assert_eq!(*place, assignment.node, "MA-70: a volume moves");
                }
            }
        }
    }
}
