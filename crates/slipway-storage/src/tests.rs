use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::*;
use bytes::Bytes;

#[tokio::test]
async fn ex_08_objects_in_a_directory_are_put_had_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::directory(dir.path());
    assert_eq!(place.list("a/b").await.unwrap(), Vec::<String>::new());
    assert_eq!(place.get("a/b", "x", 10).await.unwrap(), None);
    place.put("a/b", "x", Bytes::from_static(b"one")).await.unwrap();
    place.put("a/b", "x", Bytes::from_static(b"two")).await.unwrap();
    assert!(!place.create("a/b", "x", Bytes::from_static(b"three")).await.unwrap());
    assert!(place.create("a/b", "y", Bytes::new()).await.unwrap());
    assert_eq!(place.get("a/b", "x", 3).await.unwrap().unwrap(), "two");
    assert!(matches!(place.get("a/b", "x", 2).await, Err(Error::TooBig(_, 2))));
    let mut names = place.list("a/b").await.unwrap();
    names.sort();
    assert_eq!(names, ["x", "y"]);
    place.delete("a/b", "x").await.unwrap();
    place.delete("a/b", "x").await.unwrap();
    assert_eq!(place.list("a/b").await.unwrap(), ["y"]);
}

#[tokio::test]
async fn ex_08_a_writer_that_dies_before_the_link_leaves_nothing_to_see_and_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::directory(dir.path());
    fs::create_dir(dir.path().join("s")).unwrap();
    let left = |name: &str, age: u64| {
        let path = dir.path().join("s").join(name);
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        path
    };
    let (old, young) = (left(".unfinished-1", 4000), left(".unfinished-2", 10));
    assert_eq!(place.list("s").await.unwrap(), Vec::<String>::new());
    assert!(place.create("s", "1", Bytes::new()).await.unwrap());
    assert!(!place.create("s", "1", Bytes::new()).await.unwrap());
    assert_eq!(place.list("s").await.unwrap(), ["1"]);
    assert!(!old.exists());
    assert!(young.exists(), "its writer may live");
    assert_eq!(fs::read_dir(dir.path().join("s")).unwrap().count(), 2);
    // Also where nothing is ever created by one of many, such as big files.
    let old = left(".unfinished-3", 4000);
    place.put("s", "2", Bytes::new()).await.unwrap();
    assert!(!old.exists());
    let old = left(".unfinished-4", 4000);
    let file = dir.path().join("big");
    fs::write(&file, "big").unwrap();
    place.put_file("s", "3", &file).await.unwrap();
    assert!(!old.exists() && young.exists());
}

#[tokio::test]
async fn ex_08_a_directory_that_cannot_be_read_is_away_and_not_empty() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Place::directory(dir.path().join("not-mounted"));
    let is_away = |error: Error| error.is_worth_a_retry();
    assert!(is_away(missing.list("s").await.unwrap_err()));
    assert!(is_away(missing.get("s", "1", 9).await.unwrap_err()));
    assert!(is_away(missing.create("s", "1", Bytes::new()).await.unwrap_err()));
    assert!(is_away(missing.delete("s", "1").await.unwrap_err()));
    assert!(!dir.path().join("not-mounted").exists(), "a mount point is not made");
    fs::write(dir.path().join("s"), "a file").unwrap();
    assert!(is_away(Place::directory(dir.path()).list("s").await.unwrap_err()));
}

#[tokio::test]
async fn ex_08_names_stay_inside_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::directory(dir.path());
    for (folder, name) in
        [("..", "x"), ("a/../..", "x"), ("/a", "x"), ("a", "b/c"), ("a", ".x"), ("a", ""), ("a", "x y")]
    {
        assert!(
            matches!(place.put(folder, name, Bytes::new()).await, Err(Error::Path(_))),
            "{folder} {name}"
        );
    }
}

#[test]
fn ex_08_a_bucket_that_is_described_wrongly_is_refused() {
    let new = |endpoint: &str, prefix: &str| {
        Bucket::new(s3::Description {
            endpoint: endpoint.to_owned(),
            region: "us-east-1".to_owned(),
            bucket: "b".to_owned(),
            prefix: prefix.to_owned(),
            keys: s3::Keys { access: "a".to_owned(), secret: "hidden".to_owned() },
            authority_pem: None,
            trust_conditions: true,
        })
    };
    assert!(new("http://[::1]:9000", "").is_ok());
    let bucket = new("https://s3.example/", "x/y").unwrap();
    assert!(!format!("{:?} {:?}", bucket, bucket).contains("hidden"));
    for bad in ["s3.example", "ftp://s3.example", "http://h/path", "http://h/?q=1"] {
        assert!(new(bad, "").is_err(), "{bad}");
    }
    assert!(new("http://h", "../x").is_err());
    let keys = s3::Keys { access: "a".to_owned(), secret: "hidden".to_owned() };
    assert!(!format!("{keys:?}").contains("hidden"));
}

#[tokio::test]
async fn files_go_to_a_directory_and_come_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::directory(dir.path()).below("repositories").unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(&from, &bytes).unwrap();
    assert!(!place.get_file("a", "x", &to, 1 << 30).await.unwrap());
    place.put_file("a", "x", &from).await.unwrap();
    assert_eq!(place.size("a", "x").await.unwrap(), Some(3_000_000));
    assert_eq!(place.size("a", "y").await.unwrap(), None);
    assert!(place.get_file("a", "x", &to, 3_000_000).await.unwrap());
    assert_eq!(fs::read(&to).unwrap(), bytes);
    assert!(matches!(place.get_file("a", "x", &to, 2_999_999).await, Err(Error::TooBig(..))));
    assert_eq!(place.folders("a").await.unwrap(), Vec::<String>::new());
    place.put("a/b", "y", Bytes::new()).await.unwrap();
    assert_eq!(place.folders("a").await.unwrap(), ["b"]);
    assert_eq!(place.list("a").await.unwrap(), ["x"]);
    let unreadable = place.put_file("a", "x", &dir.path().join("none")).await.unwrap_err();
    assert!(matches!(unreadable, Error::File { .. }), "{unreadable}");
}
