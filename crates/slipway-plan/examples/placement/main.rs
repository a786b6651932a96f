//! How fast a plan places, and how well: every result is checked here by other code than the crate's.
//! Run by `cargo run --release -p slipway-plan --example placement`; prints figures, one a line.
//!
//! 10,000 nodes of six kinds in 200 racks; every service asks for processor and memory and has three
//! constraints: UNIQUE hostname, GROUP_BY rack, and LIKE on the kind. Placement alone is
//! [`Room::place`], which every plan uses; the whole way is `plan` and its actions applied, as the leader
//! does between two writes to the store. An exhaustive best fit over flat arrays places the same services
//! in the same run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use slipway_model::instance::Node;
use slipway_model::name::{EnvironmentPath, NodeName};
use slipway_model::service::{Constraint, Operator};
use slipway_model::unit::{Bytes, Cpus, Timestamp};
use slipway_plan::cluster::{Cluster, Contact, Resources};
use slipway_plan::placement::{Ask, Need, Placed, Room};

mod exhaustive;
mod verify;
mod wired;

use verify::Ledger;

const RACKS: usize = 200;
const KINDS: [&str; 6] = ["std.large", "std.xlarge", "mem.large", "mem.xlarge", "cpu.large", "old.small"];
/// What the patterns of LIKE say, in words that other code understands: beginnings of kinds.
const LIKES: [&[&str]; 4] = [&["std"], &["std", "cpu"], &["mem", "std.x"], &["std", "mem", "cpu"]];

/// A machine of a made-up cluster.
pub struct Machine {
    rack: usize,
    feed: usize,
    kind: usize,
}

/// All that one made-up service asks for.
pub struct Service {
    need: Resources,
    /// One of [`LIKES`].
    like: usize,
    instances: usize,
    /// MAX_PER on the power feed, beside the three constraints that every service has.
    feed_max: Option<usize>,
}

/// A cluster and what is to be placed there.
pub struct Case {
    name: &'static str,
    racks: usize,
    machines: Vec<Machine>,
    services: Vec<Service>,
}

/// What each machine has.
pub const SIZE: Resources =
    Resources { cpus: Cpus(32_000), mem: Bytes::gibi(128), disk: Bytes::gibi(1000), gpus: 0 };

fn main() {
    let many = Case::new("50 a service", 10_000, RACKS, 2000, 50, 100, None);
    let single = Case::new("1 a service", 10_000, RACKS, 100_000, 1, 100, None);
    speed(&many);
    speed(&single);
    let views = wired::place(&many);
    wired::lose_nodes(&many, views);
    wired::place(&single);
    quality(&many);
    quality(&Case::new("500 a service", 10_000, RACKS, 200, 500, 100, None));
    quality(&Case::new("500 a service, 98 % full", 10_000, RACKS, 200, 500, 700, None));
    // 25 feeds cross the racks; 20 on each are just enough for 500.
    quality(&Case::new("500 a service, two attributes count", 2000, 40, 40, 500, 100, Some(20)));
    quality(&Case::new("500 a service, two attributes, full", 2000, 40, 40, 500, 700, Some(20)));
}

impl Case {
    fn new(
        name: &'static str,
        nodes: usize,
        racks: usize,
        services: usize,
        instances: usize,
        cpus: u32,
        feed_max: Option<usize>,
    ) -> Self {
        let mut state = 88_172_645_463_325_252_u64;
        let mut below = move |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % limit
        };
        let machine = |number| Machine { rack: number % racks, feed: below(25), kind: below(KINDS.len()) };
        let machines = (0..nodes).map(machine).collect();
        let mut service = || Service {
            need: Resources {
                cpus: Cpus((1 + below(8) as u32) * cpus),
                mem: Bytes::mebi(64 << below(5)),
                disk: Bytes(0),
                gpus: 0,
            },
            like: below(LIKES.len()),
            instances,
            feed_max,
        };
        let services = (0..services).map(|_| service()).collect();
        Self { name, racks, machines, services }
    }

    fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::default();
        for (number, machine) in self.machines.iter().enumerate() {
            let attributes = [
                ("rack".to_owned(), format!("rack-{}", machine.rack)),
                ("feed".to_owned(), format!("feed-{}", machine.feed)),
                ("kind".to_owned(), KINDS[machine.kind].to_owned()),
            ];
            let Resources { cpus, mem, disk, gpus } = SIZE;
            let (name, attributes, joined_at) = (node_name(number), attributes.into(), Timestamp(0));
            cluster.put(
                Node {
                    name,
                    cpus,
                    mem,
                    disk,
                    attributes,
                    joined_at,
                    gpus,
                    ports: (1, 0),
                    address: None,
                    trouble: None,
                },
                Contact::Reachable,
            );
        }
        cluster
    }

    /// For each of [`LIKES`].
    fn constraints_of_all(&self) -> [Vec<Constraint>; LIKES.len()] {
        LIKES.map(|like| self.constraints(like))
    }

    fn constraints(&self, like: &[&str]) -> Vec<Constraint> {
        let constraint = |field: &str, operator, value| Constraint { field: field.into(), operator, value };
        let pattern = like.iter().map(|begin| format!("{begin}.*")).collect::<Vec<_>>().join("|");
        let mut constraints = vec![
            constraint("hostname", Operator::Unique, None),
            constraint("rack", Operator::GroupBy, None),
            constraint("kind", Operator::Like, Some(pattern)),
        ];
        if let Some(most) = self.services[0].feed_max {
            constraints.push(constraint("feed", Operator::MaxPer, Some(most.to_string())));
        }
        constraints
    }
}

impl Service {
    /// Places up to `count` of its instances, as a plan does.
    fn place(&self, room: &mut Room<'_>, constraints: &[Vec<Constraint>], count: usize) -> Placed {
        let need = Need::from(self.need);
        let ask = Ask { instances: self.instances as u32, ..Ask::of(None, &need, &constraints[self.like]) };
        room.place(&ask, count as u32)
    }

    fn likes(&self, machine: &Machine) -> bool {
        LIKES[self.like].iter().any(|begin| KINDS[machine.kind].starts_with(begin))
    }
}

/// Names in the order of numbers.
fn node_name(number: usize) -> NodeName {
    format!("node-{number:05}").parse().expect("a name")
}

fn number_of(name: &NodeName) -> usize {
    name.as_str()["node-".len()..].parse().expect("a number")
}

fn path() -> EnvironmentPath {
    "acme/shop/dev".parse().expect("a path")
}

/// Placement alone: how many a second, and how long the slowest take. Three runs, the best counts, as
/// others use the machine too.
fn speed(case: &Case) {
    let constraints = case.constraints_of_all();
    let mut best: Option<(f64, Vec<u64>)> = None;
    let mut placed = Vec::new();
    for _ in 0..3 {
        let (mut cluster, path) = (case.cluster(), path());
        let mut room = Room::of(&mut cluster, &path);
        placed.clear();
        let mut nanos = Vec::with_capacity(case.services.len());
        let began = Instant::now();
        for service in &case.services {
            let at = Instant::now();
            placed.push(service.place(&mut room, &constraints, service.instances));
            nanos.push(at.elapsed().as_nanos() as u64 / service.instances as u64);
        }
        let seconds = began.elapsed().as_secs_f64();
        if best.as_ref().is_none_or(|(other, _)| seconds < *other) {
            best = Some((seconds, nanos));
        }
    }
    let mut ledger = Ledger::new(case);
    let mut count = 0;
    for (service, placed) in case.services.iter().zip(&placed) {
        let machines: Vec<_> = placed.places.iter().map(|place| number_of(&place.node)).collect();
        count += machines.len();
        ledger.take(service, &machines);
    }
    let (seconds, mut nanos) = best.expect("there was a run");
    nanos.sort_unstable();
    let share = |share: f64| nanos[((nanos.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    println!(
        "{}: {count} placed and verified, {:.0} a second; one takes {:.2} us p50, {:.2} us p99, {:.2} us p99.9",
        case.name,
        count as f64 / seconds,
        share(0.5),
        share(0.99),
        share(0.999)
    );
}

/// Whole services at once: constraints kept, nothing stranded, nodes used.
fn quality(case: &Case) {
    let (mut cluster, path) = (case.cluster(), path());
    let mut room = Room::of(&mut cluster, &path);
    let constraints = case.constraints_of_all();
    let mut ledger = Ledger::new(case);
    let (mut asked, mut unplaced, mut stranded) = (0, 0, 0);
    let mut used = BTreeSet::new();
    let mut took = Duration::ZERO;
    for service in &case.services {
        let began = Instant::now();
        let placed = service.place(&mut room, &constraints, service.instances);
        took += began.elapsed();
        let machines: Vec<_> = placed.places.iter().map(|place| number_of(&place.node)).collect();
        asked += service.instances;
        unplaced += service.instances - machines.len();
        if machines.len() < service.instances {
            stranded += ledger.room(service) - machines.len();
        }
        ledger.take(service, &machines);
        used.extend(machines);
    }
    let began = Instant::now();
    let (exhaustive, exhaustive_placed) = exhaustive::best_fit(case);
    let by_exhaustion = exhaustive_placed as f64 / began.elapsed().as_secs_f64();
    let per_second = (asked - unplaced) as f64 / took.as_secs_f64();
    println!(
        "{}: {asked} asked, {unplaced} unplaced, {stranded} of them stranded, {} nodes used, {:.4} of \
         exhaustive best fit, which leaves {} unplaced; {per_second:.0} a second, {:.0} times as many",
        case.name,
        used.len(),
        used.len() as f64 / exhaustive as f64,
        asked - exhaustive_placed,
        per_second / by_exhaustion
    );
}
