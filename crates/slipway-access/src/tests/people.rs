//! The claim, users, passwords, keys, tokens, members, invitations.

use slipway_model::limit::{INVITATION_LIFE, TOKEN_LIFE_DEFAULT};

use super::*;

const PASSWORD: &str = "blue tram no 7";

fn key_line(number: u8) -> String {
    use base64::Engine;
    let blob = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(), &[number; 32]].concat();
    format!("ssh-ed25519 {} key {number}", base64::engine::general_purpose::STANDARD.encode(blob))
}

#[tokio::test]
async fn the_first_operator_claims_the_server_once() {
    let world = World::new().await;
    let access = &world.access;
    let op: UserName = name("op");
    refused(access.claim("slwo_x", &op, PASSWORD).await, Kind::NotAuthenticated, "claim token");
    let lost = access.create_claim().await.unwrap().unwrap();
    let claim = access.create_claim().await.unwrap().unwrap();
    refused(access.claim(&lost, &op, PASSWORD).await, Kind::NotAuthenticated, "");
    refused(access.claim(&claim, &op, "short").await, Kind::Invalid, "characters");
    refused(access.claim(&claim, &name("root"), PASSWORD).await, Kind::Invalid, "root");
    let tries: Vec<_> = (0..4)
        .map(|number| {
            let (access, claim) = (access.clone(), claim.clone());
            tokio::spawn(async move { access.claim(&claim, &name(&format!("op{number}")), PASSWORD).await })
        })
        .collect();
    let mut winners = 0;
    for attempt in tries {
        match attempt.await.unwrap() {
            Ok(caller) => {
                winners += 1;
                access.operator(&caller).await.unwrap();
            }
            Err(error) => assert!(error.is_not_authenticated(), "{error}"),
        }
    }
    assert_eq!(winners, 1);
    refused(access.claim(&claim, &op, PASSWORD).await, Kind::NotAuthenticated, "");
    assert_eq!(access.create_claim().await.unwrap(), None);
}

#[tokio::test]
async fn a_password_proves_its_user_and_nobody_else() {
    let world = World::new().await;
    let access = &world.access;
    let root = access.operator(&access.local_operator()).await.unwrap();
    root.create_user(&name("ann"), Some(PASSWORD), false).await.unwrap();
    root.create_user(&name("bob"), None, false).await.unwrap();
    refused(root.create_user(&name("ann"), None, false).await, Kind::Conflict, "ann exists already");
    let login = async |user: &str, password: &str| access.password(&name(user), password, SOURCE).await;
    let caller = login("ann", PASSWORD).await.unwrap();
    for (user, password) in [
        ("ann", "blue tram no 8"),
        ("ann", ""),
        ("bob", PASSWORD),
        ("bob", ""),
        ("eve", PASSWORD),
        ("root", PASSWORD),
    ] {
        refused(login(user, password).await, Kind::NotAuthenticated, "");
    }
    refused(login("ann", &"x".repeat(1 << 20)).await, Kind::NotAuthenticated, "");

    let account = access.account(&caller).await.unwrap();
    refused(
        account.change_password("wrong password", "red tram no 8", SOURCE).await,
        Kind::NotAuthenticated,
        "",
    );
    refused(account.change_password(PASSWORD, "qwertyuiop", SOURCE).await, Kind::Invalid, "guess");
    account.change_password(PASSWORD, "red tram no 8", SOURCE).await.unwrap();
    refused(login("ann", PASSWORD).await, Kind::NotAuthenticated, "");
    login("ann", "red tram no 8").await.unwrap();
    root.disable_user(&name("ann")).await.unwrap();
    refused(login("ann", "red tram no 8").await, Kind::NotAuthenticated, "");
    refused(access.account(&caller).await, Kind::NotAuthenticated, "");
    root.enable_user(&name("ann")).await.unwrap();
    login("ann", "red tram no 8").await.unwrap();
}

/// N9.
#[tokio::test]
async fn guessing_is_throttled_and_others_still_get_in() {
    let world = World::new().await;
    let access = &world.access;
    let root = access.operator(&access.local_operator()).await.unwrap();
    for user in ["ann", "bob"] {
        root.create_user(&name(user), Some(PASSWORD), false).await.unwrap();
    }
    let attacker = "192.0.2.1".parse().unwrap();
    let mut throttled = 0;
    for _ in 0..200 {
        match access.password(&name("ann"), "guess guess", attacker).await {
            Err(Error::Throttled { wait }) if wait > Span::ZERO => throttled += 1,
            other => assert!(other.unwrap_err().is_not_authenticated()),
        }
    }
    assert!(throttled >= 185, "{throttled}");
    access.password(&name("bob"), PASSWORD, SOURCE).await.unwrap();
}

#[tokio::test]
async fn a_key_proves_one_user_until_it_is_removed() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let access = &world.access;
    let account = access.account(&ann).await.unwrap();
    let key = account.add_key(&key_line(1)).await.unwrap();
    assert_eq!(key.label, "key 1");
    let caller = access.key(&key.fingerprint).await.unwrap();
    assert_eq!(caller.user(), ann.user());
    let bobs = access.account(&bob).await.unwrap();
    refused(bobs.add_key(&key_line(1)).await, Kind::Conflict, "exists already");
    assert_eq!(bobs.keys().await.unwrap(), []);
    refused(bobs.remove_key(&key.fingerprint).await, Kind::NotFound, "key");
    account.remove_key(&key.fingerprint).await.unwrap();
    refused(access.key(&key.fingerprint).await, Kind::NotAuthenticated, "");
    refused(access.account(&caller).await, Kind::NotAuthenticated, "");
    bobs.add_key(&key_line(1)).await.unwrap();
    refused(access.account(&caller).await, Kind::NotAuthenticated, "");
}

#[tokio::test]
async fn a_token_is_shown_once_and_ends() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let access = &world.access;
    let account = access.account(&ann).await.unwrap();
    let made = account
        .create_token(&TokenWish { label: "laptop\u{1b}[2J".to_owned(), ..TokenWish::default() })
        .await
        .unwrap();
    // The secret may itself contain '_', so it is not split off by that.
    let secret = made.text.strip_prefix(&format!("slwp_{}_", made.token.id)).unwrap();
    let (secret, _checksum) = secret.rsplit_once('_').unwrap();
    assert_eq!(made.token.label, "laptop[2J");
    assert_eq!(access.token(&made.text).await.unwrap().user(), ann.user());

    let stored = serde_json::to_string(&account.tokens().await.unwrap()).unwrap();
    assert!(secret.len() > 40 && !stored.contains(secret));

    let other = account.create_token(&TokenWish::default()).await.unwrap();
    // The id of one with the secret of another, a checksum that fits included.
    let forged = made.text.replace(made.token.id.as_str(), other.token.id.as_str());
    for wrong in [
        "",
        "slwp_",
        "garbage",
        &made.text[..made.text.len() - 1],
        &forged,
        &made.text.to_uppercase(),
        &"x".repeat(100_000),
    ] {
        refused(access.token(wrong).await, Kind::NotAuthenticated, "");
    }

    account.revoke_token(&other.token.id).await.unwrap();
    refused(access.token(&other.text).await, Kind::NotAuthenticated, "");
    refused(account.revoke_token(&other.token.id).await, Kind::NotFound, "token");
    world.later(Span::from_millis(TOKEN_LIFE_DEFAULT.millis() - 1));
    let caller = access.token(&made.text).await.unwrap();
    world.later(Span::from_millis(1));
    refused(access.token(&made.text).await, Kind::NotAuthenticated, "");
    refused(access.account(&caller).await, Kind::NotAuthenticated, "");
    assert_eq!(account.tokens().await.unwrap(), []);
    account.create_token(&TokenWish::default()).await.unwrap();
    let kept = access.list::<slipway_model::account::Token>("").await.unwrap();
    assert_eq!(kept.len(), 1, "expired ones are cleared when another is made");
}

#[tokio::test]
async fn a_limited_token_cannot_lift_its_limit() {
    let world = World::with_shop().await;
    let op = world.operator("op").await;
    let access = &world.access;
    let wishes = [
        (&op, TokenWish { tenant: Some(name("acme")), ..TokenWish::default() }),
        (&op, TokenWish { role_max: Some(Role::Developer), ..TokenWish::default() }),
    ];
    for (user, wish) in wishes {
        let made = access.account(user).await.unwrap().create_token(&wish).await.unwrap();
        let caller = access.token(&made.text).await.unwrap();
        refused(access.operator(&caller).await, Kind::Forbidden, "operator");
        assert!(made.token.scope.operator, "it acts in tenants that its user is no member of");
        assert!(!access.is_operator(&caller).await.unwrap());
        let account = access.account(&caller).await.unwrap();
        refused(account.add_key(&key_line(1)).await, Kind::Forbidden, "limited token");
        refused(account.create_token(&TokenWish::default()).await, Kind::Forbidden, "limited token");
        refused(account.create_tenant(&name("mine")).await, Kind::Forbidden, "limited token");
        refused(account.change_password("", PASSWORD, SOURCE).await, Kind::Forbidden, "limited token");
        refused(account.revoke_token(&made.token.id).await, Kind::Forbidden, "limited token");
        access.logout(&caller).await.unwrap();
        refused(access.token(&made.text).await, Kind::NotAuthenticated, "");
    }
    let stranger = world.user("eve").await;
    let account = access.account(&stranger).await.unwrap();
    let wish = TokenWish { tenant: Some(name("acme")), ..TokenWish::default() };
    refused(account.create_token(&wish).await, Kind::NotFound, "acme");
}

#[tokio::test]
async fn the_last_operator_stays() {
    let world = World::new().await;
    let (one, two) = (world.operator("one").await, world.operator("two").await);
    let tries: Vec<_> = [(&one, "two"), (&two, "one")]
        .map(|(caller, other)| {
            let (access, caller) = (world.access.clone(), caller.clone());
            tokio::spawn(async move { access.operator(&caller).await?.disable_user(&name(other)).await })
        })
        .into();
    let mut done = 0;
    for attempt in tries {
        done += usize::from(attempt.await.unwrap().is_ok());
    }
    assert_eq!(done, 1, "two operators cannot switch each other off");
    let root = world.access.operator(&world.access.local_operator()).await.unwrap();
    let left = root.users().await.unwrap().into_iter().find(|user| !user.disabled).unwrap().name;
    refused(root.disable_user(&left).await, Kind::Conflict, "last operator");
}

#[tokio::test]
async fn the_last_owner_stays() {
    let world = World::with_shop().await;
    let bob = world.member("acme", "bob", Role::Owner).await;
    let leaves = [ann(), bob].map(|caller| {
        let access = world.access.clone();
        tokio::spawn(async move {
            let acme = access.tenant(&caller, &name("acme"), Right::View).await?;
            acme.remove_member(caller.user()).await
        })
    });
    let mut left = 0;
    for leave in leaves {
        left += usize::from(leave.await.unwrap().is_ok());
    }
    assert_eq!(left, 1, "two owners cannot both leave");
    let root = world.access.local_operator();
    let acme = world.acme(&root, Right::Own).await;
    let last = acme.members().await.unwrap()[0].user.clone();
    refused(acme.remove_member(&last).await, Kind::Conflict, "last owner");
    refused(acme.set_role(&last, Role::Admin).await, Kind::Conflict, "last owner");
    refused(acme.set_role(&name("nobody"), Role::Admin).await, Kind::NotFound, "nobody");
}

/// N97.
#[tokio::test]
async fn an_invitation_is_for_one_person_once_and_in_time() {
    let world = World::with_shop().await;
    let access = &world.access;
    let acme = world.acme(&ann(), Right::Own).await;
    let (bob, eve) = (world.user("bob").await, world.user("eve").await);
    refused(acme.invite(&name("ann"), Role::Viewer).await, Kind::Conflict, "member");

    let made = acme.invite(&name("bob"), Role::Developer).await.unwrap();
    refused(access.accept_invitation(&eve, &made.text).await, Kind::NotFound, "invitation");
    refused(access.accept_invitation_as_new(&made.text, PASSWORD).await, Kind::Conflict, "log in");
    refused(
        access.accept_invitation(&bob, &made.text.replace("acme", "evil")).await,
        Kind::NotFound,
        "invitation",
    );
    assert_eq!(access.accept_invitation(&bob, &made.text).await.unwrap(), name("acme"));
    assert_eq!(world.acme(&bob, Right::Deploy).await.role(), Role::Developer);
    refused(access.accept_invitation(&bob, &made.text).await, Kind::NotFound, "invitation");

    let made = acme.invite(&name("nell"), Role::Viewer).await.unwrap();
    refused(access.accept_invitation_as_new(&made.text, "short").await, Kind::Invalid, "characters");
    let (tenant, caller) = access.accept_invitation_as_new(&made.text, PASSWORD).await.unwrap();
    assert_eq!((tenant, caller.user()), (name("acme"), &name("nell")));
    world.acme(&access.password(&name("nell"), PASSWORD, SOURCE).await.unwrap(), Right::View).await;
    refused(access.accept_invitation_as_new(&made.text, PASSWORD).await, Kind::NotFound, "invitation");

    let made = acme.invite(&name("eve"), Role::Viewer).await.unwrap();
    let newer = acme.invite(&name("eve"), Role::Viewer).await.unwrap();
    refused(access.accept_invitation(&eve, &made.text).await, Kind::NotFound, "invitation");
    assert_eq!(acme.invitations().await.unwrap(), std::slice::from_ref(&newer.invitation));
    acme.revoke_invitation(&newer.invitation.id).await.unwrap();
    refused(access.accept_invitation(&eve, &newer.text).await, Kind::NotFound, "invitation");

    let made = acme.invite(&name("eve"), Role::Viewer).await.unwrap();
    world.later(INVITATION_LIFE);
    refused(access.accept_invitation(&eve, &made.text).await, Kind::NotFound, "invitation");
    assert_eq!(acme.invitations().await.unwrap(), []);

    // Whoever may not invite any more has not invited.
    let admin = world.member("acme", "admin", Role::Admin).await;
    let made = world.acme(&admin, Right::View).await.invite(&name("eve"), Role::Viewer).await.unwrap();
    acme.set_role(&name("admin"), Role::Developer).await.unwrap();
    refused(access.accept_invitation(&eve, &made.text).await, Kind::NotFound, "invitation");
}

#[tokio::test]
async fn many_accept_at_once_and_one_joins() {
    let world = World::with_shop().await;
    let bob = world.user("bob").await;
    let made = world.acme(&ann(), Right::Own).await.invite(&name("bob"), Role::Viewer).await.unwrap();
    let tries: Vec<_> = (0..20)
        .map(|_| {
            let (access, bob, text) = (world.access.clone(), bob.clone(), made.text.clone());
            tokio::spawn(async move { access.accept_invitation(&bob, &text).await.is_ok() })
        })
        .collect();
    let mut joined = 0;
    for attempt in tries {
        joined += usize::from(attempt.await.unwrap());
    }
    assert_eq!(joined, 1);
}

/// As HTTP sends it.
fn basic(user: &str, secret: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"))
}

#[tokio::test]
async fn basic_authentication_takes_a_password_or_a_token_of_the_same_user() {
    let world = World::new().await;
    let access = &world.access;
    let root = access.operator(&access.local_operator()).await.unwrap();
    root.create_user(&name("ann"), Some(PASSWORD), false).await.unwrap();
    root.create_user(&name("bob"), None, false).await.unwrap();
    let login = async |user: &str, secret: &str| access.basic(&basic(user, secret), SOURCE).await;
    let caller = login("ann", PASSWORD).await.unwrap();
    assert_eq!((caller.user().as_str(), caller.token()), ("ann", None));
    let token = access.account(&caller).await.unwrap().create_token(&TokenWish::default()).await.unwrap();
    let by_token = login("ann", &token.text).await.unwrap();
    assert_eq!(by_token.token(), Some(&token.token.id));
    let mut tampered = token.text.clone();
    tampered.replace_range(25..26, "!");
    for (user, secret) in [
        ("bob", &*token.text),
        ("bob", PASSWORD),
        ("ann", "blue tram no 8"),
        ("ann", ""),
        ("ann", &tampered),
        ("", PASSWORD),
        ("Ann", PASSWORD),
        ("root", PASSWORD),
        ("a:b", PASSWORD),
        ("ann:", PASSWORD),
    ] {
        refused(login(user, secret).await, Kind::NotAuthenticated, "");
    }
    for credentials in ["", "%", "YW5u", "bm8gY29sb24"] {
        refused(access.basic(credentials, SOURCE).await, Kind::NotAuthenticated, "");
    }
    access.account(&caller).await.unwrap().revoke_token(&token.token.id).await.unwrap();
    refused(login("ann", &token.text).await, Kind::NotAuthenticated, "");
}

#[tokio::test]
async fn a_password_in_every_request_is_hashed_once_and_forgotten_when_it_stops_counting() {
    let world = World::new().await;
    let access = &world.access;
    let root = access.operator(&access.local_operator()).await.unwrap();
    root.create_user(&name("ann"), Some(PASSWORD), false).await.unwrap();
    // At once, as a client with many connections begins: neither throttled nor hashed each time.
    let begun = std::time::Instant::now();
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let access = access.clone();
            tokio::spawn(async move { access.basic(&basic("ann", PASSWORD), SOURCE).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    println!("200 requests with a password: {:?}", begun.elapsed());
    let one = std::time::Instant::now();
    access.password(&name("ann"), PASSWORD, SOURCE).await.unwrap();
    assert!(begun.elapsed() < one.elapsed() * 50, "not 200 hashes");

    root.disable_user(&name("ann")).await.unwrap();
    refused(access.basic(&basic("ann", PASSWORD), SOURCE).await, Kind::NotAuthenticated, "");
    root.enable_user(&name("ann")).await.unwrap();
    access.basic(&basic("ann", PASSWORD), SOURCE).await.unwrap();
    root.reset_password(&name("ann"), "red tram no 8").await.unwrap();
    refused(access.basic(&basic("ann", PASSWORD), SOURCE).await, Kind::NotAuthenticated, "");
    access.basic(&basic("ann", "red tram no 8"), SOURCE).await.unwrap();
}

/// N9.
#[tokio::test]
async fn basic_authentication_is_no_way_around_the_throttle() {
    let world = World::new().await;
    let access = &world.access;
    let root = access.operator(&access.local_operator()).await.unwrap();
    root.create_user(&name("ann"), Some(PASSWORD), false).await.unwrap();
    access.basic(&basic("ann", PASSWORD), SOURCE).await.unwrap();
    let token = access.account(&Caller::new(name("ann"), Proof::Password)).await.unwrap();
    let token = token.create_token(&TokenWish::default()).await.unwrap();
    let id = token.token.id.clone();
    token_guesses(access, &root).await;
    for _ in 0..10 {
        refused(access.basic(&basic("ann", "wrong password"), SOURCE).await, Kind::NotAuthenticated, "");
    }
    refused(access.basic(&basic("ann", "wrong password"), SOURCE).await, Kind::Throttled, "too many");
    refused(access.basic(&basic("ann", PASSWORD), SOURCE).await, Kind::Throttled, "too many");
    let elsewhere = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    access.basic(&basic("ann", PASSWORD), elsewhere).await.expect("the owner comes from elsewhere");
    assert_eq!(
        access.basic(&basic("ann", &token.text), SOURCE).await.unwrap().token(),
        Some(&id),
        "a token is not guessed"
    );
}

/// Wrong tokens cost attempts, too.
async fn token_guesses(access: &Access, root: &crate::Operator) {
    root.create_user(&name("cleo"), None, false).await.unwrap();
    let source = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 8));
    for _ in 0..10 {
        let guess = crate::secret::make(crate::secret::Purpose::Token, &["t0000000000000000"]);
        refused(access.basic(&basic("cleo", &guess), source).await, Kind::NotAuthenticated, "");
    }
    let guess = crate::secret::make(crate::secret::Purpose::Token, &["t0000000000000000"]);
    refused(access.basic(&basic("cleo", &guess), source).await, Kind::Throttled, "too many");
}
