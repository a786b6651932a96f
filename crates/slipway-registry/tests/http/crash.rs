//! A registry that is killed without warning.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use slipway_registry::digest::digest_of;
use slipway_registry::server::{ServerOptions, serve};
use slipway_registry::{Error, Registry};

use crate::harness::{ByTenant, User, files, noise, options};

/// Not a test: the process that [`Victim`] starts and kills. It does nothing unless told where.
#[test]
#[ignore = "started by the tests of this file"]
fn serve_until_killed() {
    let Some(dir) = std::env::var_os("REGISTRY_TEST_DIR") else { return };
    let dir = Path::new(&dir);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let registry = Registry::open(&dir.join("registry"), options()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        std::fs::write(dir.join("address.new"), listener.local_addr().unwrap().to_string()).unwrap();
        std::fs::rename(dir.join("address.new"), dir.join("address")).unwrap();
        serve(listener, registry, ByTenant, ServerOptions::default(), std::future::pending()).await;
    });
}

struct Victim {
    child: Child,
    user: User,
}

impl Victim {
    async fn start(dir: &Path) -> Self {
        let _ = std::fs::remove_file(dir.join("address"));
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::serve_until_killed", "--ignored", "--nocapture"])
            .env("REGISTRY_TEST_DIR", dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = loop {
            match std::fs::read_to_string(dir.join("address")) {
                Ok(address) => break address.parse().unwrap(),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        Self { child, user: User::new(address, "acme", &["acme/shop"]).await }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_where_it_was_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = noise(21, 4 << 20);
    let digest = digest_of(&bytes);
    let mut victim = Victim::start(dir.path()).await;
    let kept = victim.user.push_image("acme/shop", "kept", noise(22, 100_000)).await;
    let upload = victim.user.open_upload("acme/shop").await;
    victim.user.call(Method::PATCH, &upload, &[], bytes[..3_000_000].to_vec()).await.expect(202);
    victim.kill();

    let victim = Victim::start(dir.path()).await;
    let path = format!("/v2/acme/shop/blobs/{digest}");
    victim.user.get(&path).await.expect(404);
    assert_eq!(victim.user.get(&upload).await.expect(204).header("range"), "0-2999999");
    let rest = bytes[3_000_000..].to_vec();
    victim.user.call(Method::PUT, &format!("{upload}?digest={digest}"), &[], rest).await.expect(201);
    assert!(victim.user.get(&path).await.expect(200).body == bytes);
    victim.user.get(&format!("/v2/acme/shop/blobs/{}", kept.layer)).await.expect(200);
    assert_eq!(files(&dir.path().join("registry/uploads")), [""; 0]);
}

/// Kills at ever later moments of a stream of pushes: what was acknowledged is whole, what was not
/// is absent or whole, and never anything between.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_leaves_every_visible_blob_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..12_u64 {
        let mut victim = Victim::start(dir.path()).await;
        let user = victim.user.clone();
        let pushing = tokio::spawn(async move {
            let mut done = Vec::new();
            for number in 0.. {
                let bytes = noise(round * 1000 + number, 300_000);
                let digest = digest_of(&bytes);
                let path = format!("/v2/acme/shop/blobs/uploads/?digest={digest}");
                match user.try_send(Method::POST, &path, &[], crate::harness::full(bytes)).await {
                    Ok(got) if got.status == 201 => done.push(digest),
                    _ => break,
                }
            }
            done
        });
        tokio::time::sleep(Duration::from_millis(3 + round * 7)).await;
        victim.kill();
        acknowledged.extend(pushing.await.unwrap());
    }
    let registry = Registry::open(&dir.path().join("registry"), options()).unwrap();
    let repository = "acme/shop".parse().unwrap();
    for digest in &acknowledged {
        assert!(
            registry.blob_in(&repository, digest).unwrap().is_some(),
            "{digest} was acknowledged and is lost"
        );
    }
    for digest in registry.blob_digests().unwrap() {
        registry.verify(&digest).unwrap();
    }
    assert_eq!(
        files(&dir.path().join("registry/uploads")).iter().filter(|name| name.starts_with("local-")).count(),
        0
    );
    assert!(!acknowledged.is_empty(), "nothing was pushed at all");
}

/// A database whose making is broken off is made anew, one that is damaged later is said to be so and can
/// still be deleted, and one that is in use is not touched.
#[test]
fn rows_that_cannot_be_read_are_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let (rows, begun) = (dir.path().join("registry.redb"), format!("registry.{}.new", std::process::id()));
    std::fs::write(dir.path().join(begun), noise(5, 100)).unwrap();
    let registry = Registry::open(dir.path(), options()).unwrap();
    assert!(!files(dir.path()).iter().any(|name| name.ends_with(".new")));
    for open in [Registry::open, Registry::open_to_delete] {
        assert!(matches!(open(dir.path(), options()), Err(Error::InUse { .. })));
    }
    drop(registry);
    std::fs::write(&rows, noise(6, 5000)).unwrap();
    assert!(matches!(Registry::open(dir.path(), options()), Err(Error::Database(_))));
    let registry = Registry::open_to_delete(dir.path(), options()).unwrap();
    assert_eq!(registry.repositories().unwrap(), []);
}
