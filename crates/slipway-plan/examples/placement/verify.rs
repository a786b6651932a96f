//! What the placements are checked with: the rules once more, over arrays, and a maximum flow that says
//! how many instances of a service there is room for.

use std::collections::BTreeSet;

use slipway_plan::cluster::Resources;

use super::{Case, SIZE, Service};

/// What is free on each machine, counted beside the index.
pub struct Ledger<'c> {
    case: &'c Case,
    free: Vec<Resources>,
}

impl<'c> Ledger<'c> {
    pub fn new(case: &'c Case) -> Self {
        Self { case, free: vec![SIZE; case.machines.len()] }
    }

    /// Takes the room of a service's instances.
    ///
    /// # Panics
    /// If a constraint is broken or a machine is promised more than it has.
    pub fn take(&mut self, service: &Service, machines: &[usize]) {
        let (mut by_rack, mut by_feed) = (vec![0; self.case.racks], [0; 25]);
        for number in machines {
            let machine = &self.case.machines[*number];
            assert!(service.likes(machine), "LIKE");
            assert!(self.has_room(*number, service), "room");
            self.free[*number] = self.free[*number].minus(service.need);
            by_rack[machine.rack] += 1;
            by_feed[machine.feed] += 1;
        }
        assert_eq!(machines.iter().collect::<BTreeSet<_>>().len(), machines.len(), "UNIQUE");
        let (base, rest) = (service.instances / self.case.racks, service.instances % self.case.racks);
        assert!(by_rack.iter().all(|count| *count <= base + 1), "GROUP_BY");
        assert!(by_rack.iter().filter(|count| **count > base).count() <= rest, "GROUP_BY");
        let feed_max = service.feed_max.unwrap_or(usize::MAX);
        assert!(by_feed.iter().all(|count| *count <= feed_max), "MAX_PER");
    }

    /// For how many of its instances there is room: from a source through racks (`base` each, one more
    /// for `rest` of them) to machines (one each) and through feeds to the end.
    pub fn room(&self, service: &Service) -> usize {
        let (racks, machines) = (self.case.racks, self.case.machines.len());
        let (base, rest) = (service.instances / racks, service.instances % racks);
        let (rack, machine) = (|number| 3 + number, |number| 3 + racks + number);
        let feed = |number| 3 + racks + machines + number;
        let (source, extra, end) = (0, 1, 2);
        let mut graph = Graph::new(3 + racks + machines + 25);
        graph.edge(source, extra, rest);
        for number in 0..racks {
            graph.edge(source, rack(number), base);
            graph.edge(extra, rack(number), 1);
        }
        for (number, at) in self.case.machines.iter().enumerate() {
            if service.likes(at) && self.has_room(number, service) {
                graph.edge(rack(at.rack), machine(number), 1);
                graph.edge(machine(number), feed(at.feed), 1);
            }
        }
        for number in 0..25 {
            graph.edge(feed(number), end, service.feed_max.unwrap_or(usize::MAX));
        }
        let mut flow = 0;
        while flow < service.instances && graph.augment(source, end) {
            flow += 1;
        }
        flow
    }

    fn has_room(&self, number: usize, service: &Service) -> bool {
        let (free, need) = (self.free[number], service.need);
        need.cpus <= free.cpus && need.mem <= free.mem && need.disk <= free.disk
    }
}

/// Depth first, one unit at a time (Ford and Fulkerson).
struct Graph {
    edges: Vec<(usize, usize)>,
    out: Vec<Vec<usize>>,
}

impl Graph {
    fn new(vertices: usize) -> Self {
        Self { edges: Vec::new(), out: vec![Vec::new(); vertices] }
    }

    fn edge(&mut self, from: usize, to: usize, capacity: usize) {
        self.out[from].push(self.edges.len());
        self.edges.push((to, capacity));
        self.out[to].push(self.edges.len());
        self.edges.push((from, 0));
    }

    fn augment(&mut self, from: usize, end: usize) -> bool {
        let mut seen = vec![false; self.out.len()];
        let mut came_by = vec![usize::MAX; self.out.len()];
        let mut stack = vec![from];
        seen[from] = true;
        while let Some(vertex) = stack.pop() {
            if vertex == end {
                let mut at = end;
                while at != from {
                    let edge = came_by[at];
                    self.edges[edge].1 -= 1;
                    self.edges[edge ^ 1].1 += 1;
                    at = self.edges[edge ^ 1].0;
                }
                return true;
            }
            for edge in &self.out[vertex] {
                let (to, left) = self.edges[*edge];
                if left > 0 && !seen[to] {
                    seen[to] = true;
                    came_by[to] = *edge;
                    stack.push(to);
                }
            }
        }
        false
    }
}
