//! The leader of the simulated world: begins from the disk, decides, stores, tells nodes and routers.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::instance::{Assignment, Goal, InstanceRole};
use slipway_model::unit::Span;

use super::{Alone, Leader, Table, World};
use crate::action::Action;
use crate::cluster::{Cluster, Contact};
use crate::environment::{Plan, is_at_rest, plan, plan_fully};
use crate::intake;
use crate::view::Traffic;

impl World {
    pub(super) fn lead(&mut self) {
        if self.leader.is_none() {
            let mut view = self.disk.clone();
            view.reports.clear();
            view.presumed.clear();
            view.launches.clear();
            view.retiring.clear();
            let mut cluster = Cluster::default();
            cluster.set_quota(&view.path.tenant, self.quota.clone());
            for (node, sim) in self.nodes.values_mut() {
                sim.is_connected = false;
                cluster.put(node.clone(), Contact::Unknown);
            }
            cluster.take_in(&view);
            self.generation += 1000;
            let table = Table { generation: self.generation, endpoints: BTreeSet::new() };
            self.leader = Some(Leader {
                view,
                cluster,
                table,
                entered: BTreeMap::new(),
                left: BTreeMap::new(),
                started_at: self.now,
                is_settled: false,
                next: None,
            });
            self.tell(|| "leader begins".into());
        }
        let mut leader = self.leader.take().expect("a leader");
        leader.view.wanted.clone_from(&self.disk.wanted);
        leader.view.builds.clone_from(&self.disk.builds);
        leader.view.pushes.clone_from(&self.disk.pushes);
        leader.view.requests.clone_from(&self.disk.requests);
        leader.view.runs.clone_from(&self.disk.runs);
        leader.view.app.clone_from(&self.disk.app);
        leader.view.held_back = self.disk.held_back;
        leader.view.group_since = self.disk.group_since;
        if !leader.is_settled {
            let is_late = self.now >= leader.started_at.plus(Span::from_secs(30));
            let reachable = leader.cluster.nodes().filter(|(_, c)| *c == Contact::Reachable).count();
            let all = self.nodes.len();
            if reachable == all || is_late && reachable * 2 >= all {
                leader.is_settled = true;
                let silent: Vec<_> = leader.cluster.nodes().filter(|(_, c)| *c == Contact::Unknown).collect();
                let silent: Vec<_> = silent.into_iter().map(|(node, _)| node.name.clone()).collect();
                for name in silent {
                    leader.cluster.set_contact(&name, Contact::Unreachable { since: self.now });
                }
                self.publish(&mut leader);
                for assignment in leader.view.assignments.iter().filter(|a| a.goal == Goal::Run) {
                    if !leader.entered.contains_key(&assignment.instance) {
                        leader.left.insert(assignment.instance.clone(), (leader.table.generation, self.now));
                    }
                }
            }
        }
        if leader.is_settled && !self.decide(&mut leader) {
            self.tell(|| "leader dies at a batch".into());
            return;
        }
        for (name, (_, node)) in &mut self.nodes {
            let reaches = node.is_connected && !self.dice.percent(self.faults.lost_message);
            if reaches {
                node.list = leader.view.assignments.iter().filter(|a| a.node == *name).cloned().collect();
            }
        }
        self.leader = Some(leader);
    }

    /// Plans until nothing is left to do. False when the leader died.
    fn decide(&mut self, leader: &mut Leader) -> bool {
        for pass in 0.. {
            assert!(pass < 50, "the plan does not come to rest");
            self.see_traffic(leader);
            let dice = &mut self.dice;
            let mut ids = || dice.id();
            let view = &leader.view;
            let wishes = intake::next(view, &Alone, &self.policy, self.now, &mut ids);
            // The short way is the long way's answer, whatever has happened.
            if is_at_rest(view, &leader.cluster) {
                let mut no_id = || unreachable!("nothing is started");
                let long = plan_fully(view, &mut leader.cluster, &self.policy, self.now, &mut no_id);
                assert_eq!(long, Plan::default());
            }
            let (actions, retiring) = if wishes.is_empty() {
                let plan = plan(view, &mut leader.cluster, &self.policy, self.now, &mut ids);
                leader.next = plan.next;
                (plan.actions, plan.retiring)
            } else {
                (wishes, view.retiring.clone())
            };
            if !actions.is_empty() {
                if self.dice.percent(self.faults.leader_crash) {
                    return false;
                }
                for action in &actions {
                    self.tell(|| action.to_string());
                    action.apply(&mut self.disk, &mut Cluster::default());
                    match action {
                        Action::Assign(assignment) => {
                            assert!(
                                self.ever_stored.insert(assignment.instance.clone()),
                                "an id is used twice"
                            );
                            if let InstanceRole::Scheduled { due, .. } = assignment.role {
                                self.turns.push(due);
                            }
                        }
                        Action::CreateRelease(release) => {
                            self.programs.insert(release.number, self.next_program);
                        }
                        _ => {}
                    }
                }
                if self.dice.percent(self.faults.leader_crash) {
                    return false;
                }
                for action in &actions {
                    action.apply(&mut leader.view, &mut leader.cluster);
                }
            }
            let is_same = leader.view.retiring == retiring;
            leader.view.retiring = retiring;
            let has_new_table = self.publish(leader);
            if actions.is_empty() && is_same && !has_new_table {
                return true;
            }
        }
        true
    }

    fn publish(&mut self, leader: &mut Leader) -> bool {
        let view = &leader.view;
        let is_routed = |assignment: &&Assignment| {
            view.is_healthy(&assignment.instance)
                && assignment.goal == Goal::Run
                && assignment.role == InstanceRole::Service { service: self.service.clone() }
                && !view.retiring.contains(&assignment.instance)
        };
        let endpoints: BTreeSet<_> =
            view.assignments.iter().filter(is_routed).map(|a| a.instance.clone()).collect();
        if endpoints == leader.table.endpoints && leader.table.generation > self.generation {
            return false;
        }
        let has_changed = endpoints != leader.table.endpoints;
        self.generation = self.generation.max(leader.table.generation) + 1;
        for id in endpoints.difference(&leader.table.endpoints) {
            leader.left.remove(id);
            leader.entered.insert(id.clone(), (self.generation, self.now));
        }
        for id in leader.table.endpoints.difference(&endpoints) {
            leader.entered.remove(id);
            leader.left.insert(id.clone(), (self.generation, self.now));
        }
        leader.table = Table { generation: self.generation, endpoints };
        self.published = leader.table.clone();
        has_changed
    }

    fn see_traffic(&mut self, leader: &mut Leader) {
        let obey = |generation: u64| self.routers.iter().all(|router| router.generation >= generation);
        leader.view.traffic.clear();
        for assignment in &leader.view.assignments {
            let id = &assignment.instance;
            let traffic = match (leader.entered.get(id), leader.left.get(id)) {
                (Some((generation, _)), _) if obey(*generation) => Traffic::In,
                (Some((_, since)), _) => Traffic::Entering { since: *since },
                (None, Some((generation, since))) if !obey(*generation) => Traffic::Leaving { since: *since },
                _ => continue,
            };
            leader.view.traffic.insert(id.clone(), traffic);
        }
    }

    pub(super) fn some_router_follows(&mut self) {
        let index = self.dice.below(self.routers.len() as u64) as usize;
        if self.published.generation > self.routers[index].generation {
            self.routers[index] = self.published.clone();
        }
    }
}
