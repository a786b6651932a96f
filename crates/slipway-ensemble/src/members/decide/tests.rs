use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::configuration::Member;
use crate::settings::Kind;

mod random;

const SETTLING: Duration = Duration::from_secs(180);
const LONG: Duration = Duration::from_secs(600);

fn rules(size: Size) -> Rules {
    Rules { automatic: true, size, observer_threshold: 999, settling: SETTLING }
}

fn configuration(text: &str) -> Configuration {
    let list: Servers = text.parse().unwrap();
    let role = |kind| if kind == Kind::Standard { Role::Participant } else { Role::Observer };
    let members = list.iter().map(|server| member(server, role(server.kind))).collect();
    Configuration { members, version: 1 }
}

pub(super) fn member(server: &Server, role: Role) -> Member {
    Member {
        id: server.id,
        host: server.host.clone(),
        quorum_port: 2888,
        election_port: 3888,
        role,
        client: None,
    }
}

/// `a+` serves, `a-` is down, `a~` does not serve, `a?` waits; all for long, or with `!` just now.
fn instances(text: &str) -> Vec<Instance> {
    let read = |word: &str| {
        let (word, since) = word.strip_suffix('!').map_or((word, LONG), |word| (word, Duration::ZERO));
        let (host, state) = word.split_at(word.len() - 1);
        let state = match state {
            "+" => State::Serving,
            "-" => State::Down,
            "~" => State::NotServing,
            _ => State::Latent,
        };
        Instance { host: host.to_owned(), state, since }
    };
    text.split_whitespace().map(read).collect()
}

/// What is decided, as one line.
fn check(size: Size, list: &str, configured: &str, seen: &str, expected: &str) {
    let list = list.parse().unwrap();
    let (configuration, instances) = (configuration(configured), instances(seen));
    let situation = Situation {
        rules: rules(size),
        list: &list,
        highest_id: 0,
        instances: &instances,
        configuration: Some(&configuration),
        leader: Some(1),
        since_change: LONG,
    };
    assert_eq!(line(&decide(&situation)), expected, "{list} over {configured}, where {seen}");
}

fn line(decision: &Decision) -> String {
    match decision {
        Decision::Rewrite { list, why, .. } => format!("{list} ({why})"),
        Decision::Wait(reason) => reason.to_string(),
        Decision::Reconfigure(Change { joining, leaving }) => {
            let joining = joining.as_ref().map(|(server, role)| format!("{role:?} {}", server.id));
            let leaving = leaving.map(|id| format!("without {id}"));
            [joining, leaving].into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn ex_12_a_member_that_is_gone_is_replaced_by_one_that_waits() {
    let (three, fixed) = ("S:1:a,S:2:b,S:3:c", Size::Fixed(3));
    check(fixed, three, three, "a+ b+ c+ d?", "S:1:a,S:2:b,S:3:c,O:4:d (d joins)");
    let four = "S:1:a,S:2:b,S:3:c,O:4:d";
    check(fixed, four, three, "a+ b+ c- d-!", "Observer 4");
    check(fixed, four, four, "a+ b+ c- d~!", "all is as wanted");
    check(fixed, four, four, "a+ b+ c- d+!", "S:1:a,S:2:b,S:4:d (d takes the place of c, which is down)");
    check(fixed, "S:1:a,S:2:b,S:4:d", four, "a+ b+ c- d+!", "Participant 4 without 3");
    check(fixed, "S:1:a,S:2:b,S:4:d", "S:1:a,S:2:b,S:4:d", "a+ b+ d+ c?!", "all is as wanted");
}

#[test]
fn ex_12_a_member_that_went_a_moment_ago_is_waited_for() {
    let four = "S:1:a,S:2:b,S:3:c,O:4:d";
    check(Size::Fixed(3), four, four, "a+ b+ c-! d+", "all is as wanted");
    check(Size::Flexible, four, four, "a+ b+ c-! d+", "all is as wanted");
}

#[test]
fn ex_12_without_a_quorum_nothing_is_changed() {
    let (four, none) =
        ("S:1:a,S:2:b,S:3:c,O:4:d", "less than a majority of the voters serves, so nothing can be changed");
    check(Size::Fixed(3), four, four, "a+ b- c- d+", none);
    check(Size::Fixed(3), "S:1:a,S:4:d", four, "a+ b~ c~ d+", none);
}

#[test]
fn ex_12_flexible_leaves_out_as_many_as_lets_it_bear_more() {
    let five = "S:1:a,S:2:b,S:3:c,S:4:d,S:5:e";
    check(Size::Flexible, five, five, "a+ b+ c+ d+ e-", "all is as wanted");
    check(
        Size::Flexible,
        five,
        five,
        "a+ b+ c+ d- e-",
        "S:1:a,S:2:b,S:3:c,S:5:e (d is down and is left out)",
    );
    let four = "S:1:a,S:2:b,S:3:c,S:5:e";
    check(Size::Flexible, four, five, "a+ b+ c+ d- e-", "without 4");
    check(Size::Flexible, four, four, "a+ b+ c+ e-", "S:1:a,S:2:b,S:3:c (e is down and is left out)");
}

#[test]
fn ex_12_two_more_get_a_vote_or_none() {
    let (four, five) = ("S:1:a,S:2:b,S:3:c,O:4:d", "S:1:a,S:2:b,S:3:c,O:4:d,O:5:e");
    check(Size::Flexible, four, four, "a+ b+ c+ d+", "all is as wanted");
    check(Size::Flexible, five, five, "a+ b+ c+ d+ e+", "S:1:a,S:2:b,S:3:c,S:4:d,O:5:e (d gets a vote)");
    check(Size::Fixed(3), five, five, "a+ b+ c+ d+ e+", "all is as wanted");
}

#[test]
fn zk_09_a_second_voter_comes_with_its_vote() {
    check(Size::Flexible, "S:1:a", "S:1:a", "a+ b?", "S:1:a,O:2:b (b joins)");
    check(Size::Flexible, "S:1:a", "S:1:a", "a+ b? c?", "S:1:a,S:2:b (b joins)");
    check(Size::Flexible, "S:1:a,S:2:b", "S:1:a", "a+ b-!", "server 2 does not serve yet");
    check(Size::Flexible, "S:1:a,S:2:b", "S:1:a", "a+ b+!", "Participant 2");
    check(Size::Flexible, "S:1:a,S:2:b", "S:1:a", "a+ b-", "S:1:a (b is down and is left out)");
}

#[test]
fn zk_09_the_last_voter_stays_and_so_does_one_that_is_needed() {
    check(Size::Fixed(1), "O:1:a,O:2:b", "S:1:a,O:2:b", "a+ b+", "server 1 is the last one with a vote");
    check(
        Size::Fixed(3),
        "S:1:a,S:2:b",
        "S:1:a,S:2:b,S:3:c",
        "a+ b- c+",
        "server 3 cannot go: too few of the others serve",
    );
    check(
        Size::Fixed(3),
        "S:1:z,S:2:b,S:3:c",
        "S:1:a,S:2:b,S:3:c",
        "z+ b+ c+",
        "server 1 has another address; give it a new id",
    );
}

#[test]
fn ex_12_a_name_that_is_no_host_does_not_join() {
    let three = "S:1:a,S:2:b,S:3:c";
    check(
        Size::Fixed(3),
        three,
        three,
        "a+ b+ c+ x,S:9:evil?",
        "a waiting instance cannot join: server \"S:1:a,S:2:b,S:3:c,O:4:x,S:9:evil\" is not like S:1:host \
         or O:1:host, with an id of 1 to 254",
    );
}
