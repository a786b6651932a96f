//! Whether this host can do what the network asks of it.

use std::io;
use std::net::Ipv4Addr;

use slipway_model::cidr::Cidr;
use slipway_model::cluster::Peer;

use super::ports::Ports;
use super::rules::Group;
use super::{Egress, MeshOptions, Tag, link, namespace, program, rules};

/// Loads the rules of a switch and of a host into a namespace that is gone afterwards, to learn
/// whether this host's `nft` and kernel know everything in them.
pub(crate) fn try_rules() -> io::Result<()> {
    let subnet = Cidr::containing(Ipv4Addr::new(10, 0, 0, 0), 16);
    let (gateway, host, resolver) = (subnet.at(1), subnet.at(2), Some(subnet.at(3)));
    let (uplink, tag) = ("uplink", Tag("trial".into()));
    let tenants = [Group::of(0, Egress::Internet)];
    let ports = Ports::trial(host);
    let options = MeshOptions { address: host, port: MeshOptions::PORT_DEFAULT, vni: 1, pool: subnet };
    let peers = [Peer { node: "trial".parse().map_err(io::Error::other)?, address: gateway, subnet }];
    let mesh = rules::Mesh { link: Some(("mesh", &options)), peers: &peers };
    let switch = rules::SwitchRules {
        uplink,
        host,
        host_addresses: &[link::Address { link: 1, local: host, neighbours: subnet }],
        gateway,
        resolver,
        egress_allow: &[subnet],
        tenants: &tenants,
        subnet,
        ports: &ports,
        mesh,
    };
    let host = rules::HostRules { tag: &tag, uplink, subnet, resolver, ports: &ports, mesh };
    namespace::without_file(|| {
        program::nft(&rules::switch(&switch))?;
        program::nft(&rules::host(&host))
    })
}
