//! Two tenants, one registry, one node.

use serde_json::{Value, json};
use slipway_registry::image::media_type;
use slipway_registry::{Registry, Repository};

use super::*;
use crate::layers::Limits;

struct Node {
    _directory: tempfile::TempDir,
    registry: Registry,
    layers: Layers,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::open(&directory.path().join("registry"), Default::default()).unwrap();
        let layers = Layers::open(&directory.path().join("layers"), Limits::default()).unwrap();
        Self { _directory: directory, registry, layers }
    }

    fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let repository: Repository = repository.parse().unwrap();
        self.registry.put_blob(&repository, bytes).unwrap().digest
    }

    fn put_manifest(&self, repository: &str, config: &Digest, layers: Value) -> Result<ImageRef, String> {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::MANIFEST,
            "config": { "mediaType": media_type::CONFIG, "digest": config, "size": 1 },
            "layers": layers,
        });
        let bytes = manifest.to_string();
        let name: Repository = repository.parse().unwrap();
        let put = self.registry.put_manifest(&name, bytes.as_bytes(), media_type::MANIFEST, None);
        let digest = put.map_err(|error| error.to_string())?;
        Ok(ImageRef { repository: repository.to_owned(), digest })
    }

    fn prepare(&self, image: &ImageRef) -> Result<Unpacked, String> {
        prepare(&ImageSource::Registry(self.registry.clone()), &self.layers, image)
            .map_err(|error| error.chain())
    }
}

fn layer(content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "app/secret", content).unwrap();
    tar.into_inner().unwrap()
}

fn config(diff_id: &Digest, password: &str) -> Vec<u8> {
    let env = format!("PASSWORD={password}");
    json!({ "architecture": "amd64", "os": "linux", "config": { "Env": [env] },
            "rootfs": { "type": "layers", "diff_ids": [diff_id] } })
    .to_string()
    .into_bytes()
}

fn plain(digest: &Digest) -> Value {
    json!([{ "mediaType": media_type::LAYER, "digest": digest, "size": 1 }])
}

#[test]
fn what_one_tenant_has_no_other_gets_by_its_digest() {
    let node = Node::new();
    let secret = node.put_blob("acme/shop", &layer(b"sesame"));
    let secret_config = node.put_blob("acme/shop", &config(&secret, "sesame"));
    let image = node.put_manifest("acme/shop", &secret_config, plain(&secret)).unwrap();
    let unpacked = node.prepare(&image).unwrap();
    assert_eq!(std::fs::read(unpacked.layers[0].join("app/secret")).unwrap(), b"sesame");

    // A config of one's own that claims the other's layer for a blob of one's own.
    let own = node.put_blob("evil/copy", &layer(b"mine"));
    let claim = node.put_blob("evil/copy", &config(&secret, "x"));
    let image = node.put_manifest("evil/copy", &claim, plain(&own)).unwrap();
    let refused = node.prepare(&image).unwrap_err();
    assert!(refused.contains("its content has the digest"), "{refused}");

    // The other's layer by its blob, as one that need not be in the registry.
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let layers = json!([{ "mediaType": foreign, "digest": secret, "size": 1 }]);
    let image = node.put_manifest("evil/copy", &claim, layers).unwrap();
    let refused = node.prepare(&image).unwrap_err();
    assert!(refused.contains("not supported"), "{refused}");

    // The registry refuses the rest; the node does not rely on that.
    assert!(node.put_manifest("evil/copy", &claim, plain(&secret)).is_err());
    assert!(node.put_manifest("evil/copy", &secret_config, plain(&own)).is_err());
    let source = ImageSource::Registry(node.registry.clone());
    let evil = ImageRef { repository: "evil/copy".into(), digest: image.digest };
    for digest in [&secret, &secret_config] {
        assert!(source.document(&evil, digest).is_err() && source.open(&evil, digest).is_err());
        assert!(source.check_has(&evil, digest).is_err());
    }
    let theirs = ImageRef { repository: "evil/copy".into(), digest: node.digest_of_another() };
    assert!(node.prepare(&theirs).is_err(), "a manifest of another repository is none");

    // Who has the same bytes gets the same tree.
    let same = node.put_blob("evil/copy", &layer(b"sesame"));
    let image = node.put_manifest("evil/copy", &claim, plain(&same)).unwrap();
    assert_eq!(node.prepare(&image).unwrap().layers, unpacked.layers);
}

impl Node {
    /// The digest of an image that only another tenant has.
    fn digest_of_another(&self) -> Digest {
        let own = self.put_blob("acme/site", &layer(b"site"));
        let config = self.put_blob("acme/site", &config(&own, "site"));
        self.put_manifest("acme/site", &config, plain(&own)).unwrap().digest
    }
}
