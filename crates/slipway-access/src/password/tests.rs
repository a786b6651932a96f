use super::*;

fn refused(password: &str) -> bool {
    check(&"margaret".parse().unwrap(), password).is_err()
}

#[test]
fn what_anybody_would_guess_is_refused_and_phrases_are_not() {
    for bad in [
        "",
        "short",
        "Password123",
        "qwertyuiop",
        "aaaaaaaaaaaa",
        "margaret12",
        "Margaret2026",
        &"x".repeat(1 << 20),
    ] {
        assert!(refused(bad), "{bad:.40}");
    }
    for good in [
        "blue tram no 7",
        "šest koní běží",
        "correct horse battery",
        "margaret likes long phrases",
        &"ab1!".repeat(256),
    ] {
        assert!(!refused(good), "{good:.40}");
    }
}

#[tokio::test]
async fn a_hash_has_the_wanted_cost_and_knows_its_password() {
    let passwords = Passwords::new();
    let user = "ann".parse().unwrap();
    let hash = passwords.hash(&user, "blue tram no 7").await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_ne!(hash, passwords.hash(&user, "blue tram no 7").await.unwrap());
    assert!(passwords.verify("blue tram no 7", Some(hash.clone())).await.unwrap());
    assert!(!passwords.verify("blue tram no 8", Some(hash)).await.unwrap());
    assert!(!passwords.verify("blue tram no 7", None).await.unwrap());
    assert!(!passwords.verify("blue tram no 7", Some("garbage".to_owned())).await.unwrap());
}

#[tokio::test]
async fn a_flood_is_shed() {
    let passwords = Passwords::new();
    let all: Vec<_> = (0..300)
        .map(|_| {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.verify("blue tram no 7", None).await })
        })
        .collect();
    let mut shed = 0;
    for one in all {
        match one.await.unwrap() {
            Ok(right) => assert!(!right),
            Err(error) => {
                assert!(matches!(error, Error::Throttled { .. }), "{error}");
                shed += 1;
            }
        }
    }
    assert!(shed >= 150, "{shed}");
}
