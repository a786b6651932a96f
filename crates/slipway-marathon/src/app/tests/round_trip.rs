//! What is written is read as it was, and saying a thing in the normal form changes nothing.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Bodies with most fields, in old and new words. Most are apps, some are not; none may break anything.
fn body() -> impl Strategy<Value = Value> {
    let program = prop_oneof![
        Just(json!({"cmd": "sleep 1"})),
        Just(json!({"args": ["a", "b"]})),
        Just(json!({"container": {"type": "DOCKER", "docker": {"image": "a", "network": "BRIDGE"}}})),
        Just(json!({"container": {"type": "DOCKER", "docker": {"image": "a", "network": "HOST"}}})),
        Just(json!({"cmd": "x", "networks": [{"mode": "container", "name": "n"}]})),
        Just(json!({"cmd": "x", "ipAddress": {"discovery": {"ports": [{"number": 1, "name": "a"}]}}})),
        Just(json!({"cmd": "x", "container": {"type": "MESOS", "volumes": [
            {"containerPath": "d", "mode": "RW", "persistent": {"size": 5.5}},
            {"containerPath": "/d", "mode": "RW", "hostPath": "d"}]}})),
        (0_u16..3, 0_u16..3).prop_map(|(port, host)| json!({"networks": [{"mode": "container/bridge"}],
            "container": {"docker": {"image": "a"}, "portMappings": [
                {"containerPort": port, "hostPort": host, "name": "http-api"}]}})),
    ];
    let numbers = (0.0..4.0_f64, 0.0..5000.0_f64, 0_u32..20, 1.0..3.0_f64, 0.0..=1.0_f64);
    let numbers = numbers.prop_map(|(cpus, mem, instances, factor, share)| {
        json!({"cpus": cpus + 0.001, "mem": mem, "disk": mem / 3.0, "instances": instances,
            "backoffFactor": factor, "backoffSeconds": instances,
            "upgradeStrategy": {"minimumHealthCapacity": share, "maximumOverCapacity": 0}})
    });
    let words = prop::collection::btree_map("[A-Z]{1,3}", "\\PC{0,8}", 0..4);
    let words = (words.clone(), words).prop_map(|(labels, env)| json!({"labels": labels, "env": env}));
    let others = prop::sample::subsequence(
        vec![
            json!({"healthChecks": [{"path": "/x", "maxConsecutiveFailures": 0}]}),
            json!({"healthChecks": [{"protocol": "COMMAND", "command": {"value": "true"}}]}),
            json!({"constraints": [["a", "like", "b.*"], ["rack", "GROUP_BY", "3"]]}),
            json!({"uris": ["http://a/b.zip"]}),
            json!({"fetch": [{"uri": "http://a/b", "destPath": "c", "cache": true}]}),
            json!({"unreachableStrategy": {"inactiveAfterSeconds": 3, "expungeAfterSeconds": 4}}),
            json!({"unreachableStrategy": "disabled"}),
            json!({"ports": [0, 9001]}),
            json!({"portDefinitions": [{"port": 80, "name": "a", "protocol": "udp"}], "requirePorts": true}),
            json!({"dependencies": ["b", "/c/d"], "killSelection": "OLDEST_FIRST", "user": "me", "tty": false}),
            json!({"slipway": {"batch": 1, "tier": "preemptible", "schedule": {"cron": "5 4 * * *"}}}),
            json!({"secrets": {"s": {"source": "a/b/C"}}, "resourceLimits": {"mem": "unlimited"}}),
            json!({"taskKillGracePeriodSeconds": 3, "maxLaunchDelaySeconds": 9, "gpus": 1}),
            json!({"check": {"tcp": {"port": 80}}, "acceptedResourceRoles": ["*"], "role": "r"}),
        ],
        0..8,
    );
    (program, numbers, words, others).prop_map(|(program, numbers, words, others)| {
        let mut body = json!({"id": "/g/x"});
        for part in [program, numbers, words].into_iter().chain(others) {
            let Value::Object(part) = part else { continue };
            body.as_object_mut().unwrap().extend(part);
        }
        body
    })
}

proptest! {
    #[test]
    fn what_is_stored_is_read_as_it_was(body in body()) {
        if let Ok(app) = read(&body.to_string()).and_then(AppUpdate::create) {
            let stored = app.to_json();
            prop_assert_eq!(&AppDefinition::from_json(&stored).unwrap(), &app);
            // And a client that sends the answer back changes nothing, in part or as a whole.
            prop_assert_eq!(&read(&stored).unwrap().create().unwrap(), &app);
            prop_assert_eq!(&read(&stored).unwrap().onto(&app).unwrap(), &app);
            prop_assert_eq!(&read("{}").unwrap().onto(&app).unwrap(), &app);
            prop_assert_eq!(&read(&body.to_string()).unwrap().onto(&app).unwrap(), &app);
        }
    }

    #[test]
    fn no_change_of_one_value_breaks_the_reader(
        body in body(),
        place in any::<prop::sample::Index>(),
        other in prop_oneof![
            Just(json!(null)), Just(json!(-1)), Just(json!(1e300)), Just(json!("")), Just(json!([[]])),
            Just(json!({"": {}})), Just(json!(true)), Just(json!("\u{0}")), Just(json!(u64::MAX)),
        ],
    ) {
        let mut body = body;
        let count = nodes(&mut body, &mut |_| {});
        let wanted = place.index(count);
        let mut at = 0;
        nodes(&mut body, &mut |value| {
            if at == wanted {
                *value = other.clone();
            }
            at += 1;
        });
        let made = read(&body.to_string()).and_then(AppUpdate::create);
        if let Ok(app) = made {
            let _ = crate::spec::wanted(&app);
            prop_assert_eq!(AppDefinition::from_json(&app.to_json()).unwrap(), app);
        }
    }
}

#[test]
fn most_bodies_of_these_tests_are_apps() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let bodies = (0..200).map(|_| body().new_tree(&mut runner).expect("a body").current());
    let taken = bodies.filter(|body| read(&body.to_string()).and_then(AppUpdate::create).is_ok()).count();
    assert!(taken > 60, "{taken} of 200");
}

/// Visits every value, and counts them.
fn nodes(value: &mut Value, visit: &mut impl FnMut(&mut Value)) -> usize {
    visit(value);
    let below: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    below.into_iter().map(|value| nodes(value, visit)).sum::<usize>() + 1
}
