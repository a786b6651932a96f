//! Ports of a node that lead to instances.
//!
//! Which one an instance gets is part of the plan, so that it is stored before anything listens. Where
//! the service leaves the choice to us, ports are given in rotation: one that has just been given up is
//! the last to be given again, so that a client which still has it in mind does not meet another tenant.
//!
//! Beyond that, a port that has been given up **rests** for ten minutes ([`Rests`]): its tenant may have it
//! again at once, another one not yet. Whoever leaves the choice to us never waits for that: when every free
//! port rests, it gets the one that has rested longest. Whoever names the port waits, and is told so: a
//! stranger's program would otherwise get the old clients' requests, and nothing is lost by the wait but
//! time. Where several nodes would do, one on which the port does not rest is taken at once.
//!
//! What rests is not stored. A new leader does not know of it: the records name only who holds a port, not
//! who held it. A takeover thus cuts a rest short, as rarely as that is; to prevent it every end of an
//! instance would have to write another record.

use std::collections::BTreeSet;

use slipway_model::name::TenantName;
use slipway_model::service::ServiceSpec;
use slipway_model::unit::Timestamp;

mod rest;

pub(crate) use rest::Calendar;
use rest::Rests;

/// What a service asks for, one entry for each of its ports: a port of the node, 0 for any, `None` for
/// none.
pub type Asked = Option<u16>;

/// What a service asks for; empty when it asks for no port of the node.
pub fn asked(spec: &ServiceSpec) -> Vec<Asked> {
    let asked: Vec<_> = spec.ports.iter().map(|port| port.host).collect();
    if asked.iter().all(Option::is_none) { Vec::new() } else { asked }
}

/// How many ports that is: of what a service asks for, those that it does ask for.
pub(crate) fn count_asked(asked: &[Asked]) -> u32 {
    asked.iter().flatten().count() as u32
}

/// How many ports of its node an assignment holds; 0 stands for one that is not forwarded.
pub(crate) fn count_held(ports: &[u16]) -> u32 {
    ports.iter().filter(|port| **port != 0).count() as u32
}

/// How many ports a node has.
pub(crate) fn count_offered((first, last): (u16, u16)) -> u32 {
    if first > last { 0 } else { u32::from(last - first) + 1 }
}

/// The ports that assignments hold on one node, and where the search for the next one begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    used: BTreeSet<u16>,
    next: u16,
    /// A port that rests and is taken again stays in here: it counts only while nobody has the port.
    rests: Rests,
}

impl Ports {
    /// Whether the tenant can have `asked` beside `times` others of the same that are not in here yet.
    pub(crate) fn fit(&self, range: (u16, u16), tenant: &TenantName, asked: &[Asked], times: usize) -> bool {
        self.fit_rested(range, asked, times) && !self.must_wait(tenant, asked)
    }

    /// Whether a port that it names rests after another tenant.
    fn must_wait(&self, tenant: &TenantName, asked: &[Asked]) -> bool {
        !self.rests.is_empty() && fixed(asked).any(|port| self.rests.is_kept_from(port, tenant))
    }

    /// The same as [`fit`](Self::fit) once all ports have rested.
    pub(crate) fn fit_rested(&self, range: (u16, u16), asked: &[Asked], times: usize) -> bool {
        let mut fixed: Vec<_> = fixed(asked).collect();
        let any = asked.iter().filter(|port| **port == Some(0)).count();
        let are_fixed_free = fixed.iter().all(|port| self.is_free(range, *port));
        let count = fixed.len();
        fixed.sort_unstable();
        fixed.dedup();
        are_fixed_free
            && fixed.len() == count
            && (count == 0 || times == 0)
            && (any == 0 || any * (times + 1) + count <= self.free(range))
    }

    /// How many more times `asked` can be had, at most `most`.
    pub(crate) fn times(
        &self,
        range: (u16, u16),
        tenant: &TenantName,
        asked: &[Asked],
        most: usize,
    ) -> usize {
        if !self.fit(range, tenant, asked, 0) {
            return 0;
        }
        let any = asked.iter().filter(|port| **port == Some(0)).count();
        let by_number = self.free(range).checked_div(any).unwrap_or(most).min(most);
        if fixed(asked).next().is_some() { by_number.min(1) } else { by_number }
    }

    /// Ports for one instance; 0 where it asks for none. `None` when they cannot be had.
    pub(crate) fn pick(&self, range: (u16, u16), tenant: &TenantName, asked: &[Asked]) -> Option<Vec<u16>> {
        if !self.fit(range, tenant, asked, 0) {
            return None;
        }
        let mut taken: BTreeSet<u16> = fixed(asked).collect();
        let mut next = self.next;
        let mut pick = |asked: &Asked| match asked {
            None => Some(0),
            Some(0) => {
                let is_free = |port: &u16| self.is_free(range, *port) && !taken.contains(port);
                let is_rested = |port: &u16| is_free(port) && !self.rests.is_kept_from(*port, tenant);
                let port = (next.max(range.0)..=range.1).find(is_rested);
                let port = port.or_else(|| (range.0..=range.1).find(is_rested));
                let port = port.or_else(|| self.rests.longest(is_free))?;
                taken.insert(port);
                next = port.wrapping_add(1);
                Some(port)
            }
            Some(port) => Some(*port),
        };
        asked.iter().map(&mut pick).collect()
    }

    /// An assignment holds these.
    pub(crate) fn take(&mut self, ports: &[u16]) {
        for port in ports.iter().filter(|port| **port != 0) {
            self.used.insert(*port);
            self.next = port.wrapping_add(1);
        }
    }

    /// An assignment holds these no longer.
    pub(crate) fn give_back(&mut self, ports: &[u16]) {
        for port in ports {
            self.used.remove(port);
        }
    }

    /// And they rest until then, for whoever is not this tenant.
    pub(crate) fn rest(&mut self, ports: &[u16], tenant: &TenantName, until: Timestamp) {
        for port in ports.iter().filter(|port| **port != 0) {
            self.rests.add(*port, tenant, until);
        }
    }

    /// What has rested long enough does not rest any more.
    pub(crate) fn end_rests(&mut self, now: Timestamp) {
        self.rests.end(now);
    }

    /// As if these had never been taken.
    pub(crate) fn undo(&mut self, ports: &[u16], next: u16) {
        self.give_back(ports);
        self.next = next;
    }

    pub(crate) fn next(&self) -> u16 {
        self.next
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used.is_empty() && self.rests.is_empty()
    }

    /// How many of the range nobody has.
    pub(crate) fn free(&self, range: (u16, u16)) -> usize {
        if range.0 > range.1 {
            return 0;
        }
        count_offered(range) as usize - self.used.range(range.0..=range.1).count()
    }

    fn is_free(&self, (first, last): (u16, u16), port: u16) -> bool {
        first <= port && port <= last && !self.used.contains(&port)
    }
}

fn fixed(asked: &[Asked]) -> impl Iterator<Item = u16> {
    asked.iter().flatten().copied().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests;
