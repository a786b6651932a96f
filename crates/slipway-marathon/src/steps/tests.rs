use proptest::prelude::*;
use slipway_model::app::{Group, GroupDeployment};
use slipway_model::id::GroupDeploymentId;
use slipway_model::name::{TenantName, UserName};
use slipway_model::unit::Timestamp;

use super::*;

fn id(text: &str) -> PathId {
    text.parse().unwrap()
}

fn ids(text: &str) -> BTreeSet<PathId> {
    text.split_whitespace().map(id).collect()
}

/// `/a < /b /c` on each line: who waits for whom. A line that ends in a slash before `<` is a group's.
fn graph(story: &str) -> Result<Graph, Cycle> {
    let mut apps = BTreeMap::new();
    let mut groups = BTreeMap::new();
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (who, whom) = line.split_once('<').unwrap_or((line, ""));
        match who.trim().strip_suffix("/*") {
            Some(group) => drop(groups.insert(id(group), ids(whom).into_iter().collect())),
            None => drop(apps.insert(id(who.trim()), ids(whom))),
        }
    }
    Graph::new(&apps, &groups)
}

fn check(story: &str, changes: &[(&str, AppChange)], expected: &[&str]) {
    let changes = changes.iter().map(|(app, change)| (id(app), *change)).collect();
    let steps = graph(story).unwrap().steps(&changes);
    let action = |action: &GroupAction| format!("{:?} {}", action.kind, action.app);
    let steps: Vec<_> =
        steps.iter().map(|step| step.iter().map(action).collect::<Vec<_>>().join(", ")).collect();
    assert_eq!(steps, expected);
}

use AppChange::{Create, Remove, Replace, Scale};

#[test]
fn ma_52_ma_55_steps_follow_the_longest_path() {
    check("/app", &[("/app", Create)], &["StartApplication /app", "ScaleApplication /app"]);
    check(
        "/web < /app /cache
         /app < /db
         /cache
         /db
         /other",
        &[("/web", Replace), ("/app", Create), ("/cache", Scale), ("/db", Replace), ("/old", Remove)],
        &[
            "StopApplication /old",
            "StartApplication /app",
            "ScaleApplication /cache, RestartApplication /db",
            "ScaleApplication /app",
            "RestartApplication /web",
        ],
    );
}

#[test]
fn ma_52_what_does_not_change_counts_for_the_order_but_has_no_step() {
    check(
        "/web < /app
         /app < /db
         /db",
        &[("/web", Scale), ("/db", Scale)],
        &["ScaleApplication /db", "ScaleApplication /web"],
    );
    check("/web", &[], &[]);
}

#[test]
fn ma_67_dependencies_of_groups_hold_for_every_app_inside() {
    let story = "
        /prod/*    < /prod/db /queue
        /prod/web
        /prod/api/v1 < /prod/web
        /prod/db/main
        /prod/db/backup
        /queue";
    check(
        story,
        &[("/prod/web", Scale), ("/prod/api/v1", Scale), ("/prod/db/main", Scale), ("/queue", Scale)],
        &[
            // The apps of the database's group do not wait for themselves, but for the queue.
            "ScaleApplication /queue",
            "ScaleApplication /prod/db/main",
            "ScaleApplication /prod/web",
            "ScaleApplication /prod/api/v1",
        ],
    );
}

#[test]
fn ma_55_a_dependency_on_nothing_says_nothing() {
    let graph = graph("/web < /gone /nothing/here\n/db").unwrap();
    assert_eq!((graph.layer(&id("/web")), graph.layer(&id("/db"))), (Some(0), Some(0)));
    assert_eq!(graph.layer(&id("/gone")), None);
}

#[test]
fn cycles_are_refused_and_named() {
    let ring = |story: &str| graph(story).unwrap_err().to_string();
    let said = ring("/a < /b\n/b < /c\n/c < /a\n/d < /a");
    assert!(said.ends_with("/a → /b → /c → /a"), "{said}");
    assert!(ring("/a < /a").ends_with("/a → /a"));
    // An app that names the group which it is in waits for itself.
    assert!(ring("/g/a < /g").ends_with("/g → /g/a") || ring("/g/a < /g").ends_with("/g/a → /g → /g/a"));
    assert!(ring("/a/x < /b\n/b/y < /a").contains("/a/x"));
    let long: Vec<_> = (0..5000).map(|n| format!("/a{n} < /a{}", (n + 1) % 5000)).collect();
    let said = ring(&long.join("\n"));
    assert!(said.len() < 200 && said.contains("→ /a9 → … 4990 more … → /a0"), "{said}");
}

#[test]
fn long_chains_and_large_groups_are_cheap() {
    let chain: Vec<_> = (0..10_000).map(|n| format!("/a{n:05} < /a{:05}", n + 1)).collect();
    assert_eq!(graph(&chain.join("\n")).unwrap().layer(&id("/a00000")), Some(9_999));
    let mut groups = vec!["/a/* < /b".to_owned(), "/b/* < /c".to_owned()];
    groups.extend((0..9_000).map(|n| format!("/{}/x{n}", ["a", "b", "c"][n % 3])));
    let graph = graph(&groups.join("\n")).unwrap();
    assert_eq!((graph.layer(&id("/c/x2")), graph.layer(&id("/a/x0"))), (Some(0), Some(2)));
}

fn deployment(apps: &[(&str, Option<u64>)]) -> GroupDeployment {
    let action = |app: &str| GroupAction { kind: GroupActionKind::ScaleApplication, app: id(app) };
    GroupDeployment {
        tenant: "acme".parse::<TenantName>().unwrap(),
        id: "97c136bf-5a28-4821-9d94-480d9fbb01c8".parse::<GroupDeploymentId>().unwrap(),
        version: Timestamp(100),
        steps: vec![apps.iter().map(|(app, _)| action(app)).collect()],
        before: apps.iter().map(|(app, before)| (id(app), before.map(Timestamp))).collect(),
        groups_before: BTreeMap::new(),
        scales_before: BTreeMap::new(),
        by: "ada".parse::<UserName>().unwrap(),
        created_at: Timestamp(100),
        is_stopped: false,
    }
}

#[test]
fn ma_54_a_reversal_touches_only_what_the_deployment_changed() {
    let mut deployment =
        deployment(&[("/new", None), ("/changed", Some(5)), ("/back", Some(7)), ("/gone", None)]);
    let group =
        Group { tenant: deployment.tenant.clone(), id: id("/g"), dependencies: vec![], enforce_role: None };
    deployment.groups_before = [(id("/g"), Some(group)), (id("/h"), None)].into();
    deployment.scales_before = [(id("/dev/shop/web"), 3)].into();
    let now = [("/new", 100), ("/changed", 100), ("/back", 7), ("/others", 101)];
    let now = now.map(|(app, version)| (id(app), Timestamp(version))).into();
    let reversal = deployment.reversal(&now);
    assert_eq!(reversal.apps, [(id("/new"), None), (id("/changed"), Some(Timestamp(5)))].into());
    assert_eq!((reversal.groups, reversal.scales), (deployment.groups_before, deployment.scales_before));
}

/// Up to forty apps; each may wait for some with a lower number, so that there is no ring.
fn acyclic() -> impl Strategy<Value = BTreeMap<PathId, BTreeSet<PathId>>> {
    prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40).prop_map(
        |edges| {
            let name = |n: usize| id(&format!("/a{n}"));
            let targets = |n: usize, picks: &[prop::sample::Index]| {
                picks.iter().filter(|_| n > 0).map(|pick| name(pick.index(n))).collect()
            };
            edges.iter().enumerate().map(|(n, picks)| (name(n), targets(n, picks))).collect()
        },
    )
}

proptest! {
    #[test]
    fn ma_52_ma_55_every_app_comes_after_what_it_waits_for(
        apps in acyclic(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize), 0..40),
    ) {
        let ids: Vec<_> = apps.keys().cloned().collect();
        let kinds = [Create, Scale, Replace];
        let changes: BTreeMap<_, _> =
            picks.iter().map(|(pick, kind)| (ids[pick.index(ids.len())].clone(), kinds[*kind])).collect();
        let steps = Graph::new(&apps, &BTreeMap::new()).unwrap().steps(&changes);
        let is_start = |action: &GroupAction| action.kind == GroupActionKind::StartApplication;
        let mut place = BTreeMap::new();
        for (step, actions) in steps.iter().enumerate() {
            prop_assert!(!actions.is_empty());
            for action in actions.iter().filter(|action| !is_start(action)) {
                prop_assert_eq!(place.insert(action.app.clone(), step), None);
            }
        }
        prop_assert_eq!(place.keys().collect::<Vec<_>>(), changes.keys().collect::<Vec<_>>());
        for (app, step) in &place {
            let mut seen = BTreeSet::new();
            let mut below: Vec<_> = apps[app].iter().cloned().collect();
            while let Some(next) = below.pop().filter(|_| seen.len() < 1000) {
                if let Some(earlier) = place.get(&next) {
                    prop_assert!(earlier < step, "{next} is not before {app}");
                }
                if seen.insert(next.clone()) {
                    below.extend(apps[&next].iter().cloned());
                }
            }
        }
    }

    #[test]
    fn ma_54_a_reversal_of_a_reversal_changes_nothing_else(
        before in prop::collection::btree_map(0_u8..12, 1_u64..5, 0..12),
        changed in prop::collection::btree_map(0_u8..12, prop::option::of(6_u64..9), 0..12),
    ) {
        type State = BTreeMap<PathId, Timestamp>;
        let name = |n: &u8| id(&format!("/a{n}"));
        let start: State = before.iter().map(|(n, v)| (name(n), Timestamp(*v))).collect();
        let apply = |state: &State, set: &BTreeMap<PathId, Option<Timestamp>>| {
            let mut state = state.clone();
            for (app, version) in set {
                match version {
                    Some(version) => state.insert(app.clone(), *version),
                    None => state.remove(app),
                };
            }
            state
        };
        let record = |from: &State, set: &BTreeMap<PathId, Option<Timestamp>>| {
            let before = set.keys().map(|app| (app.clone(), from.get(app).copied())).collect();
            GroupDeployment { before, ..deployment(&[]) }
        };
        let set = changed.iter().map(|(n, v)| (name(n), v.map(Timestamp))).collect();
        let there = apply(&start, &set);
        let back = record(&start, &set).reversal(&there).apps;
        let again = apply(&there, &back);
        prop_assert_eq!(&again, &start);
        let forth = record(&there, &back).reversal(&again).apps;
        prop_assert_eq!(apply(&again, &forth), there);
    }
}
