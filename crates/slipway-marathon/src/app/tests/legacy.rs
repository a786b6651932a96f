//! The forms that frozen clients send (2.2, "old inputs"), and what they become.

use super::*;

/// A body says the same as another.
fn same(old: &str, new: &str) {
    assert_eq!(said(&app(old)), said(&app(new)), "{old}");
}

#[test]
fn uris_become_fetch() {
    same(
        r#"{"cmd": "x", "uris": ["http://a/b.tgz", "http://a/c.jar", "http://a/d.zip?x=1"]}"#,
        r#"{"cmd": "x", "fetch": [{"uri": "http://a/b.tgz"}, {"uri": "http://a/c.jar", "extract": false},
            {"uri": "http://a/d.zip?x=1"}]}"#,
    );
    // An old Marathon answered with both.
    same(
        r#"{"cmd": "x", "uris": ["http://a/c"], "fetch": [{"uri": "http://a/c", "extract": false}]}"#,
        r#"{"cmd": "x", "fetch": [{"uri": "http://a/c", "extract": false}]}"#,
    );
    same(
        r#"{"cmd": "x", "fetch": [{"uri": "http://a/c", "outputFile": "d"}]}"#,
        r#"{"cmd": "x", "fetch": [{"uri": "http://a/c", "destPath": "d"}]}"#,
    );
    refused(
        r#"{"cmd": "x", "uris": ["http://a/c"], "fetch": [{"uri": "http://a/d"}]}"#,
        "/uris: may not be set in conjunction with fetch",
    );
}

#[test]
fn ports_become_port_definitions() {
    same(
        r#"{"cmd": "x", "ports": [8080, 0]}"#,
        r#"{"cmd": "x", "portDefinitions": [{"port": 8080, "name": "default"}, {"port": 0}]}"#,
    );
    same(r#"{"cmd": "x", "ports": []}"#, r#"{"cmd": "x", "portDefinitions": []}"#);
    // marathon-python says both when it is told not to be brief.
    same(
        r#"{"cmd": "x", "ports": [], "portDefinitions": [{"port": 1}]}"#,
        r#"{"cmd": "x", "portDefinitions": [{"port": 1}]}"#,
    );
    same(
        r#"{"cmd": "x", "ports": [1, 0], "portDefinitions": [{"port": 1}, {"port": 0}]}"#,
        r#"{"cmd": "x", "portDefinitions": [{"port": 1}, {"port": 0}]}"#,
    );
    refused(
        r#"{"cmd": "x", "ports": [2], "portDefinitions": [{"port": 1}]}"#,
        "/ports: cannot specify both ports and port definitions",
    );
    refused(r#"{"cmd": "x", "ports": [8080, 8080]}"#, "/ports: ports must be unique");
    refused(r#"{"cmd": "x", "ports": [70000]}"#, "/ports(0): must be a whole number from 0 to 65535");
}

#[test]
fn docker_networks_become_networks() {
    same(
        r#"{"container": {"type": "DOCKER", "docker": {"image": "nginx", "network": "HOST"}}}"#,
        r#"{"container": {"type": "DOCKER", "docker": {"image": "nginx"}}, "networks": [{"mode": "host"}]}"#,
    );
    // marathonctl's and go-marathon's way to run a web server.
    same(
        r#"{"id": "/web", "cpus": 0.1, "mem": 1.0, "instances": 1, "ports": [0], "dependencies": null,
            "container": {"type": "DOCKER", "volumes": [], "docker": {"image": "nginx", "network": "BRIDGE",
                "portMappings": [{"containerPort": 80, "hostPort": 0, "servicePort": 9000, "protocol": "tcp"}],
                "parameters": [], "privileged": false, "forcePullImage": false}}}"#,
        r#"{"id": "/web", "cpus": 0.1, "mem": 1, "networks": [{"mode": "container/bridge"}],
            "container": {"type": "DOCKER", "docker": {"image": "nginx"}, "portMappings": [
                {"containerPort": 80, "hostPort": 0, "servicePort": 9000}]}}"#,
    );
    // Without mappings there is one port, which has the number of the node's.
    same(
        r#"{"container": {"type": "DOCKER", "docker": {"image": "nginx", "network": "BRIDGE"}}}"#,
        r#"{"networks": [{"mode": "container/bridge"}], "container": {"type": "DOCKER", "docker":
            {"image": "nginx"}, "portMappings": [{"containerPort": 0, "hostPort": 0, "name": "default"}]}}"#,
    );
    // Mappings of the host's own network mean nothing.
    same(
        r#"{"container": {"docker": {"image": "nginx", "network": "HOST",
            "portMappings": [{"containerPort": 80}]}}}"#,
        r#"{"container": {"docker": {"image": "nginx"}}}"#,
    );
    // What Marathon 1.4 answered for such an app.
    same(
        r#"{"ports": [9000], "portDefinitions": [{"port": 9000, "protocol": "tcp", "labels": {}}],
            "container": {"type": "DOCKER", "docker": {"image": "nginx", "network": "BRIDGE",
                "portMappings": [{"containerPort": 80, "hostPort": 0, "servicePort": 9000}]}}}"#,
        r#"{"networks": [{"mode": "container/bridge"}], "container": {"docker": {"image": "nginx"},
            "portMappings": [{"containerPort": 80, "hostPort": 0, "servicePort": 9000}]}}"#,
    );
    refused(
        r#"{"container": {"docker": {"image": "nginx", "network": "NONE"}}}"#,
        "/container/docker/network: unsupported docker network type NONE",
    );
    refused(
        r#"{"container": {"docker": {"image": "nginx", "network": "BRIDGE"}}, "networks": [{"mode": "host"}]}"#,
        "/networks: must not specify both container.docker.network and networks",
    );
    refused(
        r#"{"container": {"docker": {"image": "a", "network": "BRIDGE", "portMappings": [{"containerPort": 1}]},
            "portMappings": [{"containerPort": 2}]}}"#,
        "/container/docker/portMappings: cannot specify both portMappings and docker.portMappings",
    );
    refused(
        r#"{"cmd": "x", "container": {"type": "MESOS", "docker": {"image": "a",
            "portMappings": [{"containerPort": 1}]}}}"#,
        "/container/docker/portMappings: must be empty",
    );
    refused(
        r#"{"container": {"docker": {"image": "a", "network": "bond"}}}"#,
        "/container/docker/network: is not one of (BRIDGE,HOST,NONE,USER)",
    );
}

#[test]
fn ip_address_becomes_a_container_network() {
    same(
        r#"{"cmd": "x", "ipAddress": {"networkName": "blue", "labels": {"a": "b"}, "groups": ["g"],
            "discovery": {"ports": [{"number": 80, "name": "http", "protocol": "tcp"}]}}}"#,
        r#"{"cmd": "x", "networks": [{"mode": "container", "name": "blue", "labels": {"a": "b"}}],
            "container": {"type": "MESOS", "portMappings": [{"containerPort": 80, "name": "http"}]}}"#,
    );
    same(
        r#"{"ipAddress": {"networkName": "blue"}, "container": {"docker": {"image": "a", "network": "USER",
            "portMappings": [{"containerPort": 80}]}}}"#,
        r#"{"networks": [{"mode": "container", "name": "blue"}], "container": {"docker": {"image": "a"},
            "portMappings": [{"containerPort": 80}]}}"#,
    );
    refused(
        r#"{"cmd": "x", "ipAddress": {}, "networks": [{"mode": "host"}]}"#,
        "/networks: must not specify both networks and ipAddress",
    );
    refused(
        r#"{"cmd": "x", "ipAddress": {}, "ports": [1]}"#,
        "/ports: cannot specify both an IP address and port",
    );
    refused(
        r#"{"ipAddress": {"discovery": {"ports": [{"number": 1, "name": "a"}]}},
            "container": {"type": "DOCKER", "docker": {"image": "a"}}}"#,
        "ipAddress/discovery is not allowed for Docker containers",
    );
}

#[test]
fn health_checks_of_old_clients_ask_the_first_port() {
    let port_index = |body: &str| app(body).health_checks[0].port_index;
    assert_eq!(port_index(r#"{"cmd": "x", "healthChecks": [{"path": "/"}]}"#), Some(0));
    assert_eq!(port_index(r#"{"cmd": "x", "healthChecks": [{"protocol": "MESOS_TCP"}]}"#), Some(0));
    assert_eq!(port_index(r#"{"cmd": "x", "healthChecks": [{"protocol": "TCP", "port": 80}]}"#), None);
    let command = r#"{"cmd": "x", "healthChecks": [{"command": {"value": "true"}, "path": null}]}"#;
    assert_eq!(app(command).health_checks[0].protocol, check::Protocol::Command);
}

#[test]
fn bodies_of_libraries_are_taken_as_they_are() {
    // marathon-python with `minimal=False`.
    app(r#"{"acceptedResourceRoles": null, "args": null, "backoffFactor": null, "cmd": "sleep 1",
        "constraints": [["hostname", "UNIQUE"], ["rack", "GROUP_BY", ""]], "container": null, "cpus": 0.1,
        "dependencies": [], "deployments": [], "disk": null, "env": {}, "executor": null, "fetch": [],
        "gpus": null, "healthChecks": [{"command": null, "gracePeriodSeconds": 3, "intervalSeconds": 2,
        "maxConsecutiveFailures": 3, "path": "/", "portIndex": 0, "protocol": "HTTP", "timeoutSeconds": 1,
        "ignoreHttp1xx": null}], "id": "/py", "instances": 1, "ipAddress": null, "killSelection": null,
        "labels": {}, "lastTaskFailure": null, "maxLaunchDelaySeconds": null, "mem": 16, "networks": null,
        "portDefinitions": [], "ports": [0], "readinessCheckResults": [], "readinessChecks": [],
        "requirePorts": null, "residency": null, "role": null, "secrets": {}, "storeUrls": [],
        "taskKillGracePeriodSeconds": null, "taskRateLimit": null, "taskStats": null, "tasks": [],
        "unreachableStrategy": null, "upgradeStrategy": null, "uris": [], "user": null, "version": null,
        "versionInfo": null}"#
        .replace(r#""portDefinitions": []"#, r#""portDefinitions": null"#)
        .as_str());
    // go-marathon: whole numbers as floats, `null` for lists.
    app(
        r#"{"id": "/go", "args": ["/bin/sh"], "container": {"type": "DOCKER", "docker": {"forcePullImage": true,
        "image": "alpine", "network": "BRIDGE", "parameters": null, "portMappings": [{"containerPort": 80,
        "hostPort": 0, "servicePort": 0, "protocol": "tcp"}], "privileged": false}, "volumes": null},
        "cpus": 0.1, "gpus": 0.0, "instances": 2, "mem": 64, "ports": null, "backoffSeconds": 1.0,
        "maxLaunchDelaySeconds": 300.0, "dependencies": null, "env": {"A": "b"},
        "unreachableStrategy": {"inactiveAfterSeconds": 60.0, "expungeAfterSeconds": 120.0}}"#,
    );
    // The dashboard leaves empty objects.
    app(r#"{"id": "/ui", "cmd": "x", "container": {}, "constraints": [], "acceptedResourceRoles": null}"#);
    app(r#"{"id": "/ui", "cmd": "x", "container": {"docker": null, "volumes": []}}"#);
}
