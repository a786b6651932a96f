//! Who gets a connection.

use super::*;

#[test]
fn one_address_does_not_get_all_connections() {
    let places = Arc::new(Places::default());
    let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
    let mut of_one: Vec<Place> = std::iter::from_fn(|| places.take(Some(one))).collect();
    assert_eq!(of_one.len(), CONNECTIONS_OF_SOURCE_MAX);
    let of_other = places.take(Some(other));
    assert!(of_other.is_some());
    of_one.pop();
    assert!(places.take(Some(one)).is_some(), "a place that was given up is there again");
    drop((of_one, of_other));
    let taken = places.0.lock().unwrap();
    assert_eq!((taken.all, taken.by_source.len()), (0, 0), "nothing is kept of who has gone");
}

#[test]
fn there_is_an_end_for_all_together() {
    let places = Arc::new(Places::default());
    let all: Vec<Place> = (0..=u8::MAX)
        .flat_map(|last| [last; 8])
        .map_while(|last| places.take(Some([192, 0, 2, last].into())))
        .collect();
    assert_eq!(all.len(), CONNECTIONS_MAX);
    assert!(places.take(None).is_none());
}
