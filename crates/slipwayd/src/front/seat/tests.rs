//! Who gets a connection.

use super::*;

const CONNECTIONS_MAX: usize = 64;
const CONNECTIONS_OF_SOURCE_MAX: usize = 8;

fn seats() -> Arc<Seats> {
    Arc::new(Seats::new(CONNECTIONS_MAX, CONNECTIONS_OF_SOURCE_MAX))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn one_address_does_not_get_all_connections() {
    let seats = seats();
    let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let mut of_one: Vec<Seat> = std::iter::from_fn(|| seats.take(Some(one))).collect();
    assert_eq!(of_one.len(), CONNECTIONS_OF_SOURCE_MAX);
    assert!(seats.take(Some(address("::ffff:192.0.2.1"))).is_none(), "the same in other words");
    let of_other = seats.take(Some(other));
    assert!(of_other.is_some());
    of_one.pop();
    assert!(seats.take(Some(one)).is_some(), "a seat that was given up is there again");
    drop((of_one, of_other));
    let taken = seats.taken();
    assert_eq!((taken.all, taken.by_source.len()), (0, 0), "nothing is kept of who has gone");
}

#[test]
fn there_is_an_end_for_all_together() {
    let seats = seats();
    let all: Vec<Seat> = (0..=u8::MAX)
        .flat_map(|last| [last; 8])
        .map_while(|last| seats.take(Some([192, 0, 2, last].into())))
        .collect();
    assert_eq!(all.len(), CONNECTIONS_MAX);
    assert!(seats.take(None).is_none());
}

#[test]
fn a_network_of_version_6_counts_as_one_address() {
    let seats = seats();
    let _held: Vec<_> = (0..CONNECTIONS_OF_SOURCE_MAX)
        .map(|number| seats.take(Some(address(&format!("2001:db8::{number:x}")))).expect("a seat"))
        .collect();
    assert!(seats.take(Some(address("2001:db8::ffff:1"))).is_none());
    assert!(seats.take(Some(address("2001:db8:0:1::1"))).is_some());
}

#[test]
fn who_has_most_makes_room_for_who_has_less() {
    let seats = Arc::new(Seats::new(8, 4));
    let [one, two, new]: [IpAddr; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|at| at.parse().unwrap());
    let held: Vec<Seat> = [one, two]
        .into_iter()
        .flat_map(|source| std::iter::repeat_n(source, 4))
        .map(|source| seats.take_or_displace(source).unwrap())
        .collect();
    assert!(seats.take_or_displace(one).is_none(), "not at the cost of others");
    let is_displaced = || held.iter().filter(|seat| seat.displaced.is_cancelled()).count();
    let news: Vec<Seat> = (0..2).map(|_| seats.take_or_displace(new).unwrap()).collect();
    assert_eq!(is_displaced(), 2);
    assert!(seats.take_or_displace(new).is_none(), "it has as many as the others but one");
    assert!(news.iter().all(|seat| !seat.displaced.is_cancelled()));
    drop(held);
    assert_eq!(seats.taken().all, news.len());
    assert_eq!(seats.taken().of(Some(one)), 0);
    drop(news);
    assert_eq!(seats.taken().all, 0);
    assert!(seats.taken().by_source.is_empty());
}
