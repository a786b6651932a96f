use super::*;
use crate::app::{AppDefinition, AppUpdate};

/// The variables of an app whose ports on the node are these.
fn of(body: &str, ports: &[u16]) -> BTreeMap<String, String> {
    let app: AppDefinition = AppUpdate::read(body.as_bytes(), &PathId::root())
        .unwrap()
        .create_as("/db/main".parse().unwrap())
        .unwrap();
    let wanted = crate::spec::wanted(&app);
    let mut variables = of_app(&AppFacts {
        app: &app.id,
        version: Timestamp(1_795_367_109_123),
        image: wanted.image.as_deref(),
        spec: &wanted.spec,
        sandbox: "/mnt/mesos/sandbox",
    });
    variables.extend(of_instance(&InstanceFacts {
        spec: &wanted.spec,
        ports,
        host: "10.0.0.7",
        task: "db_main.instance-i0123456789abcdef._app.1",
    }));
    variables
}

fn has(variables: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(variables.get(*name).map(String::as_str), Some(*value), "{name} of {variables:#?}");
    }
}

#[test]
fn ma_60_an_instance_knows_its_app_and_its_place() {
    let body =
        r#"{"cmd": "x", "cpus": 0.5, "mem": 64, "disk": 10.5, "container": {"docker": {"image": "db:1"}},
        "labels": {"team": "blue", "a.b-c": "1", "long": "LONG"}}"#
            .replace("LONG", &"x".repeat(600));
    let variables = of(&body, &[31001]);
    has(
        &variables,
        &[
            ("HOST", "10.0.0.7"),
            ("MESOS_TASK_ID", "db_main.instance-i0123456789abcdef._app.1"),
            ("MESOS_SANDBOX", "/mnt/mesos/sandbox"),
            ("MARATHON_APP_ID", "/db/main"),
            ("MARATHON_APP_VERSION", "2026-11-22T17:05:09.123Z"),
            ("MARATHON_APP_DOCKER_IMAGE", "db:1"),
            ("MARATHON_APP_RESOURCE_CPUS", "0.5"),
            ("MARATHON_APP_RESOURCE_MEM", "64.0"),
            ("MARATHON_APP_RESOURCE_DISK", "10.5"),
            ("MARATHON_APP_RESOURCE_GPUS", "0"),
            ("MARATHON_APP_LABELS", "A_B_C TEAM"),
            ("MARATHON_APP_LABEL_TEAM", "blue"),
            ("MARATHON_APP_LABEL_A_B_C", "1"),
            ("MARATHON_APP_ENFORCE_GROUP_ROLE", "false"),
        ],
    );
    assert!(!variables.contains_key("MARATHON_APP_LABEL_LONG"));
    assert!(!of(r#"{"cmd": "x"}"#, &[1]).contains_key("MARATHON_APP_DOCKER_IMAGE"));
}

#[test]
fn ma_60_ports_of_host_mode_are_the_nodes() {
    let body = r#"{"cmd": "x", "portDefinitions": [{"port": 8080, "name": "http-api"}, {"port": 0}]}"#;
    has(
        &of(body, &[31001, 31002]),
        &[
            ("PORT", "31001"),
            ("PORT0", "31001"),
            ("PORT1", "31002"),
            ("PORTS", "31001,31002"),
            ("PORT_8080", "31001"),
            ("PORT_31002", "31002"),
            ("PORT_HTTP-API", "31001"),
            ("PORT_HTTP_API", "31001"),
        ],
    );
    let none = of(r#"{"cmd": "x", "ports": []}"#, &[]);
    assert!(!none.keys().any(|name| name.starts_with("PORT")), "{none:?}");
}

#[test]
fn ma_61_ports_of_container_mode_are_the_containers() {
    let body = r#"{"cmd": "x", "networks": [{"mode": "container/bridge"}], "container": {"type": "MESOS",
        "portMappings": [{"containerPort": 80, "name": "web"}, {"containerPort": 0}]}}"#;
    let expected = [
        ("PORT", "80"),
        ("PORT0", "80"),
        ("PORT1", "31002"),
        ("PORTS", "80,31002"),
        ("PORT_80", "80"),
        ("PORT_WEB", "80"),
        ("PORT_31002", "31002"),
    ];
    has(&of(body, &[31001, 31002]), &expected);
}

#[test]
fn ma_60_a_pushed_service_answers_on_one_port_whatever_else_it_listens_on() {
    let admin = PortSpec {
        name: Some("admin-ui".into()),
        container: 9000,
        host: None,
        protocol: Default::default(),
        service: 0,
        labels: BTreeMap::new(),
    };
    for (listens, ports, port, all) in [
        (true, vec![], Some("8080"), Some("8080")),
        (true, vec![admin.clone()], Some("8080"), Some("9000")),
        (false, vec![admin.clone()], Some("9000"), Some("9000")),
        (false, vec![], None, None),
    ] {
        let spec = ServiceSpec { listens, ports, ..ServiceSpec::default() };
        let variables = of_ports(&spec, &[31001]);
        let variable = |name: &str| variables.get(name).map(String::as_str);
        assert_eq!((variable("PORT"), variable("PORTS"), variable("PORT0")), (port, all, all), "{spec:?}");
        let named = (!spec.ports.is_empty()).then_some("9000");
        assert_eq!((variable("PORT_ADMIN_UI"), variable("PORT_9000")), (named, named), "{spec:?}");
    }
}

#[test]
fn runs_of_odd_characters_become_one_line() {
    for (label, name) in [("a", "A"), ("a--b", "A_B"), ("a-_-b", "A___B"), ("ä", "_"), ("A_1", "A_1")] {
        assert_eq!(variable_name(label), name, "{label}");
    }
}
