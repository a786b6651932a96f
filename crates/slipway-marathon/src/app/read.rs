//! From a body to an [`AppUpdate`]: every field that it has, in new terms.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slipway_model::app::PathId;
use slipway_model::manifest::constraint;
use slipway_model::service::{KillSelection, Overlap, Schedule, Tier};
use slipway_model::unit::Timestamp;

use super::check::{HealthCheck, InfoCheck, ReadinessCheck};
use super::legacy::{self, OldPorts};
use super::{
    Artifact, Constraint, Container, EnvValue, Extras, Network, PortDefinition, Residency, ResourceLimit,
    ResourceLimits, Secret, UnreachableStrategy, UpgradeStrategy,
};
use crate::decimal::Decimal;
use crate::error::Error;
use crate::json::{self, Fields, FromJson, Problems};

/// What a body says of an app: a field that it does not have, or has as `null`, is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppUpdate {
    pub(super) id: Option<PathId>,
    pub(super) accepted_resource_roles: Option<Vec<String>>,
    pub(super) args: Option<Vec<String>>,
    pub(super) backoff_factor: Option<Decimal>,
    pub(super) backoff_seconds: Option<u32>,
    pub(super) cmd: Option<String>,
    pub(super) constraints: Option<Vec<Constraint>>,
    pub(super) container: Option<Container>,
    pub(super) cpus: Option<Decimal>,
    pub(super) dependencies: Option<BTreeSet<PathId>>,
    pub(super) disk: Option<Decimal>,
    pub(super) env: Option<BTreeMap<String, EnvValue>>,
    pub(super) executor: Option<String>,
    pub(super) fetch: Option<Vec<Artifact>>,
    pub(super) gpus: Option<u32>,
    pub(super) health_checks: Option<Vec<HealthCheck>>,
    pub(super) check: Option<InfoCheck>,
    pub(super) instances: Option<u32>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) max_launch_delay_seconds: Option<u32>,
    pub(super) mem: Option<Decimal>,
    pub(super) networks: Option<Vec<Network>>,
    pub(super) port_definitions: Option<Vec<PortDefinition>>,
    pub(super) old_ports: Option<OldPorts>,
    pub(super) readiness_checks: Option<Vec<ReadinessCheck>>,
    pub(super) residency: Option<Residency>,
    pub(super) resource_limits: Option<ResourceLimits>,
    pub(super) require_ports: Option<bool>,
    pub(super) role: Option<String>,
    pub(super) secrets: Option<BTreeMap<String, Secret>>,
    pub(super) task_kill_grace_period_seconds: Option<u32>,
    pub(super) tty: Option<bool>,
    pub(super) upgrade_strategy: Option<UpgradeStrategy>,
    pub(super) user: Option<String>,
    pub(super) kill_selection: Option<KillSelection>,
    pub(super) unreachable_strategy: Option<UnreachableStrategy>,
    pub(super) slipway: Option<Extras>,
    pub(super) version: Option<Timestamp>,
    /// Whether anything but `id` and `version` was said.
    pub(super) says_more: bool,
}

/// What only answers have, and what nothing reads any more. Clients send it back with the rest.
const IGNORED: [&str; 14] = [
    "tasksStaged",
    "tasksRunning",
    "tasksHealthy",
    "tasksUnhealthy",
    "deployments",
    "readinessCheckResults",
    "tasks",
    "lastTaskFailure",
    "tasksStats",
    "taskStats",
    "versionInfo",
    "executorResources",
    "storeUrls",
    "taskRateLimit",
];

impl AppUpdate {
    /// Reads a body that describes one app. Relative ids are resolved against `base`.
    ///
    /// # Errors
    /// When it is no JSON, has a field of the wrong kind, or one that nobody knows.
    pub fn read(body: &[u8], base: &PathId) -> Result<Self, Error> {
        Self::of_value(json::parse(body)?, base)
    }

    /// Reads a body that is a list of apps (MA-04).
    ///
    /// # Errors
    /// As [`Self::read`]; also when one has no id.
    pub fn read_list(body: &[u8], base: &PathId) -> Result<Vec<Self>, Error> {
        let mut problems = Problems::default();
        let Value::Array(items) = json::parse(body)? else {
            return Err(Error::invalid("/", "must be a list of apps"));
        };
        let mut updates = Vec::with_capacity(items.len());
        for (place, item) in items.into_iter().enumerate() {
            let path = format!("({place})");
            let Some(update) = Self::from_value(item, base, &path, &mut problems) else { continue };
            problems.unless(update.id.is_some(), format!("{path}/id"), "is missing");
            updates.push(update);
        }
        problems.finish()?;
        Ok(updates)
    }

    /// Reads an app that was parsed already.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of_value(value: Value, base: &PathId) -> Result<Self, Error> {
        Self::of_value_with(value, base, Problems::default())
    }

    /// The same for what was checked before it was stored.
    pub(super) fn of_stored(value: Value) -> Result<Self, Error> {
        Self::of_value_with(value, &PathId::root(), Problems::of_stored())
    }

    fn of_value_with(value: Value, base: &PathId, mut problems: Problems) -> Result<Self, Error> {
        let update = Self::from_value(value, base, "", &mut problems);
        problems.finish()?;
        Ok(update.expect("what cannot be read has been noted"))
    }

    pub(crate) fn from_value(
        value: Value,
        base: &PathId,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let id: Option<String> = fields.get("id");
        let id = id.and_then(|id| json::id(&id, base, &fields.path("id"), fields.problems));
        // Relative dependencies mean neighbours: they are resolved against the group, not the app.
        let dependencies: Option<Vec<String>> = fields.get("dependencies");
        let dependencies =
            dependencies.map(|ids| json::ids(ids, base, &fields.path("dependencies"), fields.problems));
        let version = fields.get("version");
        fields.ignore(&IGNORED);
        let says_more = fields.has_more() || dependencies.is_some();
        let (old_forms, container) = legacy::take(&mut fields);
        let mut update = Self {
            id,
            accepted_resource_roles: fields.get("acceptedResourceRoles"),
            args: fields.get("args"),
            backoff_factor: fields.get("backoffFactor"),
            backoff_seconds: fields.get("backoffSeconds"),
            cmd: fields.get("cmd"),
            constraints: fields.get("constraints"),
            container,
            cpus: fields.get("cpus"),
            dependencies,
            disk: fields.get("disk"),
            env: fields.get("env"),
            executor: fields.get("executor"),
            fetch: fields.get("fetch"),
            gpus: fields.get("gpus"),
            health_checks: fields.get("healthChecks"),
            check: fields.get("check"),
            instances: fields.get("instances"),
            labels: fields.get("labels"),
            max_launch_delay_seconds: fields.get("maxLaunchDelaySeconds"),
            mem: fields.get("mem"),
            networks: fields.get("networks"),
            port_definitions: fields.get("portDefinitions"),
            old_ports: None,
            readiness_checks: fields.get("readinessChecks"),
            residency: fields.get("residency"),
            resource_limits: fields.get("resourceLimits"),
            require_ports: fields.get("requirePorts"),
            role: fields.get("role"),
            secrets: fields.get("secrets"),
            task_kill_grace_period_seconds: fields.get("taskKillGracePeriodSeconds"),
            tty: fields.get("tty"),
            upgrade_strategy: fields.get("upgradeStrategy"),
            user: fields.get("user"),
            kill_selection: fields.word(
                "killSelection",
                &[
                    ("YOUNGEST_FIRST", KillSelection::YoungestFirst),
                    ("OLDEST_FIRST", KillSelection::OldestFirst),
                ],
            ),
            unreachable_strategy: fields.get("unreachableStrategy"),
            slipway: fields.get("slipway"),
            version,
            says_more,
        };
        old_forms.say_anew(&mut update, &mut fields);
        fields.end();
        Some(update)
    }
}

impl FromJson for EnvValue {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        if value.is_object() {
            let mut fields = Fields::of(value, path, problems)?;
            let secret = fields.must("secret");
            fields.end();
            return Some(EnvValue::Secret { secret: secret? });
        }
        String::from_json(value, path, problems).map(EnvValue::Text)
    }
}

impl FromJson for Secret {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let source = fields.must("source");
        fields.end();
        Some(Self { source: source? })
    }
}

impl FromJson for Constraint {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let words: Vec<String> = FromJson::from_json(value, path, problems)?;
        let [field, operator, value @ ..] = words.as_slice() else {
            problems.add(path, "Each constraint must have either 2 or 3 fields");
            return None;
        };
        if value.len() > 1 {
            problems.add(path, "Each constraint must have either 2 or 3 fields");
            return None;
        }
        // Clients send an empty third word where there is nothing to say.
        let value = value.first().map(String::as_str);
        let value = value.filter(|value| !value.is_empty() || operator.eq_ignore_ascii_case("IS"));
        let read = constraint::read(field, operator, value).map_err(|complaint| complaint.message);
        let checked = read.and_then(|constraint| {
            constraint::pattern(&constraint).map_or(Ok(()), |pattern| problems.check_pattern(pattern))?;
            Ok(constraint)
        });
        checked.map_err(|message| problems.add(path, message)).ok().map(Self)
    }
}

impl FromJson for Artifact {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let uri: Option<String> = fields.must("uri");
        // Its name before 1.5.
        let output_file = fields.get("outputFile");
        let artifact = uri.map(|uri| Self {
            uri,
            extract: fields.get_or("extract", true),
            executable: fields.get_or("executable", false),
            cache: fields.get_or("cache", false),
            dest_path: fields.get("destPath").or(output_file),
        });
        fields.end();
        artifact
    }
}

impl FromJson for UpgradeStrategy {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let strategy = Self {
            maximum_over_capacity: fields.get_or("maximumOverCapacity", Decimal::ONE),
            minimum_health_capacity: fields.get_or("minimumHealthCapacity", Decimal::ONE),
        };
        for (name, share) in [
            ("maximumOverCapacity", strategy.maximum_over_capacity),
            ("minimumHealthCapacity", strategy.minimum_health_capacity),
        ] {
            if share > Decimal::ONE {
                fields.complain(name, "must be between 0 and 1");
            }
        }
        fields.end();
        Some(strategy)
    }
}

impl FromJson for UnreachableStrategy {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        if let Some(word) = value.as_str() {
            problems.unless(word == "disabled", path, "must be \"disabled\" or an object");
            return (word == "disabled").then_some(UnreachableStrategy::Disabled);
        }
        let mut fields = Fields::of(value, path, problems)?;
        let inactive_after_seconds = fields.get_or("inactiveAfterSeconds", 0);
        let expunge_after_seconds = fields.get_or("expungeAfterSeconds", 0);
        if expunge_after_seconds < inactive_after_seconds {
            fields.complain("expungeAfterSeconds", "must not be less than inactiveAfterSeconds");
        }
        fields.end();
        Some(UnreachableStrategy::Enabled { inactive_after_seconds, expunge_after_seconds })
    }
}

impl FromJson for Residency {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let default = Self::default();
        let behaviors =
            [("WAIT_FOREVER", "WAIT_FOREVER"), ("RELAUNCH_AFTER_TIMEOUT", "RELAUNCH_AFTER_TIMEOUT")];
        let residency = Self {
            relaunch_escalation_timeout_seconds: fields
                .get_or("relaunchEscalationTimeoutSeconds", default.relaunch_escalation_timeout_seconds),
            task_lost_behavior: fields
                .word("taskLostBehavior", &behaviors)
                .map_or(default.task_lost_behavior, str::to_owned),
        };
        fields.end();
        Some(residency)
    }
}

impl FromJson for ResourceLimits {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let limits = Self { cpus: fields.get("cpus"), mem: fields.get("mem") };
        fields.end();
        Some(limits)
    }
}

impl FromJson for ResourceLimit {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        match &value {
            Value::String(word) if word == "unlimited" => Some(ResourceLimit::Unlimited),
            Value::String(_) => {
                problems.add(path, "must be \"unlimited\" or a number");
                None
            }
            _ => Decimal::from_json(value, path, problems).map(ResourceLimit::Number),
        }
    }
}

impl FromJson for Extras {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let tiers =
            [("preemptible", Tier::Preemptible), ("normal", Tier::Normal), ("preferred", Tier::Preferred)];
        let mut fields = Fields::of(value, path, problems)?;
        let extras = Self {
            auto_rollback: fields.get_or("autoRollback", false),
            max_failures: fields.get("maxFailures"),
            batch: fields.get("batch"),
            canary: fields.get("canary"),
            tier: fields.word("tier", &tiers),
            schedule: fields.get("schedule"),
        };
        for (name, count) in
            [("maxFailures", extras.max_failures), ("batch", extras.batch), ("canary", extras.canary)]
        {
            if count == Some(0) {
                fields.complain(name, "must be at least 1");
            }
        }
        fields.end();
        Some(extras)
    }
}

impl FromJson for Schedule {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let overlaps = [("CANCEL_NEW", Overlap::CancelNew), ("KILL_EXISTING", Overlap::KillExisting)];
        let mut fields = Fields::of(value, path, problems)?;
        let cron: Option<String> = fields.must("cron");
        let overlap = fields.word("overlap", &overlaps).unwrap_or_default();
        let mistake = cron.as_deref().and_then(|cron| cron.parse::<slipway_model::cron::Cron>().err());
        if let Some(mistake) = mistake {
            fields.complain("cron", mistake.to_string());
        }
        fields.end();
        Some(Self { cron: cron?, overlap })
    }
}
