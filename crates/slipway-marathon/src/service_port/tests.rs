use slipway_model::app::PathId;

use super::*;
use crate::app::AppUpdate;

fn app(body: &str) -> AppDefinition {
    AppUpdate::read(body.as_bytes(), &PathId::root()).unwrap().create_as("/x".parse().unwrap()).unwrap()
}

#[test]
fn ma_34_service_ports_are_picked_and_kept() {
    let mut used = BTreeSet::from([10_000, 10_002]);
    let mut first = app(r#"{"cmd": "x", "ports": [0, 8080, 0]}"#);
    assign(&mut first, None, &mut used).unwrap();
    assert_eq!(of(&first), [10_001, 8080, 10_003]);
    assert!([10_000, 10_001, 10_002, 10_003, 8080].iter().all(|port| used.contains(port)));
    // Another version that asks again has the same numbers, and a new port another; unless somebody else
    // has them by now.
    let asking = || app(r#"{"cmd": "y", "ports": [0, 8081, 0, 0]}"#);
    let (mut second, mut third) = (asking(), asking());
    assign(&mut second, Some(&first), &mut BTreeSet::from([10_000, 10_002])).unwrap();
    assert_eq!(of(&second), [10_001, 8081, 10_003, 10_004]);
    assign(&mut third, Some(&first), &mut used).unwrap();
    assert_eq!(of(&third), [10_004, 8081, 10_005, 10_006]);
}

#[test]
fn ma_34_an_explicit_number_is_not_picked_beside_it() {
    let mut app =
        app(r#"{"networks": [{"mode": "container/bridge"}], "container": {"docker": {"image": "a"},
        "portMappings": [{"containerPort": 1}, {"containerPort": 2, "servicePort": 10000}]}}"#);
    assign(&mut app, None, &mut BTreeSet::new()).unwrap();
    assert_eq!(of(&app), [10_001, 10_000]);
}

#[test]
fn ma_34_when_no_number_is_left_it_is_said() {
    let mut used = (FIRST..=LAST).collect();
    let error = assign(&mut app(r#"{"cmd": "x"}"#), None, &mut used).unwrap_err();
    assert_eq!((error.status(), error.to_string().as_str()), {
        (422, "All ports in the range [10000-20000] are already in use")
    });
    assert!(assign(&mut app(r#"{"cmd": "x", "ports": [80]}"#), None, &mut used).is_ok());
}
