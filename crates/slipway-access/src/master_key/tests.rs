use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_key_is_made_once_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etc/slipway/master.key");
    let key = MasterKey::load_or_create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(MasterKey::load_or_create(&path).unwrap().0, key.0);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    assert_ne!(MasterKey::load_or_create(&dir.path().join("other")).unwrap().id(), key.id());
    assert!(!format!("{key:?}").contains(&STANDARD.encode(key.0)));
}

#[test]
fn a_file_that_others_may_use_or_that_holds_no_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    MasterKey::load_or_create(&path).unwrap();
    for mode in [0o640, 0o604, 0o666, 0o620] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = MasterKey::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains(path.to_str().unwrap()), "{error}");
    }
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    for content in ["", "garbage", "slipway-master-key-1 ", "slipway-master-key-1 AAAA", &"A".repeat(5000)] {
        std::fs::write(&path, content).unwrap();
        let error = MasterKey::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("does not hold a key"), "{error}");
    }
    let error = MasterKey::load_or_create(dir.path()).unwrap_err().to_string();
    assert!(error.contains("regular file") || error.contains("can be used"), "{error}");
}

#[test]
fn derived_keys_differ_by_every_part() {
    let key = MasterKey([7; 32]);
    let derived = [
        key.derive("a", &[]),
        key.derive("a", &[b""]),
        key.derive("a", &[b"b", b"c"]),
        key.derive("a", &[b"bc"]),
        key.derive("ab", &[b"c"]),
        MasterKey([8; 32]).derive("a", &[]),
    ];
    for (place, one) in derived.iter().enumerate() {
        assert!(!derived[..place].contains(one), "{place}");
    }
}
