use nix::mount::{MsFlags, mount};

use super::*;

/// A node's disk of 520 MiB, of which 512 stay free.
#[test]
fn a_kept_disk_leaves_the_node_its_reserve() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=520m")).unwrap();
    let image = disk.join("acme/shop/dev/cache.disk");
    let outcome = keep(directory.path(), &image, Bytes::mebi(64));
    let left = (image.exists(), fs::read_dir(directory.path()).unwrap().count());
    umount2(&disk, MntFlags::MNT_DETACH).unwrap();
    let why = outcome.expect_err("it may not be made").chain();
    assert!(why.contains("it keeps 512 MiB in reserve"), "{why}");
    assert_eq!(left, (false, 1), "nothing half-made stays");
}
