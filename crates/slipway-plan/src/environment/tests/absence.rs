//! Copies on silent nodes (MA-59).

use slipway_model::service::UnreachableStrategy;

use super::*;

/// Two copies on two of four nodes, so that one silent node is no mass loss.
fn two_of_four(unreachable: Option<UnreachableStrategy>) -> Stage {
    let mut stage = Stage::new(350);
    for name in ["n2", "n3", "n4"] {
        stage.node(name, 350, Contact::Reachable);
    }
    stage.live(ServiceSpec { unreachable, ..spec(2) });
    stage
}

fn after(inactive: u64, expunge: u64) -> Option<UnreachableStrategy> {
    let (inactive, expunge) = (Span::from_secs(inactive), Span::from_secs(expunge));
    Some(UnreachableStrategy::After { inactive, expunge })
}

impl Stage {
    /// The node of the first copy falls silent, or comes back.
    fn silence(&mut self, contact: Contact) {
        let node = self.view.assignments[0].node.clone();
        self.cluster.set_contact(&node, contact);
    }

    fn fall_silent(&mut self) {
        let since = self.now;
        self.silence(Contact::Unreachable { since });
    }

    /// Copies that should run, oldest first.
    fn running(&self) -> Vec<u8> {
        let running = self.view.assignments.iter().filter(|a| a.goal == Goal::Run);
        let number = |a: &Assignment| (1..=self.ids).find(|n| id(*n) == a.instance).expect("one of ours");
        running.map(number).collect()
    }

    fn at(&mut self, seconds: u64) -> Vec<u8> {
        self.now = Timestamp(seconds * 1000);
        self.step();
        self.running()
    }
}

#[test]
fn a_pushed_service_is_replaced_and_expunged_at_once() {
    let mut stage = two_of_four(None);
    stage.fall_silent();
    assert_eq!(stage.at(19), [1, 2]);
    assert_eq!(stage.plan.next, Some(Timestamp(20_000)));
    assert_eq!(stage.at(20), [2, 3]);
}

#[test]
fn ma_59_a_replacement_comes_first_and_the_end_later() {
    let mut stage = two_of_four(after(60, 300));
    stage.fall_silent();
    assert_eq!(stage.at(79), [1, 2]);
    assert_eq!(stage.plan.next, Some(Timestamp(80_000)));
    assert_eq!(stage.at(80), [1, 2, 3]);
    stage.healthy(3);
    assert_eq!(stage.at(319), [1, 2, 3]);
    assert_eq!(stage.plan.next, Some(Timestamp(320_000)));
    assert_eq!(stage.at(320), [2, 3]);
    // It comes back after that and is told to end.
    stage.silence(Contact::Reachable);
    assert_eq!(stage.at(400), [2, 3]);
    assert!(stage.view.assignments.iter().any(|a| a.instance == id(1) && a.goal == Goal::Stop));
}

#[test]
fn ma_59_what_returns_within_its_time_is_kept() {
    let mut stage = two_of_four(after(60, 300));
    stage.fall_silent();
    assert_eq!(stage.at(80), [1, 2, 3]);
    stage.healthy(3);
    stage.silence(Contact::Reachable);
    // One too many: the youngest goes (MA-58), and that is the replacement.
    stage.at(100);
    assert_eq!(stage.view.retiring, [id(3)].into());
    stage.view.traffic.remove(&id(3));
    assert_eq!(stage.at(101), [1, 2]);
}

#[test]
fn ma_59_equal_times_expunge_at_once() {
    for equal in [after(0, 0), after(60, 60), after(60, 10)] {
        let mut stage = two_of_four(equal);
        stage.fall_silent();
        assert_eq!(stage.at(if equal == after(0, 0) { 19 } else { 79 }), [1, 2]);
        assert_eq!(stage.at(80), [2, 3]);
    }
}

#[test]
fn ma_59_disabled_never_replaces() {
    let mut stage = two_of_four(Some(UnreachableStrategy::Disabled));
    stage.fall_silent();
    assert_eq!(stage.at(1_000_000), [1, 2]);
    assert_eq!(stage.plan.next, None);
}

#[test]
fn ma_59_a_rollout_does_not_wait_for_an_old_copy_on_a_silent_node() {
    let mut stage = two_of_four(after(10, 100_000));
    stage.fall_silent();
    stage.at(50);
    stage.healthy(3);
    stage.deploy(spec(2));
    stage.step();
    for number in [4, 5] {
        stage.healthy(number);
    }
    for number in 1..=3 {
        stage.view.traffic.remove(&id(number));
    }
    (0..3).for_each(|_| drop(stage.step()));
    assert!(stage.view.deployment().is_none());
    assert_eq!(stage.running(), [4, 5]);
}

#[test]
fn f25_a_mass_loss_holds_whatever_the_strategy() {
    let mut stage = two_of_four(after(0, 0));
    for name in ["n1", "n2", "n3"] {
        stage.cluster.set_contact(&name.parse().expect("a name"), Contact::Unreachable { since: stage.now });
    }
    assert_eq!(stage.at(1000), [1, 2]);
}
