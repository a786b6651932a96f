//! What to do when the best node each time leaves instances without room that others could have left.
//!
//! While at most one attribute counts instances (beside the node's own name), no order of choices can
//! strand an instance: any set of nodes that keeps the rules can be extended to one as large as the
//! largest (the sets form a matroid). Two kinds of constraints break that, and only they come here:
//!
//! - Two attributes that both count (GROUP_BY rack and MAX_PER feed). Each node is then an edge from
//!   a value of one to a value of the other, the counts are capacities at both ends, and the largest
//!   set is a maximum flow. The batch's own choice is where the flow begins, so that only as much of
//!   it changes as must. Instances that existed before are not moved (MA-38).
//! - Values must be chosen (CLUSTER without a value, GROUP_BY with fewer groups than there are): those
//!   with the most room, and for CLUSTER the smallest room that is enough.
//!
//! More than two attributes that count would be a matching in three dimensions, for which no fast
//! exact way is known; the batch's choice then stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::Batch;
use super::check::{Check, Kind, Limit};
use super::index::Slot;

mod flow;

use flow::{Flow, Vertex};

/// The constraints on one attribute that count instances, as one.
#[derive(Debug)]
struct Field {
    column: usize,
    /// So many for each value.
    each: usize,
    /// And MA-38's even share with one more for so many values.
    even: Option<(usize, usize)>,
    /// So many different values.
    groups: Option<usize>,
}

/// A node that takes more.
struct Candidate {
    slot: Slot,
    /// How many, as far as room and the constraints on its name go.
    room: usize,
    /// Its value in each field.
    values: Vec<u32>,
}

impl Batch<'_> {
    /// Whether another choice of nodes might hold more than the best node each time.
    pub(super) fn can_repair(&self) -> bool {
        let fields = self.fields();
        let has_choice = |field: &Field| {
            field.groups.is_some_and(|groups| groups < self.index.columns()[field.column].groups_seen)
        };
        fields.len() == 2 || fields.len() == 1 && has_choice(&fields[0])
    }

    /// Makes `slots`, which this batch has placed, up to `count` of them, or as many as there can be.
    pub(super) fn repair(&mut self, slots: &mut Vec<Slot>, count: usize) {
        let mut fields = self.fields();
        self.give_back(slots);
        let mut candidates = self.candidates(&fields, count);
        for number in 0..fields.len() {
            self.choose_values(&fields, number, &mut candidates, count);
        }
        // One attribute alone has nothing on its other side but as much as is asked for.
        let other_side = fields.get(1).is_some().then(|| fields.remove(1));
        let found = self.flow(&fields[0], other_side.as_ref(), &candidates, slots, count);
        let mut kept = Vec::new();
        for slot in found {
            if self.accepts(slot) {
                self.take(slot);
                kept.push(slot);
            }
        }
        if kept.len() > slots.len() {
            *slots = kept;
            return;
        }
        self.give_back(&kept);
        slots.iter().for_each(|slot| self.take(*slot));
    }

    fn fields(&self) -> Vec<Field> {
        let mut fields = BTreeMap::new();
        for Check { column, kind, .. } in &self.checks {
            let Some(column) = *column else { continue };
            let new = || Field { column, each: usize::MAX, even: None, groups: None };
            match kind {
                Kind::Fixed(_) => {}
                Kind::SameAs(_) => fields.entry(column).or_insert_with(new).groups = Some(1),
                Kind::Counted(counted) => match counted.limit {
                    // The capacity of a node, not of an end.
                    Limit::Each(_) if counted.is_by_name() => {}
                    Limit::Each(most) => {
                        let field = fields.entry(column).or_insert_with(new);
                        field.each = field.each.min(most);
                    }
                    Limit::Even { groups, base, rest } => {
                        let field = fields.entry(column).or_insert_with(new);
                        let groups = field.groups.map_or(groups, |other| other.min(groups));
                        (field.groups, field.even) = (Some(groups), Some((base, rest)));
                    }
                },
            }
        }
        fields.into_values().collect()
    }

    /// All nodes that take one more, the best first.
    fn candidates(&mut self, fields: &[Field], count: usize) -> Vec<Candidate> {
        let slots: Vec<_> = self.index.slots().filter(|slot| self.index.is_open(*slot)).collect();
        let mut slots: Vec<_> = slots.into_iter().filter(|slot| self.accepts(*slot)).collect();
        slots.sort_by_cached_key(|slot| self.rank(*slot));
        let candidate = |slot| {
            let value = |field: &Field| self.index.columns()[field.column].value(slot);
            let values = fields.iter().map(value).collect::<Option<Vec<_>>>()?;
            Some(Candidate { slot, room: self.room(slot, count), values })
        };
        slots.into_iter().filter_map(candidate).collect()
    }

    /// How many more of these instances the node holds, at most `count`.
    fn room(&self, slot: Slot, count: usize) -> usize {
        let (free, need) = (self.index.free(slot), self.need);
        let times = |free: u64, need: u64| free.checked_div(need).unwrap_or(u64::MAX);
        let times = times(free.cpus.0.into(), need.cpus.0.into())
            .min(times(free.mem.0, need.mem.0))
            .min(times(free.disk.0, need.disk.0))
            .min(times(free.gpus.into(), need.gpus.into()));
        let limit = |check: &Check<'_>| match &check.kind {
            Kind::Counted(counted) if counted.is_by_name() => match counted.limit {
                Limit::Each(most) => most - self.copies(slot).min(most),
                Limit::Even { .. } => count,
            },
            Kind::Counted(_) | Kind::Fixed(_) | Kind::SameAs(_) => count,
        };
        let times = usize::try_from(times).unwrap_or(count).min(count);
        let times = if self.ports.is_empty() {
            times
        } else {
            self.index.ports_times(slot, self.tenant, self.ports, times)
        };
        self.checks.iter().map(limit).fold(times, usize::min)
    }

    /// Leaves only candidates of the values that a field's limit on groups lets take part.
    fn choose_values(&self, fields: &[Field], number: usize, candidates: &mut Vec<Candidate>, count: usize) {
        let field = &fields[number];
        let Some(groups) = field.groups else { return };
        let open = self.placed_by_value(field);
        let mut by_value: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        for (order, candidate) in candidates.iter().enumerate() {
            let (room, _) = by_value.entry(candidate.values[number]).or_insert((0, order));
            *room += candidate.room;
        }
        let mut values: Vec<_> =
            by_value.into_iter().filter(|(value, _)| !open.contains_key(value)).collect();
        let free_groups = groups.saturating_sub(open.len());
        if values.len() <= free_groups {
            return;
        }
        let most = field.each.min(field.even.map_or(usize::MAX, |(base, _)| base + 1));
        // The best candidate's place settles ties, so that the choice does not depend on history.
        if field.even.is_none() && groups == 1 {
            let is_short = |room: usize| room.min(most) < count;
            values.sort_by_key(|(_, (room, order))| {
                let room = (*room).min(most);
                (is_short(room), if is_short(room) { usize::MAX - room } else { room }, *order)
            });
        } else {
            values.sort_by_key(|(_, (room, order))| (usize::MAX - (*room).min(most), *order));
        }
        let chosen: BTreeSet<_> = values.into_iter().take(free_groups).map(|(value, _)| value).collect();
        candidates.retain(|candidate| {
            let value = candidate.values[number];
            chosen.contains(&value) || open.contains_key(&value)
        });
    }

    /// Instances that existed before, by value.
    fn placed_by_value(&self, field: &Field) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for slot in &self.placed {
            if let Some(value) = self.index.columns()[field.column].value(*slot) {
                *counts.entry(value).or_default() += 1;
            }
        }
        counts
    }

    /// Slots for up to `count` instances, as many as there can be.
    fn flow(
        &self,
        left: &Field,
        right: Option<&Field>,
        candidates: &[Candidate],
        begin: &[Slot],
        count: usize,
    ) -> Vec<Slot> {
        let mut flow = Flow::default();
        let from = flow.vertex();
        let into = flow.vertex();
        let lefts = self.ends(&mut flow, left, from, candidates, 0, |flow, end, value, room| {
            flow.arc(end, value, room);
        });
        let rights = match right {
            Some(field) => self.ends(&mut flow, field, into, candidates, 1, |flow, end, value, room| {
                flow.arc(value, end, room);
            }),
            None => BTreeMap::new(),
        };
        // Nodes with the same values are one arc, and the best of them are used first.
        let mut alike: Vec<Vec<&Candidate>> = Vec::new();
        let mut numbers: BTreeMap<&[u32], usize> = BTreeMap::new();
        let mut number_of: BTreeMap<Slot, usize> = BTreeMap::new();
        for candidate in candidates {
            let number = *numbers.entry(&candidate.values).or_insert_with(|| {
                alike.push(Vec::new());
                alike.len() - 1
            });
            alike[number].push(candidate);
            number_of.insert(candidate.slot, number);
        }
        let arc = |nodes: &Vec<&Candidate>| {
            let values = &nodes[0].values;
            let right = values.get(1).map_or(into, |value| rights[value]);
            flow.arc(lefts[&values[0]], right, nodes.iter().map(|candidate| candidate.room).sum())
        };
        let arcs: Vec<_> = alike.iter().map(arc).collect();
        let mut total = 0;
        for slot in begin {
            let arc = number_of.get(slot).map(|number| arcs[*number]);
            total += usize::from(arc.is_some_and(|arc| flow.push_through(from, arc, into)));
        }
        while total < count && flow.augment(from, into) {
            total += 1;
        }
        alike.iter().zip(arcs).flat_map(|(nodes, arc)| spread(nodes, flow.carried(arc))).collect()
    }

    /// The values of one field and how much each may carry from or to `end`.
    fn ends(
        &self,
        flow: &mut Flow,
        field: &Field,
        end: Vertex,
        candidates: &[Candidate],
        number: usize,
        mut arc: impl FnMut(&mut Flow, Vertex, Vertex, usize),
    ) -> BTreeMap<u32, Vertex> {
        let placed = self.placed_by_value(field);
        let extra = field.even.map(|(base, rest)| {
            let used = placed.values().filter(|count| **count > base).count();
            let extra = flow.vertex();
            arc(flow, end, extra, rest.saturating_sub(used));
            (extra, base)
        });
        let mut vertices = BTreeMap::new();
        for candidate in candidates {
            let value = candidate.values[number];
            if vertices.contains_key(&value) {
                continue;
            }
            let vertex = flow.vertex();
            vertices.insert(value, vertex);
            let here = placed.get(&value).copied().unwrap_or(0);
            let base = extra.map_or(usize::MAX, |(_, base)| base);
            arc(flow, end, vertex, field.each.min(base).saturating_sub(here));
            if let Some((extra, base)) = extra
                && here <= base
                && base < field.each
            {
                arc(flow, extra, vertex, 1);
            }
        }
        vertices
    }
}

/// So many instances on the best of these nodes, on each one before a second is on any.
fn spread(nodes: &[&Candidate], count: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    for copies in 0.. {
        let takes = nodes.iter().filter(|candidate| candidate.room > copies);
        let before = slots.len();
        slots.extend(takes.map(|candidate| candidate.slot).take(count - before));
        if slots.len() == before {
            break;
        }
    }
    slots
}

#[cfg(test)]
mod tests;
