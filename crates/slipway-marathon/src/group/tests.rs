use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use slipway_model::unit::Timestamp;

use super::*;
use crate::app::AppUpdate;
use crate::present::{AppExtras, GroupEmbed, app_info};

fn id(text: &str) -> PathId {
    text.parse().unwrap()
}

fn app(body: &Value) -> AppDefinition {
    AppUpdate::of_value(body.clone(), &PathId::root()).unwrap().create().unwrap()
}

/// A tree with these apps, each running `x`.
fn tree(ids: &str) -> Tree {
    let apps = ids.split_whitespace().map(|text| app(&json!({"id": text, "cmd": "x"})));
    Tree { apps: apps.map(|app| (app.id.clone(), Arc::new(app))).collect(), ..Tree::default() }
}

fn read(path: &str, body: &Value) -> Result<GroupChange, Error> {
    GroupChange::read(body.to_string().as_bytes(), &id(path))
}

fn update(path: &str, body: &Value) -> GroupUpdate {
    match read(path, body) {
        Ok(GroupChange::Update(update)) => update,
        other => panic!("{body}: {other:?}"),
    }
}

/// All apps, and the groups that were made, after a body was sent to a path.
fn check(before: &str, path: &str, body: Value, expected: &str) {
    let after =
        tree(before).with_group(&update(path, &body)).unwrap_or_else(|error| panic!("{}", error.body()));
    let apps: Vec<_> = after.apps.keys().map(PathId::as_str).collect();
    let groups: Vec<_> = after.groups.keys().map(PathId::as_str).collect();
    assert_eq!(format!("{} | {}", apps.join(" "), groups.join(" ")), expected, "{body}");
}

#[test]
fn ma_67_ids_may_be_relative_or_absolute() {
    check("", "/", json!({"id": "prod", "apps": [{"id": "db", "cmd": "x"}]}), "/prod/db | /prod");
    check("", "/prod", json!({"apps": [{"id": "/prod/db", "cmd": "x"}]}), "/prod/db | /prod");
    check(
        "",
        "/",
        json!({"id": "/prod", "groups": [{"id": "db", "apps": [{"id": "main", "cmd": "x"}],
            "groups": [{"id": "/prod/db/extra"}]}]}),
        "/prod/db/main | /prod /prod/db /prod/db/extra",
    );
    let wrong = json!({"id": "/prod", "apps": [{"id": "/dev/db", "cmd": "x"}, {"id": "a/b", "cmd": "x"}],
        "groups": [{"id": "/x"}, {"apps": []}, {"id": "g"}, {"id": "g"}]});
    let body = read("/", &wrong).unwrap_err().body();
    for (path, why) in [
        ("/apps(0)/id", "Identifier is not child of '/prod'. Hint: use relative paths."),
        ("/apps(1)/id", "Identifier is not child of '/prod'. Hint: use relative paths."),
        ("/groups(0)/id", "Identifier is not child of '/prod'. Hint: use relative paths."),
        ("/groups(1)/id", "is missing"),
        ("/groups(3)/id", "/prod/g is described twice"),
    ] {
        let detail = format!(r#"{{"path":"{path}","errors":["{why}"]}}"#);
        assert!(body.contains(&detail), "{detail}\n{body}");
    }
}

#[test]
fn ma_67_what_is_missing_from_a_given_list_goes() {
    let before = "/prod/a /prod/b /prod/db/x /prod/cache/y /prod-2/z /dev/a";
    let new = |id: &str| json!({"id": id, "cmd": "x"});
    check(before, "/prod", json!({"apps": [new("b"), new("c")]}), {
        "/dev/a /prod-2/z /prod/b /prod/c /prod/cache/y /prod/db/x | /prod"
    });
    check(before, "/prod", json!({"groups": [{"id": "db"}]}), {
        "/dev/a /prod-2/z /prod/a /prod/b /prod/db/x | /prod /prod/db"
    });
    check(before, "/prod", json!({"groups": [], "apps": []}), "/dev/a /prod-2/z | /prod");
    check(before, "/prod", json!({"dependencies": ["/dev"]}), {
        "/dev/a /prod-2/z /prod/a /prod/b /prod/cache/y /prod/db/x | /prod"
    });
    // An app in a group's list is the whole app, not a change of it.
    let after = tree("/prod/a").with_group(&update("/prod", &json!({"apps": [{"id": "a", "args": ["y"]}]})));
    assert_eq!(after.unwrap().apps[&id("/prod/a")].cmd, None);
}

#[test]
fn ma_12_a_body_is_one_of_three_things() {
    let group = |path: &str, body: Value| read(path, &body).map(|change| (change.group().clone(), change));
    let (at, change) = group("/prod", json!({"scaleBy": 1.5})).unwrap();
    assert_eq!(
        (at, change),
        (id("/prod"), GroupChange::Scale { group: id("/prod"), by: Decimal::thousandths(1500) })
    );
    let (_, change) = group("/", json!({"id": "/prod", "version": "2026-11-22T17:05:09.123Z"})).unwrap();
    let version = Timestamp(1_795_367_109_123);
    assert_eq!(change, GroupChange::Rollback { group: id("/prod"), version });
    for (body, path) in [
        (json!({"scaleBy": 2, "apps": []}), "/scaleBy"),
        (json!({"version": "2026-11-22T17:05:09Z", "dependencies": ["/a"]}), "/version"),
        (json!({"version": "2026-11-22T17:05:09Z", "scaleBy": 2}), "/version"),
    ] {
        let body = read("/prod", &body).unwrap_err().body();
        assert!(body.contains(&format!("{path}\",\"errors\":[\"not allowed in conjunction")), "{body}");
    }
    assert!(read("/", &json!({"scaleBy": -1})).is_err());
    assert!(
        read("/", &json!({"pods": [{"id": "/p"}]})).unwrap_err().body().contains("pods are not supported")
    );
    assert!(read("/", &json!({"ap": []})).unwrap_err().body().contains("the field \\\"ap\\\" is not known"));
    assert!(read("/", &json!([])).is_err());
    assert_eq!(read_partial(json!({"enforceRole": true})), Ok(Some(true)));
    assert!(read_partial(json!({"apps": []})).is_err());
}

#[test]
fn ma_12_what_was_answered_may_be_sent_back() {
    let before = tree("/prod/a /prod/db/x");
    let shown = shown(&before, "/prod", GroupEmbed::of([]));
    let mut body = shown;
    body.as_object_mut().unwrap().remove("version");
    let after = before.clone().with_group(&update("/prod", &body)).unwrap();
    assert_eq!(before.changes(&after), [].into());
}

#[test]
fn ma_12_scaling_multiplies_and_rounds_up() {
    let scaled = |by: u64, before: u32| {
        let mut tree = tree("/prod/a /prod/db/b /dev/c");
        for app in tree.apps.values_mut() {
            Arc::make_mut(app).instances = before;
        }
        let after = tree.clone().scaled(&id("/prod"), Decimal::thousandths(by))?;
        let changes = tree.changes(&after);
        assert!(changes.values().all(|change| *change == AppChange::Scale));
        assert_eq!(after.apps[&id("/dev/c")].instances, before);
        Ok::<_, Error>((after.apps[&id("/prod/db/b")].instances, changes.len()))
    };
    assert_eq!(scaled(1500, 3).unwrap(), (5, 2));
    assert_eq!(scaled(1000, 3).unwrap(), (3, 0));
    assert_eq!(scaled(0, 3).unwrap(), (0, 2));
    assert!(scaled(1_000_000_000_000, 3).unwrap_err().body().contains("/scaleBy"));
}

#[test]
fn ma_67_an_app_and_a_group_cannot_share_an_id() {
    let clash = tree("/prod/db").with_app(app(&json!({"id": "/prod", "cmd": "x"}))).unwrap_err().body();
    assert!(clash.contains("Groups and Applications may not have the same identifier: /prod"), "{clash}");
    let update = update("/", &json!({"id": "/prod/db"}));
    assert!(tree("/prod/db").with_group(&update).is_err());
    assert!(tree("/prod/db").with_app(app(&json!({"id": "/prod/dbx", "cmd": "x"}))).is_ok());
}

#[test]
fn ma_67_dependencies_that_form_a_ring_are_refused_by_name() {
    let web = app(&json!({"id": "/prod/web", "cmd": "x", "dependencies": ["/prod/db"]}));
    let tree = tree("/prod/db/x").with_app(web).unwrap();
    let update = update("/prod/db", &json!({"dependencies": ["../web"]}));
    let body = tree.with_group(&update).unwrap_err().body();
    assert!(body.contains("cyclic dependencies") && body.contains("/prod/web"), "{body}");
    let many: Vec<_> = (0..101).map(|n| format!("/a{n}")).collect();
    assert!(read("/", &json!({"id": "g", "dependencies": many})).unwrap_err().body().contains("at most 100"));
}

#[test]
fn too_many_apps_are_refused() {
    let mut tree = tree("/x");
    let one = tree.apps[&id("/x")].clone();
    tree.apps.extend((0..APPS_MAX).map(|n| (id(&format!("/g/x{n}")), one.clone())));
    assert!(tree.check().unwrap_err().body().contains("are more than 10000"));
}

#[test]
fn too_many_dependencies_are_refused_before_they_take_memory() {
    let mut tree = tree("/x");
    let one = tree.apps[&id("/x")].clone();
    tree.apps = (0..5000).map(|n| (id(&format!("/a/b/c/x{n}")), one.clone())).collect();
    let targets = |group: &str| (0..20).map(|n| id(&format!("{group}t{n}"))).collect();
    for group in ["/a", "/a/b", "/a/b/c"] {
        let facts = GroupFacts { dependencies: targets(group), enforce_role: None };
        assert_eq!(tree.check(), Ok(()));
        tree.groups.insert(id(group), facts);
    }
    assert!(tree.check().unwrap_err().body().contains("too many dependencies"));
}

#[test]
fn ma_12_a_group_goes_with_all_that_is_in_it() {
    let after = tree("/prod/a /prod/db/x /dev/c").without(&id("/prod"));
    let ids: Vec<_> = after.apps.keys().map(PathId::as_str).collect();
    assert_eq!(ids, ["/dev/c"]);
    assert!(!after.has_group(&id("/prod")) && after.has_group(&id("/dev")));
}

#[test]
fn ma_34_a_body_that_asks_for_any_port_again_changes_nothing() {
    let before = tree("/a /b").with_service_ports(&Tree::default()).unwrap();
    let ports = |tree: &Tree| tree.apps.values().flat_map(|app| service_port::of(app)).collect::<Vec<_>>();
    assert_eq!(ports(&before), [10_000, 10_001]);
    let again = before.clone().with_app(app(&json!({"id": "/b", "cmd": "x"}))).unwrap();
    let again = again.with_app(app(&json!({"id": "/c", "cmd": "x", "ports": [0, 10001]}))).unwrap();
    assert_eq!(before.changes(&again), [(id("/c"), AppChange::Create)].into());
    let after = again.with_service_ports(&before).unwrap();
    assert_eq!(before.changes(&after), [(id("/c"), AppChange::Create)].into());
    assert_eq!(ports(&after), [10_000, 10_001, 10_002, 10_001]);
}

#[test]
fn ma_34_who_is_new_gets_no_number_of_one_that_asks_again() {
    let before = tree("/b").with_service_ports(&Tree::default()).unwrap();
    // `/a` comes before `/b`, and `/b` is another version.
    let after = tree("/a").with_app(app(&json!({"id": "/b", "cmd": "y", "ports": [0]}))).unwrap();
    let after = after.with_service_ports(&before).unwrap();
    let ports = after.apps.values().map(|app| service_port::of(app)).collect::<Vec<_>>();
    assert_eq!(ports, [[10_001], [10_000]]);
}

fn shown(tree: &Tree, group: &str, embed: GroupEmbed) -> Value {
    let version = Timestamp(1_795_367_109_123);
    let info = |app: &AppDefinition| -> Box<RawValue> {
        app_info(&app.to_json(), &AppExtras::of(version, None)).unwrap()
    };
    let apps = tree.apps.iter().map(|(id, app)| (id.clone(), info(app))).collect();
    serde_json::to_value(show(&id(group), apps, &tree.groups, version, embed)).unwrap()
}

#[test]
fn ma_11_a_tree_is_shown_with_what_is_asked_for() {
    let mut tree = tree("/prod/a /prod/db/deep/x /dev/b /c");
    let facts = GroupFacts { dependencies: [id("/dev")].into(), enforce_role: Some(false) };
    tree.groups = [(id("/prod/db"), facts), (id("/empty"), GroupFacts::default())].into();
    /// Ids only, as `{group: [apps, groups]}`.
    fn outline(group: &Value) -> Value {
        let ids = |of: &str| {
            group[of].as_array().into_iter().flatten().map(|one| one["id"].clone()).collect::<Vec<_>>()
        };
        let below: Vec<_> = group["groups"].as_array().into_iter().flatten().map(outline).collect();
        json!([group["id"], ids("apps"), below])
    }
    let all = shown(&tree, "/", GroupEmbed::of([]));
    let expected = json!([
        "/",
        ["/c"],
        [
            ["/dev", ["/dev/b"], []],
            ["/empty", [], []],
            ["/prod", ["/prod/a"], [["/prod/db", [], [["/prod/db/deep", ["/prod/db/deep/x"], []]]]]],
        ]
    ]);
    assert_eq!(outline(&all), expected);
    let db = &all["groups"][2]["groups"][0];
    assert_eq!(
        (&db["dependencies"], &db["enforceRole"], &db["pods"]),
        (&json!(["/dev"]), &json!(false), &json!([]))
    );
    assert_eq!(db["version"], "2026-11-22T17:05:09.123Z");
    assert_eq!(outline(&shown(&tree, "/prod", GroupEmbed::of([]))), expected[2][2]);
    let groups_only = shown(&tree, "/prod", GroupEmbed::of(["group.groups"]));
    assert_eq!((groups_only.get("apps"), groups_only.get("pods")), (None, None));
    let apps_only = shown(&tree, "/prod", GroupEmbed::of(["group.apps"]));
    assert_eq!((apps_only.get("groups"), apps_only["apps"].as_array().unwrap().len()), (None, 1));
}

proptest! {
    #[test]
    fn ma_67_what_is_put_is_there_and_what_is_outside_stays(
        before in prop::collection::btree_set("/[ab](/[ab]){0,3}/x", 0..8),
        path in "(/[ab]){1,2}",
        apps in prop::option::of(prop::collection::btree_set("[xyz]", 0..3)),
        groups in prop::option::of(prop::collection::btree_set("[abc]", 0..3)),
    ) {
        let before = tree(&before.into_iter().collect::<Vec<_>>().join(" "));
        let new = apps.clone().map(|apps| apps.iter().map(|id| json!({"id": id, "cmd": "new"})).collect::<Vec<_>>());
        let below = groups.clone().map(|groups| groups.iter().map(|id| json!({"id": id})).collect::<Vec<_>>());
        let group = id(&path);
        let after = before.clone().with_group(&update(&path, &json!({"apps": new, "groups": below}))).unwrap();
        for (id, app) in before.apps.iter().chain(&after.apps) {
            let is_own = id.parent().as_ref() == Some(&group);
            let listed = |list: &Option<BTreeSet<String>>, name: &str| list.as_ref().map(|list| list.contains(name));
            let name = id.as_str().strip_prefix(&format!("{path}/"));
            let first = name.and_then(|name| name.split('/').next()).unwrap_or_default();
            let stays = match (id.is_within(&group), is_own) {
                (false, _) => before.apps.contains_key(id),
                (true, true) => listed(&apps, first).unwrap_or(before.apps.contains_key(id)),
                (true, false) => listed(&groups, first).unwrap_or(true) && before.apps.contains_key(id),
            };
            prop_assert_eq!(after.apps.contains_key(id), stays, "{}", id);
            let is_new = is_own && apps.is_some() && stays;
            prop_assert_eq!(after.apps.get(id).is_some_and(|app| app.cmd.as_deref() == Some("new")), is_new);
            prop_assert!(app.cmd.is_some());
        }
        // Said twice, it is as said once.
        let again = after.clone().with_group(&update(&path, &json!({"apps": new, "groups": below}))).unwrap();
        prop_assert_eq!(&again, &after);
        prop_assert_eq!(after.changes(&again), BTreeMap::new());
        prop_assert!(after.has_group(&group));
    }
}
