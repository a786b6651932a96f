//! The same in a bucket of a real S3 server.

use slipway_registry::digest::digest_of;

use crate::cluster::{Cluster, at_once, is_deposed, pull, push, repository, tag};
use crate::s3_server::S3Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_in_a_bucket_goes_from_server_to_server() {
    let Some(mut server) = S3Server::start() else { return };
    let place = server.place().below("images").unwrap();
    let mut cluster = Cluster::over(place, tempfile::tempdir().unwrap());
    cluster.options.log_entries_max = 5;
    // Longer than what goes up in one request.
    let long: Vec<u8> = (0..20_000_000_u32).map(|number| (number / 7) as u8).collect();
    let first = cluster.lead("a");
    push(&first, "long", &long).unwrap();
    push(&first, "v1", b"one").unwrap();
    push(&first, "v2", b"two").unwrap();
    first.delete_tag(&repository(), &tag("v2")).unwrap();

    let second = cluster.lead("b");
    assert!(pull(&second, "long").unwrap() == long);
    assert_eq!(pull(&second, "v1").unwrap(), b"one");
    push(&second, "v1", b"newer").unwrap();
    is_deposed(push(&first, "v1", b"late"));
    let collected = second.collect(&at_once()).unwrap();
    // "two" with its config, and "one" with its.
    assert_eq!((collected.manifests, collected.blobs), (2, 4), "{collected:?}");
    // What the first uploaded before it noticed that it does not lead.
    assert!(collected.objects <= 2, "{collected:?}");

    let third = cluster.lead("c");
    assert_eq!(pull(&third, "v1").unwrap(), b"newer");
    assert_eq!(third.blob_in(&repository(), &digest_of(b"two")).unwrap(), None);

    server.kill();
    let refused = push(&third, "v1", b"while it is away").unwrap_err();
    assert!(refused.is_worth_a_retry(), "{refused:?}");
    assert_eq!(pull(&third, "v1").unwrap(), b"newer");
}
