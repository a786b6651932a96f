//! The container: its image, its volumes, and what would open the sandbox.

use std::collections::BTreeSet;

use slipway_model::limit::INSTANCE_VOLUMES_MAX;

use super::PATH_BYTES_MAX;
use crate::app::AppDefinition;
use crate::app::container::{Container, Engine, Mode, Persistent, VolumeKind};
use crate::decimal::Decimal;
use crate::json::Problems;

pub(super) fn validate(app: &AppDefinition, at: &str, problems: &mut Problems) {
    let Some(container) = &app.container else { return };
    let path = format!("{at}/container");
    image(app, container, &path, problems);
    isolation(container, &path, problems);
    let volumes = format!("{path}/volumes");
    let why = format!("at most {INSTANCE_VOLUMES_MAX} volumes");
    problems.unless(container.volumes.len() <= INSTANCE_VOLUMES_MAX, &volumes, why);
    let mut places = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for (index, volume) in container.volumes.iter().enumerate() {
        let path = format!("{volumes}({index})");
        let place = volume.container_path.as_str();
        problems.unless(places.insert(place), format!("{path}/containerPath"), "is used twice");
        match &volume.kind {
            VolumeKind::Persistent(persistent) => {
                let is_segment = !matches!(place, "" | "." | "..");
                problems.unless(
                    is_segment,
                    format!("{path}/containerPath"),
                    "must be the name of a directory",
                );
                let why = "value must not contain \"/\"";
                problems.unless(!place.contains('/'), format!("{path}/containerPath"), why);
                let is_short = place.len() <= 255 && !place.chars().any(char::is_control);
                problems.unless(is_short, format!("{path}/containerPath"), "is not a name of a directory");
                problems.unless(volume.mode == Mode::Rw, format!("{path}/mode"), "must be RW");
                validate_persistent(persistent, &format!("{path}/persistent"), problems);
            }
            VolumeKind::Host(host) => {
                let is_own = container
                    .volumes
                    .iter()
                    .any(|other| other.is_persistent() && other.container_path == *host);
                let why = "directories of a node cannot be mounted; use a persistent volume, whose \
                           containerPath may stand here";
                problems.unless(is_own, format!("{path}/hostPath"), why);
                problems.unless(shown.insert(host), format!("{path}/hostPath"), "is used twice");
                let why = "must be an absolute path, without '..', and not in /dev, /proc or /sys";
                problems.unless(is_mount_point(place), format!("{path}/containerPath"), why);
            }
        }
    }
}

fn image(app: &AppDefinition, container: &Container, path: &str, problems: &mut Problems) {
    let path = format!("{path}/docker");
    let Some(docker) = &container.docker else {
        problems.unless(container.engine == Engine::Mesos, path, "not defined");
        return;
    };
    let is_name = !docker.image.is_empty() && docker.image.len() <= PATH_BYTES_MAX;
    let is_name = is_name && super::is_printable(&docker.image);
    problems.unless(is_name, format!("{path}/image"), "must be the name of an image");
    let why = "programs are not run with privileges";
    problems.unless(!docker.privileged, format!("{path}/privileged"), why);
    let why = "options for Docker are not supported: say it with cpus, mem, env, labels and volumes";
    problems.unless(docker.parameters.is_empty(), format!("{path}/parameters"), why);
    if let Some(config) = &docker.pull_config {
        let exists = app.secrets.contains_key(&config.secret);
        let why = "pullConfig.secret must refer to an existing secret";
        problems.unless(exists, format!("{path}/pullConfig"), why);
    }
}

fn isolation(container: &Container, path: &str, problems: &mut Problems) {
    let Some(info) = &container.linux_info else { return };
    if let Some(seccomp) = &info.seccomp {
        let path = format!("{path}/linuxInfo/seccomp");
        problems.unless(!seccomp.unconfined, format!("{path}/unconfined"), "programs stay confined");
        let why = "there is one profile, which every program has";
        problems.unless(seccomp.profile_name.is_none(), format!("{path}/profileName"), why);
    }
    let shares = info.ipc_info.as_ref().is_some_and(|ipc| ipc.mode != "PRIVATE");
    let why = "must be PRIVATE: a sandbox shares nothing with its node";
    problems.unless(!shares, format!("{path}/linuxInfo/ipcInfo/mode"), why);
}

fn validate_persistent(volume: &Persistent, path: &str, problems: &mut Problems) {
    let kind = volume.kind.as_deref().unwrap_or("root");
    problems.unless(volume.size > Decimal::ZERO, format!("{path}/size"), "must be greater than 0");
    let is_mount = kind == "mount";
    problems.unless(is_mount || volume.max_size.is_none(), path, "Only mount volumes can have maxSize");
    let is_larger = volume.max_size.is_none_or(|max| max > volume.size);
    problems.unless(is_larger, path, "Max size must be larger than size");
    let is_free = kind != "root" || volume.constraints.is_empty();
    problems.unless(is_free, path, "Constraints on root volumes are not supported");
    for (place, words) in volume.constraints.iter().enumerate() {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let is_rule = match words.as_slice() {
            ["path", operator, pattern] => {
                matches!(operator.to_ascii_uppercase().as_str(), "LIKE" | "UNLIKE")
                    && problems.check_pattern(pattern).is_ok()
            }
            _ => false,
        };
        let why = "must be [\"path\", \"LIKE\" or \"UNLIKE\", a regular expression]";
        problems.unless(is_rule, format!("{path}/constraints({place})"), why);
    }
}

fn is_mount_point(path: &str) -> bool {
    let Some(below) = path.strip_prefix('/') else { return false };
    let mut parts = below.trim_end_matches('/').split('/');
    let is_step = |part: &str| !matches!(part, "" | "." | "..");
    let first = parts.clone().next().unwrap_or_default();
    path.len() <= PATH_BYTES_MAX
        && parts.all(is_step)
        && !path.chars().any(char::is_control)
        && !matches!(first, "dev" | "proc" | "sys" | "slipway")
}
