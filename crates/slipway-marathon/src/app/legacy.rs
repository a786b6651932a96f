//! The old ways to say things, which frozen clients still use: `ports`, `uris`, `ipAddress`,
//! `container.docker.network`, `container.docker.portMappings`. Each is said anew while a body is read;
//! nothing else knows of them. An old and a new way in one body are refused, unless both say the same,
//! as in what an old Marathon answered and a client sends back.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::container::Engine;
use super::network::{port_name, protocol};
use super::{AppUpdate, Artifact, Container, Network, NetworkMode, PortDefinition, PortMapping};
use crate::json::{Fields, FromJson, Problems};

/// What of `ports` remains: numbers, whose meaning depends on the networks that the app ends up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OldPorts(pub(super) Vec<u16>);

impl OldPorts {
    /// In host mode.
    pub(super) fn definitions(&self) -> Vec<PortDefinition> {
        let named = self.0.iter().enumerate().map(|(place, port)| PortDefinition {
            name: (place == 0).then(|| "default".to_owned()),
            ..PortDefinition::of(*port)
        });
        named.collect()
    }

    /// In a container mode, for an app that says nothing of mappings: one for each.
    pub(super) fn mappings(&self) -> Vec<PortMapping> {
        if self.0.is_empty() {
            return vec![PortMapping::default_one()];
        }
        let named = self.0.iter().enumerate().map(|(place, port)| PortMapping {
            name: (place == 0).then(|| "default".to_owned()),
            service_port: *port,
            ..PortMapping::of(0)
        });
        named.collect()
    }
}

/// Old words of a body.
#[derive(Default)]
pub(super) struct OldForms {
    uris: Option<Vec<String>>,
    ports: Option<Vec<u16>>,
    ip_address: Option<IpAddress>,
    network: Option<DockerNetwork>,
    mappings: Option<Vec<PortMapping>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DockerNetwork {
    Bridge,
    Host,
    None,
    User,
}

struct IpAddress {
    discovered: Vec<PortMapping>,
    labels: BTreeMap<String, String>,
    network_name: Option<String>,
}

/// Takes the old words out of a body, and the container, which has some of them inside.
pub(super) fn take(fields: &mut Fields<'_>) -> (OldForms, Option<Container>) {
    let mut old = OldForms {
        uris: fields.get("uris"),
        ports: fields.get("ports"),
        ip_address: fields.get("ipAddress"),
        ..OldForms::default()
    };
    let Some(mut container) = fields.raw("container") else { return (old, None) };
    let path = fields.path("container");
    // Clients send `{}` and `{"docker": null}` for no container at all.
    if container.as_object().is_some_and(says_nothing) {
        return (old, None);
    }
    if let Some(docker) = container.get_mut("docker").and_then(Value::as_object_mut) {
        let words: Map<String, Value> =
            ["network", "portMappings"].iter().filter_map(|word| docker.remove_entry(*word)).collect();
        let networks = [
            ("BRIDGE", DockerNetwork::Bridge),
            ("HOST", DockerNetwork::Host),
            ("NONE", DockerNetwork::None),
            ("USER", DockerNetwork::User),
        ];
        let docker_path = format!("{path}/docker");
        if let Some(mut words) = Fields::of(Value::Object(words), &docker_path, fields.problems) {
            old.network = words.word("network", &networks);
            old.mappings = words.get("portMappings");
        }
    }
    let container = Container::from_json(container, &path, fields.problems);
    (old, container)
}

fn says_nothing(container: &Map<String, Value>) -> bool {
    container.values().all(|value| value.is_null() || value.as_array().is_some_and(Vec::is_empty))
}

impl OldForms {
    /// Says in an update, which has the new words of the body, what the old ones said.
    pub(super) fn say_anew(self, update: &mut AppUpdate, fields: &mut Fields<'_>) {
        self.say_fetch(update, fields);
        self.say_networks(update, fields);
        self.say_mappings(update, fields);
        let Some(ports) = self.ports else { return };
        let mut set: Vec<u16> = ports.iter().copied().filter(|port| *port != 0).collect();
        set.sort_unstable();
        if set.windows(2).any(|pair| pair[0] == pair[1]) {
            fields.complain("ports", "ports must be unique");
        }
        if self.ip_address.is_some() && !ports.is_empty() {
            fields.complain("ports", "cannot specify both an IP address and port");
        }
        match &update.port_definitions {
            None if update.old_ports.is_some() && ports.is_empty() => {}
            None => update.old_ports = Some(OldPorts(ports)),
            // Libraries have an empty list where they have nothing to say.
            Some(definitions) if ports.is_empty() || definitions.iter().map(|one| one.port).eq(ports) => {}
            Some(_) => fields.complain("ports", "cannot specify both ports and port definitions"),
        }
    }

    fn say_fetch(&self, update: &mut AppUpdate, fields: &mut Fields<'_>) {
        let Some(uris) = &self.uris else { return };
        let new = update.fetch.as_deref().unwrap_or_default();
        if new.is_empty() {
            // An empty list says that there shall be none, as `fetch` would.
            update.fetch = Some(uris.iter().map(|uri| artifact(uri)).collect());
        } else if !uris.is_empty() && !new.iter().map(|artifact| &artifact.uri).eq(uris) {
            fields.complain("uris", "may not be set in conjunction with fetch");
        }
    }

    fn say_networks(&self, update: &mut AppUpdate, fields: &mut Fields<'_>) {
        let Some(network) = self.said_network(fields) else { return };
        // An old Marathon answered with the ports of the node as well, for an app with ports of its own.
        let definitions = update.port_definitions.take_if(|_| network.mode != NetworkMode::Host);
        if let Some(definitions) = definitions {
            update.old_ports = Some(OldPorts(definitions.iter().map(|one| one.port).collect()));
        }
        let new = update.networks.take().unwrap_or_default();
        let says_same = |new: &[Network]| matches!(new, [one] if one.mode == network.mode);
        if new.is_empty() {
            update.networks = Some(vec![network]);
            return;
        }
        if !says_same(&new) && self.network.is_some() {
            fields.complain("networks", "must not specify both container.docker.network and networks");
        }
        if !says_same(&new) && self.ip_address.is_some() {
            fields.complain("networks", "must not specify both networks and ipAddress");
        }
        update.networks = Some(new);
    }

    fn said_network(&self, fields: &mut Fields<'_>) -> Option<Network> {
        let ip = self.ip_address.as_ref();
        let labels = ip.map(|ip| ip.labels.clone()).unwrap_or_default();
        let name = ip.and_then(|ip| ip.network_name.clone());
        match (self.network, ip) {
            (None, None) => None,
            (Some(DockerNetwork::None), _) => {
                let path = fields.path("container/docker/network");
                fields.problems.add(path, "unsupported docker network type NONE");
                None
            }
            (Some(DockerNetwork::Host), _) => Some(Network::of(NetworkMode::Host)),
            (Some(DockerNetwork::Bridge), _) => {
                Some(Network { labels, ..Network::of(NetworkMode::ContainerBridge) })
            }
            (Some(DockerNetwork::User) | None, _) => {
                Some(Network { name, mode: NetworkMode::Container, labels })
            }
        }
    }

    fn say_mappings(&self, update: &mut AppUpdate, fields: &mut Fields<'_>) {
        let discovered = self.ip_address.as_ref().map_or(&[][..], |ip| &ip.discovered);
        if self.ip_address.is_some() && update.container.is_none() {
            update.container = Some(Container::of(Engine::Mesos));
        }
        let Some(container) = &mut update.container else { return };
        let has_new = container.port_mappings.as_ref().is_some_and(|mappings| !mappings.is_empty());
        let old = self.mappings.as_deref().unwrap_or_default();
        let path = fields.path("container/docker/portMappings");
        match (has_new, container.engine) {
            (_, Engine::Mesos) if !old.is_empty() => fields.problems.add(path, "must be empty"),
            (true, _) if !old.is_empty() && container.port_mappings.as_deref() != Some(old) => {
                fields.problems.add(path, "cannot specify both portMappings and docker.portMappings");
            }
            (false, _) if self.network == Some(DockerNetwork::Host) => container.port_mappings = None,
            (false, _) if self.mappings.is_some() => container.port_mappings = Some(old.to_vec()),
            _ => {}
        }
        if discovered.is_empty() {
            return;
        }
        match container.engine {
            Engine::Docker => fields
                .complain("ipAddress/discovery", "ipAddress/discovery is not allowed for Docker containers"),
            Engine::Mesos if has_new => fields.complain(
                "ipAddress/discovery",
                "container.portMappings and ipAddress.discovery.ports must not both be set",
            ),
            Engine::Mesos => container.port_mappings = Some(discovered.to_vec()),
        }
    }
}

/// Marathon's rule of what is unpacked when nobody says.
fn artifact(uri: &str) -> Artifact {
    const ARCHIVES: [&str; 8] = [".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip", ".tar"];
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    Artifact {
        uri: uri.to_owned(),
        extract: ARCHIVES.iter().any(|ending| path.ends_with(ending)),
        executable: false,
        cache: false,
        dest_path: None,
    }
}

impl FromJson for IpAddress {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let discovery: Option<Discovery> = fields.get("discovery");
        let ip = Self {
            discovered: discovery.map(|discovery| discovery.0).unwrap_or_default(),
            labels: fields.get_or("labels", BTreeMap::new()),
            network_name: fields.get("networkName"),
        };
        fields.ignore(&["groups"]);
        fields.end();
        Some(ip)
    }
}

struct Discovery(Vec<PortMapping>);

impl FromJson for Discovery {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let ports: Vec<DiscoveredPort> = fields.get_or("ports", Vec::new());
        fields.end();
        Some(Self(ports.into_iter().map(|port| port.0).collect()))
    }
}

struct DiscoveredPort(PortMapping);

impl FromJson for DiscoveredPort {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let mapping = PortMapping {
            labels: fields.get_or("labels", BTreeMap::new()),
            name: port_name(&mut fields),
            protocol: protocol(&mut fields),
            ..PortMapping::of(fields.get_or("number", 0))
        };
        fields.end();
        Some(Self(mapping))
    }
}
