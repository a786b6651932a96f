//! A puller and the server it pulls from, over connections in memory that can be cut.

use std::sync::atomic::AtomicU64;

use slipway_model::id::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::client::{Connect, Connecting, Puller};

const MEBIBYTE: usize = 1 << 20;

struct Bed {
    _directory: tempfile::TempDir,
    registry: Registry,
    pulls: Pulls,
}

impl Bed {
    fn new(limits: PullLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = crate::Options { reserve_bytes: 0, ..Default::default() };
        let registry = Registry::open(&directory.path().join("registry"), options).unwrap();
        let pulls = Pulls::new(registry.clone(), limits);
        Self { _directory: directory, registry, pulls }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> (Repository, Digest) {
        let repository: Repository = name.parse().unwrap();
        let digest = self.registry.put_blob(&repository, bytes).unwrap().digest;
        (repository, digest)
    }

    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let pulls = self.pulls.clone();
        tokio::spawn(async move { pulls.serve(theirs, |repository| repository.tenant() != "other").await });
        ours
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self._directory.path().join(name)
    }

    fn puller(&self, cut_after: Option<u64>) -> (Puller, Arc<AtomicU64>) {
        let connections = Arc::new(AtomicU64::new(0));
        let connector = Connector { pulls: self.pulls.clone(), cut_after, connections: connections.clone() };
        (Puller::new(Arc::new(connector)).with_patience(Duration::from_secs(10)), connections)
    }
}

/// Makes connections that break after so many bytes.
struct Connector {
    pulls: Pulls,
    cut_after: Option<u64>,
    connections: Arc<AtomicU64>,
}

impl Connect for Connector {
    fn connect(&self) -> Connecting {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let pulls = self.pulls.clone();
        tokio::spawn(async move { pulls.serve(theirs, |repository| repository.tenant() != "other").await });
        self.connections.fetch_add(1, Ordering::Relaxed);
        let (near, far) = tokio::io::duplex(64 << 10);
        let cut_after = self.cut_after.unwrap_or(u64::MAX);
        tokio::spawn(async move {
            let (far_read, mut far_write) = tokio::io::split(far);
            let (our_read, mut our_write) = tokio::io::split(ours);
            let mut bounded = our_read.take(cut_after);
            let mut far_read = far_read;
            tokio::select! {
                _ = tokio::io::copy(&mut bounded, &mut far_write) => {}
                _ = tokio::io::copy(&mut far_read, &mut our_write) => {}
            }
        });
        Box::pin(async move { Ok(Box::new(near) as Box<dyn crate::client::Duplex>) })
    }
}

fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test]
async fn a_blob_that_breaks_off_goes_on_where_it_stopped() {
    let bed = Bed::new(PullLimits::default());
    let content = noise(1, 4 * MEBIBYTE);
    let (repository, digest) = bed.put("acme/shop", &content);
    let (puller, connections) = bed.puller(Some(3 * MEBIBYTE as u64 / 2));
    let length = puller.blob(&repository, &digest, u64::MAX, &bed.file("blob"), |_| {}).await.unwrap();
    assert_eq!(length, content.len() as u64);
    assert_eq!(std::fs::read(bed.file("blob")).unwrap(), content);
    // 4 MiB in pieces of less than 1.5, and nothing twice.
    assert_eq!(connections.load(Ordering::Relaxed), 3);

    // Too long is refused before the disk is full of it.
    let (puller, _) = bed.puller(None);
    let refused = puller.blob(&repository, &digest, 1000, &bed.file("long"), |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("longer than 1000"), "{refused}");
}

#[tokio::test]
async fn a_node_gets_what_it_may_have_and_connections_are_used_again() {
    let bed = Bed::new(PullLimits::default());
    let (shop, digest) = bed.put("acme/shop", b"{}");
    let (other, secret) = bed.put("other/shop", b"secret");
    let (puller, connections) = bed.puller(None);
    for _ in 0..5 {
        assert_eq!(puller.config(&shop, &digest).await.unwrap().as_ref(), b"{}");
        puller.check_has(&shop, &digest).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    for refused in [
        puller.config(&other, &secret).await.map(drop),
        puller.manifest(&other, &secret).await.map(drop),
        puller.check_has(&other, &secret).await,
        // To know a digest is no right to it.
        puller.config(&shop, &secret).await.map(drop),
    ] {
        assert!(refused.unwrap_err().to_string().contains("404"));
    }
    let mut raw = bed.connect();
    let request = format!("DELETE /v2/acme/shop/blobs/{digest} HTTP/1.1\r\nhost: r\r\n\r\n");
    raw.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    raw.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 405");
}

/// F54.
#[tokio::test]
async fn one_tenants_nodes_wait_for_each_other_and_not_for_who_takes_nothing() {
    let limits = PullLimits {
        at_once: 2,
        at_once_of_tenant: 1,
        waiting: 8,
        patience: Duration::from_millis(100),
        stalled: Duration::from_secs(2),
    };
    let bed = Bed::new(limits);
    let (acme, large) = bed.put("acme/shop", &noise(2, 2 * MEBIBYTE));
    let (globex, small) = bed.put("globex/shop", b"{}");

    // A node that begins to take a blob and then does not.
    let mut stalled = bed.connect();
    let request = format!("GET /v2/{acme}/blobs/{large} HTTP/1.1\r\nhost: r\r\n\r\n");
    stalled.write_all(request.as_bytes()).await.unwrap();
    stalled.read_exact(&mut [0; 12]).await.unwrap();

    // Its tenant's next has to wait, and is told when to come again.
    let mut second = bed.connect();
    second.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = second.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).to_lowercase();
    assert!(answer.starts_with("http/1.1 503") && answer.contains("retry-after: 2"), "{answer}");

    // Another tenant's does not notice.
    let (puller, _) = bed.puller(None);
    let since = Instant::now();
    puller.config(&globex, &small).await.unwrap();
    assert!(since.elapsed() < Duration::from_millis(100), "{:?}", since.elapsed());

    // The first is cut off, and the puller, which was told to come again, does.
    let length = puller.blob(&acme, &large, u64::MAX, &bed.file("blob"), |_| {}).await.unwrap();
    assert_eq!(length, 2 * MEBIBYTE as u64);
}
