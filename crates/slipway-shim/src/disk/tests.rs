use super::*;

#[test]
fn ma_70_a_lock_is_waited_for_and_then_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    fs::write(&path, "").unwrap();
    let holder = File::open(&path).unwrap();
    lock(&holder, Duration::ZERO).unwrap();
    let other = File::open(&path).unwrap();
    let refused = lock(&other, Duration::from_millis(30)).unwrap_err();
    assert_eq!(refused, "is in use by another instance");
    drop(holder);
    lock(&other, Duration::from_secs(10)).unwrap();
}
