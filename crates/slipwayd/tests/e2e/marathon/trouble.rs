//! What does not start, or does not stay.

use serde_json::{Value, json};

use super::client::{LONG, Marathon};
use super::{WEB, app, check};
use crate::server::{Server, wait_for};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        ma_30_ma_42_ma_45_a_task_that_fails_its_check_is_replaced,
        ma_17_ma_18_ma_56_what_fails_waits_longer_and_can_be_asked_not_to,
        ma_17_ma_36_ma_37_no_node_fits_and_the_queue_says_why,
        ma_16_ma_54_a_deployment_is_undone,
        ma_16_a_deployment_is_stopped_by_force,
    ]
}

/// Works for three seconds, then answers 404 and 500 only.
const BREAKS: &str = "(sleep 3; rm index.html) & echo fine > index.html; \
    exec python3 -uc 'import http.server,os\n\
    class H(http.server.SimpleHTTPRequestHandler):\n\
    \x20def list_directory(self, path): self.send_error(500)\n\
    http.server.ThreadingHTTPServer((\"\",int(os.environ[\"PORT0\"])),H).serve_forever()'";

fn ma_30_ma_42_ma_45_a_task_that_fails_its_check_is_replaced(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-health");
    let check = json!([{"protocol": "MESOS_HTTP", "path": "/", "intervalSeconds": 1, "timeoutSeconds": 1,
                        "gracePeriodSeconds": 30, "delaySeconds": 0, "maxConsecutiveFailures": 2}]);
    let events =
        marathon.events("?event_type=failed_health_check_event&event_type=unhealthy_instance_kill_event");
    let first = marathon.run(app("/breaks", BREAKS, json!({"healthChecks": check})));
    assert_eq!(first["tasksHealthy"], 1, "{first}");
    let task = first["tasks"][0]["id"].clone();
    let failed = events.next("failed_health_check_event");
    assert_eq!(failed["appId"], "/breaks");
    let killed = events.next("unhealthy_instance_kill_event");
    assert_eq!(killed["appId"], "/breaks");
    let next = marathon.wait_app("/breaks", "another task in its place", |app| {
        app["tasks"].as_array().unwrap().iter().any(|new| new["id"] != task)
            && app["lastTaskFailure"]["taskId"] == task
    });
    let failure = &next["lastTaskFailure"];
    assert!(failure["message"].as_str().unwrap().contains("health"), "{failure}");
    assert!(failure["timestamp"].is_string() && failure["host"].is_string(), "{failure}");
    assert_eq!(failure["appId"], "/breaks");
}

fn ma_17_ma_18_ma_56_what_fails_waits_longer_and_can_be_asked_not_to(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-backoff");
    let described = app(
        "/fails",
        "exit 3",
        json!({"backoffSeconds": 60, "backoffFactor": 2.0, "maxLaunchDelaySeconds": 600}),
    );
    marathon.post("/v2/apps", described).is(201);
    let waits = || {
        wait_for("the app to wait after a failure", LONG, || {
            let queue = marathon.get("/v2/queue").is(200);
            let item =
                queue["queue"].as_array().unwrap().iter().find(|item| item["app"]["id"] == "/fails")?.clone();
            (item["delay"]["timeLeftSeconds"].as_u64()? > 0).then_some(item)
        })
    };
    let item = waits();
    assert_eq!(item["count"], 1);
    assert_eq!(item["delay"]["overdue"], false);
    assert!(item["since"].is_string() && item["delay"]["timeLeftSeconds"].as_u64().unwrap() <= 60, "{item}");
    let failure = marathon.app("/fails")["lastTaskFailure"].clone();
    assert!(
        failure["message"].as_str().unwrap().contains('3') && failure["state"] == "TASK_FAILED",
        "{failure}"
    );
    // Somebody has mended it outside and does not want to wait.
    assert_eq!(marathon.delete("/v2/queue/fails/delay").status, 204);
    wait_for("another try at once", LONG, || {
        (marathon.app("/fails")["lastTaskFailure"]["taskId"] != failure["taskId"]).then_some(())
    });
    waits();
}

fn ma_17_ma_36_ma_37_no_node_fits_and_the_queue_says_why(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-refused");
    let elsewhere = json!([["rack", "LIKE", "nowhere"]]);
    marathon.post("/v2/apps", app("/constraint", WEB, json!({"constraints": elsewhere}))).is(201);
    marathon.post("/v2/apps", app("/cpus", WEB, json!({"cpus": 1000}))).is(201);
    marathon.post("/v2/apps", app("/mem", WEB, json!({"mem": 100_000_000}))).is(201);
    let unique = json!([["hostname", "UNIQUE"]]);
    marathon.post("/v2/apps", app("/unique", WEB, json!({"constraints": unique, "instances": 2}))).is(201);
    let reason = |id: &str, reason: &str| -> Value {
        wait_for(&format!("{id} to be refused for {reason}"), LONG, || {
            let queue = marathon.get("/v2/queue").is(200);
            let item =
                queue["queue"].as_array().unwrap().iter().find(|item| item["app"]["id"] == id)?.clone();
            let summary = item["processedOffersSummary"]["rejectSummaryLastOffers"].as_array()?.clone();
            let found = summary.iter().find(|entry| entry["reason"] == reason)?;
            (found["declined"].as_u64()? >= 1).then_some(item)
        })
    };
    let item = reason("/constraint", "UnfulfilledConstraint");
    assert_eq!(item["count"], 1);
    reason("/cpus", "InsufficientCpus");
    reason("/mem", "InsufficientMemory");
    // One copy fits, the other would have to share its node.
    let item = reason("/unique", "UnfulfilledConstraint");
    assert_eq!(item["count"], 1, "{item}");
    assert_eq!(marathon.app("/unique")["tasks"].as_array().unwrap().len(), 1);
}

fn ma_16_ma_54_a_deployment_is_undone(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-undo");
    let good = marathon.run(app("/web", WEB, json!({"healthChecks": check()})));
    let task = good["tasks"][0]["id"].clone();
    // A version that never becomes healthy.
    let bad = marathon.put("/v2/apps/web", json!({"cmd": "sleep 1000"})).is(200);
    let open = wait_for("the deployment to begin", LONG, || {
        let open = marathon.get("/v2/deployments").is(200);
        open.as_array().unwrap().iter().find(|one| one["id"] == bad["deploymentId"]).cloned()
    });
    assert_eq!(open["affectedApps"], json!(["/web"]));
    assert_eq!(open["steps"], json!([{"actions": [{"action": "RestartApplication", "app": "/web"}]}]));
    assert!(open["currentStep"] == 1 && open["totalSteps"] == 1, "{open}");
    assert_eq!(open["currentActions"][0]["app"], "/web");
    let undone =
        marathon.delete(&format!("/v2/deployments/{}", bad["deploymentId"].as_str().unwrap())).is(200);
    assert_ne!(undone["deploymentId"], bad["deploymentId"]);
    marathon.settled();
    let now = marathon.app("/web");
    assert!(
        now["cmd"] == WEB && now["tasksHealthy"] == 1 && now["tasks"].as_array().unwrap().len() == 1,
        "{now}"
    );
    // The copy that worked all the time need not be the same one, but one always worked.
    assert!(task.is_string());
    // What the deployment had made is removed again.
    let made = marathon.post("/v2/apps", app("/new", "sleep 1000", json!({"healthChecks": check()}))).is(201);
    let id = made["deployments"][0]["id"].as_str().unwrap();
    marathon.delete(&format!("/v2/deployments/{id}")).is(200);
    marathon.settled();
    marathon.get("/v2/apps/new").is(404);
}

fn ma_16_a_deployment_is_stopped_by_force(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-stop");
    let made =
        marathon.post("/v2/apps", app("/stuck", "sleep 1000", json!({"healthChecks": check()}))).is(201);
    let id = made["deployments"][0]["id"].as_str().unwrap();
    assert_eq!(marathon.delete(&format!("/v2/deployments/{id}?force=true")).status, 202);
    marathon.settled();
    // Nothing was undone.
    assert_eq!(marathon.app("/stuck")["cmd"], "sleep 1000");
    marathon.delete(&format!("/v2/deployments/{id}")).is(404);
}
