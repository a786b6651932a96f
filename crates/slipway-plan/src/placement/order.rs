//! Nodes in the order of one resource, kept while single nodes move.
//!
//! A sorted list cut into short chunks: a search looks at the chunks' upper ends and then into one
//! chunk, a change moves a few entries within it, and a walk reads memory in sequence. An entry also
//! says how much of the other resource is free and a chunk what the most of it is, so that a walk
//! steps over the nodes that are full otherwise, whole chunks at a time.

/// A chunk that grows beyond this is cut in half. Small enough to shift, large enough to walk.
const CHUNK_MAX: usize = 96;

/// A node in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// What is free there.
    pub free: u64,
    /// Sorts as the nodes' names do.
    pub label: u64,
    /// What is free of the other resource.
    pub other: u64,
    /// Which node.
    pub slot: u32,
}

impl Entry {
    /// After every node.
    pub(crate) const END: Self = Self { free: u64::MAX, label: u64::MAX, other: u64::MAX, slot: u32::MAX };

    /// Before every node that has this much free, and after those with less.
    pub(crate) fn before(free: u64) -> Self {
        Self { free, label: 0, other: 0, slot: 0 }
    }
}

/// The order. A chunk holds what is above the end of the one before it, up to its own end.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    ends: Vec<Entry>,
    chunks: Vec<Chunk>,
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    entries: Vec<Entry>,
    other_max: u64,
}

/// How far a walk came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walked {
    /// To an entry that was accepted.
    Found(Entry),
    /// Beyond the limit.
    NotTo(Entry),
}

impl Default for Order {
    fn default() -> Self {
        Self { ends: vec![Entry::END], chunks: vec![Chunk::default()] }
    }
}

impl Order {
    pub(crate) fn insert(&mut self, entry: Entry) {
        let at = self.chunk_of(entry);
        let chunk = &mut self.chunks[at];
        let place = chunk.entries.partition_point(|other| *other < entry);
        chunk.entries.insert(place, entry);
        chunk.other_max = chunk.other_max.max(entry.other);
        if chunk.entries.len() > CHUNK_MAX {
            let upper = Chunk::of(chunk.entries.split_off(CHUNK_MAX / 2));
            *chunk = Chunk::of(std::mem::take(&mut chunk.entries));
            let end = chunk.entries[chunk.entries.len() - 1];
            self.chunks.insert(at + 1, upper);
            self.ends.insert(at, end);
        }
    }

    pub(crate) fn remove(&mut self, entry: Entry) {
        let at = self.chunk_of(entry);
        let chunk = &mut self.chunks[at];
        let place = chunk.entries.binary_search(&entry).expect("what is removed from an order is in it");
        chunk.entries.remove(place);
        if entry.other == chunk.other_max {
            *chunk = Chunk::of(std::mem::take(&mut chunk.entries));
        }
        if chunk.entries.is_empty() && self.chunks.len() > 1 {
            self.chunks.remove(at);
            // The neighbour takes over the range; the last end stays the end of all.
            self.ends.remove(at.min(self.ends.len() - 2));
        }
    }

    /// The first entry at `from` or after it that has at most `limit` free, at least `other` of the
    /// other resource, and is accepted.
    pub(crate) fn walk(
        &self,
        from: Entry,
        limit: u64,
        other: u64,
        mut accepts: impl FnMut(u32) -> bool,
    ) -> Walked {
        let first = self.chunk_of(from);
        let mut within = self.chunks[first].entries.partition_point(|entry| *entry < from);
        for Chunk { entries, other_max } in &self.chunks[first..] {
            let entries = &entries[within..];
            within = 0;
            let Some(head) = entries.first() else { continue };
            if head.free > limit {
                return Walked::NotTo(*head);
            }
            if *other_max < other {
                continue;
            }
            for entry in entries {
                if entry.free > limit {
                    return Walked::NotTo(*entry);
                }
                if entry.other >= other && accepts(entry.slot) {
                    return Walked::Found(*entry);
                }
            }
        }
        Walked::NotTo(Entry::END)
    }

    fn chunk_of(&self, entry: Entry) -> usize {
        // No entry is after the end of all, so there is always a chunk.
        self.ends.partition_point(|end| *end < entry)
    }
}

impl Chunk {
    fn of(entries: Vec<Entry>) -> Self {
        let other_max = entries.iter().map(|entry| entry.other).max().unwrap_or(0);
        Self { entries, other_max }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn behaves_as_a_sorted_set_does() {
        let mut order = Order::default();
        let mut model = BTreeSet::new();
        let mut state = 1_u64;
        let mut below = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        for step in 0..40_000 {
            let entry = Entry { free: below(50), label: below(40), other: below(5), slot: 7 };
            // Grows for a while, then shrinks to nothing.
            if below(100) < if step < 20_000 { 70 } else { 20 } {
                if model.insert(entry) {
                    order.insert(entry);
                }
            } else if model.remove(&entry) {
                order.remove(entry);
            }
            let (from, limit, other) = (Entry::before(below(51)), below(60), below(6));
            let walked = order.walk(from, limit, other, |_| true);
            let expected = model.range(from..).find(|entry| entry.free > limit || entry.other >= other);
            match expected {
                Some(entry) if entry.free <= limit => assert_eq!(walked, Walked::Found(*entry), "{step}"),
                _ => {
                    let Walked::NotTo(at) = walked else { panic!("step {step}: {walked:?}") };
                    assert!(at.free > limit, "step {step}: {at:?}");
                }
            }
        }
        for entry in &model {
            order.remove(*entry);
        }
        assert_eq!(order.walk(Entry::before(0), u64::MAX, 0, |_| true), Walked::NotTo(Entry::END));
    }
}
