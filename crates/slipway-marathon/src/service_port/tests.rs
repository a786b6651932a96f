use serde_json::{Value, json};
use slipway_model::app::PathId;

use super::*;
use crate::app::AppUpdate;
use crate::group::Tree;

/// The service ports of `/x` when it comes into a tree beside `others`, in place of `old`.
fn picked(others: &[Value], old: Option<&Value>, app: &Value) -> Result<Vec<u16>, Error> {
    let tree = |own: Option<&Value>| {
        let read = |body: &Value| AppUpdate::of_value(body.clone(), &PathId::root())?.create();
        let apps = others.iter().chain(own).map(|body| read(body).map(|app| (app.id.clone(), app.into())));
        Tree { apps: apps.collect::<Result<_, _>>().unwrap(), ..Tree::default() }
    };
    let before = tree(old).with_service_ports(&Tree::default()).unwrap();
    let after = tree(Some(app)).with_service_ports(&before)?;
    Ok(of(&after.apps[&"/x".parse().unwrap()]))
}

fn check(others: &[Value], old: Option<&Value>, app: &Value, expected: &[u16]) {
    assert_eq!(picked(others, old, app).unwrap(), expected, "{app}");
}

#[test]
fn ma_34_service_ports_are_picked_and_kept() {
    let others = [json!({"id": "/other", "cmd": "x", "ports": [10000, 10002]})];
    let first = json!({"id": "/x", "cmd": "x", "ports": [0, 8080, 0]});
    check(&others, None, &first, &[10_001, 8080, 10_003]);
    // Another version that asks again has the same numbers, and a new port another.
    let second = json!({"id": "/x", "cmd": "y", "ports": [0, 8081, 0, 0]});
    check(&others, Some(&first), &second, &[10_001, 8081, 10_003, 10_004]);
}

#[test]
fn ma_34_an_explicit_number_is_not_picked_beside_it() {
    let app = json!({"id": "/x", "networks": [{"mode": "container/bridge"}], "container": {
        "docker": {"image": "a"},
        "portMappings": [{"containerPort": 1}, {"containerPort": 2, "servicePort": 10000}]}});
    check(&[], None, &app, &[10_001, 10_000]);
}

#[test]
fn ma_34_when_no_number_is_left_it_is_said() {
    let all: Vec<u16> = (FIRST..=LAST).collect();
    let app = |(number, ports)| json!({"id": format!("/o{number}"), "cmd": "x", "ports": ports});
    let others: Vec<Value> = all.chunks(100).enumerate().map(app).collect();
    let error = picked(&others, None, &json!({"id": "/x", "cmd": "x"})).unwrap_err();
    assert_eq!((error.status(), error.to_string().as_str()), {
        (422, "All ports in the range [10000-20000] are already in use")
    });
    check(&others, None, &json!({"id": "/x", "cmd": "x", "ports": [80]}), &[80]);
}
