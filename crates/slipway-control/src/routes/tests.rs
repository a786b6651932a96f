use slipway_model::id::ReleaseNumber;
use slipway_model::instance::{InstanceReport, InstanceState};
use slipway_model::project::{Environment, HostClaim, HostState};
use slipway_model::push::ImageRef;
use slipway_model::release::{Origin, Release};
use slipway_model::route::Endpoint;
use slipway_model::service::{PortProtocol, PortSpec, ServiceSpec};
use slipway_plan::view::Traffic;

use super::*;

mod paths;

fn id(number: u8) -> InstanceId {
    InstanceId::from_random([number; 10])
}

/// One host that leads to those instances.
fn routes(instances: &[u8]) -> BTreeMap<String, Route> {
    let endpoint = |number: &u8| Endpoint {
        instance: id(*number),
        address: SocketAddrV4::new([10, 0, 0, *number].into(), PORT),
    };
    let service = "acme/shop/dev/web".parse().expect("a path");
    let endpoints = instances.iter().map(endpoint).collect();
    [("shop-dev-acme.localhost".to_owned(), Route::new(service, endpoints))].into()
}

fn report(generation: u64, draining: &[(u8, u32)]) -> RouterReport {
    RouterReport {
        generation,
        draining: draining.iter().map(|(number, count)| (id(*number), *count)).collect(),
    }
}

const T: Timestamp = Timestamp(1000);

#[test]
fn an_instance_is_in_when_every_router_obeys_and_out_when_every_router_has_let_go() {
    let mut routers = Routers::new(Epoch(3), Timestamp(0));
    let first = routers.table().generation;
    for router in ["a", "b"] {
        routers.hear(router.into(), report(first, &[]));
    }
    assert!(routers.replace(&routes(&[]), &routes(&[1]), T));
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::Entering { since: T }));
    routers.hear("a".into(), report(first + 1, &[]));
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::Entering { since: T }));
    routers.hear("b".into(), report(first + 1, &[]));
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::In));

    assert!(routers.replace(&routes(&[1]), &routes(&[2]), T));
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::Leaving { since: T }));
    routers.hear("a".into(), report(first + 2, &[(1, 4)]));
    routers.hear("b".into(), report(first + 2, &[]));
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::Draining { since: T }));
    routers.hear("a".into(), report(first + 2, &[]));
    assert_eq!(routers.traffic(&id(1), T), None);
    assert!(!routers.replace(&routes(&[2]), &routes(&[2]), T), "the same routes are no new table");
}

#[test]
fn a_router_that_has_gone_is_not_waited_for() {
    let mut routers = Routers::new(Epoch(3), Timestamp(0));
    routers.hear("a".into(), report(0, &[]));
    routers.replace(&routes(&[]), &routes(&[1]), T);
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::Entering { since: T }));
    routers.forget_router("a");
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::In));
}

/// Else one lie is an answer to every table to come, or has all of them looked at again and again.
#[test]
fn a_router_obeys_no_table_to_come_and_none_of_before() {
    let mut routers = Routers::new(Epoch(3), Timestamp(0));
    let first = routers.table().generation;
    for generation in [u64::MAX, first + 1] {
        routers.hear("a".into(), report(generation, &[]));
        routers.replace(&routes(&[]), &routes(&[1]), T);
        assert_eq!(routers.traffic(&id(1), T), Some(Traffic::Entering { since: T }), "{generation}");
        routers.replace(&routes(&[1]), &routes(&[]), T);
    }
    routers.replace(&routes(&[]), &routes(&[1]), T);
    let now = routers.table().generation;
    assert_eq!(routers.hear("a".into(), report(now, &[])), [id(1)]);
    for back in [now - 1, 0, u64::MAX] {
        assert_eq!(routers.hear("a".into(), report(back, &[])), [], "{back}");
        assert_eq!(routers.traffic(&id(1), T), Some(Traffic::In), "{back}");
    }
    // It comes back as another would.
    routers.forget_router("a");
    routers.hear("a".into(), report(0, &[]));
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::Entering { since: T }));
}

#[test]
fn a_new_leader_waits_for_the_routers_of_the_one_before() {
    let mut routers = Routers::new(Epoch(4), Timestamp(2000));
    assert!(routers.table().generation > Routers::new(Epoch(3), Timestamp(0)).table().generation + 1_000_000);
    routers.replace(&routes(&[]), &routes(&[1]), T);
    routers.suspect(&id(2), T);
    assert_eq!(routers.traffic(&id(1), T), Some(Traffic::Entering { since: T }));
    assert_eq!(routers.traffic(&id(2), T), Some(Traffic::Leaving { since: T }));
    assert_eq!(routers.traffic(&id(1), Timestamp(2000)), Some(Traffic::In));
    assert_eq!(routers.traffic(&id(2), Timestamp(2000)), None);
}

#[test]
fn claims_are_found_by_host_and_by_environment() {
    let claim = |host: &str, service: &str, state: HostState| HostClaim {
        host: host.into(),
        service: service.parse().expect("a path"),
        state,
        created_at: T,
    };
    let mut claims = Claims::default();
    claims.put(claim("a.localhost", "acme/shop/dev/web", HostState::Platform));
    claims.put(claim("b.example.com", "acme/shop/dev/web", HostState::Unproven { challenge: "x".into() }));
    let dev = "acme/shop/dev".parse().expect("a path");
    let mut view = EnvironmentView::new(dev);
    assert!(routes_of(&view, &Asking::default(), &claims).is_empty(), "a deleted environment has no routes");
    view.wanted = Some(slipway_model::project::Environment {
        path: view.path.clone(),
        deploy_branch: "main".into(),
        config: BTreeMap::new(),
        scale: BTreeMap::new(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        created_at: T,
        app: None,
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
    });
    let hosts: Vec<_> = routes_of(&view, &Asking::default(), &claims).into_keys().collect();
    assert_eq!(hosts, ["a.localhost"], "an unproven domain has no route");
    let changed = claims.put(claim("a.localhost", "acme/shop/prod/web", HostState::Platform));
    assert_eq!(changed.len(), 2, "both environments hear of it");
    assert!(routes_of(&view, &Asking::default(), &claims).is_empty());
    assert_eq!(claims.remove("b.example.com").len(), 1);
    assert_eq!(claims.hosts().count(), 1);
}

#[test]
fn ma_80_a_label_says_which_port_a_host_name_leads_to() {
    let service: slipway_model::name::ServicePath = "acme/apps/a-web-1/app".parse().expect("a path");
    let mut view = EnvironmentView::new(service.environment());
    view.wanted = Some(Environment {
        path: view.path.clone(),
        deploy_branch: "main".into(),
        config: BTreeMap::new(),
        scale: BTreeMap::new(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        app: Some("/web".parse().expect("an id")),
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
        created_at: T,
    });
    let port = |container| PortSpec {
        name: None,
        container,
        host: None,
        protocol: PortProtocol::Tcp,
        service: 0,
        labels: BTreeMap::new(),
    };
    let labels = [
        ("HAPROXY_GROUP", "external"),
        ("HAPROXY_1_VHOST", "b.example"),
        ("HAPROXY_1_STICKY", "true"),
        ("HAPROXY_7_VHOST", "c.example"),
        ("HAPROXY_7_REDIRECT_TO_HTTPS", "true"),
    ];
    let spec = ServiceSpec {
        ports: vec![port(8000), port(9000)],
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..ServiceSpec::default()
    };
    let number = ReleaseNumber(1);
    let release = Release {
        environment: view.path.clone(),
        number,
        image: ImageRef {
            repository: "acme/web".into(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest"),
        },
        commit: None,
        services: [(service.service.clone(), spec)].into(),
        release_command: None,
        config: BTreeMap::new(),
        origin: Origin::Image,
        by: "ann".parse().expect("a name"),
        created_at: T,
    };
    view.releases.insert(number, release);
    view.assignments.push(Assignment {
        instance: id(1),
        role: InstanceRole::Service { service: service.service.clone() },
        release: number,
        restart_generation: 0,
        node: "n1".parse().expect("a name"),
        goal: Goal::Run,
        created_at: T,
        ports: vec![0, 0],
        volumes: Vec::new(),
    });
    let report = InstanceReport {
        instance: id(1),
        state: InstanceState::Healthy,
        address: Some([10, 0, 0, 1].into()),
        at: T,
        ready: None,
        checks: Vec::new(),
        started_at: None,
    };
    view.reports.insert(id(1), report);
    let claim =
        |host: &str, state| HostClaim { host: host.into(), service: service.clone(), state, created_at: T };
    let mut claims = Claims::default();
    claims.put(claim("a.localhost", HostState::Platform));
    claims.put(claim("b.example", HostState::Proven));
    claims.put(claim("c.example", HostState::Proven));
    claims.put(claim("d.example", HostState::Unproven { challenge: "x".into() }));
    let mut asking = Asking::default();
    asking.refresh(&view);
    let routes = routes_of(&view, &asking, &claims);
    let found: Vec<_> =
        routes.iter().map(|(host, route)| (host.as_str(), route.endpoints[0].address.port())).collect();
    // A port that is not there is the first.
    assert_eq!(found, [("a.localhost", 8000), ("b.example", 9000), ("c.example", 8000)]);
    let flags: Vec<_> = routes.values().map(|route| (route.is_sticky, route.to_https)).collect();
    assert_eq!(flags, [(false, false), (true, false), (false, true)]);
}
