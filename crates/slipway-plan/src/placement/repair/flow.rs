//! Maximum flow by shortest augmenting paths, one unit at a time: what is missing is a few units, and
//! each is found in one look at the graph.

use std::collections::VecDeque;

/// A point of the graph.
pub(super) type Vertex = usize;

#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Arcs that leave each vertex. An arc and the way back over it are neighbours: `arc ^ 1`.
    leaving: Vec<Vec<usize>>,
    arcs: Vec<Arc>,
}

#[derive(Debug)]
struct Arc {
    to: Vertex,
    /// How much more may go over it.
    left: usize,
}

impl Flow {
    pub(super) fn vertex(&mut self) -> Vertex {
        self.leaving.push(Vec::new());
        self.leaving.len() - 1
    }

    pub(super) fn arc(&mut self, from: Vertex, to: Vertex, capacity: usize) -> usize {
        let arc = self.arcs.len();
        self.arcs.push(Arc { to, left: capacity });
        self.arcs.push(Arc { to: from, left: 0 });
        self.leaving[from].push(arc);
        self.leaving[to].push(arc + 1);
        arc
    }

    /// What goes over an arc.
    pub(super) fn carried(&self, arc: usize) -> usize {
        self.arcs[arc ^ 1].left
    }

    /// One unit more from `from` to `into`; false when no more fits.
    pub(super) fn augment(&mut self, from: Vertex, into: Vertex) -> bool {
        let Some(path) = self.path(from, into, |_| true) else { return false };
        self.push(&path);
        true
    }

    /// One unit more that goes over this arc and back over none; false when it does not fit.
    pub(super) fn push_through(&mut self, from: Vertex, arc: usize, into: Vertex) -> bool {
        if self.arcs[arc].left == 0 {
            return false;
        }
        let (tail, head) = (self.arcs[arc ^ 1].to, self.arcs[arc].to);
        let forward = |arc: usize| arc.is_multiple_of(2);
        let Some(mut path) = self.path(from, tail, forward) else { return false };
        let Some(rest) = self.path(head, into, forward) else { return false };
        path.push(arc);
        path.extend(rest);
        self.push(&path);
        true
    }

    fn push(&mut self, path: &[usize]) {
        for arc in path {
            self.arcs[*arc].left -= 1;
            // The way back has no capacity of its own, so this counts what is carried.
            self.arcs[arc ^ 1].left += 1;
        }
    }

    fn path(&self, from: Vertex, into: Vertex, may_use: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
        let mut came_by = vec![None; self.leaving.len()];
        let mut next = VecDeque::from([from]);
        'search: while let Some(vertex) = next.pop_front() {
            for arc in self.leaving[vertex].iter().copied() {
                let Arc { to, left } = self.arcs[arc];
                if left > 0 && to != from && came_by[to].is_none() && may_use(arc) {
                    came_by[to] = Some(arc);
                    if to == into {
                        break 'search;
                    }
                    next.push_back(to);
                }
            }
        }
        let mut path = Vec::new();
        let mut vertex = into;
        while vertex != from {
            let arc = came_by[vertex]?;
            path.push(arc);
            vertex = self.arcs[arc ^ 1].to;
        }
        path.reverse();
        Some(path)
    }
}
