//! What the screens of Marathon and of Mesos show is there to be asked for.

use std::fs;

use serde_json::{Value, json};

use super::client::{LONG, Marathon};
use super::{WEB, app, check};
use crate::person::Person;
use crate::server::{Server, wait_for};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![ma_82_what_the_screens_of_apps_show, me_22_what_the_screens_of_the_cluster_show]
}

fn ma_82_what_the_screens_of_apps_show(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-screens");
    let labels = json!({"team": "blue"});
    let web = app("web", WEB, json!({"healthChecks": check(), "labels": labels}));
    marathon.post("/v2/groups", json!({"id": "/shop", "apps": [web]})).is(201);
    marathon.settled();

    // The list: a tree of groups, with what apps are filtered by.
    let embeds = ["groups", "apps", "apps.counts"].map(|embed| format!("embed=group.{embed}")).join("&");
    let tree = marathon.get(&format!("/v2/groups?{embeds}")).is(200);
    let listed = &tree["groups"][0]["apps"][0];
    assert_eq!((&tree["groups"][0]["id"], &listed["id"]), (&json!("/shop"), &json!("/shop/web")));
    assert_eq!(listed["labels"], labels);
    for (name, count) in [("tasksStaged", 0), ("tasksRunning", 1), ("tasksHealthy", 1), ("tasksUnhealthy", 0)]
    {
        assert_eq!(listed[name], count, "{name} of {listed}");
    }

    // An app: its copies, its own text, its versions.
    let shown = marathon.app("/shop/web");
    let task = &shown["tasks"][0];
    assert_eq!(
        (&task["version"], &task["healthCheckResults"][0]["alive"]),
        (&shown["version"], &json!(true))
    );
    assert!(
        task["host"].is_string() && task["ports"][0].is_u64() && task["state"] == "TASK_RUNNING",
        "{task}"
    );
    let first = shown["version"].as_str().unwrap();
    let fails = marathon.put("/v2/apps/shop/web", json!({"cmd": "exit 3", "backoffSeconds": 60})).is(200);
    let open = wait_for("the deployment with its steps", LONG, || {
        let open = marathon.get("/v2/deployments").is(200);
        open.as_array().unwrap().iter().find(|one| one["id"] == fails["deploymentId"]).cloned()
    });
    let step = json!({"actions": [{"action": "RestartApplication", "app": "/shop/web"}]});
    assert_eq!((&open["steps"], &open["currentStep"]), (&json!([step]), &json!(1)), "{open}");
    let versions = marathon.get("/v2/apps/shop/web/versions").is(200);
    assert_eq!(versions["versions"].as_array().unwrap().len(), 2, "{versions}");
    let before = marathon.get(&format!("/v2/apps/shop/web/versions/{first}")).is(200);
    assert_eq!((&before["cmd"], &before["id"]), (&json!(WEB), &json!("/shop/web")));

    // What went wrong: the last failure, figures of its tasks, and why it waits.
    let path = "/v2/apps/shop/web?embed=app.taskStats&embed=app.lastTaskFailure&embed=app.counts";
    let failed = wait_for("the failure to be told", LONG, || {
        Some(marathon.get(path).is(200)["app"].clone()).filter(|app| app["lastTaskFailure"].is_object())
    });
    let failure = &failed["lastTaskFailure"];
    assert!(failure["message"].is_string() && failure["state"] == "TASK_FAILED", "{failure}");
    assert!(failure["host"].is_string() && failure["timestamp"].is_string(), "{failure}");
    let stats = &failed["tasksStats"]["totalSummary"]["stats"];
    assert!(stats["counts"]["healthy"] == 1 && stats["lifeTime"]["averageSeconds"].is_number(), "{failed}");
    let waiting = wait_for("the queue to say how long", LONG, || {
        let queue = marathon.get("/v2/queue?embed=lastUnusedOffers").is(200);
        let waits = |item: &&Value| item["delay"]["timeLeftSeconds"].as_u64().is_some_and(|left| left > 0);
        queue["queue"].as_array().unwrap().iter().find(waits).cloned()
    });
    assert_eq!(waiting["app"]["id"], "/shop/web");
    assert!(waiting["processedOffersSummary"].is_object(), "{waiting}");
    marathon.delete("/v2/queue/shop/web/delay").is(204);

    // The buttons: back to a version, suspend, restart, kill with and without another in its place, destroy.
    marathon.put("/v2/apps/shop/web?force=true", json!({"version": first})).is(200);
    marathon.settled();
    assert_eq!(marathon.app("/shop/web")["cmd"], WEB);
    marathon.post("/v2/apps/shop/web/restart", json!({})).is(200);
    marathon.settled();
    let ids = marathon.tasks("/shop/web");
    marathon.post("/v2/tasks/delete?scale=true", json!({"ids": ids})).is(200);
    marathon.settled();
    let suspended = marathon.app("/shop/web");
    assert_eq!((&suspended["instances"], &suspended["tasksRunning"]), (&json!(0), &json!(0)));
    marathon.get("/v2/info").is(200);
    assert_eq!(marathon.get("/v2/plugins").is(200)["plugins"], json!([]));
    marathon.delete("/v2/groups/shop?force=true").is(200);
    marathon.settled();
}

fn me_22_what_the_screens_of_the_cluster_show(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-cluster");
    let operator = operator(server);
    let script = "echo said; sleep 1000";
    let app = marathon.run(app("/prog", script, json!({"instances": 2})));
    let ended = app["tasks"][0]["id"].as_str().unwrap();
    marathon.post("/v2/tasks/delete?scale=true", json!({"ids": [ended]})).is(200);
    marathon.settled();

    // Who leads, which version, since when.
    let info = marathon.get("/v2/info").is(200);
    assert!(info["leader"].is_string() && info["elected"] == true && info["buildref"].is_string(), "{info}");
    let figures = operator.get("/metrics").is(200)["gauges"].clone();
    assert_eq!(figures["slipway_leader"]["value"], 1, "{figures}");
    for figure in
        ["slipway_uptime_seconds", "slipway_instances.staterunning", "slipway_instances.stateunhealthy"]
    {
        assert!(figures[figure]["value"].is_u64(), "{figure} in {figures}");
    }

    // Nodes by standing, what they have and what is given away; their instances.
    let nodes = operator.get("/v1/nodes").is(200);
    let node = &nodes["items"][0];
    assert!(node["connected"] == true && node["standing"].is_string() && node["order"].is_null(), "{node}");
    for amount in ["cpus", "mem", "disk", "gpus"] {
        assert!(!node["has"][amount].is_null() && !node["given"][amount].is_null(), "{amount} of {node}");
    }
    let detail = operator.get(&format!("/v1/nodes/{}", node["name"].as_str().unwrap())).is(200);
    let environment =
        slipway_model::app::environment_of(&"mlt-cluster".parse().unwrap(), &"/prog".parse().unwrap());
    let here = detail["instances"].as_array().unwrap().iter();
    let ours: Vec<_> = here.filter(|one| one["environment"] == json!(environment)).collect();
    assert!(ours.len() == 1 && ours[0]["state"].is_string() && ours[0]["since"].is_u64(), "{detail}");

    // Tenants, which were roles: weight, quota, what is used of it.
    operator.put("/v1/quotas/mlt-cluster", json!({"instances": 5, "weight": 2})).is(200);
    let quotas = operator.get("/v1/quotas").is(200);
    let of_ours = |quota: &&Value| quota["tenant"] == "mlt-cluster";
    let quota = quotas["items"].as_array().unwrap().iter().find(of_ours).unwrap();
    assert_eq!((&quota["weight"], &quota["instances"]), (&json!(2), &json!(5)));
    assert!(quota["used_instances"] == 1 && quota["used"]["mem"].is_string(), "{quota}");
    operator.delete("/v1/quotas/mlt-cluster").is(200);

    // Tasks that run, the files of those and of the ended ones, and what they say.
    let state = marathon.get("/state").is(200);
    assert_eq!(state["frameworks"][0]["tasks"].as_array().unwrap().len(), 1, "{state}");
    let below = format!("/v1/environments/{environment}");
    let sandboxes = wait_for("the files of both", LONG, || {
        let sandboxes = marathon.get(&format!("{below}/sandboxes")).is(200)["items"].clone();
        let ended = sandboxes.as_array().unwrap().iter().filter(|one| one["ended_at"].is_u64()).count();
        (sandboxes.as_array().unwrap().len() == 2 && ended == 1).then_some(sandboxes)
    });
    for sandbox in sandboxes.as_array().unwrap() {
        let instance = sandbox["instance"].as_str().unwrap();
        marathon.get(&format!("{below}/instances/{instance}/files")).is(200);
    }
    wait_for("what it says", LONG, || {
        marathon.get(&format!("{below}/logs")).text.contains("said").then_some(())
    });
    marathon.delete("/v2/apps/prog?force=true").is(200);
    marathon.settled();
}

/// The operator's own way in, which is that of a login.
fn operator(server: &Server) -> Marathon<'_> {
    let person = Person::new(server, "operator");
    let logins = fs::read_to_string(person.home.join(".config/slipway/logins.json")).unwrap();
    let logins: Value = serde_json::from_str(&logins).unwrap();
    let token = logins["tokens"][format!("http://localhost:{}", server.ports.api)].as_str().unwrap();
    Marathon { server, token: token.to_owned() }
}
