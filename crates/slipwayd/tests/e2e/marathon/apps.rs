//! One app: made, asked about, scaled, killed, rolled back, deleted.

use serde_json::{Value, json};

use super::client::{LONG, Marathon};
use super::{WEB, app, check};
use crate::app::{files, web};
use crate::person::Person;
use crate::server::{Server, wait_for};
use crate::{Case, cases, http};

pub fn cases() -> Vec<Case> {
    cases![
        ma_03_ma_05_ma_30_ma_31_ma_60_me_21_an_app_runs_from_a_command,
        ma_61_an_app_runs_from_an_image,
        ma_01_ma_02_apps_are_selected,
        ma_04_ma_06_ma_07_ma_10_ma_33_an_app_is_scaled_changed_rolled_back_and_removed,
        ma_08_ma_09_ma_14_tasks_are_killed_replaced_and_scaled_away,
        ma_70_a_volume_outlives_its_task,
        me_18_me_19_files_of_a_sandbox_are_looked_at,
        ma_80_marathon_lb_finds_what_it_reads,
        ma_80_apps_share_a_host_name_by_paths,
        ma_26_ma_53_changes_of_the_same_app_wait_or_force,
    ]
}

/// Prints its environment to whoever asks.
const ENVIRON: &str = "exec python3 -uc 'import http.server,os,json\n\
    class H(http.server.BaseHTTPRequestHandler):\n\
    \x20def do_GET(self):\n\
    \x20 self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(dict(os.environ)).encode())\n\
    http.server.HTTPServer((\"\",int(os.environ[\"PORT0\"])),H).serve_forever()'";

/// Asks a task at the host and port that the API tells.
fn ask_task(task: &Value, path: &str) -> Option<String> {
    let host = task["host"].as_str().unwrap();
    let port = task["ports"][0].as_u64().unwrap() as u16;
    http::send_to(host, port, &format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")).ok().map(|a| a.body)
}

fn ma_03_ma_05_ma_30_ma_31_ma_60_me_21_an_app_runs_from_a_command(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-cmd");
    let described = app("/prod/env", ENVIRON, json!({"labels": {"team": "Blue"}, "env": {"GREETING": "hi"}}));
    let made = marathon.post("/v2/apps", described.clone());
    let head = made.head.to_lowercase();
    assert!(
        head.contains("marathon-deployment-id: ") && head.contains("location: /v2/apps/prod/env"),
        "{head}"
    );
    let made = made.is(201);
    assert_eq!(made["id"], "/prod/env");
    assert!(made["tasksRunning"] == 0 && made["deployments"][0]["id"].is_string(), "{made}");
    marathon.post("/v2/apps", described).is(409);
    marathon.settled();
    let app = marathon.app("/prod/env");
    for (name, value) in [
        ("tasksStaged", 0),
        ("tasksRunning", 1),
        ("tasksHealthy", 0),
        ("tasksUnhealthy", 0),
        ("instances", 1),
    ] {
        assert_eq!(app[name], value, "{name} of {app}");
    }
    assert_eq!(app["deployments"], json!([]));
    assert!(app["version"] == app["versionInfo"]["lastConfigChangeAt"], "{app}");
    let task = &app["tasks"][0];
    assert!(task["id"].as_str().unwrap().starts_with("prod_env.instance-"), "{task}");
    assert!(task["id"].as_str().unwrap().contains("._app."), "{task}");
    assert_eq!(task["appId"], "/prod/env");
    assert_eq!(task["state"], "TASK_RUNNING");
    assert_eq!(task["version"], app["version"]);
    assert!(
        task["stagedAt"].is_string() && task["startedAt"].is_string() && task["slaveId"].is_string(),
        "{task}"
    );
    assert!(task["ipAddresses"][0]["ipAddress"].is_string(), "{task}");
    let environ = wait_for("the program to answer at its port of the node", LONG, || ask_task(task, "/"));
    let environ: Value = serde_json::from_str(&environ).unwrap();
    let port = task["ports"][0].to_string();
    for (name, value) in [
        ("PORT", port.as_str()),
        ("PORT0", &port),
        ("PORTS", &port),
        ("HOST", task["host"].as_str().unwrap()),
        ("MESOS_TASK_ID", task["id"].as_str().unwrap()),
        ("MARATHON_APP_ID", "/prod/env"),
        ("MARATHON_APP_VERSION", app["version"].as_str().unwrap()),
        ("MARATHON_APP_RESOURCE_MEM", "64.0"),
        ("MARATHON_APP_LABELS", "TEAM"),
        ("MARATHON_APP_LABEL_TEAM", "Blue"),
        ("GREETING", "hi"),
    ] {
        assert_eq!(environ[name], value, "{name} of {environ}");
    }
    let listed = marathon.get("/v2/tasks?status=running").is(200);
    assert_eq!(listed["tasks"][0]["id"], task["id"]);
    assert_eq!(marathon.get("/v2/tasks?status[]=staging").is(200)["tasks"], json!([]));
    let id = task["id"].as_str().unwrap();
    assert_eq!(marathon.get(&format!("/v2/apps/prod/env/tasks/{id}")).is(200)["task"]["id"], id);
    let state = marathon.get("/state").is(200);
    assert!(state.to_string().contains(id) && state["slaves"][0]["hostname"].is_string(), "{state}");
    // It is an environment like another.
    Person::new(server, "mlt-cmd").slipway(&["ps", "-e", &environment_of(&app)]).says("app 1/1");
}

/// Where `slipway` finds it.
fn environment_of(app: &Value) -> String {
    let id = app["id"].as_str().unwrap().parse().unwrap();
    slipway_model::app::environment_of(&"mlt-cmd".parse().unwrap(), &id).to_string()
}

fn ma_61_an_app_runs_from_an_image(server: &Server) {
    let person = Person::with_tenant(server, "mlt-image");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let token = person.slipway(&["tokens", "create", "marathon", "--tenant", "mlt-image"]).ok().out;
    let marathon = Marathon { server, token: token.trim().to_owned() };
    let releases: Value =
        serde_json::from_str(&work.slipway(&["releases", "-e", "dev", "--json"]).ok().out).unwrap();
    let image = releases["items"][0]["image"].as_str().unwrap();
    let described = |image: &str| {
        json!({
            "id": "/tool", "cpus": 0.05, "mem": 64, "cmd": "exec python3 -u /app/web.py",
            "container": {
                "type": "DOCKER", "docker": {"image": image},
                "portMappings": [{"containerPort": 8080, "name": "http"}],
            },
            "networks": [{"mode": "container/bridge"}], "healthChecks": check(),
            "env": {"GREETING": "from an image", "PORT": "8080"},
        })
    };
    let absent = marathon.post("/v2/apps", described("mlt-image/absent:1")).is(422);
    assert!(absent.to_string().contains("mlt-image/absent:1"), "{absent}");
    marathon.post("/v2/apps", described("mlt-cmd/foreign:1")).is(422);
    let app = marathon.run(described(image));
    assert_eq!(app["tasksHealthy"], 1, "{app}");
    assert_eq!(app["container"]["docker"]["image"], image);
    let said = wait_for("the program to answer", LONG, || ask_task(&app["tasks"][0], "/"));
    assert!(said.starts_with("one from an image"), "{said}");
}

fn ma_01_ma_02_apps_are_selected(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-select");
    for (id, cmd, tier) in
        [("/a/web", "sleep 1", "front"), ("/a/db", "sleep 2", "back"), ("/b/web", "true", "front")]
    {
        let labels = json!({"tier": tier, "odd": "a,b"});
        marathon.post("/v2/apps", json!({"id": id, "cmd": cmd, "instances": 0, "labels": labels})).is(201);
    }
    marathon.settled();
    let ids = |query: &str| {
        let apps = marathon.get(&format!("/v2/apps{query}")).is(200);
        let ids = apps["apps"].as_array().unwrap().iter().map(|app| app["id"].as_str().unwrap());
        ids.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids(""), "/a/db /a/web /b/web");
    assert_eq!(ids("?id=WEB"), "/a/web /b/web");
    assert_eq!(ids("?cmd=sleep"), "/a/db /a/web");
    assert_eq!(ids("?label=tier%3D%3Dback"), "/a/db");
    assert_eq!(ids("?label=tier+in+(front,back),odd"), "/a/db /a/web /b/web");
    assert_eq!(ids("?label=tier!%3Dback&cmd=sleep"), "/a/web");
    assert_eq!(ids("?label=odd%3D%3Da%5C,b,tier+notin+(front)"), "/a/db");
    let plain = marathon.get("/v2/apps?embed=nonsense").is(200)["apps"][0].clone();
    assert!(
        plain["tasksRunning"] == 0 && plain["deployments"] == json!([]) && plain["tasks"].is_null(),
        "{plain}"
    );
    let full = marathon.get("/v2/apps?embed=apps.tasks&embed=app.taskStats&embed=lastTaskFailure").is(200);
    assert_eq!(full["apps"][0]["tasks"], json!([]));
}

fn ma_04_ma_06_ma_07_ma_10_ma_33_an_app_is_scaled_changed_rolled_back_and_removed(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-life");
    let first = marathon.run(app("/web", WEB, json!({"healthChecks": check()})));
    let before = marathon.tasks("/web");
    // More copies restart nothing.
    let answer = marathon.put("/v2/apps/web", json!({"instances": 3}));
    assert!(answer.head.to_lowercase().contains("marathon-deployment-id"), "{}", answer.head);
    let answer = answer.is(200);
    assert!(answer["version"].is_string() && answer["deploymentId"].is_string(), "{answer}");
    marathon.settled();
    let scaled = marathon.app("/web");
    assert!(marathon.tasks("/web").contains(&before[0]) && scaled["tasksHealthy"] == 3, "{scaled}");
    assert_eq!(scaled["versionInfo"]["lastConfigChangeAt"], first["version"]);
    assert_eq!(scaled["versionInfo"]["lastScalingAt"], scaled["version"]);
    marathon.put("/v2/apps/web", json!({"instances": 1})).is(200);
    marathon.settled();
    // Anything else replaces the copies.
    let left = marathon.tasks("/web");
    assert_eq!(left.len(), 1);
    marathon.ask("PATCH", "/v2/apps/web", Some(json!({"env": {"NEW": "1"}}))).is(200);
    marathon.settled();
    let changed = marathon.app("/web");
    assert_ne!(marathon.tasks("/web"), left);
    assert_eq!(changed["env"]["NEW"], "1");
    // Back to the first version; the versions are there to choose from, newest first.
    let versions = marathon.get("/v2/apps/web/versions").is(200);
    let versions = versions["versions"].as_array().unwrap();
    assert!(
        versions.len() == 4 && versions[0] == changed["version"] && versions[3] == first["version"],
        "{versions:?}"
    );
    let old = marathon.get(&format!("/v2/apps/web/versions/{}", first["version"].as_str().unwrap())).is(200);
    assert!(old["id"] == "/web" && old["env"] == json!({}), "{old}");
    marathon.put("/v2/apps/web", json!({"version": first["version"]})).is(200);
    marathon.settled();
    assert_eq!(marathon.app("/web")["env"], json!({}));
    // A PUT makes what is not there, a PATCH does not.
    marathon.ask("PATCH", "/v2/apps/new", Some(json!({"cmd": "true"}))).is(404);
    marathon.put("/v2/apps/new", json!({"cmd": "sleep 1000", "instances": 0})).is(201);
    marathon.settled();
    let several =
        json!([{"id": "/new", "cmd": "sleep 1001"}, {"id": "/newer", "cmd": "true", "instances": 0}]);
    marathon.ask("PATCH", "/v2/apps", Some(several.clone())).is(404);
    marathon.put("/v2/apps", several).is(200);
    marathon.settled();
    assert_eq!(marathon.app("/new")["cmd"], "sleep 1001");
    marathon.app("/newer");
    let gone = marathon.delete("/v2/apps/web").is(200);
    assert!(gone["deploymentId"].is_string(), "{gone}");
    marathon.settled();
    marathon.get("/v2/apps/web").is(404);
    assert_eq!(marathon.get("/v2/tasks").is(200)["tasks"], json!([]));
}

fn ma_08_ma_09_ma_14_tasks_are_killed_replaced_and_scaled_away(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-kill");
    marathon.run(app("/web", "sleep 1000", json!({"instances": 3})));
    let all = |tasks: &[String]| {
        wait_for("three tasks, others than before", LONG, || {
            let now = marathon.app("/web");
            let ids = marathon.tasks("/web");
            (now["tasksRunning"] == 3 && ids.iter().all(|id| !tasks.contains(id))).then_some(ids)
        })
    };
    let first = marathon.tasks("/web");
    // Restart.
    marathon.post("/v2/apps/web/restart", json!({})).is(200);
    marathon.settled();
    let second = all(&first);
    // Kill one: another comes.
    let killed = marathon.delete(&format!("/v2/apps/web/tasks/{}", second[0])).is(200);
    assert_eq!(killed["task"]["id"], second[0].as_str());
    let third = all(&second[..1]);
    assert_eq!(third.iter().filter(|id| second.contains(id)).count(), 2);
    // Kill all of a host: others come.
    let host = marathon.app("/web")["tasks"][0]["host"].as_str().unwrap().to_owned();
    let none = marathon.delete("/v2/apps/web/tasks?host=elsewhere").is(200);
    assert_eq!(none["tasks"], json!([]));
    let killed = marathon.delete(&format!("/v2/apps/web/tasks?host={host}")).is(200);
    assert_eq!(killed["tasks"].as_array().unwrap().len(), 3);
    let fourth = all(&third);
    // Kill this one and want one less.
    let scaled = marathon.delete(&format!("/v2/apps/web/tasks/{}?scale=true", fourth[1])).is(200);
    assert!(scaled["deploymentId"].is_string() && scaled["version"].is_string(), "{scaled}");
    marathon.settled();
    let left: Vec<String> = [&fourth[0], &fourth[2]].into_iter().cloned().collect();
    assert_eq!(marathon.tasks("/web"), left);
    assert_eq!(marathon.app("/web")["instances"], 2);
    // By id, whatever their app.
    marathon.delete("/v2/apps/web/tasks?scale=true&wipe=true").is(400);
    marathon.post("/v2/tasks/delete", json!({"ids": ["nonsense"]})).is(200);
    marathon.post("/v2/tasks/delete?scale=true", json!({"ids": left})).is(200);
    marathon.settled();
    assert_eq!(marathon.app("/web")["instances"], 0);
    assert!(marathon.tasks("/web").is_empty());
    marathon.delete("/v2/apps/absent/tasks").is(404);
}

fn ma_70_a_volume_outlives_its_task(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-volume");
    let cmd = "echo again >> data/log; cd data; exec python3 -u -m http.server $PORT0";
    let volumes = json!([{"containerPath": "data", "mode": "RW", "persistent": {"size": 16}}]);
    let described = app(
        "/db",
        cmd,
        json!({
            "container": {"type": "MESOS", "volumes": volumes},
            "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0},
            "unreachableStrategy": "disabled",
        }),
    );
    let first = marathon.run(described);
    let log = |task: &Value| {
        wait_for("the log", LONG, || ask_task(task, "/log").filter(|log| log.contains("again")))
    };
    assert_eq!(log(&first["tasks"][0]).matches("again").count(), 1);
    let volume = first["tasks"][0]["localVolumes"][0]["persistenceId"].clone();
    assert!(volume.is_string(), "{first}");
    let next = |old: &Value| {
        marathon.wait_app("/db", "another task", |app| {
            app["tasksRunning"] == 1 && app["tasks"][0]["id"] != old["tasks"][0]["id"]
        })
    };
    marathon.delete("/v2/apps/db/tasks").is(200);
    let second = next(&first);
    assert_eq!(second["tasks"][0]["localVolumes"][0]["persistenceId"], volume);
    assert_eq!(log(&second["tasks"][0]).matches("again").count(), 2);
    // A new version has it, too.
    marathon.put("/v2/apps/db", json!({"labels": {"new": "1"}})).is(200);
    marathon.settled();
    let third = marathon.app("/db");
    assert_eq!(log(&third["tasks"][0]).matches("again").count(), 3);
    // Only who says so frees it.
    marathon.delete("/v2/apps/db/tasks?wipe=true").is(200);
    let fourth = next(&third);
    assert_ne!(fourth["tasks"][0]["localVolumes"][0]["persistenceId"], volume);
    assert_eq!(log(&fourth["tasks"][0]).matches("again").count(), 1);
}

fn me_18_me_19_files_of_a_sandbox_are_looked_at(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-files");
    let other = Marathon::of_tenant(server, "mlt-filed");
    let app =
        marathon.run(app("/notes", "mkdir d; echo 0123456789 > d/note; echo said; sleep 1000", json!({})));
    let instance = app["tasks"][0]["id"].as_str().unwrap();
    let instance = instance.split(".instance-").nth(1).unwrap().split('.').next().unwrap();
    let environment =
        slipway_model::app::environment_of(&"mlt-files".parse().unwrap(), &"/notes".parse().unwrap());
    let path = format!("/v1/environments/{environment}/instances/{instance}/files");
    let names = |folder: &str| {
        let listed = marathon.get(&format!("{path}?path={folder}")).is(200);
        let items = listed["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Where the program began is a folder of the sandbox; its output is a file there, too.
    let note = wait_for("the note", LONG, || {
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            if let Some(note) = names(&folder).into_iter().find(|name| name.ends_with("/d/note")) {
                return Some(note);
            }
            let listed = marathon.get(&format!("{path}?path={folder}")).is(200);
            let items = listed["items"].as_array().unwrap().clone();
            let inner = items.iter().filter(|item| item["mode"].as_str().unwrap().starts_with('d'));
            folders.extend(inner.map(|item| item["path"].as_str().unwrap().to_owned()));
        }
        None
    });
    let part = marathon.get(&format!("{path}/read?path={note}&offset=3&length=4")).is(200);
    assert_eq!(part, json!({"data": "3456", "offset": 3, "size": 11}));
    assert_eq!(marathon.get(&format!("{path}/download?path={note}")).text, "0123456789\n");
    marathon.get(&format!("{path}/read?path=/absent")).is(404);
    marathon.get(&format!("{path}/read?path={note}/../../../../../../etc/shadow")).is(404);
    other.get(&format!("{path}/download?path={note}")).is(404);
}

fn ma_80_marathon_lb_finds_what_it_reads(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-lb");
    let labels = json!({"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "lb.example.com"});
    marathon.run(app(
        "/host",
        WEB,
        json!({
            "labels": labels, "healthChecks": check(), "portDefinitions": [{"port": 0, "name": "http"}],
        }),
    ));
    marathon.run(json!({
        "id": "/bridge", "cmd": "exec python3 -u -m http.server 8000", "cpus": 0.05, "mem": 64, "labels": labels,
        "container": {"type": "MESOS", "portMappings": [{"containerPort": 8000, "hostPort": 0}]},
        "networks": [{"mode": "container/bridge"}], "healthChecks": check(),
    }));
    let apps = marathon.get("/v2/apps?embed=apps.tasks").is(200);
    for app in apps["apps"].as_array().unwrap() {
        assert_eq!(app["labels"], labels);
        assert_eq!(app["instances"], 1);
        assert!(app["versionInfo"]["lastScalingAt"].is_string(), "{app}");
        let ports = match app["id"].as_str().unwrap() {
            "/host" => &app["portDefinitions"][0]["port"],
            _ => &app["container"]["portMappings"][0]["servicePort"],
        };
        assert!((10_000..=20_000).contains(&ports.as_u64().unwrap()), "{app}");
        let check = &app["healthChecks"][0];
        assert_eq!(
            (&check["protocol"], &check["portIndex"], &check["path"]),
            (&json!("MESOS_HTTP"), &json!(0), &json!("/"))
        );
        let task = &app["tasks"][0];
        assert!(task["host"].is_string() && task["ports"][0].as_u64().unwrap() > 0, "{task}");
        assert!(task["ipAddresses"][0]["ipAddress"].is_string(), "{task}");
        assert_eq!(task["ipAddresses"][0]["protocol"], "IPv4");
        assert_eq!(task["state"], "TASK_RUNNING");
        assert_eq!(task["healthCheckResults"][0]["alive"], true, "{task}");
        assert_eq!(task["servicePorts"][0], *ports);
        wait_for("the task to answer where the load balancer goes", LONG, || ask_task(task, "/"));
    }
    assert_eq!(apps["apps"].as_array().unwrap().len(), 2);
}

/// Says in `/who`, and below each of these paths, which task it is.
fn says_who(paths: &str) -> String {
    format!(
        "for at in . {paths}; do mkdir -p $at; echo $MARATHON_APP_ID $MESOS_TASK_ID > $at/who; done; {WEB}"
    )
}

fn ma_80_apps_share_a_host_name_by_paths(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-path");
    let thief = Marathon::of_tenant(server, "mlt-thief");
    // The name that the platform gave to the first app.
    let labels = |path: &str, more: &[(&str, &str)]| {
        let mut labels = json!({
            "HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": "Shop-mlt-path.localhost", "HAPROXY_0_PATH": path,
        });
        more.iter().for_each(|(label, text)| labels[*label] = json!(text));
        labels
    };
    let refused =
        marathon.post("/v2/apps", app("/x", WEB, json!({"labels": labels("/a/../b", &[])}))).is(422);
    assert_eq!(refused["details"][0]["path"], "/labels/HAPROXY_0_PATH", "{refused}");
    marathon.run(app("/shop", &says_who(""), json!({"healthChecks": check()})));
    let sticky = labels("/api /v2/", &[("HAPROXY_0_STICKY", "true")]);
    let more = json!({"labels": sticky, "instances": 2, "healthChecks": check()});
    marathon.run(app("/api", &says_who("api v2"), more));
    let stolen = json!({"labels": labels("/steal /api /api/v9", &[]), "healthChecks": check()});
    thief.run(app("/api", &says_who("steal api api/v9"), stolen));

    let asked = |path: &str, cookie: &str| {
        let host = "shop-mlt-path.localhost";
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}Connection: close\r\n\r\n");
        http::send(server.ports.router, &request).unwrap()
    };
    wait_for("the other tenant's app to be routed", LONG, || {
        let answer = server.get_path("api-mlt-thief", "/steal/who").ok()?;
        (answer.status == 200).then_some(())
    });
    let wait_who = |path: &str, whose: &str| {
        wait_for(&format!("{path} to lead to {whose}"), LONG, || {
            let answer = asked(path, "");
            answer.body.starts_with(&format!("{whose} ")).then_some(answer)
        })
    };
    let shop = wait_who("/who", "/shop");
    assert!(!shop.head.contains("Set-Cookie"), "{}", shop.head);
    wait_who("/v2/who", "/api");
    let first = wait_who("/api/who", "/api");
    for path in ["/steal/who", "/api/v9/who", "/apix/who"] {
        assert_eq!(asked(path, "").status, 404, "{path}");
    }

    let thief = Person::new(server, "mlt-thief");
    let why = "shop-mlt-path.localhost/steal do not come here: the name is not this tenant's";
    thief.slipway(&["ps", "--why", "-e", "mlt-thief:/api"]).ok().says(why);

    // One is sticky.
    let cookie = first.head.split("\r\n").find_map(|line| line.strip_prefix("Set-Cookie: ")).unwrap();
    assert!(cookie.starts_with("slipway-instance=") && cookie.contains("; Path=/api;"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    for _ in 0..10 {
        assert_eq!(asked("/api/who", &cookie).body, first.body);
    }
    wait_for("the other copy to answer whoever has no cookie", LONG, || {
        let other = asked("/api/who", "");
        (other.status == 200 && other.body != first.body).then_some(())
    });

    // Its paths go with it, and come back to whoever has the name.
    marathon.delete("/v2/apps/api").is(200);
    marathon.settled();
    wait_for("the path to lead to the first app again", LONG, || {
        (asked("/api/who", &cookie).status == 404).then_some(())
    });
    wait_who("/who", "/shop");
}

fn ma_26_ma_53_changes_of_the_same_app_wait_or_force(server: &Server) {
    let marathon = Marathon::of_tenant(server, "mlt-lock");
    // A check that never passes keeps the deployment open.
    let stuck = app("/stuck", "sleep 1000", json!({"healthChecks": check()}));
    let made = marathon.post("/v2/apps", stuck).is(201);
    let deployment = &made["deployments"][0]["id"];
    let refused = marathon.put("/v2/apps/stuck", json!({"instances": 2})).is(409);
    assert_eq!(&refused["deployments"][0]["id"], deployment);
    assert!(
        refused["message"].as_str().unwrap().starts_with("App is locked by one or more deployments"),
        "{refused}"
    );
    marathon.post("/v2/apps/stuck/restart", json!({})).is(409);
    // Another app is free.
    marathon.post("/v2/apps", json!({"id": "/free", "cmd": "sleep 1000", "instances": 0})).is(201);
    let forced = marathon.put("/v2/apps/stuck?force=true", json!({"cmd": WEB})).is(200);
    marathon.settled();
    assert_eq!(marathon.app("/stuck")["tasksHealthy"], 1);
    assert_ne!(&forced["deploymentId"], deployment);
    // Of many at once, each change has happened or was refused in words.
    let answers: Vec<(u16, u64)> = std::thread::scope(|scope| {
        let one = |count: u64| {
            let marathon = &marathon;
            scope.spawn(move || {
                (marathon.put("/v2/apps/free", json!({"env": {"N": count.to_string()}})).status, count)
            })
        };
        let all: Vec<_> = (0..8).map(one).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|(status, _)| [200, 409].contains(status)), "{answers:?}");
    assert!(answers.iter().any(|(status, _)| *status == 200), "{answers:?}");
    marathon.settled();
    let kept: u64 = marathon.app("/free")["env"]["N"].as_str().unwrap().parse().unwrap();
    assert!(answers.contains(&(200, kept)), "{kept} of {answers:?}");
    // Of several who make the same app at once, one has made it.
    let mut made: Vec<u16> = std::thread::scope(|scope| {
        let one = |_| {
            scope.spawn(|| {
                marathon.post("/v2/apps", json!({"id": "/race", "cmd": "true", "instances": 0})).status
            })
        };
        let all: Vec<_> = (0..8).map(one).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    made.sort_unstable();
    assert_eq!(made, [201, 409, 409, 409, 409, 409, 409, 409]);
}
