//! Instances with real ZooKeeper servers. Each has a loopback address of its own, so that all can use
//! the same ports, as on machines of their own.

use std::time::Duration;

use serde_json::{Value, json};
use slipway_ensemble::handle::What;
use slipway_ensemble::monitor::State;
use slipway_ensemble::words;

mod certificates;

mod lab;

mod owner;

mod recovering;

mod rolling;

#[path = "../members/writer.rs"]
mod writer;

use lab::{AUTH, Instance, Lab, eventually, pid_of};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn ex_09_a_server_that_was_killed_is_started_again_unless_switched_off() {
    runtime().block_on(async {
        let lab = Lab::new(1, json!({}));
        let one = Instance::start(&lab, 0).await;
        one.serves().await;
        let first = pid_of(&one).unwrap();
        lab::kill(first);
        eventually("another process runs", || pid_of(&one).is_some_and(|pid| pid != first)).await;
        one.serves().await;

        let second = pid_of(&one).unwrap();
        one.handle.switch(|switches| switches.restarts = false);
        lab::kill(second);
        one.reaches(State::Down).await;
        // Ten looks and more go by.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(pid_of(&one), None);

        // The switch outlives the instance, and an order is above it.
        let dir = one.end().await;
        let again = Instance::start_in(&lab, 0, dir).await;
        assert!(!again.handle.switches().borrow().restarts);
        again.handle.order(What::Start).await.unwrap();
        again.serves().await;
    });
}

#[test]
fn ex_09_a_server_outlives_its_instance_and_is_adopted() {
    runtime().block_on(async {
        let lab = Lab::new(1, json!({}));
        let one = Instance::start(&lab, 0).await;
        one.serves().await;
        let pid = pid_of(&one).unwrap();
        let dir = one.end().await;
        assert!(lab::runs(pid), "the server went with its instance");
        let again = Instance::start_in(&lab, 0, dir).await;
        again.serves().await;
        assert_eq!(pid_of(&again), Some(pid));
        let adopted = format!("adopted the server that runs as process {pid}");
        assert!(again.handle.events().iter().any(|event| event.sentence == adopted));
        // Stopped by an operator it stays stopped.
        again.handle.order(What::Stop).await.unwrap();
        again.reaches(State::Down).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(pid_of(&again), None);
        assert!(!lab::runs(pid));
    });
}

#[test]
fn ex_09_a_server_without_a_quorum_is_started_again_after_the_time_of_the_rule() {
    runtime().block_on(async {
        // One of two never gets a quorum; 2 · 200 ms · 15 is six seconds.
        let extra = json!({ "zooCfgExtra": { "tickTime": "200", "initLimit": "15", "syncLimit": "10" } });
        let lab = Lab::new(2, extra);
        let one = Instance::start(&lab, 0).await;
        one.reaches(State::NotServing).await;
        let first = pid_of(&one).unwrap();
        eventually("it is started again", || pid_of(&one).is_some_and(|pid| pid != first)).await;
        let sentence = "the server is not serving; restarting it";
        assert!(one.handle.events().iter().any(|event| event.sentence == sentence));
    });
}

#[test]
fn ex_01_to_04_three_instances_answer_as_exhibitor_does() {
    runtime().block_on(async {
        let lab = Lab::new(3, json!({}));
        let mut all = Vec::new();
        for at in 0..3 {
            all.push(Instance::start(&lab, at).await);
        }
        for instance in &all {
            instance.serves().await;
        }
        let [a, b, c] = [&lab.hosts[0], &lab.hosts[1], &lab.hosts[2]];

        // EX-01: in both encodings, and open.
        let (status, text) = all[0].get("cluster/list", &[]).await;
        assert_eq!(status, 200);
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list, json!({ "servers": [a, b, c], "port": lab.client_port }));
        let form = [("Accept", "application/x-www-form-urlencoded")];
        let (_, text) = all[0].get("cluster/list", &form).await;
        let port = lab.client_port;
        assert_eq!(text, format!("count=3&server0={a}&server1={b}&server2={c}&port={port}"));

        // Nothing else without credentials, nor from another site's page.
        for path in ["cluster/status", "cluster/state", "cluster/restart", "cluster/log", "config/get-state"]
        {
            assert_eq!(all[0].get(path, &[]).await.0, 401, "{path}");
            let wrong = [("Authorization", "Bearer wrong-wrong-wrong")];
            assert_eq!(all[0].get(path, &wrong).await.0, 401, "{path}");
        }
        let led = [AUTH, ("Sec-Fetch-Site", "cross-site")];
        assert_eq!(all[0].get("cluster/restart", &led).await.0, 403);

        // EX-02.
        let status = all[0].json("cluster/status").await;
        let rows = status.as_array().unwrap();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row["code"] == 3 && row["description"] == "serving"), "{status}");
        assert_eq!(rows.iter().filter(|row| row["isLeader"] == true).count(), 1, "{status}");

        // EX-03: here, and through another instance.
        let state = all[0].json("cluster/state").await;
        assert_eq!(state["switches"], json!({ "restarts": true, "cleanup": true, "backups": true }));
        assert_eq!(state["state"], 3);
        let state = all[0].json(&format!("cluster/state/{b}")).await;
        assert_eq!((&state["success"], &state["errorMessage"]), (&json!(true), &json!("")));
        assert_eq!(state["response"]["state"], 3);
        assert_eq!(all[0].json(&format!("cluster/4ltr/ruok/{c}")).await["response"], "imok");
        assert_eq!(all[0].json("cluster/4ltr/RUOK").await, "imok");
        let mode = all[2].handle.look().borrow().mode.clone().unwrap();
        let srvr = all[0].json(&format!("cluster/4ltr/srvr/{c}")).await;
        assert!(srvr["response"].as_str().unwrap().contains(&format!("Mode: {mode}")), "{srvr}");
        let refused = all[0].json("cluster/4ltr/kill").await;
        assert!(refused.as_str().unwrap().contains("not one of the words"), "{refused}");
        let elsewhere = all[0].json("cluster/state/169.254.169.254").await;
        assert_eq!(elsewhere["success"], false);

        let set = all[0].json(&format!("cluster/set/restarts/false/{b}")).await;
        assert_eq!(set["response"], json!({ "message": "OK", "succeeded": true }));
        assert!(!all[1].handle.switches().borrow().restarts);
        assert!(all[0].handle.switches().borrow().restarts);
        assert_eq!(all[0].json("cluster/set/nonsense/true").await["succeeded"], false);

        let first = pid_of(&all[1]);
        let restarted = all[0].json(&format!("cluster/restart/{b}")).await;
        assert_eq!(restarted["response"], json!({ "message": "OK", "succeeded": true }));
        assert_ne!(pid_of(&all[1]), first);
        all[1].serves().await;
        let log = all[0].json(&format!("cluster/log/{b}")).await;
        assert!(log["response"].as_str().unwrap().contains("asked to restart the server"), "{log}");

        // EX-04: settings over HTTP reach everybody, and hostile ones nobody.
        let state = all[0].json("config/get-state").await;
        assert_eq!(state["config"]["clientPort"], lab.client_port);
        assert_eq!(state["config"]["serverId"], 1);
        assert_eq!(state["standaloneMode"], false);
        let hostile = json!({ "zooCfgExtra": { "x": "1\nserver.9=evil:1:2" } });
        let (status, text) = all[0].post("config/set", &hostile, &[]).await;
        assert!(status == 422 && text.contains("not one short line"), "{status} {text}");
        let pids: Vec<_> = all.iter().map(pid_of).collect();
        let change = json!({ "checkMs": "333", "cleanupMaxFiles": 7 });
        let (status, text) = all[0].post("config/set", &change, &[]).await;
        assert_eq!((status, text.as_str()), (200, r#"{"message":"OK","succeeded":true}"#));
        for instance in &all {
            let settings = instance.handle.settings();
            eventually("the settings arrive", || settings.borrow().check_ms == 333).await;
            assert_eq!(settings.borrow().cleanup_max_files, 7);
        }
        let (status, _) = all[0].post("config/set", &change, &[("If-Match", "\"99\"")]).await;
        assert_eq!(status, 412);
        // No restart for that (EX-10).
        assert_eq!(all.iter().map(pid_of).collect::<Vec<_>>(), pids);
    });
}

#[test]
fn zk_08_with_certificates_servers_find_each_other_and_nobody_else_is_answered() {
    runtime().block_on(async {
        let lab = Lab::with_tls(2);
        let one = Instance::start(&lab, 0).await;
        let two = Instance::start(&lab, 1).await;
        one.serves().await;
        two.serves().await;
        assert_eq!(one.json(&format!("cluster/4ltr/ruok/{}", lab.hosts[1])).await["response"], "imok");
        let plain = words::Server { host: lab.hosts[0].clone(), port: lab.client_port, tls: None };
        let answer = plain.ask("ruok", Duration::from_secs(5)).await;
        assert!(answer.as_deref().unwrap_or_default() != "imok", "{answer:?}");
    });
}
