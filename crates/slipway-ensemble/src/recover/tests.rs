use super::*;

#[test]
fn f15_an_epoch_is_read_from_the_name_of_a_file() {
    assert_eq!(epoch_of("log.500000001"), Some(5));
    assert_eq!(epoch_of("snapshot.0"), Some(0));
    assert_eq!(epoch_of("snapshot.1f0000000a.gz"), Some(31));
    assert_eq!(epoch_of("acceptedEpoch"), None);
    assert_eq!(epoch_of("log.rubbish"), None);
}

#[test]
fn f15_the_highest_epoch_is_that_of_the_data_or_of_the_promise() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = Dirs { data: dir.path().to_owned(), log: dir.path().to_owned() };
    assert_eq!(known_epoch(&dirs), 0);
    assert!(newest(&dirs).is_none());
    let version = dir.path().join(VERSION_DIR);
    fs::create_dir(&version).unwrap();
    fs::write(version.join("log.300000001"), "x").unwrap();
    assert_eq!(known_epoch(&dirs), 3);
    fs::write(version.join(PROMISE_FILE), "7").unwrap();
    assert_eq!(known_epoch(&dirs), 7);
}
