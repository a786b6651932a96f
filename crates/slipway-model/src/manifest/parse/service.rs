//! One service of the manifest: what it runs, how large it is, and how it is looked after. What it has
//! beside its program (ports, volumes, files, variables) is in [`super::run`].

use super::super::constraint::{self, Complaint};
use super::super::tree::{Key, Node, Place};
use super::super::value::{Wanted, list, map, parsed, text, thousandths, truth, unknown_key, wanted, whole};
use super::super::{ManifestError, ServiceHints};
use super::run;
use crate::cron::Cron;
use crate::limit::INSTANCES_MAX;
use crate::service::{
    Backoff, Constraint, HealthCheck, KillSelection, Overlap, Probe, ReadinessCheck, Rollout, Schedule, Tier,
    UnreachableStrategy,
};
use crate::unit::{Bytes, Cpus, Span};

/// Constraints of one service.
const CONSTRAINTS_MAX: usize = 20;
/// Less than this and the OCI runtime itself cannot start a program.
const MEM_MIN: Bytes = Bytes::mebi(8);
/// More than a machine has; a typing mistake in the unit.
const SIZE_MAX: Bytes = Bytes::gibi(4096);
/// Longest time that a manifest may ask anybody to wait.
const SPAN_MAX: Span = Span::from_secs(3600);
/// Longest time that a silent node's copies are waited for.
const SILENCE_MAX: Span = Span::from_secs(30 * 86_400);
/// More accelerators than any machine has.
const GPUS_MAX: u32 = 64;
/// Statuses that mean ready.
const CODES_MAX: usize = 20;

pub(super) fn read_service(key: &Key, node: &Node) -> Result<ServiceHints, ManifestError> {
    const KNOWN: &[&str] = &[
        "command",
        "instances",
        "cpus",
        "mem",
        "disk",
        "gpus",
        "listens",
        "ports",
        "env",
        "labels",
        "volumes",
        "fetch",
        "health",
        "readiness",
        "constraints",
        "upgrade",
        "rollout",
        "backoff",
        "unreachable",
        "kill_selection",
        "tier",
        "schedule",
        "overlap",
        "stop_grace",
        "start_timeout",
    ];
    let mut service = ServiceHints::default();
    let mut overlap = None;
    for (inner, node) in map(node, wanted(&key.text, "{ instances: 2 }"))? {
        match inner.text.as_str() {
            // Marathon says `cmd` and `upgradeStrategy`; the words mean the same here.
            "command" | "cmd" => {
                if service.command.is_some() {
                    return Err(inner.place.error("\"command\" and \"cmd\" are the same thing; give one"));
                }
                service.command = Some(text(node, wanted(&inner.text, "gunicorn app:app"))?.to_owned());
            }
            "instances" => service.instances = Some(whole(node, wanted("instances", "2"), 0, INSTANCES_MAX)?),
            "cpus" => service.cpus = Some(Cpus(thousandths(node, wanted("cpus", "0.5"), 1, 1_000_000)?)),
            "mem" => service.mem = Some(size(node, wanted("mem", "256M"), MEM_MIN)?),
            "disk" => service.disk = Some(size(node, wanted("disk", "1G"), Bytes::mebi(1))?),
            "gpus" => service.gpus = Some(whole(node, wanted("gpus", "1"), 0, GPUS_MAX)?),
            "listens" => service.listens = Some(truth(node, wanted("listens", "true"))?),
            "ports" => service.ports = Some(run::read_ports(node)?),
            "env" => service.env = run::read_env(node)?,
            "labels" => service.labels = run::read_labels(node)?,
            "volumes" => service.volumes = Some(run::read_volumes(node)?),
            "fetch" => service.fetch = Some(run::read_fetches(node)?),
            "health" => service.health = Some(read_health(node)?),
            "readiness" => service.readiness = Some(read_readiness(node)?),
            "constraints" => {
                let all = list(node, wanted("constraints", "[[rack, GROUP_BY]]"), CONSTRAINTS_MAX)?;
                service.constraints = Some(all.iter().map(read_constraint).collect::<Result<_, _>>()?);
            }
            "upgrade" | "upgradeStrategy" => read_upgrade(node, &mut service)?,
            "rollout" => service.rollout = Some(read_rollout(node)?),
            "backoff" => service.backoff = Some(read_backoff(node)?),
            "unreachable" | "unreachableStrategy" => service.unreachable = Some(read_unreachable(node)?),
            "kill_selection" | "killSelection" => service.kill_selection = Some(read_kill_selection(node)?),
            "tier" => service.tier = Some(read_tier(node)?),
            "schedule" => service.schedule = Some(read_schedule(node)?),
            "overlap" => overlap = Some((inner.place, read_overlap(node)?)),
            "stop_grace" => service.stop_grace = Some(span(node, wanted("stop_grace", "10s"), Span::ZERO)?),
            "start_timeout" => {
                let least = Span::from_secs(1);
                service.start_timeout = Some(span(node, wanted("start_timeout", "60s"), least)?);
            }
            _ => return Err(unknown_key(inner, &format!("services.{}", key.text), KNOWN)),
        }
    }
    match (&mut service.schedule, overlap) {
        (Some(schedule), Some((_, overlap))) => schedule.overlap = overlap,
        (None, Some((place, _))) => return Err(place.error("\"overlap\" goes with a \"schedule\"")),
        (_, None) => {}
    }
    check_together(&service, key.place)?;
    Ok(service)
}

/// What each key alone cannot say.
fn check_together(service: &ServiceHints, place: Place) -> Result<(), ManifestError> {
    if service.schedule.is_some() {
        let contrary = [
            ("instances", service.instances.is_some()),
            ("listens: true", service.listens == Some(true)),
            ("health", service.health.is_some()),
            ("readiness", service.readiness.is_some()),
            ("volumes", service.volumes.is_some()),
        ];
        if let Some((key, _)) = contrary.iter().find(|(_, is_said)| *is_said) {
            return Err(place.error(format!(
                "a service with a \"schedule\" runs once at each time and ends; it cannot have \"{key}\""
            )));
        }
    }
    // MA-32: a copy of an older version holds the volume until it has ended.
    let has_volumes = service.volumes.as_ref().is_some_and(|volumes| !volumes.is_empty());
    if has_volumes && service.maximum_over_permille.is_some_and(|over| over > 0) {
        return Err(place.error(
            "a service with \"volumes\" has no copies in addition; leave \"maximumOverCapacity\" out or 0",
        ));
    }
    if let (Some(readiness), Some(ports)) = (&service.readiness, &service.ports)
        && !readiness.port_name.is_empty()
        && ports.iter().all(|port| port.name.as_ref() != Some(&readiness.port_name))
    {
        return Err(place.error(format!(
            "\"readiness\" asks port {:?}, which \"ports\" does not name",
            readiness.port_name
        )));
    }
    Ok(())
}

pub(super) fn size(node: &Node, what: Wanted<'_>, min: Bytes) -> Result<Bytes, ManifestError> {
    let written = text(node, what)?;
    if written.bytes().all(|b| b.is_ascii_digit()) {
        // Marathon means mebibytes, Linux bytes, and a person whichever comes first to mind.
        return Err(node.place.error(format!("{:?} needs a unit, such as {}", what.key, what.example)));
    }
    let size: Bytes = parsed(node, what)?;
    if !(min..=SIZE_MAX).contains(&size) {
        return Err(node
            .place
            .error(format!("{:?} must be from {min} to {SIZE_MAX}; found {size}", what.key)));
    }
    Ok(size)
}

fn span(node: &Node, what: Wanted<'_>, min: Span) -> Result<Span, ManifestError> {
    span_up_to(node, what, min, SPAN_MAX)
}

fn span_up_to(node: &Node, what: Wanted<'_>, min: Span, max: Span) -> Result<Span, ManifestError> {
    let span: Span = parsed(node, what)?;
    if !(min..=max).contains(&span) {
        return Err(node.place.error(format!("{:?} must be from {min} to {max}; found {span}", what.key)));
    }
    Ok(span)
}

fn read_health(node: &Node) -> Result<HealthCheck, ManifestError> {
    const KNOWN: &[&str] =
        &["http", "https", "tcp", "command", "port", "interval", "timeout", "failures", "grace"];
    const ONE_PROBE: &str = "\"health\" has one of http: /path, https: /path, tcp: true or command: …";
    let mut health = HealthCheck::tcp();
    let mut probe = None;
    for (key, node) in map(node, wanted("health", "{ http: /healthz }"))? {
        let asked = match key.text.as_str() {
            "http" => Probe::Http(read_path(node, "http")?),
            "https" => Probe::Https(read_path(node, "https")?),
            "tcp" if truth(node, wanted("tcp", "true"))? => Probe::Tcp,
            "tcp" => {
                return Err(node
                    .place
                    .error("\"tcp\" can only be true; a service that listens is always checked"));
            }
            "command" => Probe::Command(text(node, wanted("command", "./check"))?.to_owned()),
            "port" => {
                health.port = Some(run::port_number(node, "port", 1)?);
                continue;
            }
            "interval" => {
                health.interval = span(node, wanted("interval", "5s"), Span::from_millis(100))?;
                continue;
            }
            "timeout" => {
                health.timeout = span(node, wanted("timeout", "5s"), Span::from_millis(10))?;
                continue;
            }
            "failures" => {
                health.failures_max = whole(node, wanted("failures", "3"), 0, 1000)?;
                continue;
            }
            "grace" => {
                health.grace = Some(span(node, wanted("grace", "1m"), Span::ZERO)?);
                continue;
            }
            _ => return Err(unknown_key(key, "health", KNOWN)),
        };
        if probe.replace(asked).is_some() {
            return Err(key.place.error(ONE_PROBE));
        }
    }
    health.probe = probe.ok_or_else(|| node.place.error(ONE_PROBE))?;
    Ok(health)
}

/// MA-46. Asked every five seconds unless it says otherwise, not every thirty: somebody waits for a push.
fn read_readiness(node: &Node) -> Result<ReadinessCheck, ManifestError> {
    const KNOWN: &[&str] = &["http", "port", "interval", "timeout", "codes"];
    let mut path = None;
    let mut check = ReadinessCheck {
        name: "readiness".to_owned(),
        path: String::new(),
        port_name: String::new(),
        interval: Span::from_secs(5),
        timeout: Span::from_secs(2),
        codes: vec![200],
        preserve: true,
    };
    for (key, node) in map(node, wanted("readiness", "{ http: /ready }"))? {
        match key.text.as_str() {
            "http" => path = Some(read_path(node, "http")?),
            "port" => check.port_name = run::port_name(node, "port")?,
            "interval" => {
                check.interval = span(node, wanted("interval", "5s"), Span::from_millis(100))?;
            }
            "timeout" => check.timeout = span(node, wanted("timeout", "2s"), Span::from_millis(10))?,
            "codes" => {
                let codes = list(node, wanted("codes", "[200, 204]"), CODES_MAX)?;
                let code = |node| whole(node, wanted("codes", "200"), 100, 599).map(|code| code as u16);
                check.codes = codes.iter().map(code).collect::<Result<_, _>>()?;
            }
            _ => return Err(unknown_key(key, "readiness", KNOWN)),
        }
    }
    check.path =
        path.ok_or_else(|| node.place.error("\"readiness\" needs the path it asks, such as http: /ready"))?;
    if check.timeout >= check.interval {
        let message = format!(
            "\"timeout\" of {} must be shorter than \"interval\" of {}",
            check.timeout, check.interval
        );
        return Err(node.place.error(message));
    }
    if check.codes.is_empty() {
        return Err(node.place.error("\"codes\" is empty; then nothing would ever be ready"));
    }
    Ok(check)
}

fn read_path(node: &Node, key: &str) -> Result<String, ManifestError> {
    let path = text(node, wanted(key, "/healthz"))?;
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(node.place.error(format!("{key:?} must be a path such as /healthz; found {path:?}")));
    }
    Ok(path.to_owned())
}

fn read_constraint(node: &Node) -> Result<Constraint, ManifestError> {
    let what = wanted("constraints", "[rack, GROUP_BY] or [zone, LIKE, eu-.*]");
    let items = list(node, what, 3)?;
    let words = items.iter().map(|item| text(item, what)).collect::<Result<Vec<_>, _>>()?;
    let (field, operator, value) = match words[..] {
        [field, operator] => (field, operator, None),
        [field, operator, value] => (field, operator, Some(value)),
        _ => return Err(node.place.error(format!("a constraint is a list such as {}", what.example))),
    };
    constraint::check(field, operator, value)
        .map_err(|Complaint { part, message }| items[part].place.error(message))
}

fn read_upgrade(node: &Node, service: &mut ServiceHints) -> Result<(), ManifestError> {
    const KNOWN: &[&str] = &["minimumHealthCapacity", "maximumOverCapacity"];
    for (key, node) in map(node, wanted("upgrade", "{ maximumOverCapacity: 0.5 }"))? {
        let share = match key.text.as_str() {
            "minimumHealthCapacity" => &mut service.minimum_health_permille,
            "maximumOverCapacity" => &mut service.maximum_over_permille,
            _ => return Err(unknown_key(key, "upgrade", KNOWN)),
        };
        *share = Some(thousandths(node, wanted(&key.text, "0.5"), 0, 1000)?);
    }
    Ok(())
}

/// AU-05. A pushed service goes back by itself in any case, so there is nothing to say about that here.
fn read_rollout(node: &Node) -> Result<Rollout, ManifestError> {
    const KNOWN: &[&str] = &["batch", "canary", "failures_max"];
    let mut rollout = Rollout::default();
    for (key, node) in map(node, wanted("rollout", "{ canary: 1, batch: 5 }"))? {
        let (number, least) = match key.text.as_str() {
            "batch" => (&mut rollout.batch, 1),
            "canary" => (&mut rollout.canary, 1),
            "failures_max" => (&mut rollout.failures_max, 0),
            _ => return Err(unknown_key(key, "rollout", KNOWN)),
        };
        *number = Some(whole(node, wanted(&key.text, "2"), least, INSTANCES_MAX)?);
    }
    Ok(rollout)
}

/// MA-56, with Marathon's defaults for what is not said.
fn read_backoff(node: &Node) -> Result<Backoff, ManifestError> {
    const KNOWN: &[&str] = &["initial", "factor", "max"];
    let mut backoff =
        Backoff { initial: Span::from_secs(1), factor_permille: 1150, max: Span::from_secs(300) };
    for (key, node) in map(node, wanted("backoff", "{ initial: 1s, factor: 1.5, max: 5m }"))? {
        match key.text.as_str() {
            "initial" => backoff.initial = span(node, wanted("initial", "1s"), Span::from_millis(100))?,
            "factor" => {
                let factor = thousandths(node, wanted("factor", "1.15"), 1000, 10_000)?;
                backoff.factor_permille = u64::from(factor);
            }
            "max" => backoff.max = span(node, wanted("max", "5m"), Span::from_secs(1))?,
            _ => return Err(unknown_key(key, "backoff", KNOWN)),
        }
    }
    if backoff.max < backoff.initial {
        let message =
            format!("\"max\" of {} is shorter than \"initial\" of {}", backoff.max, backoff.initial);
        return Err(node.place.error(message));
    }
    Ok(backoff)
}

/// MA-59: `disabled`, or how long until another copy is started and until the old one is given up.
fn read_unreachable(node: &Node) -> Result<UnreachableStrategy, ManifestError> {
    const KNOWN: &[&str] = &["inactive", "expunge"];
    let what = wanted("unreachable", "{ inactive: 20s, expunge: 5m } or disabled");
    if text(node, what).is_ok_and(|word| word == "disabled") {
        return Ok(UnreachableStrategy::Disabled);
    }
    let (mut inactive, mut expunge) = (None, None);
    for (key, node) in map(node, what)? {
        let time = match key.text.as_str() {
            "inactive" => &mut inactive,
            "expunge" => &mut expunge,
            _ => return Err(unknown_key(key, "unreachable", KNOWN)),
        };
        *time = Some(span_up_to(node, wanted(&key.text, "5m"), Span::ZERO, SILENCE_MAX)?);
    }
    let (Some(inactive), Some(expunge)) = (inactive, expunge) else {
        return Err(node.place.error(format!("\"unreachable\" is {}", what.example)));
    };
    if expunge < inactive {
        let message = format!("\"expunge\" after {expunge} comes before \"inactive\" after {inactive}");
        return Err(node.place.error(message));
    }
    Ok(UnreachableStrategy::After { inactive, expunge })
}

fn read_kill_selection(node: &Node) -> Result<KillSelection, ManifestError> {
    let word = text(node, wanted("kill_selection", "YOUNGEST_FIRST"))?;
    match word.to_ascii_uppercase().as_str() {
        "YOUNGEST_FIRST" => Ok(KillSelection::YoungestFirst),
        "OLDEST_FIRST" => Ok(KillSelection::OldestFirst),
        _ => {
            let message =
                format!("\"kill_selection\" must be YOUNGEST_FIRST or OLDEST_FIRST; found {word:?}");
            Err(node.place.error(message))
        }
    }
}

fn read_tier(node: &Node) -> Result<Tier, ManifestError> {
    match text(node, wanted("tier", "preferred"))? {
        "preemptible" => Ok(Tier::Preemptible),
        "normal" => Ok(Tier::Normal),
        "preferred" => Ok(Tier::Preferred),
        other => {
            let message = format!("\"tier\" must be preferred, normal or preemptible; found {other:?}");
            Err(node.place.error(message))
        }
    }
}

/// AU-08.
fn read_schedule(node: &Node) -> Result<Schedule, ManifestError> {
    let cron: Cron = parsed(node, wanted("schedule", "\"0 3 * * *\""))?;
    Ok(Schedule { cron: cron.to_string(), overlap: Overlap::default() })
}

fn read_overlap(node: &Node) -> Result<Overlap, ManifestError> {
    let word = text(node, wanted("overlap", "CANCEL_NEW"))?;
    match word.to_ascii_uppercase().as_str() {
        "CANCEL_NEW" => Ok(Overlap::CancelNew),
        "KILL_EXISTING" => Ok(Overlap::KillExisting),
        _ => {
            let message = format!("\"overlap\" must be CANCEL_NEW or KILL_EXISTING; found {word:?}");
            Err(node.place.error(message))
        }
    }
}
