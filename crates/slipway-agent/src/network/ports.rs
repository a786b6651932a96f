//! Ports of the node that lead to instances (MA-61).
//!
//! A packet for a port of one of the node's own addresses is sent on to the instance that the port belongs
//! to, by the host's rules; the switch lets it in because it knows the same. Who asks from elsewhere keeps
//! their address; who asks on the node itself comes from the node's address on the uplink. The node's
//! loopback is left out: to send such a packet on, the kernel would have to take addresses of 127.0.0.0/8
//! seriously on a link to instances. Instances reach no port of a node, their own tenant's neither: what an
//! instance sends to the node is dropped, whatever port it is.
//!
//! Which ports are whose is in a file beside the namespaces, so that an agent that starts loads them in
//! the same transaction as all other rules, and none of them blinks. An entry counts only together with
//! the instance's link in the switch.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use slipway_model::id::InstanceId;
use slipway_model::instance::PublishedPort;
use slipway_model::limit::INSTANCE_PORTS_MAX;
use slipway_model::service::PortProtocol;

use super::keeper::{Keeper, Live};
use super::{Error, NetworkOptions, Result};
use super::{conntrack, namespace, rules};

/// What is forwarded: `Both` of the model are two of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As in the kernel and for `nft`.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// Where a port of the node leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Forward {
    pub(super) protocol: Protocol,
    /// On the node.
    pub(super) host: u16,
    pub(super) instance: InstanceId,
    pub(super) address: Ipv4Addr,
    /// At that address.
    pub(super) container: u16,
}

/// All ports of this node that lead somewhere.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<(Protocol, u16), Forward>);

impl Ports {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Forward> {
        self.0.values()
    }

    /// One of each kind, to learn whether rules with them can be loaded.
    pub(super) fn trial(address: Ipv4Addr) -> Self {
        let instance = InstanceId::from_random([0; 10]);
        let all = [Protocol::Tcp, Protocol::Udp].map(|protocol| {
            let forward = Forward { protocol, host: 1, instance: instance.clone(), address, container: 1 };
            ((protocol, 1), forward)
        });
        Self(all.into())
    }

    /// What an earlier life has written down, as far as its instances live.
    pub(super) fn read(options: &NetworkOptions, live: &BTreeMap<InstanceId, Live>) -> Self {
        let text = std::fs::read(file(options)).unwrap_or_default();
        let all: Vec<Forward> = serde_json::from_slice(&text).unwrap_or_default();
        let is_live = |forward: &Forward| {
            live.get(&forward.instance).is_some_and(|live| live.address == forward.address)
        };
        let all = all.into_iter().filter(is_live);
        Self(all.map(|forward| ((forward.protocol, forward.host), forward)).collect())
    }

    fn write(&self, options: &NetworkOptions) -> Result<()> {
        let path = file(options);
        let all: Vec<&Forward> = self.iter().collect();
        slipway_shim::spec::write_whole(&path, &all).map_err(|source| Error::Ports { path, source })
    }

    fn of(&self, instance: &InstanceId) -> Vec<Forward> {
        self.iter().filter(|forward| forward.instance == *instance).cloned().collect()
    }
}

fn file(options: &NetworkOptions) -> PathBuf {
    options.run_dir.join(format!("ports-{}.json", options.tag))
}

/// The record of a network that is removed goes with it.
pub(super) fn remove_record(options: &NetworkOptions) -> io::Result<()> {
    match std::fs::remove_file(file(options)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Keeper {
    /// Lets these ports of the node lead to an instance, and no others.
    pub(super) fn publish(&self, instance: &InstanceId, wanted: &[PublishedPort]) -> Result<()> {
        let live = self.state().live.get(instance).copied();
        let live = live.ok_or_else(|| Error::NoNetwork { instance: instance.clone() })?;
        let forwards = forwards(instance, live.address, wanted, self.options.ports)?;
        // Held to the end: whoever loads all rules anew must not do it from an older list.
        let mut ports = self.ports();
        if ports.of(instance) == forwards {
            return Ok(());
        }
        for forward in &forwards {
            let taken = ports.0.get(&(forward.protocol, forward.host));
            if let Some(owner) = taken.filter(|taken| taken.instance != *instance) {
                return Err(Error::PortTaken { port: forward.host, owner: owner.instance.clone() });
            }
        }
        self.withdraw_from(&mut ports, instance)?;
        for forward in &forwards {
            ports.0.insert((forward.protocol, forward.host), forward.clone());
        }
        ports.write(&self.options)?;
        self.load_switch_rules(&rules::published(&ports))?;
        self.load_host_table(&ports, &self.peers())?;
        let addresses = self.host_addresses()?;
        let forgotten = namespace::within(self.host.as_fd(), || {
            // Whoever has asked there before would go on to be sent to where it led then.
            for forward in &forwards {
                for address in &addresses {
                    conntrack::forget_port(address.local, forward.protocol.number(), forward.host)?;
                }
            }
            Ok(())
        });
        forgotten.map_err(|source| Error::Host { part: "the connections to its ports", source })
    }

    /// No port leads to that instance any more, nor does a connection that began through one.
    pub(super) fn withdraw(&self, instance: &InstanceId) -> Result<()> {
        self.withdraw_from(&mut self.ports(), instance)
    }

    fn withdraw_from(&self, ports: &mut Ports, instance: &InstanceId) -> Result<()> {
        let forwards = ports.of(instance);
        let Some(address) = forwards.first().map(|forward| forward.address) else { return Ok(()) };
        let mut left = Ports(ports.0.clone());
        left.0.retain(|_, forward| forward.instance != *instance);
        self.load_host_table(&left, &self.peers())?;
        self.load_switch_rules(&rules::published(&left))?;
        namespace::within(self.host.as_fd(), || conntrack::forget(address))
            .map_err(|source| Error::Host { part: "the connections through its ports", source })?;
        left.write(&self.options)?;
        *ports = left;
        Ok(())
    }

    pub(super) fn ports(&self) -> MutexGuard<'_, Ports> {
        // What a panic has left half-done, the next sweep loads whole.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What shall be forwarded, each protocol for itself, ordered as the record is.
fn forwards(
    instance: &InstanceId,
    address: Ipv4Addr,
    wanted: &[PublishedPort],
    range: (u16, u16),
) -> Result<Vec<Forward>> {
    // One of both protocols is one port, as it is for whoever asks for it.
    if wanted.iter().filter(|port| port.host != 0).count() > INSTANCE_PORTS_MAX {
        return Err(Error::TooManyPorts { most: INSTANCE_PORTS_MAX });
    }
    let mut all = BTreeMap::new();
    for port in wanted.iter().filter(|port| port.host != 0) {
        if !(range.0..=range.1).contains(&port.host) {
            return Err(Error::PortOutside { port: port.host, first: range.0, last: range.1 });
        }
        let protocols: &[Protocol] = match port.protocol {
            PortProtocol::Tcp => &[Protocol::Tcp],
            PortProtocol::Udp => &[Protocol::Udp],
            PortProtocol::Both => &[Protocol::Tcp, Protocol::Udp],
        };
        let container = if port.container == 0 { port.host } else { port.container };
        for protocol in protocols.iter().copied() {
            let (host, instance) = (port.host, instance.clone());
            let forward = Forward { protocol, host, instance, address, container };
            if all.insert((protocol, host), forward).is_some() {
                return Err(Error::PortTaken { port: host, owner: all[&(protocol, host)].instance.clone() });
            }
        }
    }
    Ok(all.into_values().collect())
}

/// `6 . 31000 : 10.111.0.5 . 8080`, for the host's map.
pub(super) fn host_elements(ports: &Ports) -> impl Iterator<Item = String> {
    ports.iter().map(|forward| {
        let Forward { protocol, host, address, container, .. } = forward;
        format!("{} . {host} : {address} . {container}", protocol.number())
    })
}

/// `10.111.0.5 . 6 . 8080`, for the switch's set. Two ports of the node may lead to one of these.
pub(super) fn switch_elements(ports: &Ports) -> impl Iterator<Item = String> {
    let elements: BTreeSet<String> = ports
        .iter()
        .map(|forward| {
            let Forward { protocol, address, container, .. } = forward;
            format!("{address} . {} . {container}", protocol.number())
        })
        .collect();
    elements.into_iter()
}
