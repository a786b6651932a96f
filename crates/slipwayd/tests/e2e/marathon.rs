//! Marathon's API as its clients meet it: plain HTTP in, real containers out. The numbers in the names are
//! those of the rules that a case shows.

pub mod client;

mod apps;
mod groups;
mod protocol;
mod pushed;
mod python;
mod rolling;
mod screens;
mod stream;
mod trouble;

use serde_json::{Value, json};

use crate::Case;

pub fn cases() -> Vec<Case> {
    [
        protocol::cases(),
        apps::cases(),
        rolling::cases(),
        trouble::cases(),
        groups::cases(),
        stream::cases(),
        pushed::cases(),
        screens::cases(),
        python::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A small program that answers on its port.
const WEB: &str = "exec python3 -u -m http.server $PORT0";

/// An app of small size with that command.
fn app(id: &str, cmd: &str, more: Value) -> Value {
    let mut app = json!({"id": id, "cmd": cmd, "cpus": 0.05, "mem": 64, "instances": 1});
    for (name, value) in more.as_object().unwrap() {
        app[name] = value.clone();
    }
    app
}

/// A check that is asked every second.
fn check() -> Value {
    json!([{"protocol": "MESOS_HTTP", "path": "/", "portIndex": 0, "intervalSeconds": 1, "timeoutSeconds": 5,
            "gracePeriodSeconds": 60, "delaySeconds": 0, "maxConsecutiveFailures": 3}])
}
