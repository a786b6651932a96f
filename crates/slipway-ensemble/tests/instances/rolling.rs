//! Changes of settings that need restarts, asked for over HTTP and driven by the instances themselves.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lab::{Instance, Lab, eventually, pid_of};
use super::{runtime, writer};

const PATIENCE: Duration = Duration::from_secs(150);

async fn three(lab: &Lab) -> Vec<Instance> {
    let mut all = Vec::new();
    for at in 0..3 {
        all.push(Instance::start(lab, at).await);
    }
    for instance in &all {
        instance.serves().await;
    }
    all
}

fn leader(all: &[Instance]) -> usize {
    all.iter().position(|instance| instance.handle.look().borrow().is_leader()).expect("one leads")
}

fn pids(all: &[Instance]) -> Vec<Option<i32>> {
    all.iter().map(pid_of).collect()
}

fn writes(lab: &Lab) -> writer::Writes {
    writer::Writes::start(lab.hosts.iter().map(|host| format!("{host}:{}", lab.client_port)).collect())
}

async fn config(instance: &Instance) -> Value {
    instance.json("config/get-state").await["config"].clone()
}

/// Waits until no change is on its way, as that instance knows; returns in which order servers were
/// started again until then.
async fn order(all: &[Instance], asked: usize) -> Vec<usize> {
    let before = pids(all);
    let (mut order, started) = (Vec::new(), Instant::now());
    let mut was_rolling = false;
    loop {
        let now = pids(all);
        let is_new = |at: &usize| now[*at].is_some() && now[*at] != before[*at];
        let new: Vec<usize> = (0..all.len()).filter(|at| is_new(at) && !order.contains(at)).collect();
        order.extend(new);
        let config = config(&all[asked]).await;
        let is_rolling = config["rollInProgress"] == true;
        if was_rolling && !is_rolling {
            return order;
        }
        was_rolling |= is_rolling;
        if started.elapsed() > PATIENCE {
            let events: Vec<_> = all.iter().map(|instance| instance.handle.events()).collect();
            panic!("it is not over: {order:?} {config} {events:#?}");
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// How many rounds each of the three has gone through, by the sign that it gives in each.
async fn looks(lab: &Lab) -> [u64; 3] {
    let (place, _) = lab.shared();
    let mut rounds = [0; 3];
    for (round, host) in rounds.iter_mut().zip(&lab.hosts) {
        let sign = place.get("instances", host, 256).await.unwrap().unwrap_or_default();
        let sign = String::from_utf8_lossy(&sign);
        *round = sign.split(' ').nth(1).map_or(0, |beat| beat.parse().unwrap());
    }
    rounds
}

#[test]
fn ex_11_a_change_restarts_one_server_after_the_other_and_the_leader_last() {
    runtime().block_on(async {
        let lab = Lab::new(3, json!({}));
        let mut all = three(&lab).await;
        let writes = writes(&lab);
        writes.some(20);
        let last = leader(&all);
        // The instance that is asked then dies, and its server goes on: the others need nobody.
        let asked = (last + 1) % 3;
        let change = json!({ "javaEnvironment": "-Xmx112m -XX:+UseSerialGC -XX:TieredStopAtLevel=1" });
        let (status, text) = all[asked].post("config/set", &change, &[]).await;
        assert_eq!((status, text.as_str()), (200, r#"{"message":"OK","succeeded":true}"#));
        let (status, text) = all[asked].post("config/set-rolling", &change, &[]).await;
        assert!(status == 409 && text.contains("is on its way"), "{status} {text}");
        let dead = all.remove(asked);
        let last = last - usize::from(asked < last);
        let dir = dead.end().await;
        let other = 1 - last;
        eventually("the others know", || all.iter().all(|one| one.handle.shared().rolling.is_some())).await;
        let back = Instance::start_in(&lab, asked, dir).await;
        let order = order(&all, last).await;
        assert_eq!(order, [other, last]);
        back.serves().await;
        let java = "-Xmx112m";
        for instance in all.iter().chain([&back]) {
            let command = std::fs::read(format!("/proc/{}/cmdline", pid_of(instance).unwrap())).unwrap();
            assert!(String::from_utf8_lossy(&command).contains(java));
        }
        writes.some(20);
        let (count, gap) = writes.end();
        println!("{count} writes, the longest without an answer for {gap:?}");
        // Within that a new leader is elected, on a busy machine.
        assert!(gap < Duration::from_secs(15), "{gap:?}");
    });
}

#[test]
fn ex_11_a_change_that_breaks_a_server_stops_there_and_can_be_taken_back() {
    runtime().block_on(async {
        let lab = Lab::new(3, json!({}));
        let all = three(&lab).await;
        let (last, before) = (leader(&all), pids(&all));
        // No Java starts with that.
        let change = json!({ "javaEnvironment": "-Xms2g -Xmx96m" });
        let (status, text) = all[0].post("config/set-rolling", &change, &[]).await;
        assert_eq!(status, 200, "{text}");
        let changed = || (0..3).filter(|at| pid_of(&all[*at]) != before[*at]).collect::<Vec<_>>();
        eventually("one is down", || changed().len() == 1).await;
        let broken = changed()[0];
        assert_ne!(broken, last);
        // Many looks of everybody later nobody else has had a turn.
        let began_at = looks(&lab).await;
        let ten_more = async {
            while looks(&lab).await.iter().zip(began_at).any(|(now, before)| *now < before + 10) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ten_more).await.expect("everybody goes on looking");
        assert_eq!(changed(), [broken]);
        let config = config(&all[last]).await;
        assert_eq!((&config["rollInProgress"], &config["rollPercentDone"]), (&json!(true), &json!(0)));
        let status = config["rollStatus"].as_str().unwrap();
        assert!(status.contains(&lab.hosts[broken]), "{status}");

        // Taken back, it serves again, and the others never stopped.
        let answer = all[last].json("config/rollback-rolling").await;
        assert_eq!(answer, json!({ "message": "OK", "succeeded": true }));
        all[broken].serves().await;
        let over = || all.iter().all(|instance| instance.handle.shared().rolling.is_none());
        eventually("the change is taken back", over).await;
        assert_eq!(changed(), [broken]);
        let java = all[last].handle.settings().borrow().java_environment.clone();
        assert_eq!(java, all[broken].handle.settings().borrow().java_environment);

        let (status, text) = all[0].get("config/force-commit-rolling", &[super::AUTH]).await;
        assert!(status == 409 && text.contains("No change"), "{status} {text}");
        let (status, text) = all[0].post("config/set", &json!({ "connectPort": 1234 }), &[]).await;
        assert!(status == 422 && text.contains("stay as they are"), "{status} {text}");
    });
}
