//! Many at once. Whoever is first, everything that was answered with yes is true afterwards.

use slipway_store::Store;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_racing_changes_are_all_made() {
    let world = World::with_shop().await;
    let acme = world.acme(&ann(), Right::View).await;
    let begun = std::time::Instant::now();
    let changes: Vec<_> = (0..200)
        .map(|number| {
            let acme = acme.clone();
            tokio::spawn(async move {
                let id = format!("/a{}", number / 2);
                let is_first = number % 2 == 0;
                acme.change_apps(Right::Deploy, |state| {
                    let known = state.apps.contains_key(&name::<PathId>(&id));
                    Ok::<_, Error>(if known || !is_first {
                        put([draft(&id, 2, "sleep")])
                    } else {
                        put([draft(&id, 1, "sleep")])
                    })
                })
                .await
                .map(|changed| changed.version)
            })
        })
        .collect();
    let mut versions = BTreeSet::new();
    for change in changes {
        versions.insert(change.await.unwrap().unwrap());
    }
    println!("200 racing changes: {:?}", begun.elapsed());
    let state = state(&world).await;
    assert_eq!(state.apps.len(), 100);
    assert!(state.apps.values().all(|app| app.spec.instances == 2));
    assert!(versions.len() as u64 >= state.root.changes - 1, "each change has a version of its own");
    assert!(versions.contains(&state.root.version));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_change_the_same_apps() {
    let world = World::with_shop().await;
    change(&world, put([draft("/a", 0, "sleep")])).await.unwrap();
    // Other handles on the same store do not wait for one another's turn, as other processes would not.
    let mut changes = Vec::new();
    for _ in 0..5 {
        let other = other_process(&world).await;
        changes.push(tokio::spawn(async move {
            let acme = other.tenant(&ann(), &name("acme"), Right::Deploy).await.unwrap();
            for _ in 0..10 {
                let one_more = |state: &AppsState| {
                    let now = state.apps[&name::<PathId>("/a")].spec.instances;
                    Ok::<_, Error>(scale("/a", now + 1))
                };
                acme.change_apps(Right::Deploy, one_more).await.unwrap();
            }
        }));
    }
    for change in changes {
        change.await.unwrap();
    }
    assert_eq!(app(&world, "/a").await.spec.instances, 50, "no change was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ma_53_of_two_conflicting_deployments_at_once_exactly_one_passes() {
    for round in 0..20 {
        let world = World::with_shop().await;
        change(&world, put([draft("/a", 1, "sleep")])).await.unwrap();
        let other = if round % 2 == 0 { world.access.clone() } else { other_process(&world).await };
        let mut both = Vec::new();
        for (access, instances) in [(world.access.clone(), 2), (other, 3)] {
            both.push(tokio::spawn(async move {
                let acme = access.tenant(&ann(), &name("acme"), Right::Deploy).await.unwrap();
                let wanted = deployed(scale("/a", instances), GroupActionKind::ScaleApplication, "/a");
                acme.change_apps(Right::Deploy, |_| Ok::<_, Error>(wanted.clone())).await
            }));
        }
        let mut passed = Vec::new();
        for one in both {
            match one.await.unwrap() {
                Ok(changed) => passed.push(changed),
                Err(error) => assert!(matches!(error, Error::Locked { .. }), "{error}"),
            }
        }
        assert_eq!(passed.len(), 1, "round {round}");
        let state = state(&world).await;
        assert_eq!(
            state.deployments.iter().collect::<Vec<_>>(),
            passed[0].deployment.iter().collect::<Vec<_>>()
        );
        assert_eq!(app(&world, "/a").await.version, passed[0].version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_and_an_environment_never_get_the_same_ids() {
    for round in 0..20 {
        let world = World::with_shop().await;
        let acme = world.acme(&ann(), Right::Own).await;
        let shop = world.shop(&ann()).await;
        let (one, two) = (acme.clone(), round % 2 == 0);
        let app = tokio::spawn(async move {
            let wanted = put([draft("/test/shop/web", 1, "sleep")]);
            one.change_apps(Right::Deploy, |_| Ok::<_, Error>(wanted.clone())).await.is_ok()
        });
        if two {
            tokio::task::yield_now().await;
        }
        let environment = shop.create_environment(&name("test")).await.is_ok();
        let app = app.await.unwrap();
        assert!(app != environment, "round {round}: app {app}, environment {environment}");
        let state = state(&world).await;
        assert_eq!(state.apps.len(), usize::from(app));
        assert_eq!(state.pushed.contains_key(&name::<PathId>("/test/shop")), environment);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_deleted_at_that_moment_gets_no_apps() {
    for round in 0..20 {
        let world = World::new().await;
        let ann = world.user("ann").await;
        world.tenant_of(&ann, "acme").await;
        let acme = world.acme(&ann, Right::Own).await;
        let one = acme.clone();
        let made = tokio::spawn(async move {
            let wanted = put([draft("/a", 1, "sleep")]);
            one.change_apps(Right::Deploy, |_| Ok::<_, Error>(wanted.clone())).await.is_ok()
        });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let deleted = acme.delete().await.is_ok();
        let made = made.await.unwrap();
        assert!(made != deleted, "round {round}: made {made}, deleted {deleted}");
        assert_eq!(world.access.list::<App>("").await.unwrap().len(), usize::from(made));
        assert_eq!(world.access.list::<AppsRoot>("").await.unwrap().len(), usize::from(made));
    }
}

async fn other_process(world: &World) -> Access {
    let store: Store = world.access.store.clone();
    let master = MasterKey::load_or_create(&world.dir.path().join("key")).unwrap();
    Access::open(store, master).await.unwrap()
}
