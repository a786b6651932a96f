//! A leader that lets another lead because an operator asked for it: who may ask, what is told of who leads,
//! and that nothing which runs notices.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::agents::{Machine, token};
use super::{Cluster, LEADS, LEADS_NO_MORE, TAKEOVER_MAX, ask};
use crate::marathon::client::{LONG, Marathon};
use crate::server::{Server, wait_for};
use crate::{Case, cases};

/// Tells the processes of this app from others'.
const SECONDS: &str = "103021";

pub fn cases() -> Vec<Case> {
    cases![ma_20_another_server_leads_when_an_operator_asks]
}

/// What a client sees of a task, and may not change when another server leads.
fn is_there(app: &Value, task: &Value) -> bool {
    let place =
        |task: &Value| json!([task["id"], task["slaveId"], task["host"], task["ports"], task["version"]]);
    app["tasks"].as_array().is_some_and(|tasks| tasks.iter().any(|one| place(one) == place(task)))
}

/// The processes of the app on this machine: which, and when the kernel started each.
fn processes() -> BTreeSet<(String, String)> {
    let found = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        // Others come and go meanwhile.
        let command = fs::read(path.join("cmdline")).ok()?;
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let started = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.to_owned();
        (command == format!("sleep\0{SECONDS}\0").as_bytes()).then(|| (path.display().to_string(), started))
    });
    found.collect()
}

fn ma_20_another_server_leads_when_an_operator_asks(_: &Server) {
    let cluster = Cluster::start("abdicate", true);
    let (one, two) = (&cluster.one, &cluster.two);
    // At the server that stands by, as everything that follows.
    let owner = cluster.owner();
    let mut node = Machine::new("abdicate-node", &["--mesh-port", "4799"]);
    let (joined, said) = node.join("n1", &format!("127.0.0.1:{}", cluster.ports[1]), &token(&owner));
    assert!(joined, "{said}");
    node.run();
    let words = ["tokens", "create", "marathon", "--tenant", "ada"];
    let tenants_token = owner.slipway(&words).ok().out.trim().to_owned();
    let through = |server| Marathon { server, token: tenants_token.clone() };
    let app = through(two).run(json!({
        "id": "/prod/sleeper", "cmd": format!("exec sleep {SECONDS}"), "cpus": 0.05, "mem": 64, "instances": 1
    }));
    let (first, processes_before) = (app["tasks"][0].clone(), processes());
    assert_eq!(processes_before.len(), 1, "{app}");

    let all_say = |leader: &Server| {
        let leader = format!("127.0.0.1:{}", leader.ports.api);
        let says = |server| {
            let answer = through(server).get("/v2/leader");
            let header = format!("x-marathon-leader: http://{leader}\r\n");
            let info = through(server).get("/v2/info").json;
            answer.json == json!({"leader": leader})
                && answer.head.to_lowercase().contains(&header)
                && info["leader"] == leader.as_str()
                && info["elected"] == true
        };
        (says(one) && says(two)).then_some(())
    };
    wait_for("both servers to say that the first leads", TAKEOVER_MAX, || all_say(one));

    through(two).delete("/v2/leader").is(403);
    let backup = ask(&owner, "DELETE", "/v2/leader?backup=file:///tmp/backup.tar", "");
    assert_eq!(backup.status, 400, "{backup:?}");
    assert!(!one.log().contains(LEADS_NO_MORE), "nobody who may has asked for it");
    let answer = ask(&owner, "DELETE", "/v2/leader", "");
    assert_eq!(
        (answer.status, serde_json::from_str(&answer.body).ok()),
        (200, Some(json!({"message": "Leadership abdicated"}))),
        "{answer:?}"
    );
    cluster.wait_until_two_leads();
    wait_for("both servers to say that the second leads", TAKEOVER_MAX, || all_say(two));
    wait_for("the first server's term to end", TAKEOVER_MAX, || {
        one.log().contains(LEADS_NO_MORE).then_some(())
    });
    assert_eq!(one.log().matches(LEADS).count(), 1, "it stands by");

    // The one that has abdicated passes a change on to the other, who carries it out.
    let marathon = through(one);
    marathon.wait_app("/prod/sleeper", "the task to be known", |app| is_there(app, &first));
    marathon.put("/v2/apps/prod/sleeper?force=true", json!({"instances": 2})).is(200);
    let app = marathon.wait_app("/prod/sleeper", "two tasks", |app| app["tasksRunning"] == 2);
    assert!(is_there(&app, &first), "not {first}: {app}");
    assert!(processes().is_superset(&processes_before), "the first runs on");

    // And back, in the words of the command line, which wait until it is so.
    owner.slipway(&["nodes", "hand-over"]).ok().says("one leads now");
    wait_for("both servers to say that the first leads again", TAKEOVER_MAX, || all_say(one));
    assert_eq!(one.log().matches(LEADS).count(), 2);
    // With nobody else who stands for election it is the same server that goes on.
    two.stop();
    let owner = super::at(&owner, one);
    assert_eq!(ask(&owner, "DELETE", "/v2/leader", "").status, 200);
    wait_for("the first server to lead for the third time", TAKEOVER_MAX, || {
        (one.log().matches(LEADS).count() == 3).then_some(())
    });
    let app = wait_for("both tasks to be known", LONG, || {
        let app = through(one).get("/v2/apps/prod/sleeper").json["app"].clone();
        (app["tasksRunning"] == 2).then_some(app)
    });
    assert!(is_there(&app, &first), "not {first}: {app}");
    assert!(processes().is_superset(&processes_before), "it still does");
}
