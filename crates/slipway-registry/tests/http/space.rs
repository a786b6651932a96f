//! A disk without room.

use std::path::{Path, PathBuf};

use http::Method;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use slipway_registry::{Options, Registry};

use crate::harness::{User, files, full, noise, start};

/// A file system of 32 MiB, taken away at the end.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=32m"))
            .expect("these tests run as root");
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Fills what is left, as somebody else on the same disk would.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("somebody-elses");
        let mut file = std::fs::File::create(&path).unwrap();
        let piece = vec![1; 64 << 10];
        while std::io::Write::write_all(&mut file, &piece).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.dir.path(), MntFlags::MNT_DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_pushes_in_words_and_nothing_else() {
    let disk = SmallDisk::new();
    let registry = Registry::open(
        &disk.path().join("registry"),
        Options { reserve_bytes: 6 << 20, ..Options::default() },
    )
    .unwrap();
    let user = User::new(start(&registry).await, "acme", &["acme/shop"]).await;
    let image = user.push_image("acme/shop", "v1", noise(1, 1 << 20)).await;
    let doomed = user.push_image("acme/shop", "v2", noise(2, 1 << 20)).await;
    let uploads = disk.path().join("registry/uploads");

    // Announced: refused before it is read. Not announced: refused when the reserve is reached.
    let digest = slipway_registry::digest::digest_of(b"any");
    let path = format!("/v2/acme/shop/blobs/uploads/?digest={digest}");
    let got = user.call(Method::POST, &path, &[], noise(3, 28 << 20)).await.expect(507);
    let message = got.json()["errors"][0]["message"].to_string();
    assert!(message.contains("full") && message.contains("bytes"), "{message}");
    let pieces = noise(4, 40 << 20)
        .chunks(256 << 10)
        .map(|piece| Ok(hyper::body::Frame::data(bytes::Bytes::copy_from_slice(piece))))
        .collect::<Vec<_>>();
    let streamed =
        http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(futures_util::stream::iter(pieces)));
    user.send(Method::POST, &path, &[], streamed).await.expect(507);
    assert_eq!(files(&uploads), [""; 0], "the refused uploads took their bytes with them");
    user.push_blob("acme/shop", "there is room for a little").await;

    // Somebody else fills the disk to the last byte: reading goes on.
    let ballast = disk.fill();
    let blob = format!("/v2/acme/shop/blobs/{}", image.layer);
    user.get(&blob).await.expect(200);
    user.get("/v2/acme/shop/manifests/v1").await.expect(200);
    let upload = user.send(Method::POST, "/v2/acme/shop/blobs/uploads/", &[], full("")).await;
    upload.expect(507);
    let deleted =
        user.call(Method::DELETE, &format!("/v2/acme/shop/manifests/{}", doomed.digest), &[], "").await;
    assert!(matches!(deleted.status.as_u16(), 202 | 507), "{deleted:?}");
    user.get(&blob).await.expect(200);

    // Room again: everything goes on by itself.
    std::fs::remove_file(ballast).unwrap();
    user.call(Method::DELETE, "/v2/acme/shop/manifests/v1", &[], "").await.expect(202);
    let again = user.push_image("acme/shop", "v3", noise(5, 1 << 20)).await;
    registry.verify(&again.layer).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_blob_is_set_aside_and_can_be_sent_again() {
    let fixture = crate::harness::Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop"]).await;
    let bytes = noise(31, 100_000);
    let image = user.push_image("acme/shop", "v1", bytes.clone()).await;
    let place = fixture.registry.blob_path(&image.layer);
    let mut rotten = bytes.clone();
    rotten[50_000] ^= 1;
    std::fs::write(&place, rotten).unwrap();
    let error = fixture.registry.verify(&image.layer).unwrap_err();
    assert!(error.to_string().contains(image.layer.as_str()), "{error}");
    user.call(Method::HEAD, &format!("/v2/acme/shop/blobs/{}", image.layer), &[], "").await.expect(404);
    assert_eq!(files(&fixture.dir.path().join("quarantine")).len(), 1);
    user.push_blob("acme/shop", bytes.clone()).await;
    assert!(user.get(&format!("/v2/acme/shop/blobs/{}", image.layer)).await.expect(200).body == bytes);
    fixture.registry.verify(&image.layer).unwrap();
}

/// A hostile image whose config is a layer: refused, and the layer is none the worse for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_is_too_long_is_refused_and_left_alone() {
    let fixture = crate::harness::Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop"]).await;
    let long = user.push_blob("acme/shop", noise(41, 5 << 20)).await;
    user.push_image("acme/shop", "good", "layer").await;
    let mut manifest = user.get("/v2/acme/shop/manifests/good").await.json();
    manifest["config"]["digest"] = long.as_str().into();
    user.put_manifest("acme/shop", "evil", &manifest).await.expect(201);
    let tag: slipway_registry::Tag = "evil".parse().unwrap();
    let error = fixture.registry.image(&"acme/shop".parse().unwrap(), &tag.into()).unwrap_err();
    assert!(matches!(error, slipway_registry::Error::BlobTooLong { .. }), "{error}");
    fixture.registry.verify(&long).unwrap();
}
