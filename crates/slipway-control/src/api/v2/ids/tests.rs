use serde_json::json;

use super::*;

fn of(tenants: &[&str], is_several: bool) -> Ids {
    Ids::new(tenants.iter().map(|name| name.parse().unwrap()).collect(), is_several)
}

fn inward(view: &Ids, id: &str) -> String {
    view.inward(id).map_or("nothing".to_owned(), |(tenant, id)| format!("{tenant} {id}"))
}

#[test]
fn whoever_has_one_tenant_writes_its_ids() {
    let view = of(&["acme"], false);
    assert_eq!(inward(&view, "/prod/db"), "acme /prod/db");
    assert_eq!(inward(&view, "/"), "acme /");
    assert_eq!(inward(&view, "/BAD"), "nothing");
    assert_eq!(view.outward(&"acme".parse().unwrap(), "/prod/db"), "/prod/db");
}

#[test]
fn operators_see_tenants_as_groups_at_the_top() {
    let view = of(&["acme", "umbrella"], true);
    let acme = "acme".parse().unwrap();
    assert_eq!(inward(&view, "/acme/prod/db"), "acme /prod/db");
    assert_eq!(inward(&view, "/acme"), "acme /");
    assert_eq!(inward(&view, "/"), "nothing");
    assert_eq!(inward(&view, "/foreign/db"), "nothing");
    assert_eq!(view.outward(&acme, "/prod/db"), "/acme/prod/db");
    assert_eq!(view.outward(&acme, "/"), "/acme");
    // Also when there is only one, or none: an operator's ids do not change when a tenant is made.
    assert_eq!(inward(&of(&["acme"], true), "/acme/db"), "acme /db");
    assert_eq!(inward(&of(&[], true), "/acme/db"), "nothing");
}

#[test]
fn ma_67_an_app_comes_in_with_the_ids_of_its_tenant() {
    let view = of(&["acme", "umbrella"], true);
    let mut app = json!({"id": "/acme/prod/web", "dependencies": ["/acme/prod/db", "cache", "../dev/x"]});
    assert_eq!(view.app_in(&mut app, "/").unwrap().as_str(), "acme");
    assert_eq!(app, json!({"id": "/prod/web", "dependencies": ["/prod/db", "/prod/cache", "/dev/x"]}));
    // The path says which when the body does not.
    let mut app = json!({"instances": 2});
    assert_eq!(view.app_in(&mut app, "/umbrella/web").unwrap().as_str(), "umbrella");
    assert_eq!(app, json!({"instances": 2}));
    for bad in [
        json!({"id": "/foreign/web"}),
        json!({"id": "web"}),
        json!({"id": "/acme/web", "dependencies": ["/umbrella/db"]}),
        json!({"id": "/acme/web", "dependencies": ["../../x"]}),
    ] {
        assert!(view.app_in(&mut bad.clone(), "/").is_err(), "{bad}");
    }
}

#[test]
fn ma_67_a_group_comes_in_and_goes_out_with_all_that_is_in_it() {
    let view = of(&["acme", "umbrella"], true);
    let mut group = json!({
        "id": "/acme/prod",
        "dependencies": ["/acme/base"],
        "apps": [{"id": "db"}, {"id": "/acme/prod/web", "dependencies": ["db", "/acme/base/dns"]}],
        "groups": [{"id": "inner", "apps": [{"id": "x", "dependencies": ["../db"]}]}],
    });
    assert_eq!(view.group_in(&mut group, "/").unwrap().as_str(), "acme");
    let inside = json!({
        "id": "/prod",
        "dependencies": ["/base"],
        "apps": [{"id": "/prod/db"}, {"id": "/prod/web", "dependencies": ["/prod/db", "/base/dns"]}],
        "groups": [{"id": "/prod/inner", "apps": [{"id": "/prod/inner/x", "dependencies": ["/prod/db"]}]}],
    });
    assert_eq!(group, inside);
    view.group_out(&"acme".parse().unwrap(), &mut group);
    assert_eq!(group["groups"][0]["apps"][0]["dependencies"][0], "/acme/prod/db");
    assert_eq!(group["apps"][0]["id"], "/acme/prod/db");
}

#[test]
fn ma_15_deployments_and_events_go_out_with_the_tenant_in_front() {
    let view = of(&["acme", "umbrella"], true);
    let acme = "acme".parse().unwrap();
    let mut deployment = json!({
        "affectedApps": ["/db"],
        "currentActions": [{"action": "ScaleApplication", "app": "/db"}],
        "steps": [{"actions": [{"action": "ScaleApplication", "app": "/db"}]}],
    });
    view.deployment_out(&acme, &mut deployment);
    assert!(!deployment.to_string().contains("\"/db\""), "{deployment}");
    let mut event =
        json!({"appId": "/db", "plan": {"steps": [{"actions": [{"app": "/db"}]}]}, "labels": "/db"});
    view.event_out(&acme, &mut event);
    assert_eq!(event["appId"], "/acme/db");
    assert_eq!(event["plan"]["steps"][0]["actions"][0]["app"], "/acme/db");
    assert_eq!(event["labels"], "/db");
}
