use super::*;

#[test]
fn a_password_is_recognised_for_its_user_and_its_hash_and_for_a_while() {
    let (ann, bob): (UserName, UserName) = ("ann".parse().unwrap(), "bob".parse().unwrap());
    let verified = Verified::default();
    let now = Instant::now();
    verified.remember(&ann, "blue tram", "$argon2id$1", now);
    assert!(verified.recognise(&ann, "blue tram", "$argon2id$1", now));
    assert!(verified.recognise(&ann, "blue tram", "$argon2id$1", now + LIFE - Duration::from_secs(1)));
    for (user, password, hash, at) in [
        (&ann, "red tram", "$argon2id$1", now),
        (&ann, "blue tram", "$argon2id$2", now),
        (&ann, "1\0blue tram", "$argon2id$", now),
        (&bob, "blue tram", "$argon2id$1", now),
        (&ann, "blue tram", "$argon2id$1", now + LIFE),
    ] {
        assert!(!verified.recognise(user, password, hash, at), "{user} {password}");
    }
}

#[test]
fn as_many_users_as_there_may_be_do_not_grow_it_without_end() {
    let verified = Verified::default();
    for number in 0..USERS_MAX + 10 {
        verified.remember(&format!("u{number}").parse().unwrap(), "x", "y", Instant::now());
    }
    assert!(verified.users.lock().unwrap().len() <= USERS_MAX);
}
