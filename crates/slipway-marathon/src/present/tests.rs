use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use slipway_model::app::{GroupAction, GroupActionKind, GroupDeployment, PathId};
use slipway_model::id::InstanceId;
use slipway_model::instance::{CheckStatus, Exit, ExitReason, InstanceState};
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;

use super::task::{self, LocalVolume, TaskFacts};
use super::*;
use crate::app::{AppDefinition, AppUpdate};

const T: &str = "2026-11-22T17:05:09.123Z";

fn time() -> Timestamp {
    Timestamp(1_795_367_109_123)
}

fn later(seconds: u64) -> Timestamp {
    Timestamp(time().0 + seconds * 1000)
}

fn id(text: &str) -> PathId {
    text.parse().unwrap()
}

fn instance() -> InstanceId {
    InstanceId::from_random([7; 10])
}

fn value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

fn definition() -> AppDefinition {
    let body = br#"{"id": "/db/main", "cmd": "x"}"#;
    AppUpdate::read(body, &PathId::root()).unwrap().create().unwrap()
}

fn facts<'a>(app: &'a PathId, instance: &'a InstanceId, node: &'a NodeName) -> TaskFacts<'a> {
    TaskFacts {
        app,
        instance,
        version: time(),
        node,
        host: "10.0.0.7",
        is_node_silent: false,
        ports: &[31001, 0],
        service_ports: &[10000, 10001],
        address: Some("10.1.0.5".parse().unwrap()),
        state: Some(&InstanceState::Healthy),
        staged_at: time(),
        started_at: Some(later(1)),
        checks: &[],
    }
}

fn a_task(change: impl FnOnce(&mut TaskFacts<'_>)) -> Task {
    let (app, instance, node) = (id("/db/main"), instance(), "one".parse().unwrap());
    let mut facts = facts(&app, &instance, &node);
    change(&mut facts);
    facts.task()
}

#[test]
fn ma_31_a_task() {
    let check = CheckStatus {
        alive: false,
        consecutive_failures: 2,
        first_success: Some(later(2)),
        last_failure: Some(later(4)),
        last_failure_cause: Some("refused".to_owned()),
        ..CheckStatus::default()
    };
    let (app, instance, node) = (id("/db/main"), instance(), "one".parse().unwrap());
    let mut task = TaskFacts { checks: &[check], ..facts(&app, &instance, &node) }.task();
    let volume = slipway_model::id::VolumeId::from_random([1; 10]);
    task.local_volumes = vec![LocalVolume::new(&app, "data", &volume)];
    let name = format!("db_main.instance-{instance}");
    let expected = json!({
        "id": format!("{name}._app.1"),
        "appId": "/db/main",
        "host": "10.0.0.7",
        "ports": [31001],
        "servicePorts": [10000, 10001],
        "ipAddresses": [{"ipAddress": "10.1.0.5", "protocol": "IPv4"}],
        "slaveId": "one",
        "state": "TASK_RUNNING",
        "stagedAt": T,
        "startedAt": "2026-11-22T17:05:10.123Z",
        "version": T,
        "healthCheckResults": [{
            "alive": false, "consecutiveFailures": 2, "firstSuccess": "2026-11-22T17:05:11.123Z",
            "lastFailure": "2026-11-22T17:05:13.123Z", "lastSuccess": null, "lastFailureCause": "refused",
            "instanceId": name,
        }],
        "localVolumes": [{"runSpecId": "/db/main", "containerPath": "data", "uuid": volume.to_string(),
            "persistenceId": format!("db_main#data#{volume}")}],
        "role": "slipway",
    });
    assert_eq!(value(&task), expected);
}

#[test]
fn ma_31_ids_of_tasks_and_instances_lead_to_the_instance() {
    let (app, instance) = (id("/db/main.v2"), instance());
    let (name, task) = (task::instance_id(&app, &instance), task::task_id(&app, &instance));
    assert_eq!(task::parse(&task), Some(("db_main.v2", instance.clone())));
    assert_eq!(task::parse(&name), Some(("db_main.v2", instance)));
    for bad in ["", "x", "a.instance-", "a.instance-x._app.1", "a.instance-../../x"] {
        assert_eq!(task::parse(bad), None, "{bad}");
    }
}

#[test]
fn ma_31_me_09_states_are_mesos() {
    let ended = |reason| InstanceState::Ended { exit: Exit { reason, tail: vec![] } };
    let unhealthy = InstanceState::Unhealthy { reason: "x".into() };
    for (state, expected, condition) in [
        (None, "TASK_STAGING", "Staging"),
        (Some(InstanceState::Preparing), "TASK_STAGING", "Staging"),
        (Some(InstanceState::Starting), "TASK_RUNNING", "Running"),
        (Some(InstanceState::Healthy), "TASK_RUNNING", "Running"),
        (Some(unhealthy), "TASK_RUNNING", "Running"),
        (Some(InstanceState::Stopping), "TASK_KILLING", "Killing"),
        (Some(ended(ExitReason::Status { code: 0 })), "TASK_FINISHED", "Finished"),
        (Some(ended(ExitReason::Status { code: 1 })), "TASK_FAILED", "Failed"),
        (Some(ended(ExitReason::OutOfMemory)), "TASK_FAILED", "Failed"),
        (Some(ended(ExitReason::Stopped)), "TASK_KILLED", "Killed"),
        (Some(ended(ExitReason::HealthCheckFailed { last_check: "x".into() })), "TASK_KILLED", "Killed"),
        (Some(ended(ExitReason::Lost)), "TASK_GONE", "Gone"),
    ] {
        let of = TaskState::of(state.as_ref(), false);
        assert_eq!((value(&of), of.as_str(), of.condition()), (json!(expected), expected, condition));
        let silent = TaskState::of(state.as_ref(), true);
        let is_ended = matches!(state, Some(InstanceState::Ended { .. }));
        assert_eq!(silent, if is_ended { of } else { TaskState::TaskUnreachable });
    }
    assert!(TaskState::TaskRunning.is_of_status("RUNNING") && TaskState::TaskStaging.is_of_status("staging"));
    assert!(!TaskState::TaskKilling.is_of_status("running") && !TaskState::TaskRunning.is_of_status("x"));
}

#[test]
fn ma_30_an_app_is_its_definition_and_what_was_asked_for() {
    let check = |alive| CheckStatus { alive, ..CheckStatus::default() };
    let (app, instance, node) = (id("/db/main"), instance(), "one".parse().unwrap());
    let base = facts(&app, &instance, &node);
    let tasks = vec![
        TaskFacts { checks: &[check(true)], ..base }.task(),
        TaskFacts { checks: &[check(true), check(false)], ..base }.task(),
        base.task(),
        TaskFacts { state: None, ..base }.task(),
    ];
    let info = VersionInfo { last_scaling_at: time(), last_config_change_at: time() };
    let extras = AppExtras {
        counts: Some(TaskCounts::of(&tasks)),
        deployments: Some(vec![Identifiable { id: "d1".into() }]),
        last_task_failure: Some(TaskFailure {
            app_id: app.clone(),
            host: "h".into(),
            message: "exited with status 1".into(),
            state: TaskState::TaskFailed,
            task_id: "t".into(),
            timestamp: time(),
            version: time(),
            slave_id: None,
        }),
        ..AppExtras::of(time(), Some(info))
    };
    let stored = definition().to_json();
    let shown = value(&app_info(&stored, &extras).unwrap());
    let mut expected: Value = serde_json::from_str(&stored).unwrap();
    let more = json!({
        "version": T,
        "versionInfo": {"lastScalingAt": T, "lastConfigChangeAt": T},
        "tasksStaged": 1, "tasksRunning": 3, "tasksHealthy": 1, "tasksUnhealthy": 1,
        "deployments": [{"id": "d1"}],
        "lastTaskFailure": {"appId": "/db/main", "host": "h", "message": "exited with status 1",
            "state": "TASK_FAILED", "taskId": "t", "timestamp": T, "version": T, "slaveId": null},
    });
    expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(shown, expected);
    assert_eq!(
        app_info("{}", &AppExtras::of(time(), None)).unwrap().get(),
        format!("{{\"version\":\"{T}\"}}")
    );
    assert!(app_info("[]", &extras).is_err() && app_info("{\"a\":}", &extras).is_err());
}

#[test]
fn ma_80_what_marathon_lb_reads_is_always_there() {
    let info = VersionInfo { last_scaling_at: time(), last_config_change_at: time() };
    let extras = AppExtras { tasks: Some(vec![a_task(|_| {})]), ..AppExtras::of(time(), Some(info)) };
    let shown = value(&app_info(&definition().to_json(), &extras).unwrap());
    for field in
        ["/labels", "/instances", "/versionInfo/lastScalingAt", "/healthChecks", "/portDefinitions/0/port"]
    {
        assert!(shown.pointer(field).is_some(), "{field}");
    }
    for field in ["id", "host", "ports", "ipAddresses", "state"] {
        assert!(shown["tasks"][0].get(field).is_some(), "{field}");
    }
}

#[test]
fn ma_30_task_stats_by_version() {
    let fact = |version, age: Option<u64>| TaskFact {
        version,
        state: if age.is_some() { TaskState::TaskRunning } else { TaskState::TaskStaging },
        is_healthy: age.map(|age| age > 10),
        started_at: age.map(|age| Timestamp(later(100).0 - age * 1000)),
    };
    let tasks =
        [fact(time(), Some(10)), fact(later(5), Some(20)), fact(later(5), Some(40)), fact(later(9), None)];
    let versions = VersionInfo { last_scaling_at: later(9), last_config_change_at: later(5) };
    let stats = value(&TaskStatsByVersion::new(&tasks, versions, later(100)));
    let of = |staged, running, healthy, unhealthy| json!({"staged": staged, "running": running, "healthy": healthy, "unhealthy": unhealthy});
    let expected = json!({
        "startedAfterLastScaling": {"stats": {"counts": of(1, 0, 0, 0)}},
        "withLatestConfig": {"stats": {"counts": of(1, 2, 2, 0),
            "lifeTime": {"averageSeconds": 30.0, "medianSeconds": 30.0}}},
        "withOutdatedConfig": {"stats": {"counts": of(0, 1, 0, 1),
            "lifeTime": {"averageSeconds": 10.0, "medianSeconds": 10.0}}},
        "totalSummary": {"stats": {"counts": of(1, 3, 2, 1),
            "lifeTime": {"averageSeconds": 70.0 / 3.0, "medianSeconds": 20.0}}},
    });
    assert_eq!(stats, expected);
    assert_eq!(value(&TaskStatsByVersion::new(&[], versions, time())), json!({}));
}

fn deployment() -> GroupDeployment {
    let action = |kind, app: &str| GroupAction { kind, app: id(app) };
    GroupDeployment {
        tenant: "acme".parse().unwrap(),
        id: "97c136bf-5a28-4821-9d94-480d9fbb01c8".parse().unwrap(),
        version: time(),
        steps: vec![
            vec![action(GroupActionKind::StartApplication, "/a")],
            vec![
                action(GroupActionKind::ScaleApplication, "/a"),
                action(GroupActionKind::RestartApplication, "/b"),
            ],
        ],
        before: BTreeMap::new(),
        groups_before: BTreeMap::new(),
        scales_before: BTreeMap::new(),
        by: "ada".parse().unwrap(),
        created_at: time(),
        is_stopped: false,
    }
}

#[test]
fn ma_15_a_deployment_under_way() {
    let result = ReadinessResult {
        name: "warm".into(),
        task_id: "b.instance-i1._app.1".into(),
        ready: false,
        last_response: Some(HttpResponse {
            status: 503,
            content_type: "text/plain".into(),
            body: "no".into(),
        }),
    };
    let info = DeploymentInfo::new(&deployment(), 1, [(id("/b"), vec![result])].into());
    let steps = json!([
        {"actions": [{"action": "StartApplication", "app": "/a"}]},
        {"actions": [{"action": "ScaleApplication", "app": "/a"}, {"action": "RestartApplication", "app": "/b"}]},
    ]);
    let expected = json!({
        "id": "97c136bf-5a28-4821-9d94-480d9fbb01c8",
        "version": T,
        "affectedApps": ["/a", "/b"],
        "affectedPods": [],
        "steps": steps,
        "currentActions": [
            {"action": "ScaleApplication", "app": "/a", "readinessCheckResults": []},
            {"action": "RestartApplication", "app": "/b", "readinessCheckResults": [{"name": "warm",
                "taskId": "b.instance-i1._app.1", "ready": false,
                "lastResponse": {"status": 503, "contentType": "text/plain", "body": "no"}}]},
        ],
        "currentStep": 2,
        "totalSteps": 2,
    });
    assert_eq!(value(&info), expected);
    let done = DeploymentInfo::new(&deployment(), 2, BTreeMap::new());
    assert_eq!((done.current_step, done.current_actions.len()), (2, 0));
    assert_eq!(value(&Step::all(&deployment().steps)), steps);
    let result = DeploymentResult { version: time(), deployment_id: "d".into() };
    assert_eq!(value(&result), json!({"version": T, "deploymentId": "d"}));
}

#[test]
fn ma_17_why_something_waits() {
    use RejectReason::{InsufficientCpus, InsufficientMemory, UnfulfilledConstraint};
    let refusals = Refusals {
        nodes: 10,
        // Counted for each reason: together more than there are nodes.
        by_reason: [(UnfulfilledConstraint, 4), (InsufficientCpus, 5), (InsufficientMemory, 8)].into(),
        at: Some(later(3)),
        last_used_at: None,
    };
    let extras = AppExtras::of(time(), None);
    let app = app_info(&definition().to_json(), &extras).unwrap();
    let delay = Delay::until(Some(later(2)), Timestamp(time().0 + 500));
    let item = value(&QueueItem::new(app, 3, delay, time(), &refusals));
    assert_eq!(item["count"], 3);
    assert_eq!(item["app"]["id"], "/db/main");
    assert_eq!(item["since"], T);
    assert_eq!(item.get("role"), None);
    assert_eq!(item["delay"], json!({"timeLeftSeconds": 2, "overdue": false}));
    let summary = &item["processedOffersSummary"];
    assert_eq!(summary["processedOffersCount"], 10);
    assert_eq!(summary["unusedOffersCount"], 10);
    assert_eq!(summary["lastUnusedOfferAt"], "2026-11-22T17:05:12.123Z");
    assert_eq!(summary.get("lastUsedOfferAt"), None);
    let steps: Vec<_> = summary["rejectSummaryLastOffers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            format!("{} {}/{}", step["reason"].as_str().unwrap(), step["declined"], step["processed"])
        })
        .collect();
    let expected = [
        "UnfulfilledRole 0/10",
        "UnfulfilledConstraint 4/10",
        "NoCorrespondingReservationFound 0/6",
        "AgentMaintenance 0/6",
        "InsufficientCpus 5/6",
        "InsufficientMemory 1/1",
        "InsufficientDisk 0/0",
        "InsufficientGpus 0/0",
        "InsufficientPorts 0/0",
        "DeclinedScarceResources 0/0",
    ];
    assert_eq!(steps, expected);
    assert_eq!(summary["rejectSummaryLaunchAttempt"], summary["rejectSummaryLastOffers"]);
    assert_eq!(value(&Delay::until(None, time())), json!({"timeLeftSeconds": 0, "overdue": true}));
    assert_eq!(value(&Delay::until(Some(time()), later(9)))["overdue"], true);
}

#[test]
fn ma_20_info_has_the_version_that_clients_compare() {
    let info = value(&Info::new("0.1.0", "acme", Some("10.0.0.1:8080"), true, "ctl-1", 8080));
    assert!(info["version"].as_str().unwrap().starts_with("1.11."));
    for (field, expected) in [
        ("/name", json!("marathon")),
        ("/buildref", json!("slipway-0.1.0")),
        ("/frameworkId", json!("acme")),
        ("/leader", json!("10.0.0.1:8080")),
        ("/elected", json!(true)),
        ("/marathon_config/hostname", json!("ctl-1")),
        ("/marathon_config/local_port_min", json!(10000)),
        ("/marathon_config/local_port_max", json!(20000)),
        ("/zookeeper_config/zk", json!("")),
        ("/http_config/http_port", json!(8080)),
    ] {
        assert_eq!(info.pointer(field), Some(&expected), "{field}");
    }
    assert_eq!(value(&Info::new("0.1.0", "acme", None, false, "c", 1)).get("leader"), None);
}

#[test]
fn ma_02_ma_05_embeds() {
    let of = |words: &[&str]| AppEmbed::of(words.iter().copied());
    let tasks = AppEmbed { tasks: true, deployments: true, ..AppEmbed::default() };
    for word in ["tasks", "app.tasks", "apps.tasks", "group.apps.tasks"] {
        assert_eq!(of(&[word]), tasks, "{word}");
    }
    assert_eq!(of(&["apps.failures"]), AppEmbed { last_task_failure: true, ..tasks });
    assert_eq!(of(&["nonsense", "groups.tasks", ""]), AppEmbed::default());
    let all = of(&["counts", "app.deployments", "readiness", "lastTaskFailure", "apps.taskStats", "tasks"]);
    let expected = AppEmbed {
        tasks: true,
        counts: true,
        deployments: true,
        readiness: true,
        last_task_failure: true,
        task_stats: true,
    };
    assert_eq!(all, expected);
    let listed = of(&[]).in_list();
    assert!(listed.counts && listed.deployments && !listed.tasks);
    assert!(of(&[]).of_one().tasks && of(&[]).of_one().last_task_failure);
}

#[test]
fn ma_11_embeds_of_groups() {
    let of = |words: &[&str]| GroupEmbed::of(words.iter().copied());
    let all = of(&[]);
    assert!(all.apps && all.groups && all.pods && all.app == AppEmbed::default());
    let some = of(&["group.groups", "group.apps.tasks"]);
    assert!(some.groups && some.apps && !some.pods && some.app.tasks && some.app.deployments);
    let apps = of(&["group.apps"]);
    assert!(apps.apps && !apps.groups && apps.app == AppEmbed::default());
}

#[test]
fn me_21_state_has_what_mesos_dns_reads() {
    let task = a_task(|facts| facts.ports = &[31001, 31002]);
    let tasks = vec![MesosTask::new(&task, "f", (0.5, 64.0, 0.0))];
    let framework = MesosFramework::new("f", "marathon", "ctl-1", tasks);
    let state = value(&MesosState::new(
        "10.0.0.1:5050",
        vec![MesosSlave::new("one", "10.0.0.7", true)],
        vec![framework],
    ));
    for (field, expected) in [
        ("/leader", json!("master@10.0.0.1:5050")),
        ("/slaves/0/id", json!("one")),
        ("/slaves/0/pid", json!("slave(1)@10.0.0.7:5051")),
        ("/frameworks/0/name", json!("marathon")),
        ("/frameworks/0/tasks/0/name", json!("main.db")),
        ("/frameworks/0/tasks/0/slave_id", json!("one")),
        ("/frameworks/0/tasks/0/framework_id", json!("f")),
        ("/frameworks/0/tasks/0/state", json!("TASK_RUNNING")),
        ("/frameworks/0/tasks/0/resources/ports", json!("[31001-31001, 31002-31002]")),
        ("/frameworks/0/tasks/0/statuses/0/timestamp", json!(1_795_367_110.123)),
    ] {
        assert_eq!(state.pointer(field), Some(&expected), "{field}");
    }
    let address =
        "/frameworks/0/tasks/0/statuses/0/container_status/network_infos/0/ip_addresses/0/ip_address";
    assert_eq!(state.pointer(address), Some(&json!("10.1.0.5")));
}
