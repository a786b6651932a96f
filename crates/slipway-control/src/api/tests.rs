//! The routes and the table of endpoints are the same.

use std::collections::BTreeSet;

/// Handlers cannot be listed at run time, so the source is read: every `.route("…", …)` line.
#[test]
fn every_endpoint_has_a_handler_and_nothing_else_has() {
    let source = include_str!("../api.rs");
    let mut registered = BTreeSet::new();
    for line in source.lines() {
        let Some((path, handlers)) =
            line.trim().strip_prefix(".route(\"").and_then(|rest| rest.split_once("\", "))
        else {
            continue;
        };
        let path = if path.starts_with("/v1/") {
            path.to_owned()
        } else {
            format!("/v1/environments/{{tenant}}/{{project}}/{{environment}}{}", path.trim_end_matches('/'))
        };
        for method in ["get", "post", "put", "patch", "delete"] {
            if handlers.starts_with(&format!("{method}(")) || handlers.contains(&format!(").{method}(")) {
                registered.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    let table: BTreeSet<String> = slipway_api::endpoint::all()
        .iter()
        .map(|endpoint| format!("{} {}", endpoint.method, endpoint.path))
        .collect();
    assert_eq!(registered, table);
}
