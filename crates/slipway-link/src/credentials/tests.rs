use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::tests::{World, now};

#[test]
fn credentials_are_kept_in_one_file_that_only_the_owner_reads() {
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("identity");
    assert!(Credentials::load(&place).unwrap().is_none());
    let first = world.node("n1", now());
    first.save(&place).unwrap();
    let second = world.node("n1", now());
    // A crash may have left a half.
    fs::write(place.join("link.pem.new"), "half").unwrap();
    second.save(&place).unwrap();
    let read = Credentials::load(&place).unwrap().unwrap();
    assert_eq!(read.identity(), second.identity());
    assert_ne!(read.identity(), first.identity());
    assert_eq!(read.authority_fingerprint(), world.authority.fingerprint());
    let files: Vec<_> = fs::read_dir(&place).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    read.save(&place).unwrap();
    assert_eq!(Credentials::load(&place).unwrap().unwrap().identity(), second.identity());
    assert!(!format!("{read:?}").contains("PRIVATE"));
}

#[test]
fn what_is_damaged_or_does_not_belong_together_is_refused() {
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (world.node("n1", now()), world.node("n1", now()));
    let key_of = |credentials: &Credentials| {
        credentials.pem[credentials.pem.find("-----BEGIN PRIVATE").unwrap()..].to_owned()
    };
    Credentials::new(&one.pem, &key_of(&two)).unwrap_err();
    Credentials::new(&one.pem, "").unwrap_err();
    Credentials::new(&key_of(&one), &key_of(&one)).unwrap_err();
    // The authority's own is nobody's.
    let authority = world.authority.certificate();
    Credentials::new(&format!("{authority}{authority}"), &key_of(&one)).unwrap_err();
    let half = &one.pem[..one.pem.len() / 2];
    for text in ["", "garbage", half, &"x".repeat(1 << 20)] {
        fs::write(directory.path().join(FILE), text).unwrap();
        Credentials::load(directory.path()).unwrap_err();
    }
}
