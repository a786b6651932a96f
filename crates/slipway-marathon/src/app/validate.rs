//! What must hold of an app beyond the kinds of its fields: Marathon's rules (MA-27, MA-32), and what
//! Slipway refuses because a tenant's program must not get out of its sandbox. A refusal says what to do
//! instead.

use slipway_model::limit::{INSTANCE_FETCHES_MAX, INSTANCES_MAX};
use slipway_model::name::ConfigKey;

use super::{AppDefinition, EnvValue, RESERVED_WORDS, ResourceLimit, UnreachableStrategy, UpgradeStrategy};
use crate::decimal::Decimal;
use crate::json::Problems;
use crate::virtual_host;

mod checks;

mod ports;

mod volumes;

/// Constraints of one app: each is looked at for every node.
const CONSTRAINTS_MAX: usize = 32;
/// Thousand processors: more than a node has, and what `Cpus` reads.
const CPUS_MAX: Decimal = Decimal::whole(1000);
/// Seconds. Somebody who waits a day for a stop has forgotten it.
const KILL_GRACE_MAX: u32 = 86_400;
/// Bytes of a URI or a path (the bound of Marathon's own).
pub(super) const PATH_BYTES_MAX: usize = 1024;

/// Notes everything that is wrong. `at` is the app's place in the body, empty for the body itself.
pub(super) fn validate(app: &AppDefinition, at: &str, problems: &mut Problems) {
    id(app, at, problems);
    program(app, at, problems);
    amounts(app, at, problems);
    variables(app, at, problems);
    strategies(app, at, problems);
    fetch(app, at, problems);
    labels(app, at, problems);
    ports::validate(app, at, problems);
    checks::validate(app, at, problems);
    volumes::validate(app, at, problems);
}

fn id(app: &AppDefinition, at: &str, problems: &mut Problems) {
    let path = format!("{at}/id");
    problems.unless(!app.id.is_root(), &path, "must not be root");
    let last = app.id.segments().next_back().unwrap_or_default();
    let words = RESERVED_WORDS.join(", ");
    let is_free = !RESERVED_WORDS.contains(&last);
    problems.unless(
        is_free,
        &path,
        format!("must not end with any of the following reserved keywords: {words}"),
    );
}

fn program(app: &AppDefinition, at: &str, problems: &mut Problems) {
    use super::container::Engine;
    let (has_cmd, has_args) = (app.cmd.is_some(), !app.args.is_empty());
    let has_container = app
        .container
        .as_ref()
        .is_some_and(|container| container.docker.is_some() || container.engine == Engine::Mesos);
    let is_said = (has_cmd != has_args) || (!has_cmd && has_container);
    let why = "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.";
    problems.unless(is_said, at, why);
    let is_blank = app.cmd.as_ref().is_some_and(|cmd| cmd.trim().is_empty());
    problems.unless(!is_blank, format!("{at}/cmd"), "must not be empty");
    let is_own = matches!(app.executor.as_str(), "" | "//cmd");
    let why = "custom executors are not supported; say what runs with cmd, args or container";
    problems.unless(is_own, format!("{at}/executor"), why);
    let is_root = app.user.as_deref().is_some_and(|user| matches!(user.trim(), "root" | "0" | ""));
    let why = "programs do not run as root; leave it out and they run as the sandbox's own user";
    problems.unless(!is_root, format!("{at}/user"), why);
    let roles = app.accepted_resource_roles.as_ref();
    let why = "must not be empty";
    problems.unless(roles.is_none_or(|roles| !roles.is_empty()), format!("{at}/acceptedResourceRoles"), why);
    problems.unless(!app.role.is_empty(), format!("{at}/role"), why);
    let why = format!("at most {CONSTRAINTS_MAX} constraints");
    problems.unless(app.constraints.len() <= CONSTRAINTS_MAX, format!("{at}/constraints"), why);
}

fn amounts(app: &AppDefinition, at: &str, problems: &mut Problems) {
    let cpus_ok = (Decimal::thousandths(1)..=CPUS_MAX).contains(&app.cpus);
    problems.unless(cpus_ok, format!("{at}/cpus"), format!("must be from 0.001 to {CPUS_MAX}"));
    let why = format!("must be at most {INSTANCES_MAX}");
    problems.unless(app.instances <= INSTANCES_MAX, format!("{at}/instances"), why);
    let is_docker =
        app.container.as_ref().is_some_and(|container| container.engine == super::container::Engine::Docker);
    let why = "GPU resources only work with the Mesos containerizer";
    problems.unless(app.gpus == 0 || !is_docker, at, why);
    problems.unless(app.gpus <= 1000, format!("{at}/gpus"), "must be at most 1000");
    if let Some(limits) = &app.resource_limits {
        let asked = [("cpus", limits.cpus, app.cpus), ("mem", limits.mem, app.mem)];
        for (name, limit, request) in asked {
            let is_less = matches!(limit, Some(ResourceLimit::Number(limit)) if limit < request);
            let why =
                format!("resource limit must be greater than or equal to requested resource ({request})");
            problems.unless(!is_less, format!("{at}/resourceLimits/{name}"), why);
        }
    }
}

fn variables(app: &AppDefinition, at: &str, problems: &mut Problems) {
    for (name, value) in &app.env {
        let path = format!("{at}/env/{name}");
        problems.unless(!name.is_empty() && !name.contains('='), &path, "is not a name of a variable");
        let EnvValue::Secret { secret } = value else { continue };
        problems.unless(
            app.secrets.contains_key(secret),
            format!("{path}/secret"),
            "references an undefined secret",
        );
        if let Err(error) = name.parse::<ConfigKey>() {
            problems.add(path, format!("a variable with a secret: {error}"));
        }
    }
    for (name, secret) in &app.secrets {
        let is_named = !name.is_empty() && !secret.source.is_empty();
        problems.unless(is_named, format!("{at}/secrets/{name}"), "name and source must not be empty");
    }
}

fn strategies(app: &AppDefinition, at: &str, problems: &mut Problems) {
    problems.unless(app.backoff_factor >= Decimal::ONE, format!("{at}/backoffFactor"), "must be at least 1");
    let why = format!("must be at most {KILL_GRACE_MAX}");
    let grace = app.task_kill_grace_period_seconds.unwrap_or_default();
    problems.unless(grace <= KILL_GRACE_MAX, format!("{at}/taskKillGracePeriodSeconds"), why);
    let path = format!("{at}/upgradeStrategy");
    if app.is_single_instance() {
        problems.unless(app.instances <= 1, at, "Single instance app may only have one instance");
        let is_single = app.upgrade_strategy == UpgradeStrategy::SINGLE;
        let why = "minimumHealthCapacity and maximumOverCapacity must be 0 for a single instance app";
        problems.unless(is_single, &path, why);
    }
    if app.residency.is_none() {
        return;
    }
    problems.unless(
        app.upgrade_strategy.maximum_over_capacity == Decimal::ZERO,
        format!("{path}/maximumOverCapacity"),
        "must be 0 for resident tasks",
    );
    problems.unless(
        app.unreachable_strategy == UnreachableStrategy::Disabled,
        at,
        "unreachableStrategy must be disabled for resident tasks",
    );
    problems.unless(app.role != "*", format!("{at}/role"), "Resident apps cannot have the role *");
}

fn fetch(app: &AppDefinition, at: &str, problems: &mut Problems) {
    let why = format!("at most {INSTANCE_FETCHES_MAX} files");
    problems.unless(app.fetch.len() <= INSTANCE_FETCHES_MAX, format!("{at}/fetch"), why);
    for (place, artifact) in app.fetch.iter().enumerate() {
        let path = format!("{at}/fetch({place})");
        let uri = &artifact.uri;
        let scheme = uri.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        let is_http = matches!(&scheme, Some((scheme, rest)) if matches!(scheme.as_str(), "http" | "https") && !rest.is_empty());
        let why = "only http:// and https:// are fetched; credentials for a registry go into \
                   container.docker.pullConfig";
        problems.unless(is_http, format!("{path}/uri"), why);
        problems.unless(
            uri.len() <= PATH_BYTES_MAX && is_printable(uri),
            format!("{path}/uri"),
            "URI has invalid syntax.",
        );
        let dest_ok = artifact.dest_path.as_deref().is_none_or(is_inside);
        let why = "must be a relative path without '..', inside the sandbox";
        problems.unless(dest_ok, format!("{path}/destPath"), why);
    }
}

/// Labels are anybody's, but what they ask of the router must be possible (MA-80).
fn labels(app: &AppDefinition, at: &str, problems: &mut Problems) {
    for (label, why) in virtual_host::problems(&app.labels) {
        let path = format!("{at}/labels/{label}");
        problems.add(path.trim_end_matches('/'), why);
    }
}

/// True for text that can stand in the first line of a request.
pub(super) fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// True for a path that stays where it starts.
fn is_inside(path: &str) -> bool {
    let is_step = |part: &str| !matches!(part, "" | "." | "..");
    path.len() <= PATH_BYTES_MAX && path.split('/').all(is_step) && !path.chars().any(char::is_control)
}
