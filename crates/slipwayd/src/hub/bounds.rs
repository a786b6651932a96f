//! What a node may say that it has. A node tells its own capacity, and nobody can check that from afar; but
//! nothing that it says may overflow a sum, fill a record, or lead anywhere.

use std::net::Ipv4Addr;

use slipway_model::instance::{CheckStatus, InstanceReport, InstanceState, Node};
use slipway_model::unit::{Bytes, Cpus};

/// A thousand processors, each given away sixteen times.
const CPUS_MAX: Cpus = Cpus(16_000_000);
const MEM_MAX: Bytes = Bytes::gibi(64 << 10);
const DISK_MAX: Bytes = Bytes::gibi(16 << 20);
const GPUS_MAX: u32 = 64;
/// `rack:r1` and the like.
const ATTRIBUTES_MAX: usize = 64;
const ATTRIBUTE_BYTES_MAX: usize = 256;
/// Below are the machine's own services.
const PORT_MIN: u16 = 1024;

/// Of each reason and answer.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// An instance has fewer checks.
const CHECKS_MAX: usize = 64;

/// Cuts what a node says of an instance to what a record can hold.
pub fn cut(report: &mut InstanceReport) {
    match &mut report.state {
        InstanceState::Unhealthy { reason } => shorten(reason),
        InstanceState::Ended { exit } => exit.cut_tail(),
        _ => {}
    }
    report.checks.truncate(CHECKS_MAX);
    let causes = report
        .checks
        .iter_mut()
        .filter_map(|CheckStatus { last_failure_cause, .. }| last_failure_cause.as_mut());
    causes.chain(report.ready.as_mut().map(|ready| &mut ready.body)).for_each(shorten);
}

/// Cuts what a node says of its machine.
pub fn cut_node(node: &mut Node) {
    if let Some(trouble) = &mut node.trouble {
        trouble.retain(|c| !c.is_control());
        shorten(trouble);
    }
}

fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
}

/// Why what a node says of itself is not believed, in a sentence.
pub fn check(node: &Node) -> Result<(), String> {
    let too_much = |what: &str| Err(format!("it says that it has more {what} than any machine"));
    if node.cpus > CPUS_MAX {
        return too_much("processors");
    }
    if node.mem > MEM_MAX {
        return too_much("memory");
    }
    if node.disk > DISK_MAX {
        return too_much("disk");
    }
    if node.gpus > GPUS_MAX {
        return too_much("accelerators");
    }
    let (first, last) = node.ports;
    if first <= last && first < PORT_MIN {
        return Err(format!("it offers port {first}, which is not for instances"));
    }
    let is_none = |address: Ipv4Addr| {
        address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast()
    };
    if let Some(address) = node.address.filter(|address| is_none(*address)) {
        return Err(format!("it says that its machine's address is {address}, which is none"));
    }
    if node.attributes.len() > ATTRIBUTES_MAX {
        return Err(format!("it has more than {ATTRIBUTES_MAX} attributes"));
    }
    let is_good = |text: &str| {
        !text.is_empty() && text.len() <= ATTRIBUTE_BYTES_MAX && !text.contains(char::is_control)
    };
    match node.attributes.iter().find(|(name, value)| !is_good(name) || !is_good(value)) {
        Some((name, _)) => {
            let shown: String = name.escape_debug().take(40).collect();
            Err(format!("its attribute {shown} is none"))
        }
        None => Ok(()),
    }
}
