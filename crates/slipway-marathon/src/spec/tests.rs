use slipway_model::app::PathId;
use slipway_model::name::ServicePath;
use slipway_model::push::ImageRef;
use slipway_model::service::{Fetch, KillSelection, PortProtocol, Tier, UnreachableStrategy};

use super::*;
use crate::app::AppUpdate;

fn app(body: &str) -> AppDefinition {
    let update = AppUpdate::read(body.as_bytes(), &PathId::root()).unwrap();
    update.create_as("/x".parse().unwrap()).unwrap_or_else(|error| panic!("{body}: {}", error.body()))
}

fn spec(body: &str) -> ServiceSpec {
    wanted(&app(body)).spec
}

#[test]
fn ma_03_defaults_are_marathons() {
    let wanted = wanted(&app(r#"{"cmd": "sleep 1"}"#));
    assert_eq!((wanted.image, wanted.secrets.len()), (None, 0));
    let expected = ServiceSpec {
        command: Some("sleep 1".to_owned()),
        cpus: Cpus(1000),
        mem: Bytes::mebi(128),
        ports: vec![PortSpec {
            name: Some("default".to_owned()),
            container: 0,
            host: Some(0),
            protocol: PortProtocol::Tcp,
            service: 0,
            labels: BTreeMap::new(),
        }],
        start_timeout: Span::from_secs(300),
        backoff: Some(Backoff {
            initial: Span::from_secs(1),
            factor_permille: 1150,
            max: Span::from_secs(300),
        }),
        unreachable: Some(UnreachableStrategy::After { inactive: Span::ZERO, expunge: Span::ZERO }),
        ..ServiceSpec::default()
    };
    assert_eq!(wanted.spec, expected);
}

#[test]
fn programs_images_and_secrets() {
    let wanted = wanted(&app(r#"{
        "args": ["a", "b"], "env": {"A": "1", "B": {"secret": "s"}},
        "secrets": {"s": {"source": "shop/prod/B"}, "r": {"source": "shop/prod/R"}},
        "container": {"type": "MESOS", "docker": {"image": "shop:1", "pullConfig": {"secret": "r"}}}}"#));
    assert_eq!(wanted.image.as_deref(), Some("shop:1"));
    assert_eq!(wanted.spec.args, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((wanted.spec.command.as_ref(), wanted.spec.env.len()), (None, 1));
    assert_eq!(wanted.secrets, [("B".parse().unwrap(), "shop/prod/B".to_owned())].into());
    // The image's own program.
    let bare = spec(r#"{"container": {"docker": {"image": "a"}}}"#);
    assert_eq!((bare.command, bare.args), (None, None));
}

#[test]
fn amounts_are_exact_and_large_enough_to_start() {
    let amounts = |body: &str| {
        let spec = spec(body);
        (spec.cpus.0, spec.mem.0, spec.disk.0, spec.gpus)
    };
    let disk = ServiceSpec::default().disk.0;
    assert_eq!(amounts(r#"{"cmd": "x", "cpus": 0.1, "mem": 1.0}"#), (100, 8 << 20, disk, 0));
    let said = r#"{"cmd": "x", "cpus": 1.5, "mem": 100.5, "disk": 2, "gpus": 2}"#;
    assert_eq!(amounts(said), (1500, (100 << 20) + (1 << 19), 2 << 20, 2));
}

fn ports(body: &str) -> Vec<(u16, Option<u16>, u16)> {
    spec(body).ports.iter().map(|port| (port.container, port.host, port.service)).collect()
}

#[test]
fn ma_60_in_host_mode_a_port_is_the_nodes() {
    let definitions = r#""portDefinitions": [{"port": 8080}, {"port": 0}]"#;
    assert_eq!(ports(&format!(r#"{{"cmd": "x", {definitions}}}"#)), [(0, Some(0), 8080), (0, Some(0), 0)]);
    let fixed = format!(r#"{{"cmd": "x", "requirePorts": true, {definitions}}}"#);
    assert_eq!(ports(&fixed), [(0, Some(8080), 8080), (0, Some(0), 0)]);
    assert_eq!(ports(r#"{"cmd": "x", "ports": []}"#), []);
}

#[test]
fn ma_61_in_a_container_mode_it_is_the_containers() {
    let mappings = |mode: &str| {
        ports(&format!(
            r#"{{"cmd": "x", "networks": [{{"mode": "{mode}"}}], "container": {{"type": "MESOS", "portMappings": [
                {{"containerPort": 80}}, {{"containerPort": 0}}, {{"containerPort": 0, "hostPort": 0}},
                {{"containerPort": 53, "hostPort": 31053, "servicePort": 10053}}]}}}}"#
        ))
    };
    let last = [(0, Some(0), 0), (53, Some(31053), 10053)];
    assert_eq!(mappings("container/bridge"), [&[(80, Some(0), 0), (0, Some(0), 0)], &last[..]].concat());
    // Neither fixed nor forwarded: a number of its own.
    assert_eq!(mappings("container"), [&[(80, None, 0), (8081, None, 0)], &last[..]].concat());
}

#[test]
fn ma_42_ma_43_ma_44_health_checks_run_on_the_agent() {
    let checks = |list: &str| {
        let spec = spec(&format!(r#"{{"cmd": "x", "healthChecks": [{list}]}}"#));
        spec.health.into_iter().chain(spec.health_also).collect::<Vec<_>>()
    };
    let expected = HealthCheck {
        probe: Probe::Http("/".to_owned()),
        interval: Span::from_secs(60),
        timeout: Span::from_secs(20),
        failures_max: 3,
        grace: Some(Span::from_secs(300)),
        port_index: Some(0),
        port: None,
    };
    assert_eq!(checks("{}").first(), Some(&expected));
    for (protocol, probe) in [
        ("HTTP", Probe::Http("/a".to_owned())),
        ("MESOS_HTTP", Probe::Http("/a".to_owned())),
        ("HTTPS", Probe::Https("/a".to_owned())),
        ("MESOS_HTTPS", Probe::Https("/a".to_owned())),
        ("TCP", Probe::Tcp),
        ("MESOS_TCP", Probe::Tcp),
    ] {
        let check = format!(r#"{{"protocol": "{protocol}", "path": "a"}}"#);
        assert_eq!(checks(&check), [HealthCheck { probe, ..expected.clone() }]);
    }
    let command = r#"{"protocol": "COMMAND", "command": {"value": "true"}, "maxConsecutiveFailures": 0,
        "intervalSeconds": 0, "timeoutSeconds": 0, "gracePeriodSeconds": 0}"#;
    let expected = HealthCheck {
        probe: Probe::Command("true".to_owned()),
        interval: Span::from_secs(1),
        timeout: Span::from_secs(1),
        failures_max: 0,
        grace: Some(Span::ZERO),
        port_index: None,
        port: None,
    };
    assert_eq!(checks(command), [expected]);
    let several = checks(r#"{"port": 8081, "portIndex": 0}, {"protocol": "TCP"}"#);
    assert_eq!((several.len(), several[0].port, several[1].port_index), (2, Some(8081), Some(0)));
    let patient = spec(r#"{"cmd": "x", "healthChecks": [{"gracePeriodSeconds": 900}]}"#);
    assert_eq!(patient.start_timeout, Span::from_secs(900));
}

#[test]
fn ma_46_ma_48_ma_56_ma_58_ma_59_strategies() {
    let spec = spec(
        r#"{
        "cmd": "x", "portDefinitions": [{"name": "http-api"}], "readinessChecks": [{"path": "ready"}],
        "upgradeStrategy": {"minimumHealthCapacity": 0.25, "maximumOverCapacity": 0.5},
        "backoffSeconds": 0, "backoffFactor": 2, "maxLaunchDelaySeconds": 10, "killSelection": "OLDEST_FIRST",
        "unreachableStrategy": {"inactiveAfterSeconds": 60, "expungeAfterSeconds": 120},
        "taskKillGracePeriodSeconds": 3,
        "slipway": {"autoRollback": true, "maxFailures": 4, "batch": 2, "canary": 1, "tier": "preferred"}}"#,
    );
    let readiness = spec.readiness.unwrap();
    assert_eq!((readiness.path.as_str(), readiness.codes.as_slice()), ("/ready", [200].as_slice()));
    assert_eq!((spec.upgrade.minimum_health_permille, spec.upgrade.maximum_over_permille), (250, 500));
    let backoff = spec.backoff.unwrap();
    assert_eq!(
        (backoff.initial, backoff.factor_permille, backoff.max),
        (Span::ZERO, 2000, Span::from_secs(10))
    );
    assert_eq!((spec.kill_selection, spec.tier), (KillSelection::OldestFirst, Tier::Preferred));
    let expected =
        UnreachableStrategy::After { inactive: Span::from_secs(60), expunge: Span::from_secs(120) };
    assert_eq!((spec.unreachable, spec.stop_grace), (Some(expected), Span::from_secs(3)));
    let rollout = Rollout { auto_rollback: true, failures_max: Some(4), batch: Some(2), canary: Some(1) };
    assert_eq!(spec.rollout, rollout);
}

#[test]
fn ma_62_ma_70_files_and_volumes() {
    let spec = spec(
        r#"{"cmd": "x", "uris": ["http://a/b.tgz"], "container": {"type": "MESOS", "volumes": [
        {"containerPath": "logs", "persistent": {"size": 1}},
        {"containerPath": "data", "persistent": {"size": 512}},
        {"containerPath": "/var/lib/db", "hostPath": "data", "mode": "RW"}]}}"#,
    );
    let volume = |path: &str, size| VolumeSpec { path: path.to_owned(), size: Bytes::mebi(size) };
    assert_eq!(spec.volumes, [volume("logs", 1), volume("/var/lib/db", 512)]);
    let uri = "http://a/b.tgz".to_owned();
    assert_eq!(spec.fetch, [Fetch { uri, extract: true, executable: false, cache: false, dest: None }]);
    assert_eq!(spec.upgrade.maximum_over_permille, 0);
    assert_eq!(spec.unreachable, Some(UnreachableStrategy::Disabled));
}

fn pushed(spec: &ServiceSpec) -> AppDefinition {
    let service: ServicePath = "acme/shop/prod/web".parse().unwrap();
    let image = ImageRef {
        repository: "acme/shop".to_owned(),
        digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
    };
    Pushed { service: &service, spec, image: &image, instances: 3 }.definition()
}

#[test]
fn ma_78_a_pushed_service_is_shown_with_truthful_fields() {
    let spec = ServiceSpec {
        command: Some("gunicorn app:app".to_owned()),
        cpus: Cpus(500),
        mem: Bytes::mebi(256),
        listens: true,
        health: Some(HealthCheck { failures_max: 5, ..HealthCheck::tcp() }),
        volumes: vec![
            VolumeSpec { path: "/data".to_owned(), size: Bytes::mebi(10) },
            VolumeSpec { path: "cache".to_owned(), size: Bytes::mebi(1) },
        ],
        ports: vec![PortSpec {
            name: Some("metrics".to_owned()),
            container: 9000,
            host: Some(0),
            protocol: PortProtocol::Tcp,
            service: 10007,
            labels: BTreeMap::new(),
        }],
        ..ServiceSpec::default()
    };
    let app = pushed(&spec);
    let said: serde_json::Value = serde_json::from_str(&app.to_json()).unwrap();
    let expected = serde_json::json!({
        "id": "/prod/shop/web", "cmd": "gunicorn app:app", "cpus": 0.5, "mem": 256, "disk": 512, "instances": 3,
        "networks": [{"mode": "container"}], "taskKillGracePeriodSeconds": 10,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&said[name], value, "{name}");
    }
    let container = &said["container"];
    assert!(container["docker"]["image"].as_str().unwrap().starts_with("acme/shop@sha256:aaa"));
    assert_eq!(container["portMappings"][0]["containerPort"], 8080);
    assert_eq!(container["portMappings"][1]["servicePort"], 10007);
    assert_eq!(container["volumes"][1]["containerPath"], "/data");
    let check = &said["healthChecks"][0];
    assert_eq!(
        (check["protocol"].as_str(), check["maxConsecutiveFailures"].as_u64()),
        (Some("TCP"), Some(5))
    );
    // A client that fails at fields which Marathon does not have must be able to read it.
    assert_eq!(said.get("slipway"), None);
    // And what it asks for comes back: scaling it changes nothing else.
    let update = AppUpdate::read(br#"{"instances": 7}"#, &PathId::root()).unwrap();
    assert!(app.differs_only_in_scale(&update.onto(&app).unwrap()));
    assert_eq!(wanted(&app).spec.volumes, spec.volumes);
}

#[test]
fn ma_78_clients_may_send_a_pushed_service_back() {
    let specs = [
        ServiceSpec::default(),
        ServiceSpec { listens: true, health: Some(HealthCheck::answer()), ..ServiceSpec::default() },
        ServiceSpec {
            health: Some(HealthCheck { probe: Probe::Command("true".to_owned()), ..HealthCheck::tcp() }),
            ..ServiceSpec::default()
        },
    ];
    for spec in specs {
        let app = pushed(&spec);
        let update = AppUpdate::read(app.to_json().as_bytes(), &PathId::root()).unwrap();
        assert_eq!(update.clone().onto(&app).unwrap_or_else(|error| panic!("{}", error.body())), app);
        assert_eq!(update.create().unwrap(), app);
    }
}

#[test]
fn ma_78_clients_may_scale_a_pushed_service_and_nothing_else() {
    let app = pushed(&ServiceSpec::default());
    let asked = |body: &str| {
        pushed::scale(&app, AppUpdate::read(body.as_bytes(), &PathId::root()).unwrap())
            .map_err(|error| (error.status(), error.to_string()))
    };
    assert_eq!(asked(r#"{"instances": 7}"#), Ok(Some(7)));
    assert_eq!(asked(r#"{"instances": 3}"#), Ok(None));
    let (status, why) = asked(r#"{"instances": 7, "mem": 512}"#).unwrap_err();
    assert_eq!(status, 403);
    assert!(why.starts_with("/prod/shop/web comes from a push: clients may scale"), "{why}");
}
