//! What this machine has for instances.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::Context;
use slipway_model::attribute;
use slipway_model::instance::Node;
use slipway_model::name::NodeName;
use slipway_model::unit::{Bytes, Cpus, Timestamp};

use crate::args::Room;
use crate::paths::Paths;

/// Limits are hard, and most programs idle: each processor is given away so many times.
const CPU_SHARE: u32 = 16;
/// Kept for the platform itself and for the host.
const MEM_RESERVE: Bytes = Bytes::mebi(768);

/// What an operator wants to give away; the rest is what there is.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    pub cpus: Option<Cpus>,
    pub mem: Option<Bytes>,
    pub disk: Option<Bytes>,
    pub gpus: u32,
    /// First and last.
    pub ports: (u16, u16),
    pub address: Option<Ipv4Addr>,
    pub attributes: BTreeMap<String, String>,
}

impl Offer {
    /// As it was typed, and where the machine is.
    pub fn of(room: &Room, address: Option<Ipv4Addr>) -> anyhow::Result<Self> {
        let Room { cpus, mem, disk, gpus, ports, .. } = *room;
        let attributes = attribute::parse(&room.attribute).context("--attribute")?;
        Ok(Self { cpus, mem, disk, gpus, ports, address, attributes })
    }
}

/// The node as it tells the leader.
pub fn node(offer: &Offer, name: &NodeName, paths: &Paths) -> anyhow::Result<Node> {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let cpus = offer.cpus.unwrap_or(Cpus(processors * 1000 * CPU_SHARE));
    let mem = match offer.mem {
        Some(mem) => mem,
        None => Bytes(memory_total()?.0.saturating_sub(MEM_RESERVE.0)),
    };
    let disk = match offer.disk {
        Some(disk) => disk,
        None => {
            let stat = nix::sys::statvfs::statvfs(&paths.data)?;
            // What is in volumes is promised already, and must not be missing a second time.
            let volumes = slipway_agent::volumes::occupied(&paths.agent());
            Bytes(stat.blocks_available() * stat.fragment_size() + volumes.0)
        }
    };
    Ok(Node {
        name: name.clone(),
        cpus,
        mem,
        disk,
        attributes: offer.attributes.clone(),
        joined_at: Timestamp::from(std::time::SystemTime::now()),
        gpus: offer.gpus,
        ports: offer.ports,
        address: offer.address.or_else(slipway_agent::network::default_address),
        trouble: None,
    })
}

fn memory_total() -> anyhow::Result<Bytes> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(Bytes(kibibytes.unwrap_or(0) << 10))
}

/// The host's name as far as it can be a node's; `node` when it cannot.
pub fn host_name() -> NodeName {
    let uname = nix::sys::utsname::uname();
    let name = uname.map(|uname| uname.nodename().to_string_lossy().to_lowercase()).unwrap_or_default();
    let first = name.split('.').next().unwrap_or_default();
    first.parse().or_else(|_| "node".parse()).unwrap_or_else(|_| unreachable!("\"node\" is a name"))
}
