use super::*;

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

/// How many of `count` attempts get through.
fn through(throttle: &mut Throttle, name: &str, source: &str, count: usize, now: Instant) -> usize {
    (0..count).filter(|_| throttle.take(&user(name), source.parse().unwrap(), now).is_ok()).count()
}

#[test]
fn an_account_is_throttled_and_others_are_not() {
    let (mut throttle, now) = (Throttle::default(), Instant::now());
    assert_eq!(through(&mut throttle, "ann", "10.0.0.1", 10_000, now), 10);
    assert_eq!(through(&mut throttle, "bob", "10.0.0.1", 5, now), 5);
    assert_eq!(through(&mut throttle, "ann", "10.0.0.2", 5, now), 5, "ann herself is not locked out");
    let wait = throttle.take(&user("ann"), "10.0.0.1".parse().unwrap(), now).unwrap_err();
    assert_eq!(wait, ACCOUNT_FROM_SOURCE.refill);
    assert_eq!(through(&mut throttle, "ann", "10.0.0.1", 5, now + wait), 1);
}

#[test]
fn many_sources_together_are_throttled_too() {
    let (mut throttle, now) = (Throttle::default(), Instant::now());
    let sources = (1..=200u8).map(|number| format!("10.0.1.{number}"));
    let got: usize = sources.map(|source| through(&mut throttle, "ann", &source, 10, now)).sum();
    assert_eq!(got, 100);
    assert_eq!(through(&mut throttle, "bob", "10.0.2.1", 5, now), 5);
}

#[test]
fn where_the_owner_has_been_right_other_guessers_delay_nobody() {
    let (mut throttle, now) = (Throttle::default(), Instant::now());
    throttle.take(&user("ann"), "10.0.2.1".parse().unwrap(), now).unwrap();
    throttle.give_back(&user("ann"), "10.0.2.1".parse().unwrap(), now);
    throttle.was_right(&user("ann"), "10.0.2.1".parse().unwrap(), now);
    for number in 1..=200u8 {
        through(&mut throttle, "ann", &format!("10.0.1.{number}"), 10, now);
    }
    assert_eq!(through(&mut throttle, "ann", "10.0.2.2", 5, now), 0);
    assert_eq!(through(&mut throttle, "ann", "10.0.2.1", 1000, now), 10, "a guesser there is still one");
    for number in 0..BUCKETS_MAX as u32 + 500 {
        throttle.was_right(&user("bob"), IpAddr::V4((0x0b00_0000 + number).into()), now);
    }
    assert!(throttle.right.len() <= BUCKETS_MAX);
}

#[test]
fn a_source_is_throttled_and_others_are_not() {
    let (mut throttle, now) = (Throttle::default(), Instant::now());
    let names: Vec<String> = (0..1000).map(|number| format!("user{number}")).collect();
    let mut count =
        |source: &str| names.iter().filter(|name| through(&mut throttle, name, source, 1, now) == 1).count();
    assert_eq!(count("10.0.0.1"), 50);
    assert_eq!(count("2001:db8::1"), 50);
    assert_eq!(count("2001:db8::2"), 0, "a /64 is one source");
    assert_eq!(count("2001:db8:0:1::1"), 50);
}

#[test]
fn who_is_right_is_never_throttled() {
    let (mut throttle, now) = (Throttle::default(), Instant::now());
    for _ in 0..1000 {
        throttle.take(&user("ann"), "10.0.0.1".parse().unwrap(), now).unwrap();
        throttle.give_back(&user("ann"), "10.0.0.1".parse().unwrap(), now);
    }
}

#[test]
fn a_flood_of_names_takes_bounded_memory_and_frees_nobody() {
    let (mut throttle, now) = (Throttle::default(), Instant::now());
    assert_eq!(through(&mut throttle, "ann", "10.0.0.1", 20, now), 10);
    for number in 0..BUCKETS_MAX as u32 + 500 {
        let source = IpAddr::V4((0x0b00_0000 + number).into());
        throttle.take(&user(&format!("user{number}")), source, now).unwrap();
    }
    assert!(throttle.accounts.len() <= BUCKETS_MAX && throttle.sources.len() <= BUCKETS_MAX);
    assert!(throttle.accounts_from_sources.len() <= BUCKETS_MAX);
    assert_eq!(through(&mut throttle, "ann", "10.0.0.1", 5, now), 0);
}
