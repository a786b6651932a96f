//! How a new version replaces an old one: the worked cases of MA-51, with four copies in place of ten. The
//! arithmetic is the same; `slipway-plan`'s own tests have ten.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{LONG, Marathon};
use super::{app, check};
use crate::server::{Server, wait_for};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        ma_48_ma_51_all_new_ones_at_once,
        ma_48_ma_51_half_go_first,
        ma_49_ma_51_one_by_one_when_none_may_be_missing_and_none_over,
        ma_48_ma_51_all_old_ones_first,
    ]
}

/// A second passes until it works, so that somebody who looks sees each step.
const SLOW: &str = "sleep 1; exec python3 -u -m http.server $PORT0";

/// What was seen while four copies were replaced.
#[derive(Debug, Default)]
struct Seen {
    /// Most copies at once, old and new together, not counting those that were told to end.
    most: u64,
    /// Fewest healthy ones.
    healthy_least: u64,
    /// Fewest old ones before any new one was healthy.
    old_least_before_new: u64,
}

/// Replaces four copies and looks all the time.
fn replace(server: &Server, tenant: &str, minimum: f64, over: f64) -> Seen {
    let marathon = Marathon::of_tenant(server, tenant);
    let strategy = json!({"minimumHealthCapacity": minimum, "maximumOverCapacity": over});
    let described = app(
        "/web",
        SLOW,
        json!({
            "instances": 4, "mem": 48, "upgradeStrategy": strategy, "healthChecks": check(),
        }),
    );
    let first = marathon.run(described);
    assert_eq!(first["tasksHealthy"], 4);
    marathon.put("/v2/apps/web", json!({"env": {"VERSION": "2"}})).is(200);
    let mut seen = Seen { healthy_least: 4, old_least_before_new: 4, ..Seen::default() };
    wait_for("the new version", LONG, || {
        let now = marathon.app("/web");
        let tasks = now["tasks"].as_array().unwrap();
        let is_old = |task: &&Value| task["version"] == first["version"];
        let lives = |task: &&Value| task["state"] != "TASK_KILLING";
        let is_healthy = |task: &&Value| lives(task) && task["healthCheckResults"][0]["alive"] == true;
        let count = |one: &dyn Fn(&&Value) -> bool| tasks.iter().filter(|task| one(task)).count() as u64;
        seen.most = seen.most.max(count(&lives));
        seen.healthy_least = seen.healthy_least.min(count(&is_healthy));
        if count(&|task| !is_old(task) && is_healthy(task)) == 0 {
            let old = count(&|task| is_old(task) && lives(task));
            seen.old_least_before_new = seen.old_least_before_new.min(old);
        }
        std::thread::sleep(Duration::from_millis(20));
        (now["deployments"] == json!([])).then_some(())
    });
    let last = marathon.app("/web");
    let tasks = last["tasks"].as_array().unwrap();
    assert!(tasks.len() == 4 && tasks.iter().all(|task| task["version"] == last["version"]), "{last}");
    marathon.delete("/v2/apps/web").is(200);
    seen
}

fn ma_48_ma_51_all_new_ones_at_once(server: &Server) {
    let seen = replace(server, "mlt-roll-a", 1.0, 1.0);
    assert!(seen.most == 8 && seen.healthy_least >= 4 && seen.old_least_before_new == 4, "{seen:?}");
}

fn ma_48_ma_51_half_go_first(server: &Server) {
    let seen = replace(server, "mlt-roll-b", 0.5, 0.25);
    assert!(seen.most <= 5 && seen.healthy_least >= 2 && seen.old_least_before_new == 2, "{seen:?}");
}

fn ma_49_ma_51_one_by_one_when_none_may_be_missing_and_none_over(server: &Server) {
    let seen = replace(server, "mlt-roll-c", 1.0, 0.0);
    assert!(seen.most == 5 && seen.healthy_least >= 4 && seen.old_least_before_new == 4, "{seen:?}");
}

fn ma_48_ma_51_all_old_ones_first(server: &Server) {
    let seen = replace(server, "mlt-roll-d", 0.0, 0.0);
    assert!(seen.most <= 4 && seen.healthy_least == 0 && seen.old_least_before_new == 0, "{seen:?}");
}
