use std::fs;

use super::log::{Extent, Tail};
use super::*;

struct Bed {
    _dir: tempfile::TempDir,
    server: Dirs,
    folder: Folder,
    place: PathBuf,
    fresh: Dirs,
}

fn bed() -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let dirs = |name: &str| Dirs { data: dir.path().join(name), log: dir.path().join(name) };
    let (server, fresh) = (dirs("server"), dirs("fresh"));
    fs::create_dir_all(server.data.join("version-2")).unwrap();
    let place = dir.path().join("place");
    fs::create_dir(&place).unwrap();
    let folder = Folder {
        place: Arc::new(Place::directory(&place)),
        path: "backups/1".to_owned(),
        cluster: "one".to_owned(),
    };
    Bed { _dir: dir, server, folder, place, fresh }
}

impl Bed {
    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.server.data.join("version-2").join(name), bytes).unwrap();
    }

    fn parts(&self) -> Vec<PathBuf> {
        let dir = self.place.join("backups/1/parts");
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    async fn open(&self) -> Backups {
        Backups::open(self.folder.clone(), None).await.unwrap()
    }
}

fn adler(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u64, 0_u64), |(a, b), byte| {
        let a = (a + u64::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    u32::try_from(b << 16 | a).unwrap()
}

/// A log of so many transactions, with room after it.
fn log_of(transactions: usize) -> Vec<u8> {
    let mut log = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
    for at in 0..transactions {
        let bytes: Vec<u8> = (0..10_000 + at).map(|byte| (byte % 251) as u8).collect();
        log.extend(u64::from(adler(&bytes)).to_be_bytes());
        log.extend((bytes.len() as u32).to_be_bytes());
        log.extend(bytes);
        log.push(b'B');
    }
    log
}

fn snapshot_of(bytes: usize) -> Vec<u8> {
    let mut snapshot = b"ZKSN".to_vec();
    snapshot.extend((0..bytes).map(|at| (at * at % 241) as u8));
    snapshot.extend(b"\0\0\0\x01/");
    snapshot
}

fn extent_of(bytes: &[u8]) -> Extent {
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, bytes).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    log::extent(&file).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn ex_13_a_log_is_whole_up_to_its_last_whole_transaction() {
    let log = log_of(3);
    let all = log.len() as u64;
    let two = log_of(2).len() as u64;
    let with = |more: &[u8]| [log.as_slice(), more].concat();
    assert_eq!(extent_of(&log), Extent { whole: all, tail: Tail::Empty });
    assert_eq!(extent_of(&with(&[0; 5000])), Extent { whole: all, tail: Tail::Empty });
    assert_eq!(extent_of(&log[..log.len() - 1]), Extent { whole: two, tail: Tail::Half });
    assert_eq!(extent_of(&log[..two as usize + 5]), Extent { whole: two, tail: Tail::Half });
    let mut torn = with(&[0; 5000]);
    torn[two as usize + 6000..all as usize].fill(0);
    assert_eq!(extent_of(&torn), Extent { whole: two, tail: Tail::Damaged });
    assert_eq!(extent_of(b""), Extent { whole: 0, tail: Tail::Half });
    assert_eq!(extent_of(b"#!/bin/sh\nexit 0\n"), Extent { whole: 0, tail: Tail::Damaged });
}

#[tokio::test]
async fn ex_13_a_backup_has_the_newest_whole_snapshot_and_the_logs_from_it_on() {
    let bed = bed();
    bed.write("snapshot.5", &snapshot_of(10));
    bed.write("snapshot.20", &snapshot_of(PART_BYTES * 2));
    bed.write("snapshot.30", &snapshot_of(10)[..10]);
    bed.write("log.1", &log_of(1));
    bed.write("log.1f", &log_of(2));
    let torn = [log_of(3).as_slice(), &[1; 20]].concat();
    bed.write("log.21", &torn);
    bed.write("currentEpoch", b"1");
    let stored = bed.open().await.store(&bed.server, at(1000)).await.unwrap();
    assert_eq!(stored.files, 3);
    assert_eq!(stored.id, Id(1_000_000));

    let restored = restore(&bed.fresh, &bed.folder, None).await.unwrap();
    assert_eq!((restored.files, restored.bytes), (3, stored.bytes));
    let read = |name: &str| fs::read(bed.fresh.data.join("version-2").join(name)).unwrap();
    assert_eq!(fs::read_dir(bed.fresh.data.join("version-2")).unwrap().count(), 3);
    assert!(read("snapshot.20") == snapshot_of(PART_BYTES * 2));
    assert!(read("log.1f") == log_of(2));
    assert!(read("log.21") == log_of(3), "what comes after the last whole transaction is left out");
    assert_eq!(fs::read_to_string(bed.fresh.data.join(CLUSTER_FILE)).unwrap(), "one\n");
}

#[tokio::test]
async fn ex_13_what_has_not_changed_is_not_put_again_and_goes_with_its_last_backup() {
    let bed = bed();
    bed.write("snapshot.0", &snapshot_of(1000));
    bed.write("log.1", &log_of(5));
    let mut backups = bed.open().await;
    let first = backups.store(&bed.server, at(1000)).await.unwrap();
    let same = backups.store(&bed.server, at(1060)).await.unwrap();
    assert!(first.put_bytes > 0);
    assert_eq!(same.put_bytes, 0);
    bed.write("log.1", &log_of(6));
    let third = backups.store(&bed.server, at(1120)).await.unwrap();
    assert!(third.put_bytes > 0);
    assert_eq!(bed.parts().len(), 3);

    // As after a restart; something was put there by a backup that died before its manifest.
    fs::write(bed.place.join(format!("backups/1/parts/{}.gz", "ab".repeat(32))), "left").unwrap();
    let mut backups = bed.open().await;
    assert_eq!(backups.complete().collect::<Vec<_>>(), [first.id, same.id, third.id]);
    assert_eq!(bed.parts().len(), 3);
    assert_eq!(backups.expire(Duration::from_secs(60), at(1120)).await.unwrap(), 1);
    assert_eq!(bed.parts().len(), 3, "the second still needs them");
    assert_eq!(backups.expire(Duration::from_secs(60), at(1_000_000)).await.unwrap(), 1);
    assert_eq!(bed.parts().len(), 2);
    assert_eq!(bed.folder.list().await.unwrap(), [third.id], "the newest stays whatever its age");
    restore(&bed.fresh, &bed.folder, Some(third.id)).await.unwrap();
}

#[tokio::test]
async fn ex_13_only_complete_backups_are_listed() {
    let bed = bed();
    bed.write("snapshot.0", &snapshot_of(1000));
    bed.open().await.store(&bed.server, at(1000)).await.unwrap();
    let manifest = bed.place.join("backups/1/manifests/000000001000000.json");
    fs::remove_file(manifest).unwrap();
    assert_eq!(bed.folder.list().await.unwrap(), []);
    let error = restore(&bed.fresh, &bed.folder, None).await.unwrap_err();
    assert!(matches!(error, Error::Missing(None)), "{error}");
}

#[tokio::test]
async fn ex_13_another_clusters_backup_is_refused_with_the_reason() {
    let bed = bed();
    bed.write("snapshot.0", &snapshot_of(1000));
    bed.open().await.store(&bed.server, at(1000)).await.unwrap();
    let other = Folder { cluster: "two".to_owned(), ..bed.folder.clone() };
    let error = restore(&bed.fresh, &other, None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the backup 1000000 in backups/1 belongs to cluster "one", and this is "two""#
    );
    assert_eq!(fs::read_dir(&bed.fresh.data).unwrap().count(), 0, "nothing is left of the attempt");
    assert!(matches!(Backups::open(other, None).await, Err(Error::Foreign { .. })));
    // A data directory that was restored remembers, too.
    restore(&bed.fresh, &bed.folder, None).await.unwrap();
    let elsewhere = Folder { cluster: "two".to_owned(), path: "backups/2".to_owned(), ..bed.folder.clone() };
    let mut backups = Backups::open(elsewhere, None).await.unwrap();
    assert!(matches!(backups.store(&bed.fresh, at(1)).await, Err(Error::Foreign { .. })));
}

#[tokio::test]
async fn ex_13_a_backup_is_not_restored_over_data() {
    let bed = bed();
    bed.write("snapshot.0", &snapshot_of(1000));
    bed.open().await.store(&bed.server, at(1000)).await.unwrap();
    let error = restore(&bed.server, &bed.folder, None).await.unwrap_err();
    assert!(matches!(error, Error::NotEmpty(_)), "{error}");
    // The file that says which server this is is no data, nor is what a broken restore left.
    fs::create_dir_all(bed.fresh.data.join("version-2.unfinished/x")).unwrap();
    fs::write(bed.fresh.data.join("myid"), "1").unwrap();
    restore(&bed.fresh, &bed.folder, None).await.unwrap();
    assert!(!bed.fresh.data.join("version-2/x").exists());
}

#[tokio::test]
async fn ex_13_a_damaged_or_missing_part_is_named_and_nothing_is_restored() {
    let bed = bed();
    bed.write("snapshot.0", &snapshot_of(PART_BYTES + 1000));
    bed.open().await.store(&bed.server, at(1000)).await.unwrap();
    let part = bed.parts().into_iter().max_by_key(|part| fs::metadata(part).unwrap().len()).unwrap();
    let whole = fs::read(&part).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let check = async |reason: &str| {
        let error = restore(&bed.fresh, &bed.folder, None).await.unwrap_err().to_string();
        assert!(error.contains("snapshot.0") && error.contains(reason), "{error}");
        assert_eq!(fs::read_dir(&bed.fresh.data).unwrap().count(), 0);
    };
    for bad in [&whole[..whole.len() / 2], b"", &flipped] {
        fs::write(&part, bad).unwrap();
        check("is damaged").await;
    }
    fs::remove_file(&part).unwrap();
    check("is gone").await;
    fs::write(&part, &whole).unwrap();
    restore(&bed.fresh, &bed.folder, None).await.unwrap();
}

#[tokio::test]
async fn ex_13_a_manifest_that_names_other_files_is_refused() {
    let bed = bed();
    bed.write("snapshot.0", &snapshot_of(1000));
    bed.open().await.store(&bed.server, at(1000)).await.unwrap();
    let path = bed.place.join("backups/1/manifests/000000001000000.json");
    let manifest = fs::read_to_string(&path).unwrap();
    for bad in [
        manifest.replace("snapshot.0", "../../evil"),
        manifest.replace("snapshot.0", "zoo.cfg"),
        manifest.replace("\"format\":1", "\"format\":2"),
        manifest[..manifest.len() / 2].to_owned(),
    ] {
        fs::write(&path, bad).unwrap();
        let error = restore(&bed.fresh, &bed.folder, None).await.unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
    }
    // What cannot be read may need any part: none is deleted.
    let mut backups = bed.open().await;
    backups.expire(Duration::ZERO, at(9000)).await.unwrap();
    assert_eq!(bed.parts().len(), 1);
}

#[tokio::test]
async fn ex_13_a_closed_log_that_is_damaged_is_named() {
    let bed = bed();
    let mut damaged = log_of(3);
    damaged[10_200] ^= 1;
    bed.write("log.1", &damaged);
    bed.write("log.9", &log_of(1));
    let error = bed.open().await.store(&bed.server, at(1000)).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { at: 10_029, .. }), "{error}");
    let nothing = Dirs { data: bed.fresh.data.clone(), log: bed.fresh.data.clone() };
    fs::create_dir_all(nothing.data.join("version-2")).unwrap();
    let error = bed.open().await.store(&nothing, at(1000)).await.unwrap_err();
    assert!(matches!(error, Error::Nothing(_)), "{error}");
}

#[tokio::test]
async fn ex_13_a_place_that_is_away_is_tried_three_times_more() {
    let tries = std::cell::Cell::new(0);
    let started = std::time::Instant::now();
    let away = || async {
        tries.set(tries.get() + 1);
        Err::<(), _>(place::Error::Away { place: "p".to_owned(), reason: "r".to_owned() })
    };
    assert!(retry(away).await.is_err());
    assert_eq!(tries.get(), 4);
    assert!(started.elapsed() >= 3 * PAUSE);
    let refused = || async {
        tries.set(tries.get() + 1);
        Err::<(), _>(place::Error::Path("p".to_owned()))
    };
    assert!(retry(refused).await.is_err());
    assert_eq!(tries.get(), 5);
}
