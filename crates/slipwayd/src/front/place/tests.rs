//! Who gets a connection.

use super::*;

const CONNECTIONS_MAX: usize = 64;
const CONNECTIONS_OF_SOURCE_MAX: usize = 8;

fn rooms() -> Arc<Places> {
    Arc::new(Places::new(CONNECTIONS_MAX, CONNECTIONS_OF_SOURCE_MAX))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn one_address_does_not_get_all_connections() {
    let places = rooms();
    let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let mut of_one: Vec<Place> = std::iter::from_fn(|| places.take(Some(one))).collect();
    assert_eq!(of_one.len(), CONNECTIONS_OF_SOURCE_MAX);
    assert!(places.take(Some(address("::ffff:192.0.2.1"))).is_none(), "the same in other words");
    let of_other = places.take(Some(other));
    assert!(of_other.is_some());
    of_one.pop();
    assert!(places.take(Some(one)).is_some(), "a place that was given up is there again");
    drop((of_one, of_other));
    let taken = places.taken();
    assert_eq!((taken.all, taken.by_source.len()), (0, 0), "nothing is kept of who has gone");
}

#[test]
fn there_is_an_end_for_all_together() {
    let places = rooms();
    let all: Vec<Place> = (0..=u8::MAX)
        .flat_map(|last| [last; 8])
        .map_while(|last| places.take(Some([192, 0, 2, last].into())))
        .collect();
    assert_eq!(all.len(), CONNECTIONS_MAX);
    assert!(places.take(None).is_none());
}

#[test]
fn a_network_of_version_6_counts_as_one_address() {
    let places = rooms();
    let _held: Vec<_> = (0..CONNECTIONS_OF_SOURCE_MAX)
        .map(|number| places.take(Some(address(&format!("2001:db8::{number:x}")))).expect("a place"))
        .collect();
    assert!(places.take(Some(address("2001:db8::ffff:1"))).is_none());
    assert!(places.take(Some(address("2001:db8:0:1::1"))).is_some());
}
