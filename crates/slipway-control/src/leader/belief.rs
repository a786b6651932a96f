//! What a node is believed.
//!
//! One rule: **a node is believed of itself and of what it was given, as far as a machine can have it and a
//! record can hold it, and of nothing else.** Who it is and where it is are not its to say: its certificate
//! and its identity do.
//!
//! | a node says | it is believed | by |
//! |---|---|---|
//! | its name | when it is its certificate's | [`node`] |
//! | what its machine has | when a machine can have it | [`node`] |
//! | where its machine is | when its identity does not say | [`address`] |
//! | its attributes | when its identity does not say | [`attributes`] |
//! | when it came | when neither its identity nor its record says | [`joined_at`] |
//! | how an instance is | when it was given that instance, at an address of its own subnet; cut to size | [`instance`], [`cut`] |
//! | log, files, sandbox of an instance | when it was given that instance, now or earlier; cut to size | [`cut_line`] |
//!
//! Nobody can check from afar what a machine has; but nothing that is said may overflow a sum, fill a record,
//! or lead anywhere. Everything here is pure. Who was given what is known to whoever asks: the leader has its
//! lists, the hub of a cluster remembers those of earlier terms too. On a machine that is alone the node is
//! the leader's own process; only the facts about instances are looked at there.

use std::net::Ipv4Addr;

use slipway_api::wire::LogLine;
use slipway_model::attribute::{self, Attributes};
use slipway_model::cidr::Cidr;
use slipway_model::instance::{CheckStatus, InstanceReport, InstanceState, Node};
use slipway_model::limit::LOG_LINE_BYTES_MAX;
use slipway_model::name::NodeName;
use slipway_model::unit::{Bytes, Cpus, Timestamp};

/// A thousand processors, each given away sixteen times.
const CPUS_MAX: Cpus = Cpus(16_000_000);
const MEM_MAX: Bytes = Bytes::gibi(64 << 10);
const DISK_MAX: Bytes = Bytes::gibi(16 << 20);
const GPUS_MAX: u32 = 64;
/// Below are the machine's own services.
const PORT_MIN: u16 = 1024;

/// Of each reason and answer.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// An instance has fewer checks.
const CHECKS_MAX: usize = 64;
/// Names of a line's source and stream, which are a word each.
const WORD_BYTES_MAX: usize = 256;

/// Which addresses are a node's to give to instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// Any: the machine is alone.
    Any,
    /// Those of its subnet.
    Of(Cidr),
    /// None: its identity does not count (any more). What it said last may still wait to be heard.
    None,
}

/// Why a report is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The node was not given that instance.
    NotGiven,
    /// The instance's address is not the node's to give. Routers go wherever an address leads, so one node
    /// could have them ask at any other's.
    NotItsAddress,
}

/// Whether a node is believed what it says of an instance.
///
/// # Errors
/// Why not.
pub fn instance(report: &InstanceReport, was_given: bool, own: Addresses) -> Result<(), Doubt> {
    if !was_given {
        return Err(Doubt::NotGiven);
    }
    let is_own = |address: Ipv4Addr| match own {
        Addresses::Any => true,
        Addresses::Of(subnet) => subnet.contains(address),
        Addresses::None => false,
    };
    if report.address.is_none_or(is_own) { Ok(()) } else { Err(Doubt::NotItsAddress) }
}

/// Where a node's machine is: where its identity says, whatever the node itself says.
pub fn address(said: Option<Ipv4Addr>, identity: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    identity.or(said)
}

/// Which attributes a node has: those of its identity, whatever the node itself says.
pub fn attributes(said: Attributes, identity: Option<&Attributes>) -> Attributes {
    identity.cloned().unwrap_or(said)
}

/// When a node came: when its identity says, else when it was first seen.
pub fn joined_at(said: &Node, known: Option<&Node>, identity: Option<Timestamp>) -> Timestamp {
    identity.or(known.map(|known| known.joined_at)).unwrap_or(said.joined_at)
}

/// Believes what a node with that certificate says of itself, cut to size.
///
/// # Errors
/// Why it is not believed at all, in a sentence.
pub fn node(certificate: &NodeName, said: &mut Node) -> Result<(), String> {
    if said.name != *certificate {
        return Err(format!(
            "its certificate is that of {certificate}, but it says that it is {}",
            said.name
        ));
    }
    machine(said)?;
    if let Some(trouble) = &mut said.trouble {
        trouble.retain(|c| !c.is_control());
        shorten(trouble, TEXT_BYTES_MAX);
    }
    Ok(())
}

/// Whether there can be such a machine.
fn machine(node: &Node) -> Result<(), String> {
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
    attribute::check(&node.attributes).map_err(|error| format!("it says that it has {error}"))
}

/// Cuts what a node says of an instance to what a record can hold.
pub fn cut(report: &mut InstanceReport) {
    match &mut report.state {
        InstanceState::Unhealthy { reason } => shorten(reason, TEXT_BYTES_MAX),
        InstanceState::Ended { exit } => exit.cut_tail(),
        _ => {}
    }
    report.checks.truncate(CHECKS_MAX);
    let causes = report
        .checks
        .iter_mut()
        .filter_map(|CheckStatus { last_failure_cause, .. }| last_failure_cause.as_mut());
    let body = report.ready.as_mut().map(|ready| &mut ready.body);
    causes.chain(body).for_each(|text| shorten(text, TEXT_BYTES_MAX));
}

/// Cuts a line of an instance's log. Agents cut lines before; this is for nodes that do not.
pub fn cut_line(line: &mut LogLine) {
    let LogLine { source, stream, text, .. } = line;
    for (text, bytes_max) in [(source, WORD_BYTES_MAX), (stream, WORD_BYTES_MAX), (text, LOG_LINE_BYTES_MAX)]
    {
        shorten(text, bytes_max);
        text.shrink_to_fit();
    }
}

fn shorten(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

#[cfg(test)]
mod tests;
