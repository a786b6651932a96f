//! Stories of bodies: what clients send, and what becomes of it.

use super::*;

mod legacy;

mod refused;

mod round_trip;

mod update;

fn id(text: &str) -> PathId {
    text.parse().unwrap()
}

fn read(body: &str) -> Result<AppUpdate, Error> {
    AppUpdate::read(body.as_bytes(), &PathId::root())
}

/// The app that a body makes, with the id `/x` unless it says another.
fn app(body: &str) -> AppDefinition {
    let update = read(body).unwrap_or_else(|error| panic!("{body}: {}", error.body()));
    let id = update.id().cloned().unwrap_or(id("/x"));
    update.create_as(id).unwrap_or_else(|error| panic!("{body}: {}", error.body()))
}

/// What is wrong with a body: `path: sentence` for each mistake.
fn mistakes(body: &str) -> Vec<String> {
    let made = read(body).and_then(|update| match update.id() {
        Some(_) => update.create(),
        None => update.create_as(id("/x")),
    });
    match made {
        Ok(app) => panic!("{body} was taken for {}", app.to_json()),
        Err(Error::Invalid(details)) => details
            .iter()
            .flat_map(|detail| detail.errors.iter().map(move |error| format!("{}: {error}", detail.path)))
            .collect(),
        Err(error) => vec![format!("{} {error}", error.status())],
    }
}

fn refused(body: &str, mistake: &str) {
    let all = mistakes(body);
    assert!(all.iter().any(|one| one.contains(mistake)), "{body}\n{all:#?}\nand not {mistake}");
}

/// What a definition says, as JSON that can be compared.
fn said(app: &AppDefinition) -> Value {
    serde_json::from_str(&app.to_json()).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn ma_03_a_small_body_gets_every_default() {
    let app = app(r#"{"id": "/prod/sleep", "cmd": "sleep 100"}"#);
    let expected = r#"{
        "id": "/prod/sleep",
        "backoffFactor": 1.15,
        "backoffSeconds": 1,
        "cmd": "sleep 100",
        "constraints": [],
        "cpus": 1,
        "dependencies": [],
        "disk": 0,
        "env": {},
        "executor": "",
        "fetch": [],
        "gpus": 0,
        "healthChecks": [],
        "instances": 1,
        "labels": {},
        "maxLaunchDelaySeconds": 300,
        "mem": 128,
        "networks": [{"mode": "host"}],
        "portDefinitions": [{"port": 0, "name": "default", "protocol": "tcp"}],
        "requirePorts": false,
        "role": "slipway",
        "upgradeStrategy": {"maximumOverCapacity": 1, "minimumHealthCapacity": 1},
        "killSelection": "YOUNGEST_FIRST",
        "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0}
    }"#;
    assert_eq!(said(&app), json(expected));
}

#[test]
fn ma_03_every_field_of_1_11_is_kept() {
    let body = r#"{
        "id": "/prod/shop/web",
        "acceptedResourceRoles": ["*"],
        "args": ["serve", "--port", "80"],
        "backoffFactor": 2,
        "backoffSeconds": 5,
        "constraints": [["rack", "GROUP_BY", "2"], ["hostname", "UNIQUE"]],
        "container": {
            "type": "MESOS",
            "docker": {"image": "acme/shop:3", "forcePullImage": true, "privileged": false, "parameters": [],
                       "pullConfig": {"secret": "registry"}},
            "linuxInfo": {"seccomp": {"unconfined": false}, "ipcInfo": {"mode": "PRIVATE", "shmSize": 64}},
            "volumes": [{"containerPath": "data", "mode": "RW", "persistent": {"type": "root", "size": 512}},
                        {"containerPath": "/var/lib/shop", "mode": "RW", "hostPath": "data"}],
            "portMappings": [
                {"containerPort": 80, "hostPort": 0, "labels": {"VIP_0": "/shop:80"}, "name": "http",
                 "protocol": "tcp", "servicePort": 10080},
                {"containerPort": 0, "hostPort": 0, "protocol": "udp,tcp", "servicePort": 0}]
        },
        "cpus": 0.25,
        "dependencies": ["/prod/db"],
        "disk": 10,
        "env": {"A": "1", "PASSWORD": {"secret": "db"}},
        "executor": "",
        "fetch": [{"uri": "https://example.com/a.tgz", "extract": true, "executable": false, "cache": true,
                   "destPath": "assets/a.tgz"}],
        "gpus": 1,
        "healthChecks": [
            {"gracePeriodSeconds": 10, "ignoreHttp1xx": false, "intervalSeconds": 5,
             "maxConsecutiveFailures": 0, "path": "/up", "portIndex": 0, "protocol": "HTTP",
             "ipProtocol": "IPv4", "timeoutSeconds": 2, "delaySeconds": 1},
            {"command": {"value": "test -f up"}, "gracePeriodSeconds": 300, "intervalSeconds": 60,
             "maxConsecutiveFailures": 3, "protocol": "COMMAND", "ipProtocol": "IPv4", "timeoutSeconds": 20,
             "delaySeconds": 15}],
        "check": {"http": {"portIndex": 0, "path": "/info", "scheme": "HTTP"}, "intervalSeconds": 60,
                  "timeoutSeconds": 20, "delaySeconds": 15},
        "instances": 3,
        "labels": {"HAPROXY_GROUP": "external"},
        "maxLaunchDelaySeconds": 60,
        "mem": 64.5,
        "networks": [{"mode": "container/bridge"}],
        "readinessChecks": [{"name": "warm", "protocol": "HTTP", "path": "/warm", "portName": "http",
            "intervalSeconds": 30, "timeoutSeconds": 10, "httpStatusCodesForReady": [200, 204],
            "preserveLastResponse": true}],
        "residency": {"relaunchEscalationTimeoutSeconds": 3600, "taskLostBehavior": "WAIT_FOREVER"},
        "resourceLimits": {"cpus": "unlimited", "mem": 128},
        "requirePorts": false,
        "role": "shop",
        "secrets": {"db": {"source": "shop/prod/DB_PASSWORD"}, "registry": {"source": "shop/prod/REGISTRY"}},
        "taskKillGracePeriodSeconds": 30,
        "tty": true,
        "upgradeStrategy": {"maximumOverCapacity": 0, "minimumHealthCapacity": 0.5},
        "user": "nobody",
        "killSelection": "OLDEST_FIRST",
        "unreachableStrategy": "disabled",
        "slipway": {"autoRollback": true, "maxFailures": 2, "batch": 3, "canary": 1, "tier": "preferred"}
    }"#;
    assert_eq!(said(&app(body)), json(body));
}

#[test]
fn ma_03_what_an_answer_adds_may_be_sent_back() {
    let body = r#"{
        "id": "x", "cmd": "sleep 1", "version": "2026-11-22T17:05:09.123Z",
        "versionInfo": {"lastScalingAt": "2026-11-22T17:05:09.123Z"}, "tasksStaged": 0, "tasksRunning": 1,
        "tasksHealthy": 1, "tasksUnhealthy": 0, "deployments": [], "tasks": [{"id": "x"}],
        "readinessCheckResults": [], "lastTaskFailure": {"host": "a"}, "tasksStats": {}, "uris": [],
        "storeUrls": [], "ports": null, "container": null, "args": null, "user": null
    }"#;
    assert_eq!(app(body), app(r#"{"cmd": "sleep 1", "id": "/x"}"#));
}

#[test]
fn ma_32_cmd_args_and_container() {
    for body in [
        r#"{"cmd": "true"}"#,
        r#"{"args": ["true"]}"#,
        r#"{"container": {"type": "DOCKER", "docker": {"image": "nginx"}}}"#,
        r#"{"container": {"type": "DOCKER", "docker": {"image": "nginx"}}, "cmd": "nginx -g x"}"#,
        r#"{"container": {"type": "MESOS", "docker": {"image": "nginx"}}, "args": ["-v"]}"#,
        r#"{"container": {"type": "MESOS"}, "cmd": "true"}"#,
    ] {
        app(body);
    }
    let why = "/: AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.";
    refused("{}", why);
    refused(r#"{"cmd": "a", "args": ["b"]}"#, why);
    refused(r#"{"cmd": "a", "args": ["b"], "container": {"type": "MESOS"}}"#, why);
    refused(r#"{"container": {"type": "DOCKER"}, "cmd": "a"}"#, "/container/docker: not defined");
    refused(r#"{"cmd": " "}"#, "/cmd: must not be empty");
}

#[test]
fn ma_27_ids_resolve_against_the_group_and_reserved_words_are_refused() {
    let of = |body: &str, base: &str| {
        AppUpdate::read(body.as_bytes(), &id(base)).and_then(AppUpdate::create).map(|app| {
            let dependencies: Vec<_> = app.dependencies.iter().map(PathId::as_str).collect();
            format!("{} {}", app.id, dependencies.join(" "))
        })
    };
    let body = r#"{"id": "web", "cmd": "x", "dependencies": ["db", "../queue", "/cache", "./a.b"]}"#;
    assert_eq!(of(body, "/prod").unwrap(), "/prod/web /cache /prod/a.b /prod/db /queue");
    assert_eq!(of(r#"{"id": "/prod//web/", "cmd": "x"}"#, "/dev").unwrap(), "/prod/web ");
    for word in RESERVED_WORDS {
        let body = format!(r#"{{"id": "/prod/{word}", "cmd": "x"}}"#);
        refused(&body, "/id: must not end with any of the following reserved keywords");
        app(&format!(r#"{{"id": "/{word}/x", "cmd": "x"}}"#));
    }
    refused(r#"{"id": "/", "cmd": "x"}"#, "/id: must not be root");
    refused(r#"{"id": "/Prod", "cmd": "x"}"#, "/id: ");
    refused(r#"{"id": "a_b", "cmd": "x"}"#, "/id: ");
    refused(r#"{"id": "../../x", "cmd": "x"}"#, "/id: ");
    refused(r#"{"id": 5, "cmd": "x"}"#, "/id: must be a string");
    assert!(read(r#"{"cmd": "x"}"#).unwrap().create().unwrap_err().body().contains("/id"));
}

#[test]
fn ma_33_only_the_number_of_copies_is_scale() {
    let old = app(r#"{"cmd": "x", "instances": 2}"#);
    let is_scale = |body: &str| old.differs_only_in_scale(&read(body).unwrap().onto(&old).unwrap());
    assert!(is_scale(r#"{"instances": 5}"#));
    assert!(!is_scale(r#"{"instances": 2}"#));
    for other in [
        r#"{"instances": 5, "labels": {"a": "b"}}"#,
        r#"{"healthChecks": [{"protocol": "TCP"}]}"#,
        r#"{"upgradeStrategy": {"minimumHealthCapacity": 0}}"#,
        r#"{"dependencies": ["/y"]}"#,
        r#"{"slipway": {"batch": 2}}"#,
    ] {
        assert!(!is_scale(other), "{other}");
    }
}

#[test]
fn ma_48_strategies_default_by_what_the_app_has() {
    let upgrade = |body: &str| app(body).upgrade_strategy;
    assert_eq!(upgrade(r#"{"cmd": "x"}"#), UpgradeStrategy::DEFAULT);
    let resident = r#"{"cmd": "x", "container": {"type": "MESOS", "volumes": [
        {"containerPath": "data", "mode": "RW", "persistent": {"size": 10}}]}}"#;
    assert_eq!(upgrade(resident), UpgradeStrategy::RESIDENT);
    assert_eq!(app(resident).unreachable_strategy, UnreachableStrategy::Disabled);
    assert_eq!(app(resident).residency, Some(Residency::default()));
    let single = r#"{"cmd": "x", "labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}}"#;
    assert_eq!(upgrade(single), UpgradeStrategy::SINGLE);
    let part = r#"{"cmd": "x", "upgradeStrategy": {"minimumHealthCapacity": 0.25}}"#;
    let expected = UpgradeStrategy {
        minimum_health_capacity: Decimal::thousandths(250),
        maximum_over_capacity: Decimal::ONE,
    };
    assert_eq!(upgrade(part), expected);
}
