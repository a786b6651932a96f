//! What happens, as it happens.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::app;
use super::client::{LONG, Marathon};
use crate::server::Server;
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        ma_19_ma_63_ma_64_a_deployment_is_seen_in_its_events,
        ma_65_ma_78_events_are_filtered_and_of_the_own_tenant_only,
        ma_65_who_reads_too_slowly_is_cut_off,
    ]
}

/// What marathon-python knows; it fails at any other (MA-66).
const KNOWN: &[&str] = &[
    "api_post_event",
    "status_update_event",
    "framework_message_event",
    "subscribe_event",
    "unsubscribe_event",
    "add_health_check_event",
    "remove_health_check_event",
    "failed_health_check_event",
    "health_status_changed_event",
    "unhealthy_task_kill_event",
    "group_change_success",
    "group_change_failed",
    "deployment_success",
    "deployment_failed",
    "deployment_info",
    "deployment_step_success",
    "deployment_step_failure",
    "event_stream_attached",
    "event_stream_detached",
    "app_terminated_event",
    "instance_changed_event",
    "unknown_instance_terminated_event",
    "unhealthy_instance_kill_event",
    "instance_health_changed_event",
    "pod_created_event",
    "pod_updated_event",
    "pod_deleted_event",
];

fn ma_19_ma_63_ma_64_a_deployment_is_seen_in_its_events(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-stream");
    let events = marathon.events("");
    let attached = events.next("event_stream_attached");
    assert!(attached["remoteAddress"].is_string() && attached["timestamp"].is_string(), "{attached}");
    let made = marathon.post("/v2/apps", app("/seen", "sleep 1000", json!({}))).is(201);
    let id = &made["deployments"][0]["id"];
    let mut kinds = Vec::new();
    events.until("deployment_success", |kind, data| {
        assert!(KNOWN.contains(&kind), "marathon-python does not know {kind}");
        assert_eq!(data["eventType"], kind);
        kinds.push(kind.to_owned());
        match kind {
            "api_post_event" => {
                assert_eq!(data["appDefinition"]["id"], "/seen");
                assert!(data["uri"] == "/v2/apps" && data["clientIp"].is_string(), "{data}");
            }
            "deployment_info" => {
                assert_eq!(&data["plan"]["id"], id);
                assert!(data["currentStep"]["actions"].is_array(), "{data}");
            }
            "status_update_event" => {
                assert_eq!(data["appId"], "/seen");
                for field in ["slaveId", "taskId", "taskStatus", "message", "host", "version"] {
                    assert!(data[field].is_string(), "{field} of {data}");
                }
                assert!(data["ports"].is_array() && data["ipAddresses"].is_array(), "{data}");
            }
            "instance_changed_event" => {
                assert_eq!(data["runSpecId"], "/seen");
                assert!(data["instanceId"].as_str().unwrap().starts_with("seen.instance-"), "{data}");
                assert!(data["condition"].is_string() && data["runSpecVersion"].is_string(), "{data}");
            }
            _ => {}
        }
        kind == "deployment_success" && &data["id"] == id
    });
    for kind in [
        "api_post_event",
        "group_change_success",
        "deployment_info",
        "deployment_step_success",
        "status_update_event",
        "instance_changed_event",
    ] {
        assert!(kinds.iter().any(|seen| seen == kind), "no {kind} among {kinds:?}");
    }
    marathon.delete("/v2/apps/seen").is(200);
    let gone = events.until("the task's end", |kind, data| {
        kind == "status_update_event" && data["taskStatus"] == "TASK_KILLED"
    });
    assert_eq!(gone["appId"], "/seen");
    assert_eq!(events.next("app_terminated_event")["appId"], "/seen");
}

fn ma_65_ma_78_events_are_filtered_and_of_the_own_tenant_only(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-filter");
    let other = Marathon::of_tenant(server, "mlt-filtered");
    let all = marathon.events("");
    let some = marathon.events("?event_type=deployment_success&event_type=event_stream_attached");
    some.next("event_stream_attached");
    other.run(app("/foreign", "sleep 1000", json!({"instances": 0})));
    let made = marathon.post("/v2/apps", app("/own", "sleep 1000", json!({"instances": 0}))).is(201);
    some.until("the own deployment", |kind, data| {
        assert!(["deployment_success", "event_stream_attached"].contains(&kind), "{kind} was not asked for");
        kind == "deployment_success" && data["id"] == made["deployments"][0]["id"]
    });
    all.until("the own deployment", |kind, data| {
        assert!(!data.to_string().contains("/foreign"), "{data}");
        kind == "deployment_success"
    });
    drop(some);
    all.next("event_stream_detached");
}

fn ma_65_who_reads_too_slowly_is_cut_off(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-slow");
    let request = format!(
        "GET /v2/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        marathon.token
    );
    let mut slow = TcpStream::connect(("127.0.0.1", server.ports.api)).unwrap();
    slow.write_all(request.as_bytes()).unwrap();
    let events = marathon.events("?event_type=event_stream_detached");
    // Big answers fill what the kernel holds for the connection; then they wait in the queue.
    let labels = json!({"filler": "x".repeat(30_000)});
    marathon.post("/v2/apps", json!({"id": "/big", "cmd": "true", "instances": 0, "labels": labels})).is(201);
    marathon.settled();
    let is_cut = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let marathon = &marathon;
            scope.spawn(move || {
                for count in 0..2000 {
                    if is_cut.load(Ordering::SeqCst) {
                        return;
                    }
                    let env = json!({"env": {"N": format!("{thread}-{count}")}});
                    marathon.put("/v2/apps/big?force=true", env).is(200);
                }
            });
        }
        // While nothing is read at all.
        events.next("event_stream_detached");
        is_cut.store(true, Ordering::SeqCst);
    });
    // What was on its way can be read, then nothing more comes.
    slow.set_read_timeout(Some(LONG)).unwrap();
    let mut rest = Vec::new();
    let _cut = slow.read_to_end(&mut rest);
    assert!(String::from_utf8_lossy(&rest).contains("event_stream_attached"));
}
