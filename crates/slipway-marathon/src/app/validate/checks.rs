//! Health checks, readiness checks, informing checks.

use slipway_model::limit::INSTANCE_CHECKS_MAX;

use super::{PATH_BYTES_MAX, is_printable};
use crate::app::AppDefinition;
use crate::app::check::{HealthCheck, IpProtocol, Protocol};
use crate::json::Problems;

/// Statuses that a readiness check takes for good.
const CODES_MAX: usize = 100;

pub(super) fn validate(app: &AppDefinition, at: &str, problems: &mut Problems) {
    let path = format!("{at}/healthChecks");
    let agent_side = app.health_checks.iter().filter(|check| check.protocol.is_agent_side()).count();
    problems.unless(agent_side <= 1, at, "AppDefinition can contain at most one Mesos health check");
    let why = format!("at most {INSTANCE_CHECKS_MAX} health checks");
    problems.unless(app.health_checks.len() <= INSTANCE_CHECKS_MAX, &path, why);
    for (place, check) in app.health_checks.iter().enumerate() {
        health(app, check, &format!("{path}({place})"), problems);
    }
    readiness(app, &format!("{at}/readinessChecks"), problems);
    let informing = app.check.iter().flat_map(|check| check.http.iter().chain(&check.tcp));
    for endpoint in informing {
        let exists = endpoint.port_index.is_none_or(|index| usize::from(index) < app.port_count());
        let why = "check port index must address an element of the ports array or container port mappings.";
        problems.unless(exists, format!("{at}/check"), why);
    }
}

fn health(app: &AppDefinition, check: &HealthCheck, path: &str, problems: &mut Problems) {
    let ports = app.port_count();
    let has_port = match check.port_index {
        Some(index) => usize::from(index) < ports,
        None => check.port.is_some_and(|port| port != 0) || ports == 1,
    };
    let why = "Health check port indices must address an element of the ports array or container port \
               mappings.";
    problems.unless(check.protocol == Protocol::Command || has_port, path, why);
    if check.protocol == Protocol::Command {
        let says = check.command.as_ref().is_some_and(|command| !command.value.trim().is_empty());
        problems.unless(says, format!("{path}/command"), "must say what runs: {\"value\": …}");
    }
    problems.unless(
        check.ip_protocol == IpProtocol::V4,
        format!("{path}/ipProtocol"),
        "instances have IPv4 addresses only",
    );
    if let Some(asked) = &check.path {
        request_path(asked, &format!("{path}/path"), problems);
    }
}

fn readiness(app: &AppDefinition, path: &str, problems: &mut Problems) {
    problems.unless(app.readiness_checks.len() <= 1, path, "must have at most one");
    let of_definitions = app.port_definitions.iter().flatten().map(|port| port.name.as_deref());
    let mappings = app.container.iter().flat_map(|container| container.port_mappings.iter().flatten());
    let names: Vec<_> =
        of_definitions.chain(mappings.map(|mapping| mapping.name.as_deref())).flatten().collect();
    for (place, check) in app.readiness_checks.iter().enumerate() {
        let path = format!("{path}({place})");
        let name = check.port_name.as_str();
        let why = format!("No port definition reference for portName {name}");
        problems.unless(names.contains(&name), format!("{path}/portName"), why);
        let in_time = check.timeout_seconds < check.interval_seconds;
        problems.unless(in_time, format!("{path}/timeoutSeconds"), "must be less than intervalSeconds");
        problems.unless(check.timeout_seconds > 0, format!("{path}/timeoutSeconds"), "must be at least 1");
        let why = "readiness is asked over HTTP only";
        problems.unless(check.protocol == "HTTP", format!("{path}/protocol"), why);
        problems.unless(!check.name.is_empty(), format!("{path}/name"), "must not be empty");
        let codes = &check.http_status_codes_for_ready;
        let codes_ok = codes.len() <= CODES_MAX && codes.iter().all(|code| (100..=999).contains(code));
        let why = "must be statuses from 100 to 999";
        problems.unless(codes_ok, format!("{path}/httpStatusCodesForReady"), why);
        request_path(&check.path, &format!("{path}/path"), problems);
    }
}

/// What is sent to the instance must stay one line of one request.
fn request_path(text: &str, path: &str, problems: &mut Problems) {
    let is_path = text.len() <= PATH_BYTES_MAX && is_printable(text);
    problems.unless(is_path, path, "must be a path without spaces and control characters");
}
