//! Networks and ports. In host mode a program's ports are the node's; in the container modes it has ports
//! of its own, which are mapped to the node's (MA-61). In Slipway every instance has a network of its
//! own either way; the modes say who picks the numbers.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use slipway_model::service::PortProtocol;

use crate::json::{Fields, FromJson, Problems};

/// A network of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Kept for clients: there is one network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who picks the ports.
    pub mode: NetworkMode,
    /// Kept for clients.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// One of that mode, and nothing else said.
    pub fn of(mode: NetworkMode) -> Self {
        Self { name: None, mode, labels: BTreeMap::new() }
    }
}

/// The three modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Marathon's names")]
pub enum NetworkMode {
    #[serde(rename = "container")]
    Container,
    #[serde(rename = "container/bridge")]
    ContainerBridge,
    #[serde(rename = "host")]
    Host,
}

impl FromJson for Network {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        const MODES: [(&str, NetworkMode); 3] = [
            ("container", NetworkMode::Container),
            ("container/bridge", NetworkMode::ContainerBridge),
            ("host", NetworkMode::Host),
        ];
        let mut fields = Fields::of(value, path, problems)?;
        let name: Option<String> = fields.get("name");
        if name.as_deref().is_some_and(|name| !is_network_name(name)) {
            fields.complain("name", "must have lower-case letters, digits, '-' and '_' only");
        }
        let mode = fields.word("mode", &MODES).unwrap_or(NetworkMode::Container);
        let labels = fields.get_or("labels", BTreeMap::new());
        fields.end();
        Some(Self { name, mode, labels })
    }
}

fn is_network_name(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=63).contains(&name.len()) && name.bytes().all(is_inner)
}

/// A port of an app in host mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortDefinition {
    /// The service port; also the node's port when `requirePorts` says so. 0: one is picked (MA-34).
    pub port: u16,
    /// Kept for clients.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For `PORT_<NAME>`, and for checks that name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it speaks.
    #[serde(serialize_with = "serialize_protocol")]
    pub protocol: PortProtocol,
}

impl PortDefinition {
    /// What an app has that says nothing of ports.
    pub fn default_one() -> Self {
        Self { name: Some("default".to_owned()), ..Self::of(0) }
    }

    /// That port, and nothing else said.
    pub fn of(port: u16) -> Self {
        Self { port, labels: BTreeMap::new(), name: None, protocol: PortProtocol::Tcp }
    }
}

impl FromJson for PortDefinition {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let definition = Self {
            port: fields.get_or("port", 0),
            labels: fields.get_or("labels", BTreeMap::new()),
            name: port_name(&mut fields),
            protocol: protocol(&mut fields),
        };
        fields.end();
        Some(definition)
    }
}

/// A port of an app in a container mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Where the program listens; 0: at the number that the node's port has (MA-61).
    pub container_port: u16,
    /// The node's port; 0: one is picked. `None`: the node forwards none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// Kept for clients.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For `PORT_<NAME>`, and for checks that name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it speaks.
    #[serde(serialize_with = "serialize_protocol")]
    pub protocol: PortProtocol,
    /// For load balancers; 0: one is picked (MA-34).
    pub service_port: u16,
    /// Kept for clients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_names: Vec<String>,
}

impl PortMapping {
    /// What an app in a container mode has that says nothing of ports.
    pub fn default_one() -> Self {
        Self { name: Some("default".to_owned()), ..Self::of(0) }
    }

    /// That port, and nothing else said.
    pub fn of(container_port: u16) -> Self {
        Self {
            container_port,
            host_port: None,
            labels: BTreeMap::new(),
            name: None,
            protocol: PortProtocol::Tcp,
            service_port: 0,
            network_names: Vec::new(),
        }
    }
}

impl FromJson for PortMapping {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let mapping = Self {
            container_port: fields.get_or("containerPort", 0),
            host_port: fields.get("hostPort"),
            labels: fields.get_or("labels", BTreeMap::new()),
            name: port_name(&mut fields),
            protocol: protocol(&mut fields),
            service_port: fields.get_or("servicePort", 0),
            network_names: fields.get_or("networkNames", Vec::new()),
        };
        fields.end();
        Some(mapping)
    }
}

pub(crate) fn port_name(fields: &mut Fields<'_>) -> Option<String> {
    let name: String = fields.get("name")?;
    let is_outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let bytes = name.as_bytes();
    let is_name = is_outer(bytes.first()) && is_outer(bytes.last()) && bytes.iter().all(|b| is_inner(*b));
    // A longer one could not be part of a variable that anybody reads.
    if !is_name || name.len() > 255 {
        fields.complain("name", "must fully match regular expression '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'");
    }
    Some(name)
}

pub(crate) fn protocol(fields: &mut Fields<'_>) -> PortProtocol {
    const PROTOCOLS: [(&str, PortProtocol); 4] = [
        ("tcp", PortProtocol::Tcp),
        ("udp", PortProtocol::Udp),
        ("udp,tcp", PortProtocol::Both),
        ("tcp,udp", PortProtocol::Both),
    ];
    fields.word("protocol", &PROTOCOLS).unwrap_or_default()
}

fn serialize_protocol<S: serde::Serializer>(
    protocol: &PortProtocol,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Both => "udp,tcp",
    })
}
