//! What no app is needed for: who may ask, how requests may look, what errors look like.

use serde_json::{Value, json};

use super::client::Marathon;
use crate::person::{PASSWORD, Person};
use crate::server::Server;
use crate::{Case, cases, http};

pub fn cases() -> Vec<Case> {
    cases![
        ma_20_ma_21_ma_23_ma_29_the_server_says_what_it_is,
        ma_25_errors_have_marathons_shape,
        ma_27_ma_28_clients_may_write_paths_and_bodies_as_they_do,
        ma_29_ma_76_whoever_asks_must_be_known,
        ma_78_tenants_do_not_see_one_another,
    ]
}

fn ma_20_ma_21_ma_23_ma_29_the_server_says_what_it_is(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-info");
    let pong = http::get(server.ports.api, "localhost", "/ping").unwrap();
    assert_eq!((pong.status, pong.body.as_str()), (200, "pong"));
    let json =
        "GET //ping HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    assert_eq!(http::send(server.ports.api, json).unwrap().body, "\"pong\"");
    let info = marathon.get("/v2/info").is(200);
    assert_eq!(info["version"], "1.11.24");
    assert_eq!(info["elected"], true);
    assert_eq!(info["leader"], "localhost");
    assert!(info["marathon_config"]["local_port_min"] == 10000 && info["frameworkId"].is_string(), "{info}");
    let leader = marathon.get("/v2/leader");
    assert!(leader.head.to_lowercase().contains("x-marathon-leader: http://localhost"), "{}", leader.head);
    assert_eq!(leader.is(200)["leader"], "localhost");
    assert_eq!(marathon.get("/v2/plugins").is(200), json!({"plugins": []}));
    marathon.delete("/v2/leader").is(403);
    let figures = marathon.get("/metrics");
    assert!(figures.json["gauges"]["slipway_apps"]["value"] == 0, "{}", figures.text);
    let text = format!(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        marathon.token
    );
    let text = marathon.raw(&text).text;
    assert!(
        text.contains("\nslipway_apps 0\n") && text.contains("slipway_http_requests_total{status=\"2xx\"}"),
        "{text}"
    );
}

fn ma_25_errors_have_marathons_shape(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-errors");
    let absent = marathon.get("/v2/apps/prod/absent").is(404);
    assert_eq!(absent, json!({"message": "App '/prod/absent' does not exist"}));
    let raw = |method: &str, path: &str, body: &str| {
        marathon.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            marathon.token,
            body.len()
        ))
    };
    assert!(
        raw("POST", "/v2/apps", "{not json").is(400)["message"].as_str().unwrap().contains("Invalid JSON")
    );
    assert!(raw("POST", "/v2/apps", "").is(400)["message"].is_string());
    raw("POST", "/v2/apps", &"[".repeat(10_000)).is(400);
    raw("POST", "/v2/apps", &format!("{{\"id\":\"/x\",\"cmd\":\"{}\"}}", "x".repeat(10 << 20))).is(413);
    let invalid =
        marathon.post("/v2/apps", json!({"id": "/x", "cmd": "true", "cpus": -1, "colour": 1})).is(422);
    assert_eq!(invalid["message"], "Object is not valid");
    let paths: Vec<&str> =
        invalid["details"].as_array().unwrap().iter().map(|d| d["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"/cpus") && paths.contains(&"/colour"), "{invalid}");
    for bad in ["/Prod", "/prod/tasks", "/prod/versions", "/prod/restart"] {
        marathon.post("/v2/apps", json!({"id": bad, "cmd": "true"})).is(422);
    }
    marathon.post("/v2/apps", json!({"id": "/x", "cmd": "true", "mem": 1e300})).is(422);
    let blowup = json!([["hostname", "LIKE", "((a{1,1000}){1,1000}){1,1000}"]]);
    marathon.post("/v2/apps", json!({"id": "/x", "cmd": "true", "constraints": blowup})).is(422);
    let cycle = json!({"id": "/c", "apps": [
        {"id": "a", "cmd": "true", "dependencies": ["b"]}, {"id": "b", "cmd": "true", "dependencies": ["a"]}]});
    marathon.post("/v2/groups", cycle).is(422);
    for gone in ["/v2/artifacts", "/v2/eventSubscriptions", "/v2/schemas", "/v2/pods"] {
        assert!(marathon.get(gone).is(404)["message"].is_string(), "{gone}");
    }
    assert!(marathon.ask("POST", "/v2/queue", None).is(405)["message"].is_string());
    marathon.delete("/v2/deployments/5ed4c0c5-9ff8-4a6f-a0cd-f57f59a34b43").is(404);
    marathon.delete("/v2/queue/prod/absent/delay").is(404);
    marathon.delete("/v2/apps/prod/absent").is(404);
    // Nothing of that was made.
    assert_eq!(marathon.get("/v2/apps").is(200), json!({"apps": []}));
}

fn ma_27_ma_28_clients_may_write_paths_and_bodies_as_they_do(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-paths");
    let body = json!({"id": "db/idle", "cmd": "sleep 1000", "instances": 0}).to_string();
    let (front, back) = body.split_at(10);
    let chunked = format!(
        "POST //v2//apps// HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{:x}\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n",
        marathon.token,
        front.len(),
        back.len()
    );
    let made = marathon.raw(&chunked).is(201);
    assert_eq!(made["id"], "/db/idle");
    marathon.settled();
    for path in ["/v2/apps//db//idle", "/v2/apps/db/idle/", "/v2/apps/%2Fdb%2Fidle", "//v2/apps///db/idle"] {
        assert_eq!(marathon.get(path).is(200)["app"]["id"], "/db/idle", "{path}");
    }
    assert_eq!(marathon.get("/v2/apps/db/*").is(200)["*"][0]["id"], "/db/idle");
    assert_eq!(marathon.get("/v2/groups//db/").is(200)["apps"][0]["id"], "/db/idle");
}

fn ma_29_ma_76_whoever_asks_must_be_known(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-auth");
    let ask = |header: &str| {
        marathon
            .raw(&format!("GET /v2/apps HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n"))
    };
    let none = ask("");
    assert!(none.head.to_lowercase().contains("www-authenticate: basic"), "{}", none.head);
    none.is(401);
    ask("Authorization: Bearer wrong\r\n").is(401);
    ask("Authorization: Basic !!\r\n").is(401);
    ask(&format!("Authorization: Bearer {}\r\n", marathon.token)).is(200);
    ask(&format!("Authorization: token={}\r\n", marathon.token)).is(200);
    let basic = |user: &str, password: &str| {
        ask(&format!("Authorization: Basic {}\r\n", base64(&format!("{user}:{password}"))))
    };
    basic("mlt-auth", PASSWORD).is(200);
    basic("mlt-auth", &marathon.token).is(200);
    basic("mlt-auth", "not the password").is(401);
    // A viewer looks and changes nothing.
    let person = Person::new(server, "mlt-auth");
    let words = ["tokens", "create", "look", "--tenant", "mlt-auth", "--role", "viewer"];
    let viewer = Marathon { server, token: person.slipway(&words).ok().out.trim().to_owned() };
    viewer.get("/v2/apps").is(200);
    viewer.post("/v2/apps", json!({"id": "/x", "cmd": "true"})).is(403);
}

fn ma_78_tenants_do_not_see_one_another(server: &Server) {
    let one = Marathon::of_tenant(server, "mlt-one");
    let other = Marathon::of_tenant(server, "mlt-other");
    let idle = |text: &str| json!({"id": "/same/id", "cmd": text, "instances": 0});
    one.post("/v2/apps", idle("one")).is(201);
    one.settled();
    assert_eq!(other.get("/v2/apps").is(200), json!({"apps": []}));
    other.get("/v2/apps/same/id").is(404);
    other.delete("/v2/apps/same/id").is(404);
    assert_eq!(other.get("/v2/groups").is(200)["groups"], json!([]));
    // The same id is another app there.
    other.post("/v2/apps", idle("other")).is(201);
    other.settled();
    assert_eq!(one.app("/same/id")["cmd"], "one");
    assert_eq!(other.app("/same/id")["cmd"], "other");
    // An operator sees both.
    let person = Person::new(server, "operator");
    let token = person.slipway(&["tokens", "create", "all"]).ok().out.trim().to_owned();
    let operator = Marathon { server, token };
    let all = operator.get("/v2/apps?id=same/id").is(200);
    let ids: Vec<&Value> = all["apps"].as_array().unwrap().iter().map(|app| &app["id"]).collect();
    assert!(
        ids.contains(&&json!("/mlt-one/same/id")) && ids.contains(&&json!("/mlt-other/same/id")),
        "{ids:?}"
    );
    assert_eq!(operator.app("/mlt-one/same/id")["cmd"], "one");
    operator.put("/v2/apps/mlt-one/same/id", json!({"cmd": "changed"})).is(200);
    one.settled();
    assert_eq!(one.app("/same/id")["cmd"], "changed");
    assert_eq!(other.app("/same/id")["cmd"], "other");
}

/// RFC 4648, so that no library is needed.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = (0..3).fold(0u32, |bits, place| bits << 8 | u32::from(*chunk.get(place).unwrap_or(&0)));
        let digits = (0..4).map(|place| DIGITS[(bits >> (18 - 6 * place) & 63) as usize] as char);
        let text: String = digits.take(chunk.len() + 1).collect();
        format!("{text:=<4}")
    };
    text.as_bytes().chunks(3).map(group).collect()
}
