//! Nodes of the simulated world: they keep the contract of an agent, late.

use slipway_model::id::InstanceId;
use slipway_model::instance::{
    Exit, ExitReason, Goal, InstanceReport, InstanceRole, InstanceState, Readiness,
};
use slipway_model::unit::{Span, Timestamp};

use super::{Dice, Process, Program, SimNode, World};
use crate::cluster::Contact;

impl World {
    pub(super) fn some_node_connects(&mut self) {
        let name = self.some_node();
        let (node, sim) = self.nodes.get_mut(&name).expect("a node");
        let Some(leader) = &mut self.leader else { return };
        if sim.is_connected && !self.dice.percent(20) {
            return;
        }
        sim.is_connected = true;
        leader.cluster.put(node.clone(), Contact::Reachable);
        let told = sim.processes.keys().chain(sim.ended.keys());
        let reports: Vec<_> = told.filter_map(|id| report_of(sim, id, self.now)).collect();
        leader.view.hear_all(&name, &reports, leader.started_at);
    }

    /// A node converges to its list, its processes go on, and it reports.
    pub(super) fn some_node_works(&mut self) {
        let name = self.some_node();
        let list = self.nodes[&name].1.list.clone();
        for assignment in &list {
            let sim = &mut self.nodes.get_mut(&name).expect("a node").1;
            let id = &assignment.instance;
            let knows = sim.processes.contains_key(id) || sim.ended.contains_key(id);
            match assignment.goal {
                Goal::Run if !knows => {
                    assert!(self.ever_stored.contains(id), "S6: started without stored intent");
                    assert!(self.ever_started.insert(id.clone()), "started twice");
                    let acts_at = self.now.plus(Span::from_millis(self.dice.below(1500)));
                    let assignment = assignment.clone();
                    let (state, started_at) = (InstanceState::Preparing, self.now);
                    sim.processes.insert(
                        id.clone(),
                        Process { assignment, state, acts_at, started_at, answers: false, ready_at: None },
                    );
                }
                Goal::Stop if !knows => {
                    sim.ended.insert(id.clone(), Exit { reason: ExitReason::Stopped, tail: Vec::new() });
                }
                Goal::Stop => {
                    if let Some(process) = sim.processes.get_mut(id)
                        && process.state != InstanceState::Stopping
                    {
                        process.state = InstanceState::Stopping;
                        process.answers = false;
                        process.acts_at = self.now.plus(Span::from_millis(self.dice.below(3000)));
                    }
                }
                Goal::Run => {}
            }
        }
        let sim = &mut self.nodes.get_mut(&name).expect("a node").1;
        // What is not on the list is reaped.
        sim.processes.retain(|id, _| list.iter().any(|a| a.instance == *id));
        sim.ended.retain(|id, _| list.iter().any(|a| a.instance == *id));
        let mut changed = Vec::new();
        let mut gone = Vec::new();
        for (id, process) in sim.processes.iter_mut().filter(|(_, process)| process.acts_at <= self.now) {
            let program = self.programs.get(&process.assignment.release).copied().unwrap_or(Program::Good);
            match go_on(process, program, self.now, &mut self.dice) {
                Some(exit) => gone.push((id.clone(), exit)),
                None => changed.push(id.clone()),
            }
        }
        for (id, exit) in gone {
            sim.processes.remove(&id);
            sim.ended.insert(id.clone(), exit);
            changed.push(id);
        }
        let Some(leader) = self.leader.as_mut().filter(|_| sim.is_connected) else { return };
        // What was lost is told again some time: agents resend.
        let all: Vec<_> = sim.processes.keys().chain(sim.ended.keys()).cloned().collect();
        for id in changed.into_iter().chain(all) {
            let report = report_of(sim, &id, self.now);
            let is_assigned = leader.view.assignments.iter().any(|a| a.instance == id);
            if let Some(report) =
                report.filter(|_| is_assigned && !self.dice.percent(self.faults.lost_message))
            {
                leader.view.hear(report);
            }
            if self.dice.percent(self.faults.repeated_report) {
                let late = InstanceReport {
                    instance: id,
                    state: InstanceState::Starting,
                    address: None,
                    at: self.now,
                    ready: None,
                    checks: Vec::new(),
                    started_at: None,
                };
                // An old report comes again after an end; the end must stand.
                if leader.view.reports.get(&late.instance).is_some_and(|known| !known.state.is_alive()) {
                    assert!(!leader.view.hear(late));
                }
            }
        }
    }
}

/// The next step of a process by itself; how it ended, if it did.
fn go_on(process: &mut Process, program: Program, now: Timestamp, dice: &mut Dice) -> Option<Exit> {
    let exit = |reason| Some(Exit { reason, tail: vec!["last words".into()] });
    process.acts_at = now.plus(Span::from_millis(200 + dice.below(2000)));
    match process.state {
        InstanceState::Preparing => {
            process.state = InstanceState::Starting;
            None
        }
        InstanceState::Stopping => exit(ExitReason::Stopped),
        InstanceState::Starting => {
            if !matches!(process.assignment.role, InstanceRole::Service { .. }) {
                let code = i32::from(program == Program::CrashesAtStart);
                return exit(ExitReason::Status { code });
            }
            match program {
                Program::Good => process.state = InstanceState::Healthy,
                Program::Flaky if process.answers => process.state = InstanceState::Healthy,
                Program::Flaky if dice.percent(50) => return exit(ExitReason::Signal { signal: 11 }),
                Program::Flaky => process.state = InstanceState::Healthy,
                Program::CrashesAtStart => return exit(ExitReason::Status { code: 1 }),
                Program::NeverHealthy if now.since(process.started_at) < Span::from_secs(60) => {}
                Program::NeverHealthy => {
                    return exit(ExitReason::NotHealthyInTime { last_check: "connection refused".into() });
                }
            }
            process.answers = process.state == InstanceState::Healthy;
            if process.answers && process.ready_at.is_none() {
                process.ready_at = Some(now.plus(Span::from_millis(dice.below(4000))));
            }
            None
        }
        InstanceState::Healthy | InstanceState::Unhealthy { .. } | InstanceState::Ended { .. } => None,
    }
}

fn report_of(sim: &SimNode, id: &InstanceId, at: Timestamp) -> Option<InstanceReport> {
    let state = match (sim.processes.get(id), sim.ended.get(id)) {
        (Some(process), _) => process.state.clone(),
        (None, Some(exit)) => InstanceState::Ended { exit: exit.clone() },
        (None, None) => return None,
    };
    // Asked or not: the leader looks at it only where the service wants to be asked.
    let process = sim.processes.get(id).filter(|process| process.state == InstanceState::Healthy);
    let ready =
        process.map(|process| Readiness { ready: process.is_ready(at), status: None, body: String::new() });
    Some(InstanceReport {
        instance: id.clone(),
        state,
        address: None,
        at,
        ready,
        checks: Vec::new(),
        started_at: None,
    })
}
