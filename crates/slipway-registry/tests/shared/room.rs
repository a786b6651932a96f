//! A server's disk has less room than the cluster has images.

use std::path::Path;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use slipway_registry::Error;

use crate::cluster::{Cluster, pull, push};

/// A file system of 16 MiB, taken away at the end.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn at(path: &'a Path) -> Self {
        std::fs::create_dir(path).unwrap();
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("size=16m"))
            .expect("these tests run as root");
        Self(path)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

fn noise(seed: u8) -> Vec<u8> {
    (0..3 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_make_room_that_nobody_has_asked_for_longest() {
    let mut cluster = Cluster::new();
    cluster.options.reserve_bytes = 6 << 20;
    cluster.options.copy_rest = Duration::ZERO;
    let root = cluster.root("a");
    let _disk = SmallDisk::at(&root);
    let registry = cluster.lead("a");
    for seed in 0..3 {
        push(&registry, &format!("v{seed}"), &noise(seed)).unwrap();
    }
    std::fs::write(root.join("somebody-elses"), vec![1; 2 << 20]).unwrap();
    // The disk has no more room; the storage is away, so that all copies stay.
    let (shared, away) = (cluster.dir.path().join("shared"), cluster.dir.path().join("away"));
    std::fs::rename(&shared, &away).unwrap();
    let refused = push(&registry, "v3", &noise(3)).unwrap_err();
    assert!(matches!(refused, Error::DiskFull { .. }), "{refused}");
    assert_eq!(pull(&registry, "v0").unwrap(), noise(0));
    std::fs::rename(&away, &shared).unwrap();
    drop(registry);

    let registry = cluster.lead("a");
    push(&registry, "v3", &noise(3)).unwrap();
    for seed in 0..4 {
        assert_eq!(pull(&registry, &format!("v{seed}")).unwrap(), noise(seed), "fetched again");
    }
}
