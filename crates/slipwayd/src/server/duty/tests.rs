//! Who is believed to lead.

use slipway_model::cluster::Candidate;

use super::*;

fn leader(epoch: u64, name: &str, address: &str) -> Leader {
    let candidate = Candidate { name: name.parse().unwrap(), cluster_address: Some(address.to_owned()) };
    Leader { epoch: Epoch(epoch), candidate }
}

fn retired(epoch: u64) -> Own {
    let fallback = Fallback { api: axum::Router::new(), local: axum::Router::new() };
    Own::Retired { epoch: Epoch(epoch), fallback }
}

#[track_caller]
fn check(own: &Own, elected: Option<Leader>, passes_on_to: Option<&str>) {
    let newest = elected.as_ref().map(|leader| leader.epoch);
    match decide(own, elected.as_ref(), newest, "10.0.0.1:7072") {
        Course::Lead(_) => panic!("it has no term"),
        Course::StandBy { leader, fallback } => {
            assert_eq!(leader, passes_on_to);
            let knows_most =
                matches!(own, Own::Retired { epoch, .. } if newest.is_none_or(|newest| newest <= *epoch));
            assert_eq!(fallback.is_some(), knows_most);
        }
    }
}

#[test]
fn a_server_that_never_led_believes_the_store() {
    check(&Own::None, None, None);
    check(&Own::None, Some(leader(4, "two", "10.0.0.2:7072")), Some("10.0.0.2:7072"));
}

#[test]
fn nothing_is_passed_on_to_oneself() {
    check(&Own::None, Some(leader(4, "one", "10.0.0.1:7072")), None);
    check(&retired(4), Some(leader(5, "one", "10.0.0.1:7072")), None);
}

#[test]
fn a_retired_server_waits_for_somebody_newer() {
    check(&retired(4), Some(leader(4, "one", "10.0.0.1:7072")), None);
    check(&retired(4), Some(leader(3, "two", "10.0.0.2:7072")), None);
    check(&retired(4), Some(leader(5, "two", "10.0.0.2:7072")), Some("10.0.0.2:7072"));
}

/// It was let go when somebody newer led: the next time without a leader is not that of its own end.
#[test]
fn what_a_term_remembers_does_not_come_back() {
    let remembers =
        |newest: u64, now: Option<&Leader>| match decide(&retired(4), now, Some(Epoch(newest)), "a") {
            Course::StandBy { fallback, .. } => fallback.is_some(),
            Course::Lead(_) => panic!("it has no term"),
        };
    assert!(remembers(4, None));
    assert!(!remembers(5, Some(&leader(5, "two", "10.0.0.2:7072"))));
    assert!(!remembers(5, None) && !remembers(5, Some(&leader(4, "one", "10.0.0.1:7072"))));
}

#[test]
fn a_candidate_of_another_kind_is_not_passed_on_to() {
    let candidate = Candidate::alone("up".parse().unwrap());
    check(&Own::None, Some(Leader { epoch: Epoch(1), candidate }), None);
}
