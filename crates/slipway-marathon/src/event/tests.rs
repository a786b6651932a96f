use std::collections::BTreeMap;

use serde_json::{Value, json};
use slipway_model::app::{GroupAction, GroupActionKind, GroupDeployment};
use slipway_model::instance::CheckStatus;

use super::*;
use crate::present::{AppExtras, app_info};

const T: &str = "2026-11-22T17:05:09.123Z";

fn time() -> Timestamp {
    Timestamp(1_795_367_109_123)
}

fn id(text: &str) -> PathId {
    text.parse().unwrap()
}

fn deployment() -> GroupDeployment {
    GroupDeployment {
        tenant: "acme".parse().unwrap(),
        id: "97c136bf-5a28-4821-9d94-480d9fbb01c8".parse().unwrap(),
        version: time(),
        steps: vec![vec![GroupAction { kind: GroupActionKind::ScaleApplication, app: id("/x") }]],
        before: BTreeMap::new(),
        groups_before: BTreeMap::new(),
        scales_before: BTreeMap::new(),
        by: "ada".parse().unwrap(),
        created_at: time(),
        is_stopped: false,
    }
}

/// One of each, with the fields that MA-64 says.
fn all() -> Vec<(Event, &'static str, Value)> {
    let plan = || DeploymentPlan::from(&deployment());
    let step = || Step::of(&deployment(), 0);
    let plan_json = json!({"id": "97c136bf-5a28-4821-9d94-480d9fbb01c8", "original": {"id": "/"},
        "target": {"id": "/"}, "version": T,
        "steps": [{"actions": [{"action": "ScaleApplication", "app": "/x"}]}]});
    let step_json = json!({"actions": [{"action": "ScaleApplication", "app": "/x"}]});
    let body = br#"{"id": "/x", "cmd": "echo \"a\nb\"", "healthChecks": [{"path": "/"}]}"#;
    let app = crate::app::AppUpdate::read(body, &PathId::root()).unwrap().create().unwrap();
    let shown = app_info(&app.to_json(), &AppExtras::of(time(), None)).unwrap();
    let shown_json: Value = serde_json::from_str(shown.get()).unwrap();
    let check = CheckInfo::from(&crate::spec::wanted(&app).spec.health.unwrap());
    let check_json = json!({"protocol": "MESOS_HTTP", "path": "/", "intervalSeconds": 60, "timeoutSeconds": 20,
        "maxConsecutiveFailures": 3, "gracePeriodSeconds": 300, "portIndex": 0});
    let status = CheckStatus {
        alive: false,
        consecutive_failures: 2,
        first_success: None,
        last_failure: Some(time()),
        last_success: None,
        last_failure_cause: Some("500".into()),
    };
    vec![
        (
            Event::ApiPost { client_ip: "10.0.0.1".into(), uri: "/v2/apps".into(), app_definition: shown },
            "api_post_event",
            json!({"clientIp": "10.0.0.1", "uri": "/v2/apps", "appDefinition": shown_json}),
        ),
        (
            Event::StatusUpdate {
                slave_id: "one".into(),
                task_id: "t".into(),
                task_status: TaskState::TaskRunning,
                message: "line 1\nline 2".into(),
                app_id: id("/x"),
                host: "h".into(),
                ip_addresses: vec![IpAddress::from(std::net::Ipv4Addr::new(10, 1, 0, 5))],
                ports: vec![31001],
                version: time(),
            },
            "status_update_event",
            json!({"slaveId": "one", "taskId": "t", "taskStatus": "TASK_RUNNING", "message": "line 1\nline 2",
                "appId": "/x", "host": "h", "ports": [31001], "version": T,
                "ipAddresses": [{"ipAddress": "10.1.0.5", "protocol": "IPv4"}]}),
        ),
        (
            Event::InstanceChanged {
                instance_id: "i".into(),
                condition: TaskState::TaskFailed.condition(),
                run_spec_id: id("/x"),
                agent_id: Some("one".into()),
                host: Some("h".into()),
                run_spec_version: time(),
            },
            "instance_changed_event",
            json!({"instanceId": "i", "condition": "Failed", "runSpecId": "/x", "agentId": "one", "host": "h",
                "runSpecVersion": T}),
        ),
        (
            Event::UnknownInstanceTerminated {
                instance_id: "i".into(),
                run_spec_id: id("/x"),
                condition: "Gone",
            },
            "unknown_instance_terminated_event",
            json!({"instanceId": "i", "runSpecId": "/x", "condition": "Gone"}),
        ),
        (
            Event::InstanceHealthChanged {
                instance_id: "i".into(),
                run_spec_id: id("/x"),
                healthy: Some(true),
                run_spec_version: time(),
            },
            "instance_health_changed_event",
            json!({"instanceId": "i", "runSpecId": "/x", "healthy": true, "runSpecVersion": T}),
        ),
        (
            Event::HealthStatusChanged {
                app_id: id("/x"),
                instance_id: "i".into(),
                version: time(),
                alive: false,
            },
            "health_status_changed_event",
            json!({"appId": "/x", "instanceId": "i", "version": T, "alive": false}),
        ),
        (
            Event::AddHealthCheck { app_id: id("/x"), version: time(), health_check: check },
            "add_health_check_event",
            json!({"appId": "/x", "version": T, "healthCheck": check_json}),
        ),
        (Event::RemoveHealthCheck { app_id: id("/x") }, "remove_health_check_event", json!({"appId": "/x"})),
        (
            Event::FailedHealthCheck {
                app_id: id("/x"),
                task_id: "t".into(),
                instance_id: "i".into(),
                health_check_result: HealthResult::new(&status, "i".into()),
            },
            "failed_health_check_event",
            json!({"appId": "/x", "taskId": "t", "instanceId": "i", "healthCheckResult": {"alive": false,
                "consecutiveFailures": 2, "firstSuccess": null, "lastFailure": T, "lastSuccess": null,
                "lastFailureCause": "500", "instanceId": "i"}}),
        ),
        (
            Event::UnhealthyInstanceKill {
                app_id: id("/x"),
                task_id: "t".into(),
                instance_id: "i".into(),
                version: time(),
                reason: "r".into(),
                host: "h".into(),
                slave_id: None,
            },
            "unhealthy_instance_kill_event",
            json!({"appId": "/x", "taskId": "t", "instanceId": "i", "version": T, "reason": "r", "host": "h",
                "slaveId": null}),
        ),
        (
            Event::GroupChangeSuccess { group_id: id("/"), version: T.into() },
            "group_change_success",
            json!({"groupId": "/", "version": T}),
        ),
        (
            Event::GroupChangeFailed { group_id: id("/g"), version: T.into(), reason: "r".into() },
            "group_change_failed",
            json!({"groupId": "/g", "version": T, "reason": "r"}),
        ),
        (
            Event::DeploymentSuccess { id: "d".into(), plan: plan() },
            "deployment_success",
            json!({"id": "d", "plan": plan_json}),
        ),
        (
            Event::DeploymentFailed { id: "d".into(), plan: plan(), reason: Some("r".into()) },
            "deployment_failed",
            json!({"id": "d", "plan": plan_json, "reason": "r"}),
        ),
        (
            Event::DeploymentInfo { plan: plan(), current_step: step() },
            "deployment_info",
            json!({"plan": plan_json, "currentStep": step_json}),
        ),
        (
            Event::DeploymentStepSuccess { plan: plan(), current_step: step() },
            "deployment_step_success",
            json!({"plan": plan_json, "currentStep": step_json}),
        ),
        (
            Event::DeploymentStepFailure { plan: plan(), current_step: step() },
            "deployment_step_failure",
            json!({"plan": plan_json, "currentStep": step_json}),
        ),
        (Event::AppTerminated { app_id: id("/x") }, "app_terminated_event", json!({"appId": "/x"})),
        (
            Event::EventStreamAttached { remote_address: "10.0.0.1".into() },
            "event_stream_attached",
            json!({"remoteAddress": "10.0.0.1"}),
        ),
        (
            Event::EventStreamDetached { remote_address: "10.0.0.1".into() },
            "event_stream_detached",
            json!({"remoteAddress": "10.0.0.1"}),
        ),
    ]
}

#[test]
fn ma_64_events_have_marathons_fields() {
    for (event, name, fields) in all() {
        let mut expected = fields;
        expected["eventType"] = json!(name);
        expected["timestamp"] = json!(T);
        let said: Value = serde_json::from_str(&event.to_json(time())).unwrap();
        assert_eq!((event.name(), said), (name, expected));
    }
}

#[test]
fn ma_63_a_frame_is_a_name_a_line_and_an_end() {
    for (event, name, _) in all() {
        let frame = event.frame(time());
        let data =
            frame.strip_prefix(&format!("event: {name}\ndata: {{")).expect("the lines that clients look for");
        let data = data.strip_suffix("}\n\n").expect("a blank line at the end");
        assert!(!data.contains(['\n', '\r']), "{frame}");
    }
}

#[test]
fn ma_66_no_type_that_marathon_python_does_not_know() {
    // What that library can read, as of its last version.
    let known = "api_post_event status_update_event framework_message_event subscribe_event unsubscribe_event \
        add_health_check_event remove_health_check_event failed_health_check_event health_status_changed_event \
        unhealthy_task_kill_event group_change_success group_change_failed deployment_success deployment_failed \
        deployment_info deployment_step_success deployment_step_failure event_stream_attached \
        event_stream_detached app_terminated_event instance_changed_event unknown_instance_terminated_event \
        unhealthy_instance_kill_event instance_health_changed_event pod_created_event pod_updated_event \
        pod_deleted_event";
    let known: Vec<_> = known.split_whitespace().collect();
    for (event, ..) in all() {
        assert!(known.contains(&event.name()), "{}", event.name());
    }
}
