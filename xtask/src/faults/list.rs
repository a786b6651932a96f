//! The faults, and what each may cost.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use anyhow::Context;

use super::containers::Containers;
use super::setting::Setting;
use crate::cluster::{
    self, HostKind, Lab, Way, clock, disk, network, power, process, slipway, storage, zookeeper,
};

/// One way to break things.
pub struct Fault {
    /// What people type.
    pub name: &'static str,
    /// What happens, as a heading.
    pub what: &'static str,
    /// Whether the short form has it.
    pub is_short: bool,
    /// The longest that writes may stand still; `None`: as long as the fault lasts.
    pub write_gap_max: Option<Duration>,
    /// Whether instances run on what is broken, so that requests may fail and instances be replaced.
    pub hurts_nodes: bool,
    /// Breaks, and keeps it broken for as long as the fault says.
    pub inflict: fn(&Lab, &Setting) -> anyhow::Result<()>,
    /// Mends; also after a failure.
    pub heal: fn(&Lab) -> anyhow::Result<()>,
}

/// From the mildest to the worst.
pub const ALL: &[Fault] = &[
    Fault {
        name: "kill-leader",
        what: "The leading server is killed",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(2)),
        hurts_nodes: false,
        inflict: |lab, _| process::kill(lab, leading(lab)?),
        heal: start_all,
    },
    Fault {
        name: "pause-leader",
        what: "The leading server is paused for fifteen seconds",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(8)),
        hurts_nodes: false,
        inflict: |lab, _| {
            process::pause(lab, leading(lab)?)?;
            last(15)
        },
        heal: resume_all,
    },
    Fault {
        name: "cut-leader",
        what: "The leading server is cut off for fifteen seconds",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(8)),
        hurts_nodes: false,
        inflict: |lab, _| {
            network::cut(lab, leading(lab)?, Way::Both)?;
            last(15)
        },
        heal: heal_all,
    },
    Fault {
        name: "deaf-leader",
        what: "The leading server hears nothing for fifteen seconds, and is heard",
        is_short: false,
        write_gap_max: Some(Duration::from_secs(12)),
        hurts_nodes: false,
        inflict: |lab, _| {
            network::cut(lab, leading(lab)?, Way::In)?;
            last(15)
        },
        heal: heal_all,
    },
    Fault {
        name: "kill-zookeeper",
        what: "ZooKeeper's leader is killed",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(8)),
        hurts_nodes: false,
        inflict: |lab, _| {
            process::kill(lab, leading_zookeeper(lab)?)?;
            last(5)
        },
        heal: start_all,
    },
    Fault {
        name: "pause-zookeeper",
        what: "ZooKeeper's leader is paused for fifteen seconds",
        is_short: false,
        write_gap_max: Some(Duration::from_secs(12)),
        hurts_nodes: false,
        inflict: |lab, _| {
            process::pause(lab, leading_zookeeper(lab)?)?;
            last(15)
        },
        heal: resume_all,
    },
    Fault {
        name: "rolling-zookeeper",
        what: "One ZooKeeper server after the other is killed and started again, three times round",
        is_short: false,
        write_gap_max: Some(Duration::from_secs(12)),
        hurts_nodes: false,
        inflict: |lab, _| {
            for host in (0..3).flat_map(|_| lab.of(HostKind::ZooKeeper)) {
                process::kill(lab, host)?;
                cluster::start(lab, host)?;
                lab.wait("it serves again", Duration::from_secs(60), || zookeeper::serves(host))?;
            }
            Ok(())
        },
        heal: start_all,
    },
    Fault {
        name: "no-quorum",
        what: "ZooKeeper loses its quorum for a minute",
        is_short: true,
        write_gap_max: None,
        hurts_nodes: false,
        inflict: |lab, _| {
            for name in ["zk1", "zk2"] {
                process::kill(lab, lab.host(name)?)?;
            }
            last(60)
        },
        heal: start_all,
    },
    Fault {
        name: "no-zookeeper",
        what: "All of ZooKeeper is gone for ten minutes",
        is_short: false,
        write_gap_max: None,
        hurts_nodes: false,
        inflict: |lab, _| {
            lab.of(HostKind::ZooKeeper).try_for_each(|host| process::kill(lab, host))?;
            last(600)
        },
        heal: start_all,
    },
    Fault {
        name: "kill-agent",
        what: "The agent of the node with the most instances is killed, and started again",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(2)),
        hurts_nodes: false,
        inflict: |lab, _| {
            process::kill(lab, busiest(lab)?)?;
            last(5)
        },
        heal: start_all,
    },
    Fault {
        name: "cut-node",
        what: "A node is cut off until its instances have been replaced, and comes back",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(2)),
        hurts_nodes: true,
        inflict: |lab, _| {
            let node = busiest(lab)?;
            let before = Containers::look(lab).count();
            network::cut(lab, node, Way::Both)?;
            // Those on the node go on; as many come elsewhere.
            lab.wait("its instances serve elsewhere", Duration::from_secs(60), || {
                let now = Containers::look(lab);
                now.count() >= before + now.by_node().get(node.name.as_str()).copied().unwrap_or(0)
            })?;
            Ok(())
        },
        heal: heal_all,
    },
    Fault {
        name: "restart-all",
        what: "Everything but the instances is killed, and started in any order",
        is_short: true,
        write_gap_max: None,
        hurts_nodes: false,
        inflict: |lab, _| {
            kill_all(lab)?;
            start_in_any_order(lab)
        },
        heal: start_all,
    },
    Fault {
        name: "power",
        what: "The power of all hosts fails, and with it goes what was not synced; started in any order",
        is_short: true,
        write_gap_max: None,
        hurts_nodes: false,
        inflict: lose_power,
        heal: make_lasting,
    },
    Fault {
        name: "slow-zookeeper",
        what: "Each sync of ZooKeeper's leader takes two seconds, for half a minute",
        is_short: false,
        write_gap_max: None,
        hurts_nodes: false,
        inflict: |lab, setting| {
            for host in lab.of(HostKind::ZooKeeper) {
                process::kill(lab, host)?;
                power::make_forgetful(lab, host)?;
                cluster::start(lab, host)?;
            }
            setting.wait_until_whole(lab, Duration::from_secs(60))?;
            power::make_slow(lab, leading_zookeeper(lab)?)?;
            last(30)
        },
        heal: make_lasting,
    },
    Fault {
        name: "lossy-leader",
        what: "A fifth of the leading server's packets is lost for half a minute",
        is_short: false,
        write_gap_max: None,
        hurts_nodes: false,
        inflict: |lab, _| {
            network::make_lossy(lab, leading(lab)?, 20)?;
            last(30)
        },
        heal: heal_all,
    },
    Fault {
        name: "lossy-zookeeper",
        what: "A fifth of the packets of ZooKeeper's leader is lost for half a minute",
        is_short: false,
        write_gap_max: None,
        hurts_nodes: false,
        inflict: |lab, _| {
            network::make_lossy(lab, leading_zookeeper(lab)?, 20)?;
            last(30)
        },
        heal: heal_all,
    },
    Fault {
        name: "full-zookeeper",
        what: "The disk of ZooKeeper's leader is full",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(8)),
        hurts_nodes: false,
        inflict: |lab, _| {
            disk::fill(lab, leading_zookeeper(lab)?)?;
            last(10)
        },
        heal: make_room,
    },
    Fault {
        name: "full-server",
        what: "The disk of the leading server is full",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(8)),
        hurts_nodes: false,
        inflict: |lab, _| {
            disk::fill(lab, leading(lab)?)?;
            last(10)
        },
        heal: make_room,
    },
    Fault {
        name: "full-node",
        what: "The disk of the node with the most instances is full",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(2)),
        hurts_nodes: true,
        inflict: |lab, _| {
            disk::fill(lab, busiest(lab)?)?;
            last(10)
        },
        heal: make_room,
    },
    Fault {
        name: "no-storage",
        what: "The shared storage is gone for twenty seconds, and the leading server is killed meanwhile",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(2)),
        hurts_nodes: false,
        inflict: |lab, _| {
            storage::take_away(lab)?;
            last(5)?;
            process::kill(lab, leading(lab)?)?;
            last(15)
        },
        heal: |lab| {
            storage::put_back(lab)?;
            start_all(lab)
        },
    },
    Fault {
        name: "clock-day",
        what: "All clocks jump a day ahead, and back",
        is_short: true,
        write_gap_max: Some(Duration::from_secs(8)),
        hurts_nodes: false,
        inflict: |lab, _| {
            lab.hosts.iter().try_for_each(|host| clock::set(lab, host, "+1d"))?;
            last(15)
        },
        heal: right_clocks,
    },
    Fault {
        name: "clock-years",
        what: "The clocks of the leading server and of a node jump two years ahead, and back",
        is_short: true,
        write_gap_max: None,
        hurts_nodes: false,
        inflict: |lab, _| {
            clock::set(lab, leading(lab)?, "+730d")?;
            clock::set(lab, busiest(lab)?, "+730d")?;
            last(15)
        },
        heal: right_clocks,
    },
];

/// The disks of all hosts become forgetful; then, in the middle of writes, everything ends at once.
fn lose_power(lab: &Lab, setting: &Setting) -> anyhow::Result<()> {
    kill_all(lab)?;
    lab.hosts.iter().try_for_each(|host| power::make_forgetful(lab, host))?;
    lab.hosts.iter().try_for_each(|host| cluster::start(lab, host))?;
    setting.wait_until_whole(lab, Duration::from_secs(60))?;
    let acknowledged = setting.write_for(lab, Duration::from_secs(5))?;
    kill_all(lab)?;
    lab.hosts.iter().try_for_each(|host| power::off(lab, host))?;
    start_in_any_order(lab)?;
    setting.wait_until_whole(lab, Duration::from_secs(60))?;
    let stored = setting.written(lab)?;
    anyhow::ensure!(
        stored >= acknowledged,
        "an acknowledged write went with the power: {acknowledged} was, {stored} is there (S1)"
    );
    Ok(())
}

fn make_lasting(lab: &Lab) -> anyhow::Result<()> {
    for host in lab.hosts.iter().filter(|host| power::has_forgetful(lab, host)) {
        process::kill(lab, host)?;
        power::make_lasting(lab, host)?;
    }
    start_all(lab)
}

/// All at once, and then it is waited for their ends.
fn kill_all(lab: &Lab) -> anyhow::Result<()> {
    lab.hosts.iter().for_each(|host| process::signal_kill(lab, host));
    lab.hosts.iter().try_for_each(|host| process::kill(lab, host))
}

fn start_in_any_order(lab: &Lab) -> anyhow::Result<()> {
    let chance = RandomState::new();
    let mut hosts: Vec<_> = lab.hosts.iter().collect();
    hosts.sort_by_key(|host| chance.hash_one(&host.name));
    let order: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
    println!("    started in the order {}", order.join(" "));
    hosts.into_iter().try_for_each(|host| cluster::start(lab, host))
}

fn last(seconds: u64) -> anyhow::Result<()> {
    for _ in 0..seconds * 10 {
        crate::interrupt::check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn leading(lab: &Lab) -> anyhow::Result<&cluster::Host> {
    // The fault before may have left the servers without one for a moment, or with yesterday's clock.
    lab.wait("a server leads", Duration::from_secs(30), || slipway::leader(lab).is_some())?;
    let name = slipway::leader(lab).context("no server leads")?;
    lab.host(&name)
}

fn leading_zookeeper(lab: &Lab) -> anyhow::Result<&cluster::Host> {
    lab.wait("ZooKeeper has a leader", Duration::from_secs(30), || zookeeper::leader(lab).is_some())?;
    lab.host(&zookeeper::leader(lab).context("ZooKeeper has no leader")?)
}

/// The node with the most instances, of those without a router: a router must go on.
fn busiest(lab: &Lab) -> anyhow::Result<&cluster::Host> {
    let containers = Containers::look(lab);
    let by_node = containers.by_node();
    let candidates = lab.of(HostKind::Node).filter(|host| host.number > slipway::ROUTERS);
    let busiest = candidates.max_by_key(|host| by_node.get(host.name.as_str()).copied().unwrap_or(0));
    busiest.context("there is no such node")
}

fn start_all(lab: &Lab) -> anyhow::Result<()> {
    let down = lab.hosts.iter().filter(|host| process::standing(lab, host) == process::Standing::Down);
    down.into_iter().try_for_each(|host| cluster::start(lab, host))
}

fn resume_all(lab: &Lab) -> anyhow::Result<()> {
    let paused = lab.hosts.iter().filter(|host| process::standing(lab, host) == process::Standing::Paused);
    paused.into_iter().try_for_each(|host| process::resume(lab, host))
}

fn heal_all(lab: &Lab) -> anyhow::Result<()> {
    lab.hosts.iter().try_for_each(|host| network::heal(lab, host))
}

fn right_clocks(lab: &Lab) -> anyhow::Result<()> {
    lab.hosts.iter().try_for_each(|host| clock::reset(lab, host))
}

/// What a full disk has ended is started by its supervisor.
fn make_room(lab: &Lab) -> anyhow::Result<()> {
    lab.hosts.iter().try_for_each(|host| disk::empty(lab, host))?;
    start_all(lab)
}
