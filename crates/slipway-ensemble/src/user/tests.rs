use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

/// Somebody whom no machine has.
fn somebody() -> User {
    User { name: "somebody".to_owned(), uid: 64_999, gid: 64_999 }
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

/// A directory that everybody can pass; nothing when these tests cannot give files away.
fn bed() -> Option<tempfile::TempDir> {
    let bed = tempfile::tempdir().unwrap();
    fs::set_permissions(bed.path(), fs::Permissions::from_mode(0o711)).unwrap();
    nix::unistd::geteuid().is_root().then_some(bed)
}

#[test]
fn ex_09_the_server_gets_its_data_and_nothing_that_they_lead_to() {
    let Some(bed) = bed() else { return };
    let (data, outside) = (bed.path().join("data"), bed.path().join("outside"));
    fs::create_dir_all(data.join("version-2")).unwrap();
    fs::write(&outside, "root's").unwrap();
    for name in ["myid", "version-2/log.1", "version-2/snapshot.0"] {
        fs::write(data.join(name), "").unwrap();
    }
    symlink(&outside, data.join("version-2/log.2")).unwrap();
    fs::hard_link(&outside, data.join("version-2/log.3")).unwrap();
    somebody().give_data(&data, &data).unwrap();
    for name in ["", "myid", "version-2", "version-2/log.1", "version-2/snapshot.0"] {
        assert_eq!(owner(&data.join(name)), 64_999, "{name}");
    }
    assert_eq!(owner(&outside), 0);
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
    assert!(read_text(&data.join("version-2/log.2")).is_err(), "a link is followed");
    // Once more, with a new file of root's.
    fs::write(data.join("version-2/acceptedEpoch"), "7").unwrap();
    somebody().give_data(&data, &data).unwrap();
    assert_eq!(owner(&data.join("version-2/acceptedEpoch")), 64_999);
}

#[test]
fn ex_09_a_directory_with_other_things_is_not_given_away() {
    let Some(bed) = bed() else { return };
    let (etc, data) = (bed.path().join("etc"), bed.path().join("data"));
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("shadow"), "").unwrap();
    let refused = somebody().give_data(&etc, &data).unwrap_err().to_string();
    assert!(refused.contains("\"shadow\""), "{refused}");
    assert_eq!(owner(&etc), 0);
    // A link in the place of its own directory leads nowhere either.
    fs::create_dir(&data).unwrap();
    symlink(&etc, data.join("version-2")).unwrap();
    assert!(somebody().give_data(&data, &data).is_err());
    assert_eq!(owner(&etc), 0);
    // The directory for logs may be inside.
    fs::remove_file(data.join("version-2")).unwrap();
    fs::create_dir(data.join("logs")).unwrap();
    somebody().give_data(&data, &data.join("logs")).unwrap();
}

#[test]
fn ex_09_a_user_who_cannot_get_to_its_files_is_named() {
    let Some(bed) = bed() else { return };
    let (closed, data) = (bed.path().join("closed"), bed.path().join("closed/data"));
    fs::create_dir_all(&data).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let refused = somebody().give_data(&data, &data).unwrap_err().to_string();
    assert!(refused.contains("somebody cannot pass") && refused.contains("closed"), "{refused}");
    somebody().let_pass(&closed).unwrap();
    somebody().give_data(&data, &data).unwrap();
    assert_eq!(fs::metadata(&closed).unwrap().mode() & 0o777, 0o710);
}
