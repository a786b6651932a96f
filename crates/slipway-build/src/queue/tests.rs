use slipway_model::push::PushOptions;

use super::*;

fn push(environment: &str, number: u64, received_at: u64) -> Push {
    Push {
        environment: environment.parse().unwrap(),
        number: BuildNumber(number),
        commit: "a".repeat(40).parse().unwrap(),
        subject: String::new(),
        branch: "main".into(),
        by: "ada".parse().unwrap(),
        options: PushOptions::default(),
        forced: false,
        received_at: Timestamp(received_at),
    }
}

fn key(environment: &str, number: u64) -> BuildKey {
    (environment.parse().unwrap(), BuildNumber(number))
}

/// Ends the build of a push that was received at ten times its number.
fn end(queue: &mut Queue, environment: &str, number: u64) -> Ended {
    queue.ended(&push(environment, number, number * 10))
}

/// Starts what may start, and tells it as `environment#number`.
fn start(queue: &mut Queue, running_max: usize) -> Vec<String> {
    std::iter::from_fn(|| queue.start_next(running_max))
        .map(|p| format!("{}#{}", p.environment, p.number))
        .collect()
}

#[test]
fn an_environment_is_built_in_order_one_at_a_time() {
    let mut queue = Queue::default();
    queue.pushed(push("acme/shop/dev", 2, 20));
    queue.pushed(push("acme/shop/dev", 1, 10));
    queue.pushed(push("acme/shop/prod", 1, 30));
    assert_eq!(start(&mut queue, 9), ["acme/shop/dev#1", "acme/shop/prod#1"]);
    end(&mut queue, "acme/shop/dev", 1);
    assert_eq!(start(&mut queue, 9), ["acme/shop/dev#2"]);
    end(&mut queue, "acme/shop/dev", 2);
    queue.pushed(push("acme/shop/dev", 2, 20));
    assert_eq!(start(&mut queue, 9), [""; 0], "what was built is not built again");
    queue.pushed(push("acme/shop/dev", 3, 30));
    queue.withdrawn(&key("acme/shop/dev", 3));
    assert_eq!(start(&mut queue, 9), [""; 0], "what is gone is not built");
    queue.withdrawn(&key("acme/shop/dev", 1));
    queue.pushed(push("acme/shop/dev", 1, 50));
    assert_eq!(start(&mut queue, 9), ["acme/shop/dev#1"], "an environment of the same name is another one");
    queue.withdrawn(&key("acme/shop/dev", 1));
    queue.pushed(push("acme/shop/dev", 1, 60));
    assert_eq!(start(&mut queue, 9), [""; 0], "not while the old one is being stopped");
    end(&mut queue, "acme/shop/dev", 1);
    assert_eq!(start(&mut queue, 9), ["acme/shop/dev#1"]);
}

#[test]
fn a_busy_tenant_delays_another_by_one_build_at_most() {
    let mut queue = Queue::default();
    for project in 0..50 {
        queue.pushed(push(&format!("greedy/p{project}/dev"), 1, project));
    }
    queue.pushed(push("modest/shop/dev", 1, 1000));
    assert_eq!(start(&mut queue, 2), ["greedy/p0/dev#1", "modest/shop/dev#1"]);
    end(&mut queue, "modest/shop/dev", 1);
    assert_eq!(start(&mut queue, 2), ["greedy/p1/dev#1"], "and nobody's slot stays empty");
}

#[test]
fn a_waiting_push_can_be_cancelled_and_a_running_one_is_marked() {
    let mut queue = Queue::default();
    for number in 1..=3 {
        queue.pushed(push("acme/shop/dev", number, number));
    }
    assert_eq!(start(&mut queue, 9), ["acme/shop/dev#1"]);
    for number in [1, 2, 7] {
        let by = "bob".parse().unwrap();
        queue.cancel(BuildCancellation {
            environment: "acme/shop/dev".parse().unwrap(),
            number: BuildNumber(number),
            by,
        });
    }
    let (taken, by) = queue.take_cancelled().unwrap();
    assert_eq!((taken.number, by.as_str()), (BuildNumber(2), "bob"));
    assert_eq!(queue.take_cancelled(), None, "the running one is not taken from under its builder");
    assert!(queue.cancelled_by(&key("acme/shop/dev", 1)).is_some());
    end(&mut queue, "acme/shop/dev", 2);
    end(&mut queue, "acme/shop/dev", 1);
    assert_eq!(start(&mut queue, 9), ["acme/shop/dev#3"]);
}

#[test]
fn a_number_that_is_given_again_is_another_push() {
    let mut queue = Queue::default();
    queue.pushed(push("acme/shop/dev", 1, 10));
    assert_eq!(start(&mut queue, 9), ["acme/shop/dev#1"]);
    assert_eq!(queue.pushed(push("acme/shop/dev", 1, 10)), Pushed::Waiting, "told again, it is the same");
    assert_eq!(queue.pushed(push("acme/shop/dev", 1, 20)), Pushed::InPlaceOfRunning);
    assert_eq!(queue.ended(&push("acme/shop/dev", 1, 10)), Ended::Withdrawn);
    assert_eq!(start(&mut queue, 9), ["acme/shop/dev#1"]);
    assert_eq!(queue.ended(&push("acme/shop/dev", 1, 20)), Ended::Recorded);
    assert_eq!(queue.pushed(push("acme/shop/dev", 1, 20)), Pushed::Known);
    assert_eq!(queue.pushed(push("acme/shop/dev", 1, 30)), Pushed::Waiting, "later than what was built");

    // After a restart only the record of the build tells.
    let mut queue = Queue::default();
    queue.recorded(key("acme/shop/dev", 1), Timestamp(15));
    assert_eq!(queue.pushed(push("acme/shop/dev", 1, 10)), Pushed::Known);
    assert_eq!(queue.pushed(push("acme/shop/dev", 1, 20)), Pushed::Waiting);
}
