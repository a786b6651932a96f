//! Debian's own client, in and out; and our own client against our server.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use slipway_registry::client::Client;
use slipway_registry::image::{self, Compression, ImageBuilder, layout_names};
use slipway_registry::{Reference, Registry, Repository, Tag};

use crate::harness::{Fixture, PASSWORD, noise, options};

fn skopeo(args: &[&str]) {
    let output = Command::new("skopeo")
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .output();
    let output = output.expect("skopeo is a required package");
    assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn make_image(
    registry: &Registry,
    repository: &Repository,
    compression: Compression,
) -> slipway_model::id::Digest {
    let mut tar = tar::Builder::new(registry.layer_writer(repository, compression).unwrap());
    let content = noise(11, 3 << 20);
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "app/noise", content.as_slice()).unwrap();
    let mut writer = tar.into_inner().unwrap();
    writer.flush().unwrap();
    let layer = writer.finish().unwrap();
    let mut image = ImageBuilder::new(registry, repository);
    image.push(layer, "a test").env("PATH", "/bin");
    image.config().entrypoint = vec!["/slipway/launch".into()];
    image.finish(Some(&"v1".parse().unwrap())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_an_image_out_and_in_again_unchanged() {
    let fixture = Fixture::new().await;
    let shop: Repository = "acme/shop".parse().unwrap();
    let digest = make_image(&fixture.registry, &shop, Compression::Zstd(1));
    assert_eq!(
        make_image(&fixture.registry, &shop, Compression::Zstd(1)),
        digest,
        "the same input gives the same digest"
    );

    let out = tempfile::tempdir().unwrap();
    let credentials = format!("acme:{PASSWORD}");
    let from = format!("docker://{}/acme/shop:v1", fixture.address);
    let layout = format!("oci:{}:v1", out.path().join("layout").display());
    let to = format!("docker://{}/acme/copy:v2", fixture.address);
    tokio::task::block_in_place(|| {
        skopeo(&[
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            "--src-creds",
            &credentials,
            &from,
            &layout,
        ]);
        skopeo(&[
            "--insecure-policy",
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds",
            &credentials,
            &layout,
            &to,
        ]);
    });
    let copy: Repository = "acme/copy".parse().unwrap();
    let copied = fixture.registry.resolve(&copy, &"v2".parse().unwrap()).unwrap();
    assert_eq!(copied.as_ref(), Some(&digest), "what skopeo pushed is what it pulled");
    let image = fixture.registry.image(&copy, &Reference::Digest(digest.clone())).unwrap();
    assert_eq!(image.config.config.entrypoint, ["/slipway/launch"]);
    for layer in &image.manifest.layers {
        fixture.registry.verify(&layer.digest).unwrap();
    }

    // The layout that skopeo wrote is one that we import, and so is its docker-archive.
    let layout = out.path().join("layout");
    check_import(&fixture.registry, &layout, "acme/from-layout", Some(&digest));
    let archive = out.path().join("image.tar");
    let plain: Repository = "acme/plain".parse().unwrap();
    make_image(&fixture.registry, &plain, Compression::None);
    let from = format!("docker://{}/acme/plain:v1", fixture.address);
    let to = format!("docker-archive:{}:acme/plain:v1", archive.display());
    tokio::task::block_in_place(|| {
        skopeo(&[
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            "--src-creds",
            &credentials,
            &from,
            &to,
        ])
    });
    check_import(&fixture.registry, &archive, "acme/from-archive", None);
}

fn check_import(
    registry: &Registry,
    path: &Path,
    repository: &str,
    digest: Option<&slipway_model::id::Digest>,
) {
    let repository: Repository = repository.parse().unwrap();
    let tag: Tag = "imported".parse().unwrap();
    let imported = image::import(registry, path, None, &repository, &tag).unwrap();
    assert!(digest.is_none_or(|digest| *digest == imported.digest));
    let image = registry.image(&repository, &Reference::Tag(tag)).unwrap();
    assert_eq!(image.config.config.entrypoint, ["/slipway/launch"]);
    assert_eq!(image.config.rootfs.diff_ids.len(), 1);
    registry.verify(&image.manifest.layers[0].digest).unwrap();
}

#[test]
fn an_exported_layout_is_imported_by_name_and_a_damaged_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(&dir.path().join("registry"), options()).unwrap();
    let repository: Repository = "stacks/test".parse().unwrap();
    let digest = make_image(&registry, &repository, Compression::Zstd(3));
    let layout = dir.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    image::export_layout(&registry, &repository, &["v1".parse().unwrap()], &layout).unwrap();
    assert_eq!(layout_names(&layout).unwrap(), ["v1"]);

    let other = Registry::open(&dir.path().join("other"), options()).unwrap();
    let tag: Tag = "run".parse().unwrap();
    assert!(image::import(&other, &layout, Some("v2"), &repository, &tag).is_err());
    let image = registry.image(&repository, &Reference::Digest(digest.clone())).unwrap();
    let layer = layout.join("blobs/sha256").join(image.manifest.layers[0].digest.hex());
    let good = std::fs::read(&layer).unwrap();
    std::fs::write(&layer, "damaged").unwrap();
    let error = image::import(&other, &layout, Some("v1"), &repository, &tag).unwrap_err();
    assert!(matches!(error, slipway_registry::Error::DigestMismatch { .. }), "{error}");
    assert_eq!(other.resolve(&repository, &tag).unwrap(), None);
    std::fs::write(&layer, good).unwrap();
    assert_eq!(image::import(&other, &layout, Some("v1"), &repository, &tag).unwrap().digest, digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_pulls_an_image_from_another_registry() {
    let fixture = Fixture::new().await;
    let shop: Repository = "acme/shop".parse().unwrap();
    let digest = make_image(&fixture.registry, &shop, Compression::None);
    let dir = tempfile::tempdir().unwrap();
    let here = Registry::open(dir.path(), options()).unwrap();
    let base = format!("http://{}", fixture.address);
    Client::new(&base, "acme", PASSWORD).pull(&shop, &digest, &here).await.unwrap();
    let image = here.image(&shop, &Reference::Digest(digest.clone())).unwrap();
    here.verify(&image.manifest.layers[0].digest).unwrap();

    let refused = Client::new(&base, "evil", PASSWORD).pull(&shop, &digest, &here).await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
}
