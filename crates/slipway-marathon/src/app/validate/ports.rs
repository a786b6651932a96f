//! Networks and ports.

use std::collections::BTreeSet;

use slipway_model::limit::INSTANCE_PORTS_MAX;

use crate::app::container::Engine;
use crate::app::{AppDefinition, NetworkMode, PortMapping};
use crate::json::Problems;

pub(super) fn validate(app: &AppDefinition, at: &str, problems: &mut Problems) {
    networks(app, at, problems);
    if let Some(definitions) = &app.port_definitions {
        let path = format!("{at}/portDefinitions");
        names(definitions.iter().map(|definition| definition.name.as_deref()), &path, problems);
        let ports = definitions.iter().map(|definition| definition.port).filter(|port| *port != 0);
        problems.unless(all_differ(ports), &path, "Ports must be unique.");
        problems.unless(
            definitions.len() <= INSTANCE_PORTS_MAX,
            &path,
            format!("at most {INSTANCE_PORTS_MAX} ports"),
        );
    }
    let mappings = app.container.as_ref().and_then(|container| container.port_mappings.as_ref());
    if let Some(mappings) = mappings {
        validate_mappings(app, mappings, &format!("{at}/container/portMappings"), problems);
    }
}

fn networks(app: &AppDefinition, at: &str, problems: &mut Problems) {
    let path = format!("{at}/networks");
    let count = |mode| app.networks.iter().filter(|network| network.mode == mode).count();
    let (hosts, bridges) = (count(NetworkMode::Host), count(NetworkMode::ContainerBridge));
    let alone = (hosts == 0 && bridges == 0) || app.networks.len() == 1;
    let why = "Host networks and bridge networks may not be mixed with other networks";
    problems.unless(alone, &path, why);
    let names = app.networks.iter().filter_map(|network| network.name.as_deref());
    problems.unless(all_differ(names), &path, "Networks must have unique names");
    let unnamed =
        app.networks.iter().any(|network| network.mode == NetworkMode::Host && network.name.is_some());
    problems.unless(!unnamed, &path, "Host networks may not be named");
    let is_docker = app.container.as_ref().is_some_and(|container| container.engine == Engine::Docker);
    problems.unless(
        !is_docker || count(NetworkMode::Container) <= 1,
        at,
        "may only specify a single container network when using the Docker container engine",
    );
}

fn validate_mappings(app: &AppDefinition, mappings: &[PortMapping], path: &str, problems: &mut Problems) {
    names(mappings.iter().map(|mapping| mapping.name.as_deref()), path, problems);
    problems.unless(
        mappings.len() <= INSTANCE_PORTS_MAX,
        path,
        format!("at most {INSTANCE_PORTS_MAX} ports"),
    );
    let host_ports = mappings.iter().filter_map(|mapping| mapping.host_port).filter(|port| *port != 0);
    problems.unless(all_differ(host_ports), path, "Ports must be unique.");
    let service_ports = mappings.iter().map(|mapping| mapping.service_port).filter(|port| *port != 0);
    problems.unless(all_differ(service_ports), path, "Service ports must be unique.");
    let networks: BTreeSet<_> = app.networks.iter().filter_map(|network| network.name.as_deref()).collect();
    for (place, mapping) in mappings.iter().enumerate() {
        let names_one = mapping.host_port.is_none() || mapping.network_names.len() == 1;
        let why = "networkNames must be a single item list when hostPort is specified and more than 1 \
                   container network is defined";
        problems.unless(app.networks.len() <= 1 || names_one, format!("{path}({place})"), why);
        for (name_place, name) in mapping.network_names.iter().enumerate() {
            let known: Vec<_> = networks.iter().copied().collect();
            let why = format!("is not one of ({})", known.join(","));
            let is_known = networks.contains(name.as_str());
            problems.unless(is_known, format!("{path}({place})/networkNames({name_place})"), why);
        }
    }
}

fn names<'a>(names: impl Iterator<Item = Option<&'a str>>, path: &str, problems: &mut Problems) {
    problems.unless(all_differ(names.flatten()), path, "Port names must be unique.");
}

fn all_differ<T: Ord>(mut items: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    items.all(|item| seen.insert(item))
}
