use super::*;

fn check(request: &str, expected: &str) {
    let (method, path) = request.split_once(' ').unwrap();
    let said = match find(&method.parse().unwrap(), path) {
        Found::Endpoint(endpoint, texts) => format!("{endpoint:?} {}", texts.join(" ")).trim().to_owned(),
        Found::OtherMethods(others) => format!("only {others:?}"),
        Found::Nothing => "nothing".to_owned(),
    };
    assert_eq!(said, expected, "{request}");
}

#[test]
fn ma_05_ma_09_ma_10_ids_with_slashes_stand_between_other_parts() {
    check("GET /v2/apps", "ListApps");
    check("GET /v2/apps/prod/db/main", "ShowApp /prod/db/main");
    check("GET /v2/apps/prod/db/main/tasks", "AppTasks /prod/db/main");
    check("DELETE /v2/apps/prod/db/tasks/t.1", "KillAppTask /prod/db t.1");
    check("GET /v2/apps/a/versions/2015-02-11T10:05:38.000Z", "AppVersion /a 2015-02-11T10:05:38.000Z");
    check("POST /v2/apps/a/b/restart", "RestartApp /a/b");
    check("GET /v2/apps/prod/*", "AppsBelow /prod");
    check("GET /v2/apps/*", "AppsBelow");
    check("DELETE /v2/queue/prod/db/delay", "ResetDelay /prod/db");
    check("GET /v2/groups", "ShowGroup /");
    check("GET /v2/groups/prod", "ShowGroup /prod");
    check("PUT /v2/groups", "PutGroup /");
    check("GET /v2/groups/versions", "GroupVersions");
    check("GET /v2/groups/prod/versions/x", "GroupVersion /prod x");
}

#[test]
fn ma_27_doubled_trailing_and_encoded_slashes_are_forgiven() {
    check("GET //v2//apps//", "ListApps");
    check("GET /v2/apps//prod//db/", "ShowApp /prod/db");
    check("GET /v2/apps/%2Fprod%2Fdb/tasks", "AppTasks /prod/db");
    check("GET /v2/groups//", "ShowGroup /");
    check("GET /v2/apps/%zz", "nothing");
    check("GET /v2/apps/%ff", "nothing");
    check("GET /v2/apps/a%+1b", "nothing");
}

#[test]
fn ma_24_what_is_unknown_is_not_found_and_a_known_path_names_its_methods() {
    check("GET /v2/artifacts", "nothing");
    check("GET /v2/eventSubscriptions", "nothing");
    check("GET /v2/pods", "nothing");
    check("GET /v2/apps/x/restart", "ShowApp /x/restart");
    check("POST /v2/queue", "only [GET]");
    check("POST /v2/deployments/x", "only [DELETE]");
    check("HEAD /ping", "Ping");
}

/// The manual's table is this table.
#[test]
fn the_manual_lists_every_endpoint() {
    let manual = include_str!("../../../../../../docs/marathon.md");
    let (_, section) = manual.split_once("## Every endpoint").unwrap();
    let listed: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let rows: Vec<String> =
        TABLE.iter().map(|row| format!("| `{} {}` | {} |", row.method, row.pattern, row.does)).collect();
    assert_eq!(listed, rows, "docs/marathon.md should list:\n{}", rows.join("\n"));
}
