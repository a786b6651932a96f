//! The variables by which a program of an app knows itself (MA-60, MA-61). What the app says in `env`
//! comes over them. Those of its ports are also a pushed service's.

use std::collections::BTreeMap;

use slipway_model::app::PathId;
use slipway_model::instance::PORT;
use slipway_model::service::{PortSpec, ServiceSpec};
use slipway_model::unit::Timestamp;

/// A label whose variable would have a value of this many characters or more has none.
const LABEL_CHARS_MAX: usize = 512;
const LABEL_PREFIX: &str = "MARATHON_APP_LABEL_";

/// What there is to know of one version of an app.
#[derive(Debug, Clone, Copy)]
pub struct AppFacts<'a> {
    /// The app.
    pub app: &'a PathId,
    /// Its version.
    pub version: Timestamp,
    /// The image as the app names it, if it does.
    pub image: Option<&'a str>,
    /// What its instances run.
    pub spec: &'a ServiceSpec,
    /// The directory in which they start.
    pub sandbox: &'a str,
}

/// What there is to know of one instance.
#[derive(Debug, Clone, Copy)]
pub struct InstanceFacts<'a> {
    /// What it runs.
    pub spec: &'a ServiceSpec,
    /// Its ports on the node, in the order of the spec's; 0 for one that is not forwarded.
    pub ports: &'a [u16],
    /// The node's address or name, as clients reach its ports.
    pub host: &'a str,
    /// Its task id, as `/v2` shows it.
    pub task: &'a str,
}

/// The variables that all instances of one version of an app share, by name.
pub fn of_app(facts: &AppFacts<'_>) -> BTreeMap<String, String> {
    let spec = facts.spec;
    let mut variables = of_labels(&spec.labels);
    let mut set = |name: &str, value: String| drop(variables.insert(name.to_owned(), value));
    set("MESOS_SANDBOX", facts.sandbox.to_owned());
    set("MARATHON_APP_ID", facts.app.to_string());
    set("MARATHON_APP_VERSION", crate::timestamp::render(facts.version));
    set("MARATHON_APP_RESOURCE_CPUS", float(f64::from(spec.cpus.0) / 1000.0));
    set("MARATHON_APP_RESOURCE_MEM", float(megabytes(spec.mem.0)));
    set("MARATHON_APP_RESOURCE_DISK", float(megabytes(spec.disk.0)));
    set("MARATHON_APP_RESOURCE_GPUS", spec.gpus.to_string());
    set("MARATHON_APP_ENFORCE_GROUP_ROLE", "false".to_owned());
    if let Some(image) = facts.image {
        set("MARATHON_APP_DOCKER_IMAGE", image.to_owned());
    }
    variables
}

/// The variables of one instance, by name. None of them is also the app's.
pub fn of_instance(facts: &InstanceFacts<'_>) -> BTreeMap<String, String> {
    let mut variables = of_ports(facts.spec, facts.ports);
    variables.insert("HOST".to_owned(), facts.host.to_owned());
    variables.insert("MESOS_TASK_ID".to_owned(), facts.task.to_owned());
    variables
}

/// The port on which a program listens for one of its spec's: its own in the sandbox, or the node's where
/// the spec has none of its own (MA-61).
pub fn effective_port(port: &PortSpec, node_port: u16) -> u16 {
    match (port.container, node_port) {
        (0, 0) => PORT,
        (0, node_port) => node_port,
        (own, _) => own,
    }
}

/// The variables by which a program finds its ports: `PORT0`, `PORT_<number>`, `PORT_<NAME>`, `PORTS`, and
/// `PORT`, the first. A pushed service that answers the platform's router does so on [`PORT`], whatever else
/// it listens on. `node_ports` as in [`InstanceFacts::ports`].
pub fn of_ports(spec: &ServiceSpec, node_ports: &[u16]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut all = Vec::with_capacity(spec.ports.len());
    for (place, spec) in spec.ports.iter().enumerate() {
        let number = effective_port(spec, node_ports.get(place).copied().unwrap_or_default());
        let text = number.to_string();
        // The number by which the app's author knows the port.
        let known_as = match (spec.container, spec.service) {
            (0, 0) => number,
            (0, service) => service,
            (own, _) => own,
        };
        variables.insert(format!("PORT{place}"), text.clone());
        variables.insert(format!("PORT_{known_as}"), text.clone());
        if let Some(name) = &spec.name {
            let name = name.to_ascii_uppercase();
            // Marathon keeps the dash, which no shell can name.
            variables.insert(format!("PORT_{}", name.replace('-', "_")), text.clone());
            variables.insert(format!("PORT_{name}"), text.clone());
        }
        all.push(text);
    }
    if spec.listens && all.is_empty() {
        variables.insert("PORT0".to_owned(), PORT.to_string());
        all.push(PORT.to_string());
    }
    if let Some(first) = all.first() {
        let first = if spec.listens { PORT.to_string() } else { first.clone() };
        variables.insert("PORT".to_owned(), first);
        variables.insert("PORTS".to_owned(), all.join(","));
    }
    variables
}

fn of_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let short = labels.iter().filter(|(name, value)| {
        name.chars().count() < LABEL_CHARS_MAX - LABEL_PREFIX.len() && value.chars().count() < LABEL_CHARS_MAX
    });
    let named: BTreeMap<_, _> = short.map(|(name, value)| (variable_name(name), value.clone())).collect();
    let names: Vec<_> = named.keys().map(String::as_str).collect();
    let list = ("MARATHON_APP_LABELS".to_owned(), names.join(" "));
    let each = named.iter().map(|(name, value)| (format!("{LABEL_PREFIX}{name}"), value.clone()));
    each.chain([list]).collect()
}

/// Upper case; each run of other characters becomes one `_`.
fn variable_name(label: &str) -> String {
    let mut name = String::with_capacity(label.len());
    for c in label.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            name.push(c.to_ascii_uppercase());
        } else if !name.ends_with('\u{0}') {
            // Marks a run until it is complete: an underscore of the label's own does not join it.
            name.push('\u{0}');
        }
    }
    name.replace('\u{0}', "_")
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// `1.0`, as the programs that read it are used to.
fn float(number: f64) -> String {
    format!("{number:?}")
}

#[cfg(test)]
mod tests;
