//! What is promised to whom, counted anew from what is stored and under way.

use super::*;

impl Shared {
    /// Everything that holds something: what is stored, and what is under way.
    pub(super) fn held(&self) -> Vec<(&EnvironmentPath, NodeName, Resources, Option<&Assignment>)> {
        let mut all = Vec::new();
        for (path, view) in &self.disk {
            let plan = self.leader.as_ref().and_then(|leader| leader.under_way.get(path));
            let coming = plan.iter().flat_map(|plan| &plan.actions).filter_map(|action| match action {
                Action::Assign(assignment) => Some(assignment),
                _ => None,
            });
            // What goes with the same plan still holds all but the volumes that it hands on.
            let resting: BTreeMap<_, _> = plan
                .iter()
                .flat_map(|plan| &plan.actions)
                .filter_map(|action| match action {
                    Action::Rest(set) => Some((set.volumes.first()?, set.disk)),
                    _ => None,
                })
                .collect();
            let mut used = BTreeSet::new();
            for assignment in coming {
                used.extend(&assignment.volumes);
                let amount = needs(view.releases.get(&assignment.release), &assignment.role);
                let handed_on = assignment.volumes.first().and_then(|volume| resting.get(volume));
                let disk = handed_on.copied().unwrap_or_default();
                let amount = amount.minus(Resources { disk, ..Resources::default() });
                all.push((path, assignment.node.clone(), amount, Some(assignment)));
            }
            let is_ending =
                |a: &Assignment| a.volumes.first().is_some_and(|volume| resting.contains_key(volume));
            for assignment in &view.assignments {
                let amount = needs(view.releases.get(&assignment.release), &assignment.role);
                let without = if is_ending(assignment) { None } else { Some(assignment) };
                all.push((path, assignment.node.clone(), amount, without));
            }
            for set in view.resting.iter().filter(|set| !set.volumes.iter().any(|id| used.contains(id))) {
                let amount = Resources { disk: set.disk, ..Resources::default() };
                all.push((path, set.node.clone(), amount, None));
            }
        }
        all
    }

    pub(super) fn usage(&self) -> BTreeMap<TenantName, Usage> {
        let mut usage: BTreeMap<TenantName, Usage> = BTreeMap::new();
        for (path, _, amount, assignment) in self.held() {
            let of = usage.entry(path.tenant.clone()).or_default();
            of.amount = of.amount.plus(amount);
            of.instances += u32::from(assignment.is_some() || amount.mem > Bytes(0));
        }
        for (path, view) in &self.disk {
            let plan = self.leader.as_ref().and_then(|leader| leader.under_way.get(path));
            let coming = plan.iter().flat_map(|plan| &plan.actions).filter_map(|action| match action {
                Action::Assign(assignment) => Some(assignment),
                _ => None,
            });
            for assignment in coming.chain(&view.assignments) {
                let ports = assignment.ports.iter().filter(|port| **port != 0).count() as u32;
                usage.entry(path.tenant.clone()).or_default().ports += ports;
            }
        }
        usage
    }

    /// What must hold after every step.
    pub(super) fn check(&self) {
        let mut promised: BTreeMap<NodeName, Resources> = BTreeMap::new();
        let (mut ports, mut volumes) = (BTreeSet::new(), BTreeSet::new());
        for (_, node, amount, assignment) in self.held() {
            let sum = promised.entry(node.clone()).or_default();
            *sum = sum.plus(amount);
            let Some(assignment) = assignment else { continue };
            for port in assignment.ports.iter().filter(|port| **port != 0) {
                assert!((31_000..=31_015).contains(port), "port {port}");
                assert!(ports.insert((node.clone(), *port)), "S11: port {port} of {node} is given twice");
            }
            for volume in &assignment.volumes {
                assert!(volumes.insert(volume.clone()), "MA-70: two instances have {volume}");
            }
        }
        let resting = self.disk.values().flat_map(|view| &view.resting).flat_map(|set| &set.volumes);
        let stored = self.disk.values().flat_map(|view| &view.assignments).flat_map(|a| &a.volumes);
        let mut all = BTreeSet::new();
        assert!(resting.chain(stored).all(|volume| all.insert(volume)), "MA-70: a volume rests and is used");
        for machine in self.machines.values() {
            let in_use = machine.processes.values().flat_map(|process| &process.volumes);
            let mut users = BTreeSet::new();
            assert!(in_use.into_iter().all(|volume| users.insert(volume)), "MA-70: two run on one volume");
        }
        for (name, amount) in &promised {
            let size = Resources::of_node(&self.machines[name].node);
            assert!(amount.fits(size), "S11: {name} is promised {amount:?} of {size:?}");
        }
        let usage = self.usage();
        for (tenant, quota) in &self.quotas {
            let (used, had) = (usage.get(tenant).copied().unwrap_or_default(), self.had[tenant]);
            let most = quota.instances.map(|limit| limit.max(had.instances));
            assert!(
                most.is_none_or(|most| used.instances <= most),
                "S11: {tenant} has {used:?} of {quota:?}"
            );
            let most = quota.ports.map(|limit| limit.max(had.ports));
            assert!(most.is_none_or(|most| used.ports <= most), "S11: {tenant} has {used:?} of {quota:?}");
            let most = quota.mem.map(|limit| limit.max(had.amount.mem));
            assert!(
                most.is_none_or(|most| used.amount.mem <= most),
                "S11: {tenant} has {used:?} of {quota:?}"
            );
        }
        if let Some(leader) = &self.leader {
            for name in self.machines.keys() {
                let expected = promised.get(name).copied().unwrap_or_default();
                assert_eq!(leader.cluster.promised(name), expected, "the leader counts {name} as is stored");
            }
            let counted: BTreeMap<_, _> =
                leader.cluster.usages().map(|(tenant, usage)| (tenant.clone(), usage)).collect();
            let expected: BTreeMap<_, _> =
                usage.into_iter().filter(|(_, usage)| *usage != Usage::default()).collect();
            assert_eq!(counted, expected, "the leader counts tenants as is stored");
        }
    }

    pub(super) fn healthy(&self, path: &str) -> usize {
        let path: EnvironmentPath = path.parse().expect("a path");
        let Some(view) = self.disk.get(&path) else { return 0 };
        let is_healthy = |assignment: &&Assignment| {
            let process = self.machines[&assignment.node].processes.get(&assignment.instance);
            process.is_some_and(|process| process.state == InstanceState::Healthy)
        };
        view.assignments.iter().filter(is_healthy).count()
    }

    /// True when every environment runs as it is asked to, and nothing else runs.
    pub(super) fn is_converged(&self) -> bool {
        let is_good = |(path, view): (&EnvironmentPath, &EnvironmentView)| {
            let asked = view.live().map_or(0, |live| view.asked(live, &web())) as usize;
            let is_of_live = |a: &Assignment| Some(a.release) == view.live() && a.goal == Goal::Run;
            view.requests.is_empty()
                && view.deployment().is_none()
                && view.assignments.len() == asked
                && view.assignments.iter().all(is_of_live)
                && self.healthy(&path.to_string()) == asked
        };
        self.leader.as_ref().is_some_and(|leader| leader.under_way.is_empty())
            && self.disk.iter().all(is_good)
    }

    pub(super) fn assignments(&self) -> BTreeSet<InstanceId> {
        let all = self.disk.values().flat_map(|view| &view.assignments);
        all.filter(|a| matches!(a.role, InstanceRole::Service { .. })).map(|a| a.instance.clone()).collect()
    }

    pub(super) fn left_on(&self, node: &str) -> usize {
        let all = self.disk.values().flat_map(|view| &view.assignments);
        all.filter(|assignment| assignment.node.as_str() == node).count()
    }
}
