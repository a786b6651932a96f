//! Every loader for every right, asked by everybody with every proof, for what is theirs, what is
//! somebody else's and what does not exist.

use super::*;
use crate::AppsView;

/// A caller to be made.
#[derive(Debug, Clone, Copy)]
struct Asker {
    /// The role in acme; nobody is a member of evil.
    role: Option<Role>,
    operator: bool,
    proof: Asked,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Password,
    Key,
    Token { tenant: Option<&'static str>, role_max: Role, operator: bool },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Good,
    Disabled,
    Expired,
    Removed,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Granted,
    Forbidden(Role),
    NotFound,
    NotAuthenticated,
}

const ROLES: [Role; 4] = [Role::Viewer, Role::Developer, Role::Admin, Role::Owner];
const RIGHTS: [Right; 4] = [Right::View, Right::Deploy, Right::Administer, Right::Own];

/// What is there: acme/shop/dev and evil/shop/dev.
const TARGETS: [&str; 13] = [
    "acme",
    "acme/shop",
    "acme/shop/dev",
    "acme/nix",
    "acme/shop/nix",
    "acme/nix/dev",
    "evil",
    "evil/shop",
    "evil/shop/dev",
    "evil/nix",
    "evil/shop/nix",
    "nix",
    "nix/shop",
];

fn askers() -> Vec<Asker> {
    let mut proofs = vec![Asked::Password, Asked::Key];
    for tenant in [None, Some("acme"), Some("evil")] {
        for role_max in ROLES {
            for operator in [false, true] {
                proofs.push(Asked::Token { tenant, role_max, operator });
            }
        }
    }
    let mut askers = Vec::new();
    for role in [None].into_iter().chain(ROLES.map(Some)) {
        for operator in [false, true] {
            for proof in &proofs {
                for state in [State::Good, State::Disabled, State::Expired, State::Removed] {
                    // What does not count at all needs not be tried with every limit.
                    let limited = matches!(proof, Asked::Token { tenant: Some(_), .. });
                    let makes_sense = match state {
                        State::Good => true,
                        State::Disabled => !limited,
                        State::Expired => matches!(proof, Asked::Token { .. }) && !limited,
                        State::Removed => *proof != Asked::Password && !limited,
                    };
                    if makes_sense {
                        askers.push(Asker { role, operator, proof: *proof, state });
                    }
                }
            }
        }
    }
    askers
}

/// The rules, said once more and otherwise than in the code: from the end, by exclusion.
fn expected(asker: &Asker, target: &str, right: Right) -> Verdict {
    if asker.state != State::Good {
        return Verdict::NotAuthenticated;
    }
    let exists =
        matches!(target, "acme" | "acme/shop" | "acme/shop/dev" | "evil" | "evil/shop" | "evil/shop/dev");
    let tenant = target.split('/').next().unwrap();
    let (only, role_max, as_operator) = match asker.proof {
        Asked::Password | Asked::Key => (None, Role::Owner, asker.operator),
        Asked::Token { tenant, role_max, operator } => (tenant, role_max, asker.operator && operator),
    };
    let outside = only.is_some_and(|only| only != tenant);
    let stranger = !as_operator && (tenant != "acme" || asker.role.is_none());
    if !exists || outside || stranger {
        return Verdict::NotFound;
    }
    let role = if as_operator { Role::Owner } else { asker.role.unwrap() }.min(role_max);
    let enough = match right {
        Right::View => true,
        Right::Deploy => role != Role::Viewer,
        Right::Administer => role == Role::Admin || role == Role::Owner,
        Right::Own => role == Role::Owner,
    };
    if enough { Verdict::Granted } else { Verdict::Forbidden(right.role_min()) }
}

async fn ask(access: &Access, caller: &Caller, target: &str, right: Right) -> Verdict {
    let result = match target.split('/').count() {
        1 => access.tenant(caller, &name(target), right).await.map(drop),
        2 => access.project(caller, &name(target), right).await.map(drop),
        _ => access.environment(caller, &name(target), right).await.map(drop),
    };
    match result {
        Ok(()) => Verdict::Granted,
        Err(Error::Forbidden { needs, .. }) => Verdict::Forbidden(needs),
        Err(Error::NotAuthenticated) => Verdict::NotAuthenticated,
        Err(error) if error.is_not_found() => {
            // Nothing but the name that was asked for, so that absent and foreign read the same.
            assert_eq!(error.to_string(), format!("{target} does not exist, or you have no access to it"));
            Verdict::NotFound
        }
        Err(error) => panic!("{error}"),
    }
}

/// Which tenants the caller of `/v2` sees, and whether one of them is all there is.
fn expected_view(asker: &Asker) -> Option<(Vec<&'static str>, bool)> {
    if asker.state != State::Good {
        return None;
    }
    let seen = ["acme", "evil"]
        .into_iter()
        .filter(|tenant| expected(asker, tenant, Right::View) == Verdict::Granted);
    let seen: Vec<_> = seen.collect();
    let (limited, as_operator) = match asker.proof {
        Asked::Password | Asked::Key => (false, asker.operator),
        Asked::Token { tenant, operator, .. } => (tenant.is_some(), asker.operator && operator),
    };
    let whole = seen.len() == 1 && (limited || !as_operator);
    Some((seen, whole))
}

/// Whether somebody is an operator without any limit: nobody else has an operator's desk.
fn expected_desk(asker: &Asker) -> bool {
    let unlimited = match asker.proof {
        Asked::Password | Asked::Key => true,
        Asked::Token { tenant, role_max, operator } => {
            tenant.is_none() && role_max == Role::Owner && operator
        }
    };
    asker.state == State::Good && asker.operator && unlimited
}

/// Makes the asker's user, and proves it by the way that strangers have to take.
async fn arrive(world: &World, number: usize, asker: &Asker) -> Caller {
    let access = &world.access;
    let text = format!("user{number}");
    let user = User {
        name: name(&text),
        password_hash: None,
        operator: asker.operator,
        disabled: false,
        created_at: Timestamp(0),
    };
    world.put(&user).await;
    if let Some(role) = asker.role {
        world.member("acme", &text, role).await;
    }
    let by_password = Caller::new(user.name.clone(), Proof::Password);
    let account = access.account(&by_password).await.unwrap();
    let caller = match asker.proof {
        Asked::Password => by_password.clone(),
        Asked::Key => {
            let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
            blob.extend([0; 24]);
            blob.extend((number as u64).to_be_bytes());
            use base64::Engine;
            let line = format!("ssh-ed25519 {}", base64::engine::general_purpose::STANDARD.encode(blob));
            let key = account.add_key(&line).await.unwrap();
            access.key(&key.fingerprint).await.unwrap()
        }
        Asked::Token { tenant, role_max, operator } => {
            let made = account.create_token(&TokenWish::default()).await.unwrap();
            // Not every limit can be asked for by everybody; what counts here is that it holds.
            let mut token = made.token;
            token.scope = slipway_model::account::TokenScope { tenant: tenant.map(name), role_max, operator };
            world.put(&token).await;
            access.token(&made.text).await.unwrap()
        }
    };
    match (asker.state, &caller.proof) {
        (State::Good, _) => {}
        (State::Disabled, _) => world.put(&User { disabled: true, ..user }).await,
        (State::Expired, Proof::Token(id)) => {
            let mut token = access.get::<slipway_model::account::Token>(id).await.unwrap().unwrap().record;
            token.expires_at = access.now();
            world.put(&token).await;
        }
        (State::Removed, Proof::Token(id)) => account.revoke_token(id).await.unwrap(),
        (State::Removed, Proof::Key(fingerprint)) => account.remove_key(fingerprint).await.unwrap(),
        (state, proof) => panic!("{state:?} {proof:?}"),
    }
    caller
}

#[tokio::test]
async fn every_loader_says_the_same_to_everybody_as_the_rules_do() {
    let world = World::with_shop().await;
    let eve = world.user("eve").await;
    world.tenant_of(&eve, "evil").await;
    let evil = world.access.tenant(&eve, &name("evil"), Right::Own).await.unwrap();
    evil.create_project(&name("shop"), &[name("dev")]).await.unwrap();

    let mut asked = 0;
    for (number, asker) in askers().iter().enumerate() {
        let caller = arrive(&world, number, asker).await;
        for target in TARGETS {
            for right in RIGHTS {
                let verdict = ask(&world.access, &caller, target, right).await;
                assert_eq!(
                    verdict,
                    expected(asker, target, right),
                    "{asker:?} asks for {right:?} on {target}"
                );
                asked += 1;
            }
        }
        // The list shows what the loader lets through.
        let mut visible = Vec::new();
        for tenant in ["acme", "evil"] {
            if ask(&world.access, &caller, tenant, Right::View).await == Verdict::Granted {
                visible.push(tenant.to_owned());
            }
        }
        match world.access.tenants(&caller).await {
            Ok(listed) => {
                let listed: Vec<String> = listed.iter().map(|(tenant, _)| tenant.name.to_string()).collect();
                assert_eq!(listed, visible, "{asker:?}");
            }
            Err(error) => assert!(error.is_not_authenticated() && visible.is_empty(), "{asker:?}: {error}"),
        }
        match (world.access.apps_view(&caller).await, expected_view(asker)) {
            (Ok(view), Some((seen, whole))) => {
                let names: Vec<_> = view.tenants().iter().map(|tenant| tenant.name.to_string()).collect();
                assert_eq!(names, seen, "{asker:?}");
                assert_eq!(matches!(view, AppsView::Tenant(_)), whole, "{asker:?}");
                for tenant in view.tenants() {
                    for right in RIGHTS {
                        let verdict = expected(asker, tenant.name.as_str(), right);
                        assert_eq!(tenant.require(right).is_ok(), verdict == Verdict::Granted, "{asker:?}");
                    }
                }
            }
            (Err(error), None) => assert!(error.is_not_authenticated(), "{asker:?}: {error}"),
            (view, wanted) => panic!("{asker:?}: {view:?} instead of {wanted:?}"),
        }
        match world.access.operator(&caller).await {
            Ok(_) => assert!(expected_desk(asker), "{asker:?}"),
            Err(Error::OperatorOnly | Error::NotAuthenticated) => assert!(!expected_desk(asker), "{asker:?}"),
            Err(error) => panic!("{asker:?}: {error}"),
        }
    }
    assert!(asked > 20_000, "{asked}");
}

#[tokio::test]
async fn root_on_the_machine_reaches_everything() {
    let world = World::with_shop().await;
    let root = world.access.local_operator();
    assert_eq!(ask(&world.access, &root, "acme/shop/dev", Right::Own).await, Verdict::Granted);
    assert_eq!(ask(&world.access, &root, "acme/shop/nix", Right::Own).await, Verdict::NotFound);
}
