//! A node's images from a registry that is reached over connections in memory.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::json;
use slipway_registry::Registry;
use slipway_registry::client::{Connect, Connecting, Duplex};
use slipway_registry::image::media_type;
use slipway_registry::server::pulls::{PullLimits, Pulls};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::image::{ImageSource, prepare};
use crate::layers::Limits;

struct Bed {
    _directory: tempfile::TempDir,
    registry: Registry,
    layers: Arc<Layers>,
    source: ImageSource,
    link: Arc<Link>,
}

/// The way to the registry.
struct Link {
    pulls: Pulls,
    is_cut: AtomicBool,
    /// What has come over it.
    bytes: AtomicU64,
}

struct Connector(Arc<Link>);

impl Connect for Connector {
    fn connect(&self) -> Connecting {
        let link = Arc::clone(&self.0);
        Box::pin(async move {
            if link.is_cut.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(64 << 10);
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            let pulls = link.pulls.clone();
            tokio::spawn(async move { pulls.serve(theirs, |_| true).await });
            tokio::spawn(async move {
                let (mut far_read, mut far_write) = tokio::io::split(far);
                let (mut our_read, mut our_write) = tokio::io::split(ours);
                let counted = async {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(count @ 1..) =
                        tokio::io::AsyncReadExt::read(&mut our_read, &mut buffer).await
                    {
                        link.bytes.fetch_add(count as u64, Ordering::Relaxed);
                        if far_write.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = counted => {}
                    _ = tokio::io::copy(&mut far_read, &mut our_write) => {}
                }
            });
            Ok(Box::new(near) as Box<dyn Duplex>)
        })
    }
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = slipway_registry::Options { reserve_bytes: 0, ..Default::default() };
        let registry = Registry::open(&directory.path().join("registry"), options).unwrap();
        let layers = Layers::open(&directory.path().join("layers"), Limits::default()).unwrap();
        let pulls = Pulls::new(registry.clone(), PullLimits::default());
        let link = Arc::new(Link { pulls, is_cut: AtomicBool::new(false), bytes: AtomicU64::new(0) });
        let puller = Puller::new(Arc::new(Connector(Arc::clone(&link))));
        let puller = puller.with_patience(Duration::from_millis(50));
        let remote = Remote::open(&directory.path().join("pulled"), puller).unwrap();
        let source = ImageSource::Remote(remote);
        Self { registry, layers: Arc::new(layers), source, link, _directory: directory }
    }

    /// An image with these layers.
    fn put(&self, name: &str, layers: &[Vec<u8>]) -> ImageRef {
        let repository: Repository = name.parse().unwrap();
        let put = |bytes: &[u8]| self.registry.put_blob(&repository, bytes).unwrap().digest;
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| put(layer)).collect();
        let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Env": [name] },
                             "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = put(config.to_string().as_bytes());
        let layer = |digest| json!({ "mediaType": media_type::LAYER, "digest": digest, "size": 1 });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::MANIFEST,
            "config": { "mediaType": media_type::CONFIG, "digest": config, "size": 1 },
            "layers": diff_ids.iter().map(layer).collect::<Vec<_>>(),
        });
        let bytes = manifest.to_string();
        let put = self.registry.put_manifest(&repository, bytes.as_bytes(), media_type::MANIFEST, None);
        ImageRef { repository: name.to_owned(), digest: put.unwrap() }
    }

    async fn start(&self, image: &ImageRef) -> Result<Vec<PathBuf>, String> {
        let fetched = self.source.fetch(&self.layers, image).await.map_err(|error| error.chain())?;
        let (source, layers, image) = (self.source.clone(), Arc::clone(&self.layers), image.clone());
        let unpacked = tokio::task::spawn_blocking(move || prepare(&source, &layers, &image)).await.unwrap();
        drop(fetched);
        unpacked.map(|unpacked| unpacked.layers).map_err(|error| error.chain())
    }

    fn bytes(&self) -> u64 {
        self.link.bytes.load(Ordering::Relaxed)
    }

    fn files_kept(&self) -> usize {
        fs::read_dir(self._directory.path().join("pulled")).unwrap().count()
    }
}

fn layer(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(length)
    .collect();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, format!("app/{seed}"), content.as_slice()).unwrap();
    tar.into_inner().unwrap()
}

const MEBIBYTE: usize = 1 << 20;

/// F54: however many instances start at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_once_and_a_layer_that_two_have_comes_once() {
    let bed = Arc::new(Bed::new());
    let base = layer(1, 4 * MEBIBYTE);
    let shop = bed.put("acme/shop", &[base.clone(), layer(2, MEBIBYTE)]);
    let site = bed.put("globex/site", &[base, layer(3, MEBIBYTE)]);
    let mut starts = JoinSet::new();
    for number in 0..20 {
        let (bed, image) = (Arc::clone(&bed), if number % 2 == 0 { shop.clone() } else { site.clone() });
        starts.spawn(async move { bed.start(&image).await.unwrap() });
    }
    while let Some(layers) = starts.join_next().await {
        let layers = layers.unwrap();
        assert_eq!(fs::metadata(layers[0].join("app/1")).unwrap().len(), 4 << 20);
    }
    let once = 6 << 20;
    assert!((once..once + (MEBIBYTE as u64) / 2).contains(&bed.bytes()), "{} bytes came", bed.bytes());
    assert_eq!(bed.files_kept(), 0, "what is unpacked is not kept twice");

    // What is here needs nobody.
    bed.link.is_cut.store(true, Ordering::Relaxed);
    bed.start(&shop).await.unwrap();
    let other = bed.put("acme/other", &[layer(4, MEBIBYTE)]);
    let before = bed.bytes();
    bed.link.is_cut.store(false, Ordering::Relaxed);
    bed.start(&other).await.unwrap();
    assert!(bed.bytes() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_said_and_may_come_later() {
    let bed = Bed::new();
    let shop = bed.put("acme/shop", &[layer(1, MEBIBYTE)]);
    bed.link.is_cut.store(true, Ordering::Relaxed);
    let refused = bed.start(&shop).await.unwrap_err();
    assert!(refused.contains("could not be pulled"), "{refused}");
    bed.link.is_cut.store(false, Ordering::Relaxed);
    bed.start(&shop).await.unwrap();

    // Another's image by its digest.
    let theirs = ImageRef { repository: "evil/copy".into(), digest: shop.digest.clone() };
    assert!(bed.start(&theirs).await.is_err());
    // Not fetched, not prepared.
    let fetched = bed.source.fetch(&bed.layers, &shop).await.unwrap();
    drop(fetched);
    assert!(prepare(&bed.source, &bed.layers, &shop).is_err());
}
