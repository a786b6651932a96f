//! Who may follow.

use super::*;

#[test]
fn ma_65_one_user_does_not_follow_without_end() {
    let seats = Arc::new(Seats::default());
    let (ada, eve): (UserName, UserName) = ("ada".parse().unwrap(), "eve".parse().unwrap());
    let mut of_eve: Vec<Seat> = std::iter::from_fn(|| seats.take(&eve)).collect();
    assert_eq!(of_eve.len(), STREAMS_OF_USER_MAX);
    assert!(seats.take(&ada).is_some(), "others follow as ever");
    of_eve.pop();
    assert!(seats.take(&eve).is_some(), "a stream that has ended makes room");
    drop(of_eve);
    assert!(seats.0.lock().unwrap().is_empty(), "nothing is kept of who has gone");
}
