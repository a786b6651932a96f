//! What can go wrong with the network of a node.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use slipway_model::cidr::Cidr;
use slipway_model::id::InstanceId;
use slipway_model::name::TenantName;

use super::netlink::NetlinkError;

/// Why something about the network did not work.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Error {
    #[error("the instance subnet {subnet} must be between /16 and /26")]
    SubnetSize { subnet: Cidr },
    #[error(
        "no free address in {subnet}: {in_use} are in use and {resting} rest for ten minutes after their release"
    )]
    Exhausted { subnet: Cidr, in_use: usize, resting: usize },
    #[error("instance {instance} has no network")]
    NoNetwork { instance: InstanceId },
    #[error("port {port} of this node leads to instance {owner} already")]
    PortTaken { port: u16, owner: InstanceId },
    #[error("port {port} is not one of this node's for instances, {first} to {last}")]
    PortOutside { port: u16, first: u16, last: u16 },
    #[error("it has more than {most} ports")]
    TooManyPorts { most: usize },
    #[error("failed to keep the record of ports in {}", path.display())]
    Ports { path: PathBuf, source: io::Error },
    #[error("instance {instance} already has a network as somebody else's")]
    OtherOwner { instance: InstanceId },
    #[error("failed to {step} {}", path.display())]
    Namespace { step: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(
        "this host reaches {taken} of the instance subnet {subnet} over {link}: give another subnet with --subnet, or remove that route"
    )]
    SubnetTaken { subnet: Cidr, taken: Cidr, link: String },
    #[error("failed to set up {part} of the host")]
    Host { part: &'static str, source: io::Error },
    #[error("failed to load the packet rules of the {place}")]
    Rules { place: &'static str, source: io::Error },
    #[error("the network between nodes cannot be: {why}")]
    Mesh { why: &'static str },
    #[error("no link of this machine has the address {address}, at which other nodes are to reach it")]
    NoSuchAddress { address: Ipv4Addr },
    #[error(
        "failed to make the link to other nodes at UDP port {port} of {address}; another program or Slipway may have the port, or the kernel no VXLAN"
    )]
    MeshLink { address: Ipv4Addr, port: u16, source: NetlinkError },
    #[error("failed to keep the list of other nodes in {}", path.display())]
    Peers { path: PathBuf, source: io::Error },
    #[error("tenant {tenant} is number {index}, and between nodes only those up to {most} can be told apart")]
    TenantBeyond { tenant: TenantName, index: u32, most: u32 },
    #[error("failed to keep the record of addresses in {}", directory.display())]
    Addresses { directory: PathBuf, source: io::Error },
    #[error("failed to start the thread that prepares sandboxes")]
    Thread { source: io::Error },
}

/// What the functions of this module return.
pub type Result<T> = std::result::Result<T, Error>;
