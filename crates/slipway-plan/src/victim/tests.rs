use super::*;

fn id(number: u8) -> InstanceId {
    InstanceId::from_random([number; 10])
}

fn candidate(number: u8, condition: Condition, created_at: u64, group: Option<&str>) -> Candidate {
    Candidate {
        instance: id(number),
        chosen_before: false,
        stray: false,
        groups: group.map(|g| vec![Some(g.to_owned())]).unwrap_or_default(),
        condition,
        created_at: Timestamp(created_at),
    }
}

#[test]
fn ma_58_condition_first_then_the_youngest() {
    use Condition::{Healthy, Staging, Starting, Unhealthy, Unreachable};
    let candidates = vec![
        candidate(1, Healthy, 10, None),
        candidate(2, Healthy, 20, None),
        candidate(3, Unhealthy, 1, None),
        candidate(4, Starting, 1, None),
        candidate(5, Staging, 1, None),
        candidate(6, Unreachable, 1, None),
    ];
    let order: Vec<_> = [6, 5, 4, 3, 2, 1].map(id).into();
    assert_eq!(select(candidates, 10, KillSelection::YoungestFirst), order);
}

#[test]
fn ma_40_group_by_keeps_the_groups_even() {
    let mut candidates: Vec<_> = (1..=4).map(|n| candidate(n, Condition::Healthy, 1, Some("a"))).collect();
    candidates.push(candidate(5, Condition::Starting, 1, Some("b")));
    candidates.push(candidate(6, Condition::Healthy, 1, Some("b")));
    let gone = select(candidates, 3, KillSelection::YoungestFirst);
    assert_eq!(gone.len(), 3);
    // Two of group a go before anything of group b, though b has one that only starts.
    assert!(!gone[..2].contains(&id(5)) && !gone[..2].contains(&id(6)));
    assert_eq!(gone[2], id(5));
}

#[test]
fn a_choice_is_kept() {
    let mut candidates: Vec<_> =
        (1..=3).map(|n| candidate(n, Condition::Healthy, u64::from(n), None)).collect();
    candidates[0].chosen_before = true;
    assert_eq!(select(candidates, 1, KillSelection::YoungestFirst), [id(1)]);
}

#[test]
fn ma_58_the_oldest_go_first_where_the_service_says_so() {
    let candidates = || {
        let mut all: Vec<_> = (1..=4).map(|n| candidate(n, Condition::Healthy, u64::from(n), None)).collect();
        // How it is comes before how old it is.
        all[3].condition = Condition::Staging;
        all
    };
    assert_eq!(select(candidates(), 3, KillSelection::OldestFirst), [4, 1, 2].map(id));
    assert_eq!(select(candidates(), 3, KillSelection::YoungestFirst), [4, 3, 2].map(id));
}
