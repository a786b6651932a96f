use slipway_model::id::ClusterId;

use super::*;

#[test]
fn a_bucket_is_described_by_lines() {
    let text = "# Ceph\nendpoint https://s3.example:8080\nbucket slipway\n\nprefix one/two\naccess-key A\n\
                secret-key b c\n";
    let read = parse(text).unwrap();
    assert_eq!((read.endpoint.as_str(), read.bucket.as_str()), ("https://s3.example:8080", "slipway"));
    assert_eq!((read.region.as_str(), read.prefix.as_str()), ("us-east-1", "one/two"));
    assert_eq!((read.keys.access.as_str(), read.keys.secret.as_str()), ("A", "b c"));
    for (wrong, why) in [
        ("bucket slipway\naccess-key A\nsecret-key B\n", "endpoint is missing"),
        (&format!("{text}bucket again\n"), "bucket is there twice"),
        (&format!("{text}buket again\n"), "buket is not known"),
        (&format!("{text}region\n"), "region: no value"),
    ] {
        assert_eq!(parse(wrong).unwrap_err().to_string(), why);
    }
}

#[tokio::test]
async fn a_storage_is_one_clusters_and_says_why_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().join("shared");
    fs::create_dir(&shared).unwrap();
    let place = Place::directory(&shared);
    let key = |name: &str| MasterKey::load_or_create(&directory.path().join(name)).unwrap();
    let (own, other) = (key("own"), key("other"));
    let storage = open(place.clone(), &own).await.unwrap();
    let [one, two] = [1, 2].map(|number| ClusterId::from_random([number; 10]));
    for _ in 0..2 {
        claim(&storage, &one).await.unwrap();
    }
    let said = format!("{:#}", claim(&storage, &two).await.unwrap_err());
    assert!(said.contains(&format!("belongs to the cluster {one}")), "{said}");
    let said = format!("{:#}", open(place.clone(), &other).await.unwrap_err());
    assert!(said.contains("storage/id") && said.contains("--master-key"), "{said}");
    let none = directory.path().join("none");
    let said = format!("{:#}", master_key(&none, &place).await.unwrap_err());
    assert!(said.contains(one.as_str()) && !none.exists(), "{said}");
    // As an earlier version left it, or as somebody did who deleted what says whose it is.
    fs::remove_dir_all(shared.join("storage")).unwrap();
    let said = format!("{:#}", open(place.clone(), &own).await.unwrap_err());
    assert!(said.contains("an earlier version") && said.contains("backup"), "{said}");
    assert!(master_key(&none, &place).await.is_err() && !none.exists());
}
