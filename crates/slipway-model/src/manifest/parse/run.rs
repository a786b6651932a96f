//! What a service has beside its program: ports, volumes, fetched files, variables, labels.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ManifestError;
use super::super::tree::{Key, Node, Value};
use super::super::value::{list, map, text, truth, unknown_key, wanted, whole};
use super::service::size;
use crate::name::{ConfigKey, NameError};
use crate::service::{Fetch, PortProtocol, PortSpec, VolumeSpec};
use crate::unit::Bytes;

/// Ports of one service; each takes one of every node that it runs on.
const PORTS_MAX: usize = 20;
/// Volumes of one instance.
const VOLUMES_MAX: usize = 10;
/// Files that are fetched one after another before a program starts.
const FETCHES_MAX: usize = 20;
/// Variables or labels of one service. Config has room for more.
const WORDS_MAX: usize = 100;
/// Longest key of a label.
const LABEL_BYTES_MAX: usize = 255;

/// `[9000, { name: admin, containerPort: 9001 }]`
pub(super) fn read_ports(node: &Node) -> Result<Vec<PortSpec>, ManifestError> {
    let items = list(node, wanted("ports", "[9000]"), PORTS_MAX)?;
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    let mut ports = Vec::new();
    for item in items {
        let port = read_port(item)?;
        // MA-32
        if port.name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            return Err(item.place.error(format!("port {:?} is named twice", port.name.unwrap_or_default())));
        }
        if let Some(host) = port.host.filter(|host| *host != 0)
            && !hosts.insert(host)
        {
            return Err(item.place.error(format!("\"hostPort\" {host} is asked for twice")));
        }
        ports.push(port);
    }
    Ok(ports)
}

fn read_port(node: &Node) -> Result<PortSpec, ManifestError> {
    const KNOWN: &[&str] = &["name", "containerPort", "hostPort", "protocol", "labels"];
    let mut port = PortSpec {
        name: None,
        container: 0,
        host: Some(0),
        protocol: PortProtocol::Tcp,
        service: 0,
        labels: BTreeMap::new(),
    };
    if matches!(node.value, Value::Plain(_)) {
        port.container = port_number(node, "ports", 1)?;
        return Ok(port);
    }
    for (key, node) in map(node, wanted("ports", "9000 or { name: admin, containerPort: 9000 }"))? {
        match key.text.as_str() {
            "name" => port.name = Some(port_name(node, "name")?),
            "containerPort" => port.container = port_number(node, "containerPort", 0)?,
            "hostPort" => port.host = Some(port_number(node, "hostPort", 0)?),
            "protocol" => port.protocol = read_protocol(node)?,
            "labels" => port.labels = read_labels(node)?,
            _ => return Err(unknown_key(key, "ports", KNOWN)),
        }
    }
    Ok(port)
}

pub(super) fn port_number(node: &Node, key: &str, least: u32) -> Result<u16, ManifestError> {
    whole(node, wanted(key, "9000"), least, 65_535).map(|number| number as u16)
}

/// A name that also is the end of a variable: `PORT_ADMIN`.
pub(super) fn port_name(node: &Node, key: &str) -> Result<String, ManifestError> {
    let name = text(node, wanted(key, "admin"))?;
    let is_good = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_good {
        let message = "a port's name has lower-case letters, digits and '-', and begins with a letter";
        return Err(node.place.error(message));
    }
    Ok(name.to_owned())
}

fn read_protocol(node: &Node) -> Result<PortProtocol, ManifestError> {
    match text(node, wanted("protocol", "tcp"))? {
        "tcp" => Ok(PortProtocol::Tcp),
        "udp" => Ok(PortProtocol::Udp),
        "udp,tcp" | "tcp,udp" => Ok(PortProtocol::Both),
        other => {
            Err(node.place.error(format!("\"protocol\" must be tcp, udp or \"udp,tcp\"; found {other:?}")))
        }
    }
}

/// `[{ path: /data, size: 10G }]`
pub(super) fn read_volumes(node: &Node) -> Result<Vec<VolumeSpec>, ManifestError> {
    let items = list(node, wanted("volumes", "[{ path: /data, size: 10G }]"), VOLUMES_MAX)?;
    let mut volumes: Vec<VolumeSpec> = Vec::new();
    for item in items {
        let volume = read_volume(item)?;
        let is_inside =
            |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        if let Some(other) = volumes
            .iter()
            .find(|other| is_inside(&other.path, &volume.path) || is_inside(&volume.path, &other.path))
        {
            return Err(item
                .place
                .error(format!("{} and {} are inside one another", volume.path, other.path)));
        }
        volumes.push(volume);
    }
    Ok(volumes)
}

fn read_volume(node: &Node) -> Result<VolumeSpec, ManifestError> {
    const KNOWN: &[&str] = &["path", "size"];
    let (mut path, mut bytes) = (None, None);
    for (key, node) in map(node, wanted("volumes", "{ path: /data, size: 10G }"))? {
        match key.text.as_str() {
            // Marathon's word.
            "path" | "containerPath" => path = Some(read_volume_path(node)?),
            "size" => bytes = Some(size(node, wanted("size", "10G"), Bytes::mebi(1))?),
            _ => return Err(unknown_key(key, "volumes", KNOWN)),
        }
    }
    match (path, bytes) {
        (Some(path), Some(size)) => Ok(VolumeSpec { path, size }),
        _ => Err(node.place.error("a volume needs both, such as { path: /data, size: 10G }")),
    }
}

/// Absolute, or one segment below the working directory (MA-32).
fn read_volume_path(node: &Node) -> Result<String, ManifestError> {
    /// What the sandbox itself puts there.
    const TAKEN: [&str; 5] = ["proc", "sys", "dev", "slipway", "etc"];
    let path = text(node, wanted("path", "/data"))?;
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let is_good = path.len() <= 255
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b':' && b != b'\\')
        && parts.iter().all(|part| !part.is_empty() && *part != "." && *part != "..")
        && (path.starts_with('/') || parts.len() == 1);
    if !is_good {
        let message = format!(
            "{path:?} must be an absolute path such as /data, or one name below the program's directory"
        );
        return Err(node.place.error(message));
    }
    if path.starts_with('/') && TAKEN.contains(&parts[0]) {
        return Err(node
            .place
            .error(format!("nothing can be put at {path}; write another path, such as /data")));
    }
    Ok(path.to_owned())
}

/// `[https://example.com/model.tgz, { uri: …, extract: false }]` (MA-62)
pub(super) fn read_fetches(node: &Node) -> Result<Vec<Fetch>, ManifestError> {
    let items = list(node, wanted("fetch", "[{ uri: \"https://example.com/model.tgz\" }]"), FETCHES_MAX)?;
    items.iter().map(read_fetch).collect()
}

fn read_fetch(node: &Node) -> Result<Fetch, ManifestError> {
    const KNOWN: &[&str] = &["uri", "extract", "executable", "cache", "destPath"];
    let mut fetch = Fetch { uri: String::new(), extract: true, executable: false, cache: false, dest: None };
    if matches!(node.value, Value::Plain(_) | Value::Quoted(_)) {
        fetch.uri = read_uri(node)?;
        return Ok(fetch);
    }
    for (key, node) in map(node, wanted("fetch", "{ uri: \"https://example.com/model.tgz\" }"))? {
        match key.text.as_str() {
            "uri" => fetch.uri = read_uri(node)?,
            "extract" => fetch.extract = truth(node, wanted("extract", "true"))?,
            "executable" => fetch.executable = truth(node, wanted("executable", "true"))?,
            "cache" => fetch.cache = truth(node, wanted("cache", "true"))?,
            "destPath" => fetch.dest = Some(read_dest(node)?),
            _ => return Err(unknown_key(key, "fetch", KNOWN)),
        }
    }
    if fetch.uri.is_empty() {
        return Err(node.place.error("\"fetch\" needs a uri, such as https://example.com/model.tgz"));
    }
    Ok(fetch)
}

fn read_uri(node: &Node) -> Result<String, ManifestError> {
    let uri = text(node, wanted("uri", "https://example.com/model.tgz"))?;
    let rest = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"));
    let is_good = uri.bytes().all(|b| b.is_ascii_graphic())
        && rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['));
    if !is_good {
        let message = format!("{uri:?} is not an http:// or https:// address");
        return Err(node.place.error(message));
    }
    Ok(uri.to_owned())
}

fn read_dest(node: &Node) -> Result<String, ManifestError> {
    let dest = text(node, wanted("destPath", "models/one.bin"))?;
    let is_good = !dest.starts_with('/')
        && dest.bytes().all(|b| b.is_ascii_graphic())
        && dest.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !is_good {
        let message = format!("\"destPath\" must be a path below the program's directory; found {dest:?}");
        return Err(node.place.error(message));
    }
    Ok(dest.to_owned())
}

/// Variables of the service alone; config wins over them.
pub(super) fn read_env(node: &Node) -> Result<BTreeMap<String, String>, ManifestError> {
    let check = |key: &Key| {
        let name: ConfigKey = key.text.parse().map_err(|e: NameError| key.place.error(e.to_string()))?;
        if name.as_str() == "PORT" || name.as_str().starts_with("SLIPWAY_") {
            return Err(key.place.error(format!("{name} is set by the platform itself")));
        }
        Ok(())
    };
    read_words(node, "env", "{ WORKERS: 2 }", check)
}

/// What people and their tools say of it.
pub(super) fn read_labels(node: &Node) -> Result<BTreeMap<String, String>, ManifestError> {
    let check = |key: &Key| {
        let is_good =
            (1..=LABEL_BYTES_MAX).contains(&key.text.len()) && !key.text.chars().any(char::is_control);
        if is_good { Ok(()) } else { Err(key.place.error("a label has 1 to 255 characters on one line")) }
    };
    read_words(node, "labels", "{ team: shop }", check)
}

/// A map of words. Numbers need no quotes here, because everything is text; nothing at all does.
fn read_words(
    node: &Node,
    what: &str,
    example: &str,
    check: impl Fn(&Key) -> Result<(), ManifestError>,
) -> Result<BTreeMap<String, String>, ManifestError> {
    let entries = map(node, wanted(what, example))?;
    if entries.len() > WORDS_MAX {
        return Err(node.place.error(format!("{} {what} are too many; at most {WORDS_MAX}", entries.len())));
    }
    let mut words = BTreeMap::new();
    for (key, node) in entries {
        check(key)?;
        let value = match &node.value {
            Value::Quoted(text) if text.is_empty() => "",
            _ => text(node, wanted(&key.text, "some text"))?,
        };
        words.insert(key.text.clone(), value.to_owned());
    }
    Ok(words)
}
