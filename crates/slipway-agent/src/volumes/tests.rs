use super::*;

#[test]
fn ma_32_ma_70_a_volume_goes_where_the_api_allows_it() {
    #[track_caller]
    fn check(path: &str, expected: Result<&str, &str>) {
        match (target(path, "/app"), expected) {
            (Ok(target), Ok(expected)) => assert_eq!(target, expected),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (found, expected) => panic!("{path:?}: {found:?}, not {expected:?}"),
        }
    }
    check("data", Ok("/app/data"));
    check("/var/lib//pg/", Ok("/var/lib/pg"));
    check("a/b", Err("one segment"));
    for bad in ["..", ".", "/data/../etc", "/./x"] {
        check(bad, Err("'..'"));
    }
    check("/", Err("whole file system"));
    check("", Err("working directory itself"));
    for kernels in ["/proc", "/sys/fs", "/dev/shm"] {
        check(kernels, Err("kernel's"));
    }
    check("/a\0b", Err("NUL"));
    check(&"/x".repeat(200), Err("too long"));
}

fn mount(id: &VolumeId) -> VolumeMount {
    VolumeMount { id: id.clone(), path: "data".into(), size: Bytes::mebi(1) }
}

#[test]
fn ma_70_only_what_nobody_wants_or_uses_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(directory.path()).unwrap();
    let ids: Vec<VolumeId> = (0..3).map(|n| VolumeId::from_random([n; 10])).collect();
    let instance = InstanceId::from_random([9; 10]);
    for id in &ids {
        let place = directory.path().join("acme").join(id.as_str());
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(DISK), "x").unwrap();
    }
    let there = || ids.iter().map(|id| directory.path().join("acme").join(id.as_str()).exists());
    volumes.sweep();
    assert!(there().all(|there| there), "nothing was said, so nothing is deleted");
    volumes.claim(&instance, &[mount(&ids[1])]).unwrap();
    volumes.keep_only(BTreeSet::from([ids[0].clone()]));
    volumes.sweep();
    assert_eq!(there().collect::<Vec<_>>(), [true, true, false]);
    let other = InstanceId::from_random([8; 10]);
    let refused = volumes.claim(&other, &[mount(&ids[1])]).unwrap_err();
    assert!(refused.to_string().contains(instance.as_str()), "{refused}");
    volumes.release(&instance);
    volumes.claim(&other, &[mount(&ids[1])]).unwrap();
    volumes.release(&other);
    volumes.sweep();
    assert_eq!(there().collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing half-deleted stays");
}

#[test]
fn what_volumes_occupy_is_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    assert_eq!(occupied(state), Bytes(0), "no volumes yet");
    let place = state.join("volumes/acme").join(VolumeId::from_random([1; 10]).as_str());
    fs::create_dir_all(&place).unwrap();
    let disk = File::create(place.join(DISK)).unwrap();
    disk.set_len(1 << 30).unwrap();
    fs::write(place.join("disk.new"), "what a crash has left").unwrap();
    assert_eq!(occupied(state), Bytes(0), "sparse");
    std::os::unix::fs::FileExt::write_all_at(&disk, &[1; 1 << 20], 5 << 20).unwrap();
    disk.sync_all().unwrap();
    assert_eq!(occupied(state), Bytes::mebi(1));
}
