//! How fast the index places, and how well: every result is checked here by other code than the crate's.
//! Run by `cargo run --release -p slipway-plan --example placement`; prints figures, one a line.
//!
//! 10,000 nodes of six kinds in 200 racks; every service asks for processor and memory and has three
//! constraints: UNIQUE hostname, GROUP_BY rack, and LIKE on the kind. The scan of the same crate and an
//! exhaustive best fit over flat arrays place the same services in the same run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use slipway_model::instance::Node;
use slipway_model::name::NodeName;
use slipway_model::service::{Constraint, Operator};
use slipway_model::unit::{Bytes, Cpus, Timestamp};
use slipway_plan::cluster::{Cluster, Contact, Resources};
use slipway_plan::placement::{Ask, Batch, Index, Room, Rules};

mod exhaustive;
mod verify;

use verify::Ledger;

const RACKS: usize = 200;
const KINDS: [&str; 6] = ["std.large", "std.xlarge", "mem.large", "mem.xlarge", "cpu.large", "old.small"];
/// What the patterns of LIKE say, in words that other code understands: beginnings of kinds.
const LIKES: [&[&str]; 4] = [&["std"], &["std", "cpu"], &["mem", "std.x"], &["std", "mem", "cpu"]];
/// How long the scan may take; it places what it can until then.
const SCAN_TIME: Duration = Duration::from_secs(4);

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
pub const SIZE: Resources = Resources { cpus: Cpus(32_000), mem: Bytes::gibi(128), disk: Bytes::gibi(1000) };

fn main() {
    let many = Case::new("50 a service", 10_000, RACKS, 2000, 50, 100, None);
    prepare(&many);
    speed(&many);
    speed(&Case::new("1 a service", 10_000, RACKS, 100_000, 1, 100, None));
    lose_nodes(&many);
    against_scan(&many);
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
            let Resources { cpus, mem, disk } = SIZE;
            let (name, attributes, joined_at) = (node_name(number), attributes.into(), Timestamp(0));
            cluster.put(
                Node { name, cpus, mem, disk, attributes, joined_at, gpus: 0, ports: (1, 0), address: None },
                Contact::Reachable,
            );
        }
        cluster
    }

    /// For each of [`LIKES`], read beforehand, as a leader reads them once for each release.
    fn rules(&self) -> [Rules; LIKES.len()] {
        LIKES.map(|like| Rules::new(&self.constraints(like)))
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
    fn begin<'i>(
        &self,
        index: &'i mut Index,
        rules: &'i [Rules; LIKES.len()],
        placed: &[NodeName],
    ) -> Batch<'i> {
        index.begin(self.need, &rules[self.like], self.instances as u32, placed)
    }

    fn likes(&self, machine: &Machine) -> bool {
        LIKES[self.like].iter().any(|begin| KINDS[machine.kind].starts_with(begin))
    }
}

/// Names in the order of numbers.
fn node_name(number: usize) -> NodeName {
    format!("node-{number:05}").parse().expect("a name")
}

/// How long it takes to be ready.
fn prepare(case: &Case) {
    let cluster = case.cluster();
    let began = Instant::now();
    let index = Index::of(&cluster);
    println!("index of {} nodes built: {:.1} ms", index.len(), began.elapsed().as_secs_f64() * 1e3);
    let began = Instant::now();
    let rules = case.rules();
    let each = began.elapsed().as_secs_f64() * 1e6 / rules.len() as f64;
    println!("constraints read: {each:.1} us a service, once for each release");

    let mut index = index;
    let too_much = Resources { mem: Bytes::gibi(129), ..SIZE };
    let began = Instant::now();
    let refused = (0..100).filter(|_| index.begin(too_much, &rules[0], 1, &[]).place().is_err()).count();
    let each = began.elapsed().as_secs_f64() * 1e6 / refused as f64;
    println!("refused with reasons in numbers: {each:.0} us each");
}

/// Placements a second, one by one, and how long single ones take.
fn speed(case: &Case) {
    let (empty, rules) = (Index::of(&case.cluster()), case.rules());
    let mut shortest = f64::MAX;
    let mut placed = 0;
    for _ in 0..5 {
        let mut index = empty.clone();
        let began = Instant::now();
        placed = 0;
        for service in &case.services {
            let mut batch = service.begin(&mut index, &rules, &[]);
            placed += (0..service.instances).filter(|_| batch.place().is_ok()).count();
        }
        shortest = shortest.min(began.elapsed().as_secs_f64());
    }

    let mut index = empty;
    let mut nanos = Vec::new();
    for service in &case.services {
        let mut began = Instant::now();
        let mut batch = service.begin(&mut index, &rules, &[]);
        for _ in 0..service.instances {
            // The first also pays for the beginning of its service.
            let _ = batch.place();
            let now = Instant::now();
            nanos.push((now - began).as_nanos());
            began = now;
        }
    }
    nanos.sort_unstable();
    let share = |share: f64| nanos[(nanos.len() as f64 * share) as usize];
    println!(
        "{}: {placed} placed, {:.0} a second (best of 5); one: p50 {} ns, p99 {} ns, p99.9 {} ns, p99.99 {} ns",
        case.name,
        placed as f64 / shortest,
        share(0.5),
        share(0.99),
        share(0.999),
        share(0.9999)
    );
}

/// A tenth of the nodes goes away; all replacements are decided.
fn lose_nodes(case: &Case) {
    let (mut index, rules) = (Index::of(&case.cluster()), case.rules());
    let mut placements = Vec::new();
    for service in &case.services {
        let placed = service.begin(&mut index, &rules, &[]).place_all(service.instances);
        let names = placed.slots.into_iter().map(|slot| index.node(slot).name.clone());
        placements.push(names.collect::<Vec<_>>());
    }
    let mut used: Vec<_> =
        placements.iter().flatten().collect::<BTreeSet<_>>().into_iter().cloned().collect();
    // Nodes that have instances; which, by their number.
    used.truncate(case.machines.len() / 10);
    let lost: BTreeSet<_> = used.into_iter().collect();
    let began = Instant::now();
    for name in &lost {
        index.set_contact(name, Contact::Unreachable { since: Timestamp(0) });
    }
    let (mut moved, mut waiting) = (0, 0);
    for (service, names) in case.services.iter().zip(&mut placements) {
        let before = names.len();
        names.retain(|name| !lost.contains(name));
        if names.len() == before {
            continue;
        }
        let placed = service.begin(&mut index, &rules, names).place_all(before - names.len());
        moved += placed.slots.len();
        waiting += before - names.len() - placed.slots.len();
    }
    println!(
        "{} nodes lost: {moved} replacements decided in {:.1} ms, {waiting} wait for room",
        lost.len(),
        began.elapsed().as_secs_f64() * 1e3
    );
}

/// The same services by scan and by index; every choice is compared.
fn against_scan(case: &Case) {
    let (cluster, rules) = (case.cluster(), case.rules());
    let mut index = Index::of(&cluster);
    let mut room = Room::of(&cluster);
    let (mut scan_time, mut index_time, mut placed) = (Duration::ZERO, Duration::ZERO, 0);
    for service in &case.services {
        if scan_time > SCAN_TIME {
            break;
        }
        let began = Instant::now();
        let instances = service.instances as u32;
        let mut ask = Ask::new(&cluster, service.need, &rules[service.like], instances, &[]);
        let by_scan: Vec<_> = (0..service.instances).map(|_| room.place(&mut ask).ok()).collect();
        scan_time += began.elapsed();
        let began = Instant::now();
        let mut batch = service.begin(&mut index, &rules, &[]);
        let by_index: Vec<_> = (0..service.instances).map(|_| batch.place().ok()).collect();
        index_time += began.elapsed();
        drop(batch);
        let by_index = by_index.into_iter().map(|slot| slot.map(|slot| index.node(slot).name.clone()));
        assert_eq!(by_index.collect::<Vec<_>>(), by_scan, "index and scan choose the same");
        placed += service.instances;
    }
    let per_second = |time: Duration| placed as f64 / time.as_secs_f64();
    println!(
        "scan: {:.0} a second, index: {:.0} times as many, the same {placed} choices",
        per_second(scan_time),
        scan_time.as_secs_f64() / index_time.as_secs_f64()
    );
}

/// Whole services at once: constraints kept, nothing stranded, nodes used.
fn quality(case: &Case) {
    let (mut index, rules) = (Index::of(&case.cluster()), case.rules());
    let mut ledger = Ledger::new(case);
    let number_of = |name: &NodeName| name.as_str()["node-".len()..].parse::<usize>().expect("a number");
    let (mut asked, mut unplaced, mut stranded, mut greedy_stranded) = (0, 0, 0, 0);
    let mut used = BTreeSet::new();
    let mut took = Duration::ZERO;
    for service in &case.services {
        let mut batch = service.begin(&mut index, &rules, &[]);
        let greedy: Vec<_> = (0..service.instances).map_while(|_| batch.place().ok()).collect();
        drop(batch);
        for slot in &greedy {
            let name = index.node(*slot).name.clone();
            index.release(&name, service.need);
        }
        let greedy = greedy.len();
        let began = Instant::now();
        let placed = service.begin(&mut index, &rules, &[]).place_all(service.instances);
        took += began.elapsed();
        let machines: Vec<_> = placed.slots.iter().map(|slot| number_of(&index.node(*slot).name)).collect();
        asked += service.instances;
        unplaced += service.instances - machines.len();
        if greedy.min(machines.len()) < service.instances {
            let room = ledger.room(service);
            stranded += room - machines.len();
            greedy_stranded += room - greedy.min(room);
        }
        ledger.take(service, &machines);
        used.extend(machines);
    }
    let (exhaustive, exhaustive_placed) = exhaustive::best_fit(case);
    println!(
        "{}: {asked} asked, {unplaced} unplaced, {stranded} of them stranded ({greedy_stranded} without \
         repair), {} nodes used, {:.4} of exhaustive best fit, which places {}, {:.0} a second",
        case.name,
        used.len(),
        used.len() as f64 / exhaustive as f64,
        exhaustive_placed,
        (asked - unplaced) as f64 / took.as_secs_f64()
    );
}
