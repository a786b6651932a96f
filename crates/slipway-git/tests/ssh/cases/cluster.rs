//! Two servers with directories of their own, and one storage behind them.

use slipway_git::SharedStorage;
use slipway_model::id::Epoch;
use slipway_storage::{Authenticated, Place};

use super::cases;
use crate::s3_server::S3Server;
use crate::world::{Wishes, World, serve};

cases!(
    whoever_leads_next_has_what_was_pushed,
    branches_and_tags_are_moved_in_the_storage_first,
    a_bucket_that_is_away_is_named_and_fetches_go_on,
    an_older_repository_is_refused_by_a_server_that_never_had_it,
);

async fn wishes(storage: &tempfile::TempDir, epoch: u64) -> Wishes {
    in_term(&found(Place::directory(storage.path())).await, epoch)
}

async fn found(place: Place) -> Authenticated {
    Authenticated::found(place, &[7; 32]).await.unwrap().below("repositories").unwrap()
}

fn in_term(storage: &Authenticated, epoch: u64) -> Wishes {
    let shared = Some(SharedStorage { storage: storage.clone(), epoch: Epoch(epoch) });
    Wishes { shared, ..Wishes::default() }
}

async fn whoever_leads_next_has_what_was_pushed() {
    let storage = tempfile::tempdir().unwrap();
    let mut world = World::with(wishes(&storage, 1).await).await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["acme/shop/dev runs v1"]);
    let first = world.head(&work).await;
    world.commit(&work, "Second").await;
    let (server, address) =
        serve(world.dir.path(), "data/other", &world.store, wishes(&storage, 2).await).await;
    let (old, old_address) =
        (world.server.replace(server).unwrap(), std::mem::replace(&mut world.address, address));
    // A clone of what the first has received, and a push on top of it.
    let clone = world.dir.path().join("clone");
    let (url, into) = (world.url("acme/shop/dev"), clone.display().to_string());
    world.git("ada", world.dir.path(), &["clone", "-q", &url, &into]).await.succeeds(&[]);
    assert_eq!(world.head(&clone).await, first);
    world.push(&work, &[&url, "main"]).await.succeeds(&["acme/shop/dev runs v2"]);

    // The old one has not noticed that it leads no more.
    world.commit(&work, "Third").await;
    world.address = old_address;
    let said = world.push(&work, &["dev", "main"]).await;
    said.fails(&[]);
    old.stop(std::time::Duration::from_secs(1)).await;
    world.address = address;
    world.push(&work, &[&world.url("acme/shop/dev"), "main"]).await.succeeds(&["acme/shop/dev runs v3"]);
}

async fn branches_and_tags_are_moved_in_the_storage_first() {
    let storage = tempfile::tempdir().unwrap();
    let mut world = World::with(wishes(&storage, 1).await).await;
    let work = world.checkout("shop").await;
    let first = world.head(&work).await;
    world.git("ada", &work, &["tag", "-a", "-m", "One", "v1"]).await.succeeds(&[]);
    world.push(&work, &["dev", "main:feature", "main:gone", "v1"]).await.succeeds(&["Tags are stored"]);
    world.push(&work, &["dev", "main:feature/x"]).await.fails(&["in the way"]);
    world.push(&work, &["dev", ":gone"]).await.succeeds(&["gone is deleted"]);
    let (server, address) =
        serve(world.dir.path(), "data/other", &world.store, wishes(&storage, 2).await).await;
    world.server = Some(server);
    world.address = address;
    let url = world.url("acme/shop/dev");
    let said = world.git("ada", &work, &["ls-remote", &url]).await;
    said.succeeds(&[&format!("{first}\trefs/heads/feature"), "refs/tags/v1^{}"]);
    assert!(!said.text.contains("gone") && !said.text.contains("feature/x"), "{}", said.text);
}

async fn a_bucket_that_is_away_is_named_and_fetches_go_on() {
    let Some(mut bucket) = S3Server::start() else { return };
    let storage = found(bucket.place().as_ref().clone()).await;
    let mut world = World::with(in_term(&storage, 1)).await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["acme/shop/dev runs v1"]);
    let first = world.head(&work).await;
    let (server, address) = serve(world.dir.path(), "data/other", &world.store, in_term(&storage, 2)).await;
    (world.server, world.address) = (Some(server), address);
    let url = world.url("acme/shop/dev");
    world.git("ada", &work, &["ls-remote", &url]).await.succeeds(&[&format!("{first}\trefs/heads/main")]);
    world.commit(&work, "Second").await;
    bucket.kill();
    world.push(&work, &[&url, "main"]).await.fails(&["storage of the repositories cannot be reached"]);
    world.git("ada", &work, &["ls-remote", &url]).await.succeeds(&[&format!("{first}\trefs/heads/main")]);
}

async fn an_older_repository_is_refused_by_a_server_that_never_had_it() {
    let storage = tempfile::tempdir().unwrap();
    let mut world = World::with(wishes(&storage, 1).await).await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["acme/shop/dev runs v1"]);
    let states = storage.path().join("repositories/of/acme/shop/states");
    let older = storage.path().join("older");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    };
    copy(&states, &older);
    world.commit(&work, "Second").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["acme/shop/dev runs v2"]);
    world.server.take().unwrap().stop(std::time::Duration::from_secs(1)).await;
    std::fs::remove_dir_all(&states).unwrap();
    copy(&older, &states);
    let shared = wishes(&storage, 2).await;
    let (server, address) = serve(world.dir.path(), "data/other", &world.store, shared).await;
    (world.server, world.address) = (Some(server), address);
    let url = world.url("acme/shop/dev");
    world.git("ada", &work, &["ls-remote", &url]).await.fails(&["is older than it was"]);
    // It was meant.
    let accepted = Authenticated::accept(Place::directory(storage.path()), &[7; 32], 1).await.unwrap();
    let shared = in_term(&accepted.unwrap().below("repositories").unwrap(), 3);
    let (server, address) = serve(world.dir.path(), "data/third", &world.store, shared).await;
    (world.server, world.address) = (Some(server), address);
    let url = world.url("acme/shop/dev");
    world.git("ada", &work, &["ls-remote", &url]).await.succeeds(&["refs/heads/main"]);
    world.push(&work, &[&url, "main"]).await.succeeds(&["acme/shop/dev runs v3"]);
}
