//! Machines obey their lists and tell what they run; now and then they fall silent or restart.

use super::*;

impl Shared {
    /// A machine obeys its list, its processes go on, and it tells.
    pub(super) fn some_machine_works(&mut self) {
        let name = self.some_machine();
        let Some(leader) = self.leader.as_mut() else { return };
        let machine = self.machines.get_mut(&name).expect("a machine");
        if machine.is_connected {
            let list: BTreeMap<&InstanceId, &Assignment> = leader
                .views
                .values()
                .flat_map(|view| &view.assignments)
                .filter(|assignment| assignment.node == name)
                .map(|assignment| (&assignment.instance, assignment))
                .collect();
            machine.processes.retain(|id, _| list.contains_key(id));
            machine.ended.retain(|id, _| list.contains_key(id));
            for (id, assignment) in list {
                let is_known = machine.processes.contains_key(id) || machine.ended.contains_key(id);
                match assignment.goal {
                    Goal::Run if !is_known => {
                        let acts_at = self.now.plus(Span::from_millis(self.dice.below(1500)));
                        let (volumes, state) = (assignment.volumes.clone(), InstanceState::Preparing);
                        machine.processes.insert(id.clone(), Process { volumes, state, acts_at });
                    }
                    Goal::Stop if !is_known => {
                        machine.ended.insert(id.clone(), exit(ExitReason::Stopped));
                    }
                    Goal::Stop => {
                        if let Some(process) = machine.processes.get_mut(id) {
                            process.state = InstanceState::Stopping;
                        }
                    }
                    Goal::Run => {}
                }
            }
        }
        let mut gone = Vec::new();
        for (id, process) in machine.processes.iter_mut().filter(|(_, process)| process.acts_at <= self.now) {
            process.acts_at = self.now.plus(Span::from_millis(100 + self.dice.below(1500)));
            match process.state {
                InstanceState::Preparing => process.state = InstanceState::Starting,
                InstanceState::Starting => process.state = InstanceState::Healthy,
                InstanceState::Stopping => gone.push((id.clone(), ExitReason::Stopped)),
                _ if self.dice.percent(self.troubles.instance_crash) => {
                    gone.push((id.clone(), ExitReason::Signal { signal: 11 }));
                }
                _ => {}
            }
        }
        for (id, reason) in gone {
            machine.processes.remove(&id);
            machine.ended.insert(id, exit(reason));
        }
        if machine.is_connected {
            let told = reports(machine, self.now);
            leader.views.values_mut().for_each(|view| view.hear_all(&name, &told, self.now));
        }
    }

    pub(super) fn something_breaks(&mut self) {
        if self.dice.percent(self.troubles.leader_crash)
            && let Some(leader) = self.leader.take()
        {
            // What it had under way may be stored all the same.
            for (path, made) in leader.under_way {
                if self.dice.percent(50) {
                    self.store(&path, &made.actions);
                }
            }
        }
        let name = self.some_machine();
        let silence = self.dice.percent(self.troubles.node_silence);
        let reboot = self.dice.percent(self.troubles.node_reboot);
        let machine = self.machines.get_mut(&name).expect("a machine");
        if reboot {
            for (id, _) in std::mem::take(&mut machine.processes) {
                machine.ended.insert(id, exit(ExitReason::Lost));
            }
        }
        if machine.is_connected && silence {
            self.fall_silent(&name);
        } else if !machine.is_connected && self.troubles.node_silence > 0 && self.dice.percent(70) {
            self.come_back(&name);
        }
    }

    pub(super) fn fall_silent(&mut self, name: &NodeName) {
        self.machines.get_mut(name).expect("a machine").is_connected = false;
        if let Some(leader) = &mut self.leader {
            leader.cluster.set_contact(name, Contact::Unreachable { since: self.now });
        }
    }

    pub(super) fn come_back(&mut self, name: &NodeName) {
        let machine = self.machines.get_mut(name).expect("a machine");
        machine.is_connected = true;
        if let Some(leader) = &mut self.leader {
            leader.cluster.put(machine.node.clone(), Contact::Reachable);
            let told = reports(machine, self.now);
            leader.views.values_mut().for_each(|view| view.hear_all(name, &told, self.now));
        }
    }

    pub(super) fn some_machine(&mut self) -> NodeName {
        let number = self.dice.below(self.machines.len() as u64) as usize;
        self.machines.keys().nth(number).expect("a machine").clone()
    }
}

fn exit(reason: ExitReason) -> Exit {
    Exit { reason, tail: Vec::new() }
}

pub(super) fn reports(machine: &Machine, at: Timestamp) -> Vec<InstanceReport> {
    let report = |instance: &InstanceId, state: InstanceState| InstanceReport {
        instance: instance.clone(),
        state,
        address: None,
        at,
        ready: None,
        checks: Vec::new(),
        started_at: None,
    };
    let running = machine.processes.iter().map(|(id, process)| report(id, process.state.clone()));
    let ended =
        machine.ended.iter().map(|(id, exit)| report(id, InstanceState::Ended { exit: exit.clone() }));
    running.chain(ended).collect()
}
