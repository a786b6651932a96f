use super::*;

fn servers(text: &str) -> Servers {
    text.parse().unwrap()
}

fn seen(host: &str, state: Option<State>, roll: &Roll) -> Seen {
    Seen { host: host.to_owned(), state, has_new: roll.uses_new(host), is_leader: host == "b", votes: true }
}

/// Looks until it is over; each word of the answer is who had the turn.
fn order(roll: &mut Roll, state: impl Fn(&str) -> Option<State>) -> String {
    let mut turns: Vec<String> = Vec::new();
    for _ in 0..100 {
        let looks = ["a", "b", "c", "d", "e"].map(|host| seen(host, state(host), roll));
        let progress = roll.advance(&looks);
        if let Some(current) = &roll.current
            && turns.last() != Some(&current.host)
        {
            turns.push(current.host.clone());
        }
        // Whoever goes on knows no more than what was written down.
        *roll = serde_json::from_str(&serde_json::to_string(roll).unwrap()).unwrap();
        if progress == Progress::Finished {
            return turns.join(" ");
        }
    }
    format!("{} and then: {}", turns.join(" "), roll.status())
}

#[test]
fn ex_11_new_servers_come_first_and_the_leader_last() {
    let mut roll = Roll::new(&servers("S:1:a,S:2:b,S:3:c"), &servers("S:1:a,S:2:b,S:3:c,S:4:d"));
    assert_eq!((roll.percent(), roll.uses_new("a")), (0, false));
    assert_eq!(order(&mut roll, |_| Some(State::Serving)), "d a c b");
    assert_eq!(roll.percent(), 100);
    assert!(["a", "b", "c", "d"].iter().all(|host| roll.uses_new(host)));
}

#[test]
fn ex_11_one_that_does_not_answer_four_times_is_skipped() {
    let all = servers("S:1:a,S:2:b,S:3:c,S:4:d,S:5:e");
    let mut roll = Roll::new(&all, &all);
    let silent = |host: &str| (host != "c").then_some(State::Serving);
    assert_eq!(order(&mut roll, silent), "a c d e b");
    assert_eq!(roll.skipped(), ["c"]);
    assert!(roll.status().contains("without an answer: c"), "{}", roll.status());
}

#[test]
fn ex_11_an_answer_in_between_begins_the_count_again() {
    let all = servers("S:1:a,S:2:b,S:3:c");
    let mut roll = Roll::new(&all, &all);
    let look = |roll: &mut Roll, state| {
        roll.advance(
            &["a", "b", "c"]
                .map(|host| seen(host, if host == "a" { state } else { Some(State::Serving) }, roll)),
        )
    };
    look(&mut roll, Some(State::Serving));
    for _ in 0..3 {
        assert_eq!(look(&mut roll, None), Progress::Changed);
    }
    assert_eq!(look(&mut roll, Some(State::Down)), Progress::Changed);
    assert_eq!(look(&mut roll, Some(State::Down)), Progress::Waits);
    assert!(roll.skipped().is_empty() && roll.uses_new("a"));
}

#[test]
fn ex_11_no_turn_costs_the_quorum() {
    let all = servers("S:1:a,S:2:b,S:3:c,S:4:d");
    let mut roll = Roll::new(&all, &all);
    let look = |roll: &mut Roll, missing: &str| {
        let state = |host: &str| (host != missing).then_some(State::Serving);
        let looks = ["a", "b", "c", "d"].map(|host| seen(host, state(host), roll));
        roll.advance(&looks)
    };
    // While d is away each of the others is needed, so d is the only one whose turn it can be.
    for _ in 0..=SILENT_MAX {
        look(&mut roll, "d");
    }
    assert_eq!(roll.skipped(), ["d"]);
    assert_eq!(look(&mut roll, "d"), Progress::Waits);
    assert_eq!(roll.status(), "waiting until the ensemble can bear the next restart; without an answer: d");
    assert_eq!(look(&mut roll, ""), Progress::Changed);
    assert_eq!(roll.status(), "a gets the new settings; without an answer: d");
}
