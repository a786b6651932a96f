use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn one_address_keeps_no_other_out_and_all_together_are_bounded() {
    let strangers = Strangers::default();
    let greedy = address("192.0.2.1");
    let mut held: Vec<_> = std::iter::from_fn(|| strangers.place(greedy)).collect();
    assert_eq!(held.len(), OF_SOURCE_MAX);
    assert!(strangers.place(address("::ffff:192.0.2.1")).is_none(), "the same in other words");
    let other = strangers.place(address("192.0.2.2"));
    assert!(other.is_some());
    drop(other);

    held.pop();
    held.extend(strangers.place(greedy));
    assert_eq!(held.len(), OF_SOURCE_MAX, "a place that is given back is there again");

    for number in 0..=u8::MAX {
        held.extend(std::iter::from_fn(|| strangers.place([198, 51, 100, number].into())));
    }
    assert_eq!(held.len(), ALL_MAX);
    held.clear();
    assert!(strangers.room().by_source.is_empty(), "nothing is remembered of who has gone");
}

#[test]
fn a_network_of_version_6_counts_as_one_address() {
    let strangers = Strangers::default();
    let _held: Vec<_> = (0..OF_SOURCE_MAX)
        .map(|number| strangers.place(address(&format!("2001:db8::{number:x}"))).expect("a place"))
        .collect();
    assert!(strangers.place(address("2001:db8::ffff:1")).is_none());
    assert!(strangers.place(address("2001:db8:0:1::1")).is_some());
}
