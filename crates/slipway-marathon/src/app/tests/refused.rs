//! What is refused, and how it is said (MA-32).

use super::*;

/// A body with `cmd` and these fields.
fn with(fields: &str) -> String {
    format!(r#"{{"cmd": "x", {fields}}}"#)
}

fn container(fields: &str) -> String {
    with(&format!(r#""container": {{"type": "MESOS", {fields}}}"#))
}

#[test]
fn unknown_fields_are_named_with_their_place() {
    let body = r#"{"id": "/x", "cmd": "x", "instnaces": 2, "container": {"type": "MESOS", "dokcer": {},
        "docker": {"image": "a", "forcePull": true}}, "healthChecks": [{"pth": "/"}],
        "slipway": {"autoRolback": true}}"#;
    let expected = [
        "/container/docker/forcePull: the field \"forcePull\" is not known",
        "/container/dokcer: the field \"dokcer\" is not known",
        "/healthChecks(0)/pth: the field \"pth\" is not known",
        "/instnaces: the field \"instnaces\" is not known",
        "/slipway/autoRolback: the field \"autoRolback\" is not known",
    ];
    assert_eq!(mistakes(body), expected);
}

#[test]
fn what_is_no_json_and_what_is_no_app() {
    assert_eq!(mistakes("{"), ["400 Invalid JSON"]);
    assert_eq!(mistakes("[]"), ["/: must be an object"]);
    assert_eq!(mistakes(&format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000))), ["400 Invalid JSON"]);
    refused(&with(r#""instances": 99999999999999999999"#), "/instances: must be a whole number");
    refused(&with(r#""instances": -1"#), "/instances: must be a whole number");
    refused(&with(r#""instances": 501"#), "/instances: must be at most 500");
    refused(&with(r#""cpus": 1e300"#), "/cpus: must be a number");
    refused(&with(r#""cpus": 0"#), "/cpus: must be from 0.001 to 1000");
    refused(&with(r#""mem": "64""#), "/mem: must be a number");
    refused(&with(r#""backoffFactor": 0.5"#), "/backoffFactor: must be at least 1");
    let large = with(&format!(r#""labels": {{"a": "{}"}}"#, "x".repeat(70_000)));
    refused(&large, "bytes as JSON; at most 65536 are stored");
}

#[test]
fn ma_32_ports() {
    let twice = |one: &str| format!("[{one}, {one}]");
    let definitions = |list: String| with(&format!(r#""portDefinitions": {list}"#));
    refused(&definitions(twice(r#"{"name": "a"}"#)), "/portDefinitions: Port names must be unique.");
    refused(&definitions(twice(r#"{"port": 80}"#)), "/portDefinitions: Ports must be unique.");
    app(&definitions(twice(r#"{"port": 0}"#)));
    refused(&definitions(r#"[{"name": "A_b"}]"#.into()), "/portDefinitions(0)/name: must fully match");
    refused(&definitions(r#"[{"protocol": "sctp"}]"#.into()), "/portDefinitions(0)/protocol: is not one of");
    let mappings = |list: String| {
        format!(
            r#"{{"networks": [{{"mode": "container/bridge"}}], "container": {{"docker": {{"image": "a"}},
                "portMappings": {list}}}}}"#
        )
    };
    let path = "/container/portMappings";
    refused(&mappings(twice(r#"{"name": "a"}"#)), &format!("{path}: Port names must be unique."));
    refused(&mappings(twice(r#"{"hostPort": 31000}"#)), &format!("{path}: Ports must be unique."));
    app(&mappings(twice(r#"{"containerPort": 80}"#)));
    refused(
        r#"{"container": {"docker": {"image": "a"}, "portMappings": [{"containerPort": 80}]}}"#,
        "/: portMappings are not allowed with host-networking",
    );
    refused(
        &with(r#""networks": [{"mode": "container"}], "portDefinitions": [{"port": 80}]"#),
        "/: portDefinitions are only allowed with host-networking",
    );
    let many = format!("[{}]", vec!["{}"; 101].join(","));
    refused(&definitions(many), "/portDefinitions: at most 100 ports");
}

#[test]
fn ma_32_networks() {
    let networks = |list: &str| with(&format!(r#""networks": {list}"#));
    refused(
        &networks(r#"[{"mode": "host"}, {"mode": "container", "name": "a"}]"#),
        "/networks: Host networks",
    );
    refused(&networks(r#"[{"mode": "container/bridge"}, {"mode": "container/bridge"}]"#), "/networks: Host");
    refused(&networks(r#"[{"name": "a"}, {"name": "a"}]"#), "/networks: Networks must have unique names");
    refused(&networks(r#"[{"mode": "bridge"}]"#), "/networks(0)/mode: is not one of");
    refused(&networks(r#"[{"mode": "host", "name": "a"}]"#), "/networks: Host networks may not be named");
    refused(
        r#"{"networks": [{"name": "a"}, {"name": "b"}], "container": {"type": "DOCKER", "docker":
            {"image": "x"}, "portMappings": [{"hostPort": 0}, {"networkNames": ["c"]}]}}"#,
        "/: may only specify a single container network when using the Docker container engine",
    );
    let mappings = r#"{"networks": [{"name": "a"}, {"name": "b"}], "container": {"type": "MESOS", "docker":
        {"image": "x"}, "portMappings": [{"hostPort": 0}, {"networkNames": ["c"]}]}}"#;
    refused(mappings, "/container/portMappings(0): networkNames must be a single item list");
    refused(mappings, "/container/portMappings(1)/networkNames(0): is not one of (a,b)");
}

#[test]
fn ma_32_ma_42_health_checks() {
    let check = |fields: &str| with(&format!(r#""healthChecks": [{{{fields}}}]"#));
    let why = "/healthChecks(0): Health check port indices must address an element";
    refused(&check(r#""portIndex": 1"#), why);
    refused(&check(r#""protocol": "MESOS_HTTP", "portIndex": 5"#), why);
    refused(&with(r#""ports": [], "healthChecks": [{"protocol": "TCP"}]"#), why);
    app(&with(r#""ports": [], "healthChecks": [{"protocol": "TCP", "port": 80}]"#));
    app(&check(r#""protocol": "https", "path": "/x?y=%20""#));
    refused(&check(r#""protocol": "ICMP""#), "/healthChecks(0)/protocol: is not one of");
    refused(&check(r#""protocol": "COMMAND""#), "/healthChecks(0)/command: must say what runs");
    refused(
        &check(r#""path": "/ HTTP/1.1\r\nHost: b""#),
        "/healthChecks(0)/path: must be a path without spaces",
    );
    refused(&check(r#""ipProtocol": "IPv6""#), "/healthChecks(0)/ipProtocol: instances have IPv4");
    let two =
        r#""healthChecks": [{"protocol": "MESOS_TCP"}, {"protocol": "COMMAND", "command": {"value": "a"}}]"#;
    refused(&with(two), "/: AppDefinition can contain at most one Mesos health check");
    refused(&check(r#""timeoutSeconds": 1.5"#), "/healthChecks(0)/timeoutSeconds: must be a whole number");
}

#[test]
fn ma_32_ma_46_readiness_checks() {
    let check = |fields: &str| {
        let ports = r#""portDefinitions": [{"name": "http-api"}]"#;
        with(&format!(r#"{ports}, "readinessChecks": [{{{fields}}}]"#))
    };
    assert_eq!(app(&check("")).readiness_checks[0].http_status_codes_for_ready, [200]);
    refused(&check(r#""portName": "x""#), "(0)/portName: No port definition reference for portName x");
    refused(&check(r#""timeoutSeconds": 30"#), "(0)/timeoutSeconds: must be less than intervalSeconds");
    refused(&check(r#""protocol": "HTTPS""#), "(0)/protocol: readiness is asked over HTTP only");
    refused(&check(r#""httpStatusCodesForReady": [99]"#), "(0)/httpStatusCodesForReady: must be statuses");
    refused(&check(r#""path": "a b""#), "(0)/path: must be a path without spaces");
    refused(
        &with(r#""portDefinitions": [{"name": "http-api"}], "readinessChecks": [{}, {}]"#),
        "/readinessChecks: must have at most one",
    );
    refused(&with(r#""check": {"http": {"portIndex": 3}}"#), "/check: check port index must address");
    refused(&with(r#""check": {}"#), "/check: must be exactly one of http, tcp and exec");
}

#[test]
fn ma_32_ma_71_secrets_must_exist() {
    refused(&with(r#""env": {"A": {"secret": "b"}}"#), "/env/A/secret: references an undefined secret");
    let secrets = r#""secrets": {"b": {"source": "shop/prod/B"}}"#;
    app(&with(&format!(r#""env": {{"A": {{"secret": "b"}}}}, {secrets}"#)));
    refused(
        &with(&format!(r#""env": {{"a-b": {{"secret": "b"}}}}, {secrets}"#)),
        "/env/a-b: a variable with",
    );
    refused(&with(r#""secrets": {"b": {"source": ""}}"#), "/secrets/b: name and source must not be empty");
    refused(&with(r#""env": {"A=B": "c"}"#), "/env/A=B: is not a name of a variable");
    refused(&with(r#""env": {"A": 1}"#), "/env/A: must be a string");
    refused(
        &container(r#""docker": {"image": "a", "pullConfig": {"secret": "b"}}"#),
        "/container/docker/pullConfig: pullConfig.secret must refer to an existing secret",
    );
}

#[test]
fn ma_32_single_instance_apps() {
    let single =
        |fields: &str| with(&format!(r#""labels": {{"{SINGLE_INSTANCE_LABEL}": "true"}}, {fields}"#));
    refused(&single(r#""instances": 2"#), "/: Single instance app may only have one instance");
    app(&single(r#""instances": 0"#));
    refused(
        &single(r#""upgradeStrategy": {"minimumHealthCapacity": 0, "maximumOverCapacity": 1}"#),
        "/upgradeStrategy: minimumHealthCapacity and maximumOverCapacity must be 0",
    );
}

#[test]
fn ma_32_ma_70_persistent_volumes() {
    let resident = |more: &str| {
        let volume = r#"{"containerPath": "data", "mode": "RW", "persistent": {"size": 10}}"#;
        with(&format!(r#""container": {{"type": "MESOS", "volumes": [{volume}]}}, {more}"#))
    };
    refused(
        &resident(r#""upgradeStrategy": {"minimumHealthCapacity": 1, "maximumOverCapacity": 0.5}"#),
        "/upgradeStrategy/maximumOverCapacity: must be 0 for resident tasks",
    );
    refused(
        &resident(r#""unreachableStrategy": {"inactiveAfterSeconds": 1, "expungeAfterSeconds": 2}"#),
        "/: unreachableStrategy must be disabled for resident tasks",
    );
    refused(&resident(r#""role": "*""#), "/role: Resident apps cannot have the role *");
    let volume = |fields: &str| container(&format!(r#""volumes": [{{{fields}}}]"#));
    for place in ["", ".", "..", "a/b", "/data"] {
        let body = volume(&format!(r#""containerPath": "{place}", "persistent": {{"size": 1}}"#));
        refused(&body, "/container/volumes(0)/containerPath: ");
    }
    let data = r#""containerPath": "data""#;
    refused(&volume(&format!(r#"{data}, "mode": "RO", "persistent": {{"size": 1}}"#)), "/mode: must be RW");
    refused(&volume(&format!(r#"{data}, "persistent": {{"size": 0}}"#)), "/size: must be greater than 0");
    refused(
        &volume(&format!(r#"{data}, "persistent": {{"size": 1, "maxSize": 2}}"#)),
        "Only mount volumes can",
    );
    refused(
        &volume(&format!(r#"{data}, "persistent": {{"size": 2, "maxSize": 1, "type": "mount"}}"#)),
        "Max size must be larger than size",
    );
    refused(
        &volume(&format!(r#"{data}, "persistent": {{"size": 2, "constraints": [["path", "LIKE", "a"]]}}"#)),
        "Constraints on root volumes are not supported",
    );
    let constrained = |words: &str| {
        volume(&format!(r#"{data}, "persistent": {{"size": 2, "type": "mount", "constraints": [{words}]}}"#))
    };
    app(&constrained(r#"["path", "LIKE", "/mnt/.*"]"#));
    refused(&constrained(r#"["path", "LIKE", "("]"#), "constraints(0): must be");
    refused(&constrained(r#"["host", "LIKE", "a"]"#), "constraints(0): must be");
    refused(&volume(data), "/container/volumes(0)/persistent: is missing");
    refused(
        &volume(&format!(r#"{data}, "mode": "RW", "external": {{"name": "a"}}"#)),
        "external volumes are not",
    );
    refused(&volume(&format!(r#"{data}, "secret": "a""#)), "a secret reaches a program in a variable");
}

#[test]
fn ma_32_ma_35_ma_37_constraints() {
    let constraint = |words: &str| with(&format!(r#""constraints": [{words}]"#));
    for good in [
        r#"["hostname", "UNIQUE"]"#,
        r#"["hostname", "unique"]"#,
        r#"["@region", "IS", "eu"]"#,
        r#"["rack", "CLUSTER"]"#,
        r#"["rack", "CLUSTER", "r 1"]"#,
        r#"["rack", "GROUP_BY"]"#,
        r#"["rack", "LIKE", "r-[0-9]+"]"#,
        r#"["rack", "MAX_PER", "2"]"#,
    ] {
        app(&constraint(good));
    }
    refused(&constraint(r#"["hostname", "UNIQUE", "a"]"#), "/constraints(0): UNIQUE takes no value");
    refused(&constraint(r#"["hostname", "NEAR", "a"]"#), "/constraints(0): \"NEAR\" is not an operator");
    refused(&constraint(r#"["hostname", "LIKE"]"#), "/constraints(0): LIKE and UNLIKE need a pattern");
    refused(&constraint(r#"["hostname", "LIKE", "["]"#), "/constraints(0): ");
    refused(&constraint(r#"["hostname", "MAX_PER", "x"]"#), "/constraints(0): ");
    refused(&constraint(r#"["hostname", "GROUP_BY", "x"]"#), "/constraints(0): ");
    refused(&constraint(r#"["hostname", "IS", "{a,b}"]"#), "/constraints(0): ");
    refused(
        &constraint(r#"["hostname"]"#),
        "/constraints(0): Each constraint must have either 2 or 3 fields",
    );
    refused(&constraint(r#"["a", "LIKE", "b", "c"]"#), "/constraints(0): Each constraint must have");
    refused(&constraint(r#"{"fieldName": "a"}"#), "/constraints(0): must be a list");
    // A pattern from hell: the engine is linear, and what would compile to too much is refused.
    app(&constraint(r#"["rack", "LIKE", "(a+)+$"]"#));
    refused(&constraint(r#"["rack", "LIKE", "((a{1000}){1000}){1000}"]"#), "/constraints(0): ");
    let many = vec![r#"["a", "UNIQUE"]"#; 33].join(",");
    refused(&constraint(&many), "/constraints: at most 32 constraints");
}

#[test]
fn ma_62_what_is_fetched_is_on_the_web_and_stays_in_the_sandbox() {
    let fetch = |fields: &str| with(&format!(r#""fetch": [{{{fields}}}]"#));
    for uri in ["file:///etc/docker.tar.gz", "hdfs://a/b", "/etc/passwd", "ftp://a/b", "http://", ""] {
        refused(
            &fetch(&format!(r#""uri": "{uri}""#)),
            "/fetch(0)/uri: only http:// and https:// are fetched",
        );
    }
    refused(&with(r#""uris": ["file:///etc/docker.tar.gz"]"#), "/fetch(0)/uri: only http:// and https://");
    refused(&fetch(r#""uri": "http://a/b\r\nX: y""#), "/fetch(0)/uri: URI has invalid syntax.");
    for dest in ["/etc/x", "../x", "a/../../x", "a//b", ""] {
        let body = fetch(&format!(r#""uri": "http://a/b", "destPath": "{dest}""#));
        refused(&body, "/fetch(0)/destPath: must be a relative path");
    }
    refused(&fetch(r#""extract": true"#), "/fetch(0)/uri: is missing");
}

#[test]
fn what_would_open_the_sandbox_is_refused_in_words() {
    let docker = |fields: &str| container(&format!(r#""docker": {{"image": "a", {fields}}}"#));
    refused(
        &docker(r#""privileged": true"#),
        "/container/docker/privileged: programs are not run with privileges",
    );
    refused(
        &docker(r#""parameters": [{"key": "cap-add", "value": "ALL"}]"#),
        "/container/docker/parameters: options for Docker are not supported",
    );
    refused(&with(r#""user": "root""#), "/user: programs do not run as root");
    refused(&with(r#""user": "0""#), "/user: programs do not run as root");
    refused(&with(r#""executor": "/bin/mine""#), "/executor: custom executors are not supported");
    app(&with(r#""executor": "//cmd""#));
    refused(
        &container(r#""linuxInfo": {"seccomp": {"unconfined": true}}"#),
        "unconfined: programs stay confined",
    );
    refused(&container(r#""linuxInfo": {"ipcInfo": {"mode": "SHARE_PARENT"}}"#), "must be PRIVATE");
    for host in ["/etc", "/var/run/docker.sock", "data", "../x"] {
        let body = container(&format!(
            r#""volumes": [{{"containerPath": "/x", "hostPath": "{host}", "mode": "RW"}}]"#
        ));
        refused(&body, "/container/volumes(0)/hostPath: directories of a node cannot be mounted");
    }
    for place in ["/", "/proc/x", "/sys", "/dev/shm", "/a/../etc", "x", "/slipway/launch"] {
        let body = container(&format!(
            r#""volumes": [{{"containerPath": "data", "persistent": {{"size": 1}}}},
                {{"containerPath": "{place}", "hostPath": "data", "mode": "RW"}}]"#
        ));
        refused(&body, "/container/volumes(1)/containerPath: must be an absolute path");
    }
    refused(&docker(r#""credential": {"principal": "a"}"#), "/container/docker/credential: must be empty");
}

#[test]
fn the_rest_of_table_2_2() {
    refused(
        &with(r#""container": {"docker": {"image": "a"}}, "gpus": 1"#),
        "/: GPU resources only work with the Mesos containerizer",
    );
    refused(
        &with(r#""cpus": 2, "resourceLimits": {"cpus": 1}"#),
        "/resourceLimits/cpus: resource limit must be greater than or equal to requested resource (2)",
    );
    refused(&with(r#""resourceLimits": {"mem": "much"}"#), "/resourceLimits/mem: must be \"unlimited\" or a");
    refused(
        &with(r#""upgradeStrategy": {"maximumOverCapacity": 1.5}"#),
        "/upgradeStrategy/maximumOverCapacity: must be between 0 and 1",
    );
    refused(
        &with(r#""unreachableStrategy": {"inactiveAfterSeconds": 5, "expungeAfterSeconds": 2}"#),
        "/unreachableStrategy/expungeAfterSeconds: must not be less than inactiveAfterSeconds",
    );
    refused(
        &with(r#""unreachableStrategy": "never""#),
        "/unreachableStrategy: must be \"disabled\" or an object",
    );
    refused(
        &with(r#""killSelection": "RANDOM""#),
        "/killSelection: is not one of (YOUNGEST_FIRST,OLDEST_FIRST)",
    );
    refused(&with(r#""acceptedResourceRoles": []"#), "/acceptedResourceRoles: must not be empty");
    refused(&with(r#""taskKillGracePeriodSeconds": 100000"#), "/taskKillGracePeriodSeconds: must be at most");
    refused(&with(r#""slipway": {"batch": 0}"#), "/slipway/batch: must be at least 1");
    refused(&with(r#""slipway": {"tier": "gold"}"#), "/slipway/tier: is not one of");
    refused(&with(r#""slipway": {"schedule": {"cron": "61 * * * *"}}"#), "/slipway/schedule/cron: ");
    refused(
        &container(r#""docker": {"image": "a b"}"#),
        "/container/docker/image: must be the name of an image",
    );
    refused(&container(r#""docker": {}"#), "/container/docker/image: is missing");
}

#[test]
fn ma_37_the_patterns_of_one_body_are_few_however_they_are_spread() {
    let pattern = |number: usize| format!(r#"["rack","LIKE","(?:[a-z]{{50}}){{3}}x{number}"]"#);
    let many: Vec<_> = (0..20_000).map(pattern).collect();
    let body = format!(r#"{{"cmd":"x","constraints":[{}]}}"#, many.join(","));
    let since = std::time::Instant::now();
    let found = mistakes(&body);
    assert!(since.elapsed() < std::time::Duration::from_secs(5), "took {:?}", since.elapsed());
    assert!(found.iter().any(|one| one.contains("256 different patterns")), "{found:?}");
    // The same one again and again costs nothing.
    let apps: Vec<_> = (0..500)
        .map(|number| format!(r#"{{"id":"/a{number}","cmd":"x","constraints":[["rack","LIKE","r.*"]]}}"#))
        .collect();
    let body = format!("[{}]", apps.join(","));
    assert_eq!(AppUpdate::read_list(body.as_bytes(), &PathId::root()).unwrap().len(), 500);
    let long = "a".repeat(2049);
    refused(&format!(r#"{{"cmd":"x","constraints":[["rack","LIKE","{long}"]]}}"#), "/constraints(0): ");
}

#[test]
fn ma_80_a_path_that_cannot_be_is_refused_with_its_label() {
    let labels = |path: &str| {
        with(&format!(
            r#""labels": {{"HAPROXY_GROUP": "x", "HAPROXY_0_VHOST": "a.example", "HAPROXY_0_PATH": "{path}"}}"#
        ))
    };
    refused(
        &labels("/api /a/../b"),
        r#"/labels/HAPROXY_0_PATH: "/a/../b" cannot be a path of a host name: it has an empty part, . or .."#,
    );
    refused(
        &labels("-i /api"),
        r#"/labels/HAPROXY_0_PATH: "-i" cannot be a path of a host name: flags are not read; a path is compared as it is written"#,
    );
    let many = (0..51).map(|n| format!("/{n}")).collect::<Vec<_>>().join(" ");
    refused(&labels(&many), "/labels: HAPROXY labels may ask for at most 50 host names and paths of them");
}
