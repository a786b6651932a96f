use slipway_model::id::ClusterId;

use super::*;

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
