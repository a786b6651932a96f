//! Several apps at once: trees, order, dry runs.

use serde_json::{Value, json};

use super::client::{LONG, Marathon};
use super::{WEB, app, check};
use crate::person::Person;
use crate::server::{Server, wait_for};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        ma_52_ma_55_who_depends_on_another_waits_for_it,
        ma_11_ma_12_ma_67_groups_are_trees,
        ma_12_ma_53_a_group_is_deleted_while_it_is_deployed,
        ma_12_a_group_comes_back_with_its_apps,
        ma_16_ma_53_what_a_stopped_deployment_has_not_got_to_stays_as_it_is,
    ]
}

fn ma_52_ma_55_who_depends_on_another_waits_for_it(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-order");
    let slow = "sleep 2; exec python3 -u -m http.server $PORT0";
    let group = json!({"id": "/shop", "apps": [
        app("web", WEB, json!({"dependencies": ["db"], "healthChecks": check()})),
        app("db", slow, json!({"healthChecks": check()})),
    ]});
    let steps = json!([
        {"actions": [{"action": "StartApplication", "app": "/shop/db"}, {"action": "StartApplication", "app": "/shop/web"}]},
        {"actions": [{"action": "ScaleApplication", "app": "/shop/db"}]},
        {"actions": [{"action": "ScaleApplication", "app": "/shop/web"}]},
    ]);
    assert_eq!(marathon.put("/v2/groups?dryRun=true", group.clone()).is(200)["steps"], steps);
    marathon.get("/v2/groups/shop").is(404);
    let events = marathon.events("?event_type=deployment_step_success&event_type=deployment_success");
    marathon.post("/v2/groups", group.clone()).is(201);
    marathon.post("/v2/groups", group).is(409);
    let open = marathon.get("/v2/deployments").is(200);
    assert_eq!(open[0]["steps"], steps);
    wait_for("the one to work before the other is begun", LONG, || {
        let (db, web) = (marathon.app("/shop/db"), marathon.app("/shop/web"));
        // Asked first, so that it cannot have become healthy in between.
        assert!(db["tasksHealthy"] == 1 || web["tasks"].as_array().unwrap().is_empty(), "{db} {web}");
        (web["tasksHealthy"] == 1).then_some(())
    });
    marathon.settled();
    // The first step may be done before anybody could say that it has begun.
    let mut done = 0;
    events.until("the end of the deployment", |kind, data| match kind {
        "deployment_step_success" => {
            assert_eq!(data["plan"]["id"], open[0]["id"]);
            done += 1;
            false
        }
        _ => data["id"] == open[0]["id"],
    });
    assert!((1..=3).contains(&done), "{done} steps were told to be done");
    let (db, web) = (marathon.app("/shop/db"), marathon.app("/shop/web"));
    let healthy = db["tasks"][0]["healthCheckResults"][0]["firstSuccess"].as_str().unwrap();
    assert!(web["tasks"][0]["stagedAt"].as_str().unwrap() >= healthy, "{db} {web}");
}

fn ma_11_ma_12_ma_67_groups_are_trees(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-tree");
    let idle = |id: &str, instances: u64| json!({"id": id, "cmd": "sleep 1000", "cpus": 0.01, "mem": 32, "instances": instances});
    let tree = json!({"id": "/top", "groups": [
        {"id": "a", "apps": [idle("one", 1), idle("two", 0)]},
        {"id": "b", "apps": [idle("three", 0)], "dependencies": ["../a"]},
    ]});
    let made = marathon.post("/v2/groups", tree).is(201);
    assert!(made["version"].is_string() && made["deploymentId"].is_string(), "{made}");
    marathon.settled();
    let first = made["version"].as_str().unwrap().to_owned();
    let top = marathon.get("/v2/groups/top").is(200);
    assert_eq!(top["groups"][0]["id"], "/top/a");
    assert_eq!(top["groups"][0]["apps"][0]["id"], "/top/a/one");
    assert_eq!(top["groups"][1]["dependencies"], json!(["/top/a"]));
    let bare = marathon.get("/v2/groups/top?embed=group.groups").is(200);
    assert!(bare["groups"][0]["apps"].as_array().is_none_or(Vec::is_empty), "{bare}");
    let below = marathon.get("/v2/apps/top/*").is(200);
    assert_eq!(below["*"].as_array().unwrap().len(), 3);
    // Twice as many of each.
    marathon.put("/v2/groups/top", json!({"scaleBy": 2})).is(200);
    marathon.settled();
    assert_eq!(marathon.app("/top/a/one")["instances"], 2);
    let old = marathon.get(&format!("/v2/groups/top/versions/{first}")).is(200);
    assert_eq!(old["groups"][0]["apps"][0]["instances"], 1, "{old}");
    // What a given list does not name is removed.
    let dry = marathon.put("/v2/groups/top/a?dryRun=true", json!({"apps": [idle("one", 2)]})).is(200);
    assert_eq!(dry["steps"][0]["actions"][0], json!({"action": "StopApplication", "app": "/top/a/two"}));
    marathon.put("/v2/groups/top/a", json!({"apps": [idle("one", 2)]})).is(200);
    marathon.settled();
    marathon.get("/v2/apps/top/a/two").is(404);
    // And back to how it was.
    let versions = marathon.get("/v2/groups/top/versions").is(200);
    assert!(versions.as_array().unwrap().contains(&json!(first)), "{versions}");
    marathon.put("/v2/groups/top", json!({"version": first})).is(200);
    marathon.settled();
    assert_eq!(marathon.app("/top/a/one")["instances"], 1);
    marathon.delete("/v2/groups/top").is(200);
    marathon.settled();
    marathon.get("/v2/groups/top").is(404);
    assert_eq!(marathon.get("/v2/apps").is(200)["apps"], json!([]));
}

fn ma_12_ma_53_a_group_is_deleted_while_it_is_deployed(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-midway");
    let group = json!({"id": "/half", "apps": [
        app("never", "sleep 1000", json!({"healthChecks": check()})),
        app("after", "sleep 1000", json!({"dependencies": ["never"]})),
    ]});
    marathon.post("/v2/groups", group).is(201);
    marathon.wait_app("/half/never", "the first app to run", |app| app["tasksRunning"] == 1);
    marathon.delete("/v2/groups/half?force=false").is(409);
    marathon.delete("/v2/groups/half?force=true").is(200);
    marathon.settled();
    assert_eq!(marathon.get("/v2/apps").is(200)["apps"], json!([]));
    wait_for("nothing to run", LONG, || {
        (marathon.get("/v2/tasks").is(200)["tasks"] == json!([])).then_some(())
    });
}

fn ma_12_a_group_comes_back_with_its_apps(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-again");
    let idle = |id: &str| app(id, "sleep 1000", json!({"cpus": 0.01, "mem": 32}));
    let made = marathon.post("/v2/groups", json!({"id": "/g", "apps": [idle("a"), idle("b")]})).is(201);
    let first = made["version"].as_str().unwrap().to_owned();
    marathon.settled();
    marathon.delete("/v2/apps/g/a").is(200);
    marathon.settled();
    marathon.get("/v2/apps/g/a").is(404);
    let was = marathon.get(&format!("/v2/groups/g/versions/{first}")).is(200);
    assert_eq!(was["apps"].as_array().unwrap().len(), 2, "{was}");
    marathon.put("/v2/groups/g", json!({"version": first})).is(200);
    marathon.settled();
    assert_eq!(marathon.app("/g/a")["tasksRunning"], 1);
    let versions = marathon.get("/v2/apps/g/a/versions").is(200);
    assert_eq!(versions["versions"].as_array().unwrap().len(), 1, "its history begins anew: {versions}");
    // All of it, and back again.
    marathon.delete("/v2/groups/g").is(200);
    marathon.settled();
    marathon.get("/v2/groups/g").is(404);
    marathon.put("/v2/groups/g", json!({"version": "2001-01-01T00:00:00.000Z"})).is(404);
    marathon.put("/v2/groups/g", json!({"version": first})).is(200);
    marathon.settled();
    assert_eq!((marathon.tasks("/g/a").len(), marathon.tasks("/g/b").len()), (1, 1));
    marathon.delete("/v2/groups/g").is(200);
    marathon.settled();
}

fn ma_16_ma_53_what_a_stopped_deployment_has_not_got_to_stays_as_it_is(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-stopped");
    let group = |db: &str, mark: &str| {
        json!({"id": "/s", "apps": [
            app("db", db, json!({"healthChecks": check()})),
            app("web", "sleep 1000", json!({"dependencies": ["db"], "env": {"MARK": mark}})),
        ]})
    };
    marathon.post("/v2/groups", group(WEB, "old")).is(201);
    marathon.settled();
    let before = marathon.tasks("/s/web");
    // A database that never answers holds up what depends on it.
    let begun = marathon.put("/v2/groups/s", group("sleep 1001", "new")).is(200);
    let deployment = begun["deploymentId"].as_str().unwrap();
    marathon.wait_app("/s/db", "the new one to be begun", |db| {
        db["tasks"].as_array().unwrap().iter().any(|task| task["version"] == begun["version"])
    });
    marathon.delete(&format!("/v2/deployments/{deployment}?force=true")).is(202);
    marathon.settled();
    marathon.run(app("/other", "sleep 1000", json!({})));
    let web = marathon.app("/s/web");
    assert_eq!((&web["env"]["MARK"], &web["version"]), (&json!("new"), &begun["version"]));
    assert_eq!(marathon.tasks("/s/web"), before, "it runs what it ran");
    // Whoever looks at it is told why, and what to do; of the one that it got to there is nothing to tell.
    let person = Person::new(server, "mlt-stopped");
    let left_behind_by = |app: &str| {
        let said = person.slipway(&["ps", "-e", &format!("mlt-stopped:{app}"), "--json"]).ok();
        serde_json::from_str::<Value>(&said.out).unwrap()["left_behind_by"].clone()
    };
    assert_eq!(left_behind_by("/s/web"), json!([deployment]));
    assert_eq!(left_behind_by("/s/db"), json!([]));
    let advice = "was stopped before it got to it; change or restart it";
    person.slipway(&["ps", "-e", "mlt-stopped:/s/web"]).ok().says(&format!("{deployment} {advice}"));
    // Until somebody deploys it again.
    marathon.post("/v2/apps/s/web/restart", json!({})).is(200);
    marathon.settled();
    let after = marathon.tasks("/s/web");
    assert!(after.len() == 1 && after != before, "{after:?}");
    assert_eq!(left_behind_by("/s/web"), json!([]));
    marathon.delete("/v2/groups/s?force=true").is(200);
    marathon.settled();
}
