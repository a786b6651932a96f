use super::*;

fn settings(more: serde_json::Value) -> Settings {
    let mut all = serde_json::json!({ "serversSpec": "S:1:a,S:2:b,S:3:c" });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

/// All serve; `a` leads.
fn seen(settings: &Settings, except: &str, state: Option<State>) -> Vec<Seen> {
    let rolling = settings.rolling.as_ref().unwrap();
    let one = |host: &str| Seen {
        host: host.to_owned(),
        state: if host == except { state } else { Some(State::Serving) },
        has_new: rolling.roll.uses_new(host),
        is_leader: host == "a",
        votes: true,
    };
    ["a", "b", "c"].map(one).into()
}

const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(3600);

#[test]
fn ex_11_a_change_stops_at_a_server_that_does_not_come_back_and_says_so() {
    let old = settings(serde_json::json!({}));
    let new = settings(serde_json::json!({ "javaEnvironment": "-Xmx1g" }));
    let start = Rolling::begin(7, old.clone(), new.clone());
    assert_eq!((start.of("a"), start.of("b")), (old.clone(), old.clone()));
    let (first, sentence) = next(&start, &seen(&start, "", None), SOON).unwrap();
    assert_eq!(sentence, "the servers are getting new settings: b gets the new settings");
    assert_eq!((first.of("a"), first.of("b")), (old.clone(), new.clone()));

    // Not yet back, and after a long time.
    let down = seen(&first, "b", Some(State::Down));
    assert_eq!(next(&first, &down, SOON), None);
    let (stands, _) = next(&first, &down, LATE).unwrap();
    let status = stands.rolling.as_ref().unwrap().status();
    assert!(status.starts_with("stopped at b, which does not serve by the new settings (it is down)"));
    // It is said once, by whoever saw it first.
    assert_eq!(next(&stands, &down, LATE), None);

    // Back it goes, and only `b` has to.
    let rolling = stands.rolling.clone().unwrap();
    let back = rolling.back(9, stands.clone());
    assert_eq!((back.of("a"), back.of("b"), back.of("c")), (old.clone(), new.clone(), old.clone()));
    let (back, _) = next(&back, &seen(&back, "b", Some(State::Down)), SOON).unwrap();
    assert_eq!(back.of("b"), old);
    let (over, _) = next(&back, &seen(&back, "", None), SOON).unwrap();
    assert_eq!(over, old);

    // Mended it goes on, the leader last.
    let (second, _) = next(&stands, &seen(&stands, "", None), LATE).unwrap();
    assert_eq!(second.rolling.as_ref().unwrap().status(), "c gets the new settings");
    let (third, _) = next(&second, &seen(&second, "", None), SOON).unwrap();
    assert_eq!(third.of("a"), new);
    let (over, _) = next(&third, &seen(&third, "", None), SOON).unwrap();
    assert_eq!(over, new);
}

#[test]
fn ex_11_a_sign_says_what_a_server_runs_by() {
    assert_eq!(says(b"4242 17 9"), Some(9));
    assert_eq!(says(b"4242 17"), None);
}
