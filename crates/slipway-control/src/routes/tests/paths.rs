//! Host names that several apps share by paths.

use slipway_model::app::environment_of;
use slipway_model::deployment::{Deployment, DeploymentState};
use slipway_model::id::DeploymentNumber;

use super::*;
use crate::leader::PublicUrl;

const HOST: &str = "shop.example";

/// An app whose releases have these labels for the first port, besides the group and [`HOST`].
fn app(tenant: &str, app: &str, releases: &[&[(&str, &str)]]) -> EnvironmentView {
    let path = environment_of(&tenant.parse().expect("a name"), &app.parse().expect("an id"));
    let mut view = EnvironmentView::new(path);
    view.wanted = Some(Environment {
        path: view.path.clone(),
        deploy_branch: "main".into(),
        config: BTreeMap::new(),
        scale: BTreeMap::new(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        app: Some(app.parse().expect("an id")),
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
        created_at: T,
    });
    for (number, more) in (1..).zip(releases) {
        let mut labels = BTreeMap::from([
            ("HAPROXY_GROUP".to_owned(), "external".to_owned()),
            ("HAPROXY_0_VHOST".to_owned(), HOST.to_owned()),
        ]);
        labels.extend(more.iter().map(|(what, text)| (format!("HAPROXY_0_{what}"), (*text).to_owned())));
        let port = PortSpec {
            name: None,
            container: 8000,
            host: None,
            protocol: PortProtocol::Tcp,
            service: 0,
            labels: BTreeMap::new(),
        };
        let spec = ServiceSpec { ports: vec![port], labels, ..ServiceSpec::default() };
        let release = Release {
            environment: view.path.clone(),
            number: ReleaseNumber(number),
            image: ImageRef {
                repository: "acme/web".into(),
                digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest"),
            },
            commit: None,
            services: [(app_service(), spec)].into(),
            release_command: None,
            config: BTreeMap::new(),
            origin: Origin::Image,
            by: "ann".parse().expect("a name"),
            created_at: T,
        };
        view.releases.insert(ReleaseNumber(number), release);
    }
    set_live(&mut view, 1);
    view
}

fn set_live(view: &mut EnvironmentView, release: u64) {
    let mut status = view.status_or_new();
    status.live = Some(ReleaseNumber(release));
    view.status = Some(status);
}

/// A healthy instance of that release.
fn run(view: &mut EnvironmentView, instance: u8, release: u64) {
    view.assignments.push(Assignment {
        instance: id(instance),
        role: InstanceRole::Service { service: app_service() },
        release: ReleaseNumber(release),
        restart_generation: 0,
        node: "n1".parse().expect("a name"),
        goal: Goal::Run,
        created_at: T,
        ports: vec![0],
        volumes: Vec::new(),
    });
    let report = InstanceReport {
        instance: id(instance),
        state: InstanceState::Healthy,
        address: Some([10, 0, 0, instance].into()),
        at: T,
        ready: None,
        checks: Vec::new(),
        started_at: None,
    };
    view.reports.insert(id(instance), report);
}

fn claim(view: &EnvironmentView, state: HostState) -> HostClaim {
    HostClaim { host: HOST.into(), service: view.path.service(app_service()), state, created_at: T }
}

/// The routes as it should have them, once its labels are read.
fn routes_now(view: &EnvironmentView, claims: &mut Claims) -> BTreeMap<String, Route> {
    let mut asking = Asking::default();
    asking.refresh(view);
    claims.share(&view.path, asking.shared_hosts());
    routes_of(view, &asking, claims)
}

/// Each key with the last digits of its instances' addresses.
#[track_caller]
fn check(view: &EnvironmentView, claims: &mut Claims, expected: &[(&str, &[u8])]) {
    let routes = routes_now(view, claims);
    let found: Vec<_> = routes
        .iter()
        .map(|(key, route)| {
            let last = |endpoint: &Endpoint| endpoint.address.ip().octets()[3];
            (key.as_str(), route.endpoints.iter().map(last).collect::<Vec<_>>())
        })
        .collect();
    let expected: Vec<_> = expected.iter().map(|(key, last)| (*key, last.to_vec())).collect();
    assert_eq!(found, expected);
}

#[test]
fn ma_80_apps_of_one_tenant_share_a_host_by_paths() {
    let mut root = app("acme", "/root", &[&[]]);
    run(&mut root, 1, 1);
    let mut api = app("acme", "/api", &[&[("PATH", "/api /v2/"), ("STICKY", "true")]]);
    run(&mut api, 2, 1);
    let mut evil = app("evil", "/api", &[&[("PATH", "/login")]]);
    run(&mut evil, 3, 1);
    let mut claims = Claims::default();
    check(&api, &mut claims, &[]);
    claims.put(claim(&root, HostState::Proven));
    check(&root, &mut claims, &[(HOST, &[1])]);
    check(&api, &mut claims, &[("shop.example/api", &[2]), ("shop.example/v2/", &[2])]);
    check(&evil, &mut claims, &[]);
    assert!(routes_now(&api, &mut claims).values().all(|route| route.is_sticky && !route.to_https));
    claims.put(claim(&root, HostState::Platform));
    check(&api, &mut claims, &[("shop.example/api", &[2]), ("shop.example/v2/", &[2])]);
    for state in [HostState::Tombstone, HostState::Unproven { challenge: "x".into() }] {
        claims.put(claim(&root, state));
        check(&api, &mut claims, &[]);
    }
    // Who has the name and asks for paths only does not get the rest.
    claims.put(claim(&api, HostState::Proven));
    check(&api, &mut claims, &[("shop.example/api", &[2]), ("shop.example/v2/", &[2])]);
    check(&root, &mut claims, &[]);
    claims.put(claim(&evil, HostState::Proven));
    check(&api, &mut claims, &[]);
    check(&evil, &mut claims, &[("shop.example/login", &[3])]);
    api.wanted = None;
    claims.put(claim(&root, HostState::Proven));
    check(&api, &mut claims, &[]);
}

#[test]
fn ma_80_a_new_path_comes_with_its_first_instance_and_an_old_one_goes_with_its_last() {
    let mut view =
        app("acme", "/api", &[&[("PATH", "/a /both")], &[("PATH", "/b /both"), ("STICKY", "yes")]]);
    let mut claims = Claims::default();
    claims.put(claim(&app("acme", "/root", &[&[]]), HostState::Proven));
    // A release that is live is down without instances.
    check(&view, &mut claims, &[("shop.example/a", &[]), ("shop.example/both", &[])]);
    run(&mut view, 1, 1);
    let both = DeploymentNumber(2);
    let deployment = Deployment {
        environment: view.path.clone(),
        number: both,
        from: Some(ReleaseNumber(1)),
        to: ReleaseNumber(2),
        request: None,
        by: "ann".parse().expect("a name"),
        created_at: T,
        resume_generation: 0,
        state: DeploymentState::Rollout { deadline: Timestamp(9000) },
        events: Vec::new(),
    };
    view.deployments.insert(both, deployment);
    check(&view, &mut claims, &[("shop.example/a", &[1]), ("shop.example/both", &[1])]);
    run(&mut view, 2, 2);
    let three: [(&str, &[u8]); 3] =
        [("shop.example/a", &[1]), ("shop.example/b", &[2]), ("shop.example/both", &[1, 2])];
    check(&view, &mut claims, &three);
    let sticky = |view: &EnvironmentView, claims: &mut Claims| {
        routes_now(view, claims).values().map(|route| route.is_sticky).collect::<Vec<_>>()
    };
    assert_eq!(sticky(&view, &mut claims), [false, true, true], "the one that shall run counts");
    let back = DeploymentState::Rollback { reason: "x".into(), tail: Vec::new(), deadline: Timestamp(9000) };
    view.deployments.get_mut(&both).expect("it is there").state = back;
    assert_eq!(sticky(&view, &mut claims), [false, true, false]);
    check(&view, &mut claims, &three);
    // Or it is done.
    set_live(&mut view, 2);
    view.assignments.remove(0);
    view.deployments.get_mut(&both).expect("it is there").state = DeploymentState::Live { at: T };
    check(&view, &mut claims, &[("shop.example/b", &[2]), ("shop.example/both", &[2])]);
}

#[test]
fn ma_80_whoever_shares_a_host_hears_of_its_claim() {
    let (root, api) = (app("acme", "/root", &[&[]]), app("acme", "/api", &[&[("PATH", "/api")]]));
    let mut claims = Claims::default();
    routes_now(&api, &mut claims);
    let both = [api.path.clone(), root.path.clone()];
    assert_eq!(claims.put(claim(&root, HostState::Proven)), both);
    assert_eq!(claims.remove(HOST), [root.path.clone(), api.path.clone()]);
    claims.share(&api.path, BTreeSet::new());
    assert_eq!(claims.put(claim(&root, HostState::Proven)), [root.path]);
}

#[test]
fn ma_80_labels_are_read_again_when_other_releases_count() {
    let mut view = app("acme", "/api", &[&[("PATH", "/a")], &[("PATH", "/b")]]);
    let mut asking = Asking::default();
    assert!(asking.refresh(&view));
    assert!(!asking.refresh(&view));
    run(&mut view, 1, 1);
    assert!(!asking.refresh(&view));
    run(&mut view, 2, 2);
    assert!(asking.refresh(&view));
    assert_eq!(asking.paths(), ["shop.example/a", "shop.example/b"].into());
    view.wanted = None;
    assert!(asking.refresh(&view));
    assert!(asking.paths().is_empty() && asking.shared_hosts().is_empty());
}

/// A route at a key, of an app, to these instances.
fn at(key: &str, app: &str, instances: &[u8]) -> BTreeMap<String, Route> {
    let service = environment_of(&"acme".parse().expect("a name"), &app.parse().expect("an id"));
    let mut routes = routes(instances);
    let route = routes.pop_first().expect("a route").1;
    [(key.to_owned(), Route { service: service.service(app_service()), ..route })].into()
}

#[test]
fn ma_80_of_two_that_want_a_key_the_first_has_it_and_the_other_comes_after_it() {
    let none = BTreeMap::new();
    for first_comes_first in [true, false] {
        let mut routers = Routers::new(Epoch(3), Timestamp(0));
        let (one, two) = (at("h/a", "/one", &[1]), at("h/a", "/two", &[2]));
        assert!(one["h/a"].service < two["h/a"].service);
        if first_comes_first {
            assert!(routers.replace(&none, &one, T));
            assert!(!routers.replace(&none, &two, T), "it changes nothing");
        } else {
            assert!(routers.replace(&none, &two, T));
            assert_eq!(routers.traffic(&id(2), T), Some(Traffic::In));
            assert!(routers.replace(&none, &one, T));
        }
        assert_eq!(routers.table().routes, one);
        assert_eq!(routers.traffic(&id(1), T), Some(Traffic::In));
        assert_eq!(routers.traffic(&id(2), T), None);
        // What the other wants may change while it waits, and so may what the first has.
        let (one_more, two_more) = (at("h/a", "/one", &[1, 3]), at("h/a", "/two", &[2, 4]));
        assert!(!routers.replace(&two, &two_more, T));
        assert!(routers.replace(&one, &one_more, T));
        assert_eq!(routers.table().routes, one_more);
        assert!(routers.replace(&one_more, &none, T));
        assert_eq!(routers.table().routes, two_more);
        assert_eq!((routers.traffic(&id(3), T), routers.traffic(&id(4), T)), (None, Some(Traffic::In)));
        // Whoever waits may go without a word.
        assert!(routers.replace(&none, &one, T));
        assert!(!routers.replace(&two_more, &none, T));
        assert!(routers.replace(&one, &none, T));
        assert!(routers.table().routes.is_empty());
    }
}

#[test]
fn ma_80_a_key_that_moves_is_never_lost_whoever_is_looked_at_first() {
    let none = BTreeMap::new();
    let (one, two) = (at("h", "/one", &[1]), at("h", "/two", &[2]));
    for (from, to) in [(&one, &two), (&two, &one)] {
        let mut routers = Routers::new(Epoch(3), Timestamp(0));
        routers.replace(&none, from, T);
        routers.replace(&none, to, T);
        assert_eq!(routers.table().routes.len(), 1);
        routers.replace(from, &none, T);
        assert_eq!(routers.table().routes, *to);
        assert_eq!(routers.traffic(&to["h"].endpoints[0].instance, T), Some(Traffic::In));
        assert_eq!(routers.traffic(&from["h"].endpoints[0].instance, T), None);
    }
}

#[test]
fn ma_80_an_instance_is_in_while_any_of_its_routes_is() {
    let mut routers = Routers::new(Epoch(3), Timestamp(0));
    let (a, b) = (at("h/a", "/one", &[1]), at("h/b", "/one", &[1]));
    let both: BTreeMap<_, _> = a.clone().into_iter().chain(b.clone()).collect();
    routers.replace(&BTreeMap::new(), &both, T);
    let entered = routers.table().generation;
    routers.hear("r".into(), report(entered, &[]));
    for (before, after) in [(&both, &a), (&a, &b), (&b, &both), (&both, &b)] {
        assert!(routers.replace(before, after, T));
        assert_eq!(routers.traffic(&id(1), T), Some(Traffic::In), "it has not come anew");
    }
    assert!(routers.replace(&b, &BTreeMap::new(), T));
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::Leaving { since: T }));
}

#[test]
fn ma_80_whoever_wrote_a_label_is_told_why_it_has_no_effect() {
    let root = app("acme", "/root", &[&[]]);
    let mut api = app("acme", "/api", &[&[("PATH", "/api /")]]);
    run(&mut api, 1, 1);
    let mut asking = Asking::default();
    asking.refresh(&api);
    let mut claims = Claims::default();
    let mut routers = Routers::new(Epoch(3), Timestamp(0));
    let told = |claims: &Claims, routers: &Routers| {
        let told = unrouted(&api, &asking, claims, routers.table(), |path| {
            if *path == api.path { "acme:/api".into() } else { "acme:/root".into() }
        });
        told.into_iter().map(|(key, why)| format!("{key}: {why}")).collect::<Vec<_>>()
    };
    let both = |why: &str| [format!("{HOST}: {why}"), format!("{HOST}/api: {why}")];
    let add = format!("slipway domains add {HOST} -e acme:/api");
    assert_eq!(told(&claims, &routers), both(&format!("nobody has claimed the name: {add}")));
    claims.put(claim(&app("evil", "/api", &[&[]]), HostState::Proven));
    assert_eq!(told(&claims, &routers), both("the name is not this tenant's"));
    claims.put(claim(&root, HostState::Tombstone));
    assert_eq!(told(&claims, &routers), both(&format!("the name was given up: {add}")));
    claims.put(claim(&root, HostState::Unproven { challenge: "x".into() }));
    let verify = format!("slipway domains verify {HOST} -e acme:/root");
    assert_eq!(told(&claims, &routers), both(&format!("the name is not proven yet: {verify}")));
    claims.put(claim(&root, HostState::Proven));
    assert_eq!(told(&claims, &routers), [format!("{HOST}: it leads to acme:/root")]);
    routers.replace(&BTreeMap::new(), &at("shop.example/api", "/root", &[2]), T);
    assert_eq!(told(&claims, &routers), both("it leads to acme:/root"));
    claims.put(claim(&api, HostState::Proven));
    routers.replace(&at("shop.example/api", "/root", &[2]), &BTreeMap::new(), T);
    routers.replace(&BTreeMap::new(), &routes_of(&api, &asking, &claims), T);
    assert!(told(&claims, &routers).is_empty());
}

#[test]
fn ma_80_urls_name_paths_and_not_what_another_has() {
    let (mut one, mut two) =
        (app("acme", "/a", &[&[("PATH", "/api /v2/")]]), app("acme", "/b", &[&[("PATH", "/api")]]));
    run(&mut one, 1, 1);
    run(&mut two, 2, 1);
    let mut claims = Claims::default();
    claims.put(claim(&app("acme", "/root", &[&[]]), HostState::Proven));
    let mut routers = Routers::new(Epoch(1), T);
    let (one, two) = (routes_now(&one, &mut claims), routes_now(&two, &mut claims));
    routers.replace(&BTreeMap::new(), &one, T);
    routers.replace(&BTreeMap::new(), &two, T);
    let public = PublicUrl { scheme: "http", port: Some(8080) };
    let urls = |routes| urls_of(routes, routers.table(), |key| public.of(key));
    let expected = ["http://shop.example:8080/api", "http://shop.example:8080/v2/"].map(str::to_owned);
    assert_eq!(urls(&one), BTreeMap::from([(app_service(), expected.to_vec())]));
    assert_eq!(urls(&two), BTreeMap::new(), "the path is another's");
}
