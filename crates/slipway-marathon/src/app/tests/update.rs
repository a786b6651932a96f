//! Changes of an app that is there (MA-06), and lists of them (MA-04).

use super::*;

fn onto(old: &AppDefinition, body: &str) -> AppDefinition {
    let update = read(body).unwrap_or_else(|error| panic!("{body}: {}", error.body()));
    update.onto(old).unwrap_or_else(|error| panic!("{body}: {}", error.body()))
}

fn old() -> AppDefinition {
    app(r#"{"id": "/prod/web", "container": {"docker": {"image": "shop:1", "network": "BRIDGE",
        "portMappings": [{"containerPort": 80, "servicePort": 10001}]}}, "env": {"A": "1", "B": "2"},
        "labels": {"x": "y"}, "instances": 2, "upgradeStrategy": {"minimumHealthCapacity": 0.5},
        "slipway": {"canary": 1}}"#)
}

#[test]
fn ma_06_what_a_body_does_not_say_stays() {
    let old = old();
    assert_eq!(onto(&old, "{}"), old);
    assert_eq!(onto(&old, r#"{"id": "/prod/web", "labels": null}"#), old);
    assert_eq!(onto(&old, r#"{"instances": 5}"#), AppDefinition { instances: 5, ..old.clone() });
    // What is said replaces as a whole.
    let new = onto(&old, r#"{"env": {"C": "3"}, "labels": {}}"#);
    assert_eq!(said(&new)["env"], json(r#"{"C": "3"}"#));
    assert_eq!(said(&new)["labels"], json("{}"));
    let new = onto(&old, r#"{"upgradeStrategy": {"maximumOverCapacity": 0}}"#);
    assert_eq!(new.upgrade_strategy.minimum_health_capacity, Decimal::ONE);
}

#[test]
fn ma_06_a_change_of_the_network_changes_what_ports_mean() {
    let host = onto(&old(), r#"{"networks": [{"mode": "host"}]}"#);
    assert_eq!(
        said(&host)["portDefinitions"],
        json(r#"[{"port": 0, "name": "default", "protocol": "tcp"}]"#)
    );
    assert_eq!(host.container.as_ref().unwrap().port_mappings, None);
    let back = onto(&host, r#"{"networks": [{"mode": "container/bridge"}]}"#);
    assert_eq!((back.port_definitions.as_ref(), back.port_count()), (None, 1));
    // Old words onto an app in new ones: the ports of an app with mappings are its mappings.
    assert_eq!(onto(&old(), r#"{"ports": [0]}"#), old());
}

#[test]
fn ma_06_a_change_is_checked_with_what_stays() {
    let refused = |body: &str| read(body).unwrap().onto(&old()).unwrap_err().body();
    assert!(refused(r#"{"cmd": "a", "args": ["b"]}"#).contains("AppDefinition must either"));
    assert!(refused(r#"{"healthChecks": [{"portIndex": 1}]}"#).contains("/healthChecks(0)"));
    assert!(refused(r#"{"portDefinitions": [{"port": 1}]}"#).contains("only allowed with host-networking"));
    assert!(refused(r#"{"instances": 501}"#).contains("/instances"));
}

#[test]
fn ma_06_version_alone_goes_back() {
    let change = |body: &str| read(body).unwrap().change();
    let version = "2026-11-22T17:05:09.123Z";
    let time = crate::timestamp::parse(version).unwrap();
    assert_eq!(change(&format!(r#"{{"version": "{version}"}}"#)), Ok(Change::Rollback(time)));
    assert_eq!(
        change(&format!(r#"{{"id": "/x", "version": "{version}", "cmd": null}}"#)),
        Ok(Change::Rollback(time))
    );
    assert!(matches!(change(r#"{"instances": 1}"#), Ok(Change::Update(_))));
    for more in
        [r#""instances": 1"#, r#""dependencies": []"#, r#""ports": [1]"#, r#""container": {"type": "MESOS"}"#]
    {
        let error = change(&format!(r#"{{"version": "{version}", {more}}}"#)).unwrap_err();
        assert!(
            error.body().contains("The 'version' field may only be combined with the 'id' field."),
            "{more}"
        );
    }
    assert!(read(r#"{"version": "yesterday"}"#).unwrap_err().body().contains("/version"));
}

#[test]
fn ma_04_lists_of_apps_name_the_place_of_a_mistake() {
    let read = |body: &str| AppUpdate::read_list(body.as_bytes(), &PathId::root());
    let updates = read(r#"[{"id": "/a", "instances": 1}, {"id": "b", "cmd": "x"}]"#).unwrap();
    let ids: Vec<_> = updates.iter().map(|update| update.id().unwrap().to_string()).collect();
    assert_eq!(ids, ["/a", "/b"]);
    let body = read(r#"[{"id": "/a"}, {"id": "/b", "cpus": "x"}, {"cmd": "y"}, 5]"#).unwrap_err().body();
    for path in ["(1)/cpus", "(2)/id", "(3)"] {
        assert!(body.contains(&format!("\"path\":\"{path}\"")), "{body}");
    }
    assert!(read(r#"{"id": "/a"}"#).unwrap_err().body().contains("must be a list of apps"));
}
