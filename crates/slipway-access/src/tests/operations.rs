//! Every operation that changes something, tried by every role: the loader was asked for no more
//! than `View`, as a careless handler would, and the operation must still refuse.

use std::collections::BTreeMap;
use std::pin::Pin;

use slipway_model::app::environment_of;
use slipway_model::id::{BuildNumber, InvitationId};
use slipway_model::push::ImageRef;

use super::*;
use crate::{AppsChange, AppsChanged, ConfigChange};

type Outcome<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

struct Operation {
    what: &'static str,
    needs: Right,
    run: for<'a> fn(&'a World, &'a Caller) -> Outcome<'a>,
}

macro_rules! operations {
    ($( $what:literal $needs:ident $place:ident => |$found:ident| $call:expr; )+) => {
        const OPERATIONS: &[Operation] = &[$( Operation {
            what: $what,
            needs: Right::$needs,
            run: |world, caller| Box::pin(async move {
                let $found = operations!(@ $place world caller);
                $call.await.map(drop)
            }),
        } ),+];
    };
    (@ tenant $world:ident $caller:ident) => { $world.acme($caller, Right::View).await };
    (@ project $world:ident $caller:ident) => { $world.shop($caller).await };
    (@ environment $world:ident $caller:ident) => { $world.dev($caller).await };
    (@ app $world:ident $caller:ident) => { app_of($world, $caller).await };
}

operations! {
    "scale" Deploy environment => |dev| dev.scale(&BTreeMap::from([(name("web"), 2)]));
    "restart" Deploy environment => |dev| dev.restart();
    "set config" Deploy environment => |dev| dev.change_config(&ConfigChange::default());
    "rollback" Deploy environment => |dev| dev.request_rollback(None);
    "promote" Deploy environment => |dev| dev.request_promotion(&name("prod"), None);
    "image" Deploy environment => |dev| dev.request_image(image("acme/shop"), BTreeMap::new());
    "run" Deploy environment => |dev| dev.request_run("ls", false);
    "cancel a build" Deploy environment => |dev| dev.cancel_build(BuildNumber(1));
    "pause" Deploy environment => |dev| dev.pause();
    "resume" Deploy environment => |dev| dev.resume();
    "retry" Deploy environment => |dev| dev.retry();
    "change apps, asking for no more than to see" Deploy tenant => |acme| change_nothing(&acme, Right::View);
    "change apps" Deploy tenant => |acme| change_nothing(&acme, Right::Deploy);
    "change apps as somebody who administers" Administer tenant => |acme| change_nothing(&acme, Right::Administer);
    "see apps" View tenant => |acme| acme.apps_state();
    "see an app" View tenant => |acme| acme.app(&name("/db"));
    "see versions of an app" View tenant => |acme| acme.app_versions(&name("/db"));
    "see a version of an app" View tenant => |acme| acme.app_version(&name("/db"), Timestamp(1));
    "see deployments" View tenant => |acme| acme.group_deployments();
    "see the quota" View tenant => |acme| acme.quota();
    "scale an app" Deploy app => |db| db.scale(&BTreeMap::from([(name("app"), 2)]));
    "restart an app" Deploy app => |db| db.restart();
    "scale an app by force" Deploy app => |db| db.scale_by_force(&BTreeMap::from([(name("app"), 2)]));
    "restart an app by force" Deploy app => |db| db.restart_by_force();
    "pause an app" Deploy app => |db| db.pause();
    "set config of an app" Deploy app => |db| db.change_config(&ConfigChange::default());
    "roll an app back" Deploy app => |db| db.request_rollback(None);
    "promote to an app" Deploy app => |db| db.request_promotion(&name("prod"), None);
    "image for an app" Deploy app => |db| db.request_image(image("acme/shop"), BTreeMap::new());
    "delete the environment of an app" Administer app => |db| db.delete();
    "claim a domain" Administer environment => |dev| dev.claim_domain("shop.example.com", &name("web"), "localhost");
    "prove a domain" Administer environment => |dev| dev.prove_domain("shop.example.com", &[]);
    "remove a domain" Administer environment => |dev| dev.remove_domain("shop.example.com");
    "delete an environment" Administer environment => |dev| dev.delete();
    "renew the credential" Administer project => |shop| shop.renew_credential();
    "make an environment" Administer project => |shop| shop.create_environment(&name("test"));
    "delete a project" Administer project => |shop| shop.delete();
    "make a project" Administer tenant => |acme| acme.create_project(&name("blog"), &[]);
    "see invitations" Administer tenant => |acme| acme.invitations();
    "invite" Administer tenant => |acme| acme.invite(&name("zoe"), Role::Viewer);
    "invite an owner" Own tenant => |acme| acme.invite(&name("zoe"), Role::Owner);
    "take an invitation back" Administer tenant => |acme| acme.revoke_invitation(&InvitationId::from_random([0; 10]));
    "change a role" Administer tenant => |acme| acme.set_role(&name("bystander"), Role::Admin);
    "make an owner" Own tenant => |acme| acme.set_role(&name("bystander"), Role::Owner);
    "unmake an owner" Own tenant => |acme| acme.set_role(&name("ann"), Role::Viewer);
    "remove a member" Administer tenant => |acme| acme.remove_member(&name("bystander"));
    "remove an owner" Own tenant => |acme| acme.remove_member(&name("ann"));
    "delete a tenant" Own tenant => |acme| acme.delete();
}

async fn change_nothing(acme: &Scoped<Tenant>, right: Right) -> Result<AppsChanged, Error> {
    acme.change_apps(right, |_| Ok(AppsChange::default())).await
}

/// The environment of an app, which ann has made.
async fn app_of(world: &World, caller: &Caller) -> Scoped<Environment> {
    let acme = world.acme(&ann(), Right::Deploy).await;
    let db = AppsChange { put: vec![apps::draft("/db", 1, "sleep")], ..AppsChange::default() };
    acme.change_apps::<Error>(Right::Deploy, |_| Ok(db.clone())).await.unwrap();
    let path = environment_of(&name("acme"), &name("/db"));
    world.access.environment(caller, &path, Right::View).await.unwrap()
}

fn image(repository: &str) -> ImageRef {
    ImageRef { repository: repository.to_owned(), digest: name(&format!("sha256:{}", "0".repeat(64))) }
}

#[tokio::test]
async fn every_operation_checks_the_role_by_itself() {
    for operation in OPERATIONS {
        for role in [Role::Viewer, Role::Developer, Role::Admin, Role::Owner] {
            let world = World::with_shop().await;
            world.member("acme", "bystander", Role::Viewer).await;
            let caller = world.member("acme", "asker", role).await;
            let result = (operation.run)(&world, &caller).await;
            let forbidden = matches!(&result, Err(Error::Forbidden { .. }));
            assert_eq!(forbidden, !role.allows(operation.needs), "{} by {role}: {result:?}", operation.what);
        }
    }
}

#[tokio::test]
async fn an_image_of_another_tenant_cannot_be_named() {
    let world = World::with_shop().await;
    let dev = world.dev(&ann()).await;
    for repository in ["evil/shop", "acme2/shop", "acme", "", "/acme/shop", "../acme/shop"] {
        refused(dev.request_image(image(repository), BTreeMap::new()).await, Kind::NotFound, "image");
    }
}

#[tokio::test]
async fn what_is_taken_away_counts_for_what_is_loaded_already() {
    let world = World::with_shop().await;
    let bob = world.member("acme", "bob", Role::Admin).await;
    let dev = world.dev(&bob).await;
    let acme = world.acme(&ann(), Right::Own).await;
    dev.restart().await.unwrap();
    acme.set_role(&name("bob"), Role::Viewer).await.unwrap();
    refused(dev.restart().await, Kind::Forbidden, "needs the role developer; yours here is viewer");
    acme.remove_member(&name("bob")).await.unwrap();
    refused(dev.restart().await, Kind::NotFound, "acme/shop/dev");
    refused(dev.again(Right::View).await, Kind::NotFound, "acme/shop/dev");
}

/// Not a bound, a figure to look at: `cargo test -p slipway-access figures -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "prints figures"]
async fn figures() {
    let world = World::with_shop().await;
    let made = world.access.account(&ann()).await.unwrap().create_token(&TokenWish::default()).await.unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..1000 {
        let caller = world.access.token(&made.text).await.unwrap();
        world.access.environment(&caller, &name("acme/shop/dev"), Right::Deploy).await.unwrap();
    }
    println!("token and loader: {:?}", begun.elapsed() / 1000);
    let begun = std::time::Instant::now();
    world.access.passwords.verify("blue tram no 7", None).await.unwrap();
    println!("password: {:?}", begun.elapsed());
}
