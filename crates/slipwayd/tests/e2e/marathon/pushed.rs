//! What was pushed, seen through Marathon's API.

use serde_json::{Value, json};

use super::client::{LONG, Marathon};
use crate::app::{files, web};
use crate::person::Person;
use crate::server::{Server, wait_for};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![ma_78_a_pushed_service_is_seen_scaled_and_restarted]
}

fn ma_78_a_pushed_service_is_seen_scaled_and_restarted(server: &Server) {
    let person = Person::with_tenant(server, "mlt-pushed");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let words = ["tokens", "create", "marathon", "--tenant", "mlt-pushed"];
    let marathon = Marathon { server, token: person.slipway(&words).ok().out.trim().to_owned() };
    let app = marathon.app("/dev/shop/web");
    assert!(app["tasksHealthy"] == 1 && app["instances"] == 1, "{app}");
    assert_eq!(app["cmd"], "python3 -u web.py");
    assert!(app["labels"].is_object() && app["container"]["docker"]["image"].is_string(), "{app}");
    let listed = marathon.get("/v2/apps?embed=apps.tasks").is(200);
    assert_eq!(listed["apps"][0]["tasks"][0]["appId"], "/dev/shop/web");
    assert_eq!(marathon.get("/v2/groups/dev/shop").is(200)["apps"][0]["id"], "/dev/shop/web");
    // Scaled and restarted.
    marathon.put("/v2/apps/dev/shop/web", json!({"instances": 2})).is(200);
    marathon.wait_app("/dev/shop/web", "two copies", |app| app["tasksHealthy"] == 2);
    work.slipway(&["ps", "-e", "dev"]).ok().says("web 2/2");
    marathon.settled();
    let before = marathon.tasks("/dev/shop/web");
    marathon.post("/v2/apps/dev/shop/web/restart", json!({})).is(200);
    marathon.settled();
    wait_for("other copies", LONG, || {
        let now = marathon.tasks("/dev/shop/web");
        (now.len() == 2 && now.iter().all(|task| !before.contains(task))).then_some(())
    });
    // Anything else is the file's to say.
    let refused = marathon.put("/v2/apps/dev/shop/web", json!({"cmd": "other"}));
    assert!([403, 422].contains(&refused.status) && refused.text.contains("slipway.yaml"), "{refused:?}");
    let refused = marathon.delete("/v2/apps/dev/shop/web");
    assert!([403, 422].contains(&refused.status), "{refused:?}");
    let inside = marathon.post("/v2/apps", json!({"id": "/dev/shop/mine", "cmd": "true"}));
    assert!([403, 409, 422].contains(&inside.status), "{inside:?}");
    let apps: Value = marathon.get("/v2/apps").is(200);
    assert_eq!(apps["apps"].as_array().unwrap().len(), 1);
}
