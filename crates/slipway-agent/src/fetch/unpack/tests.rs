use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use tar::{EntryType, Header};

use super::*;

fn archive(entries: &[(&str, EntryType, &str, &[u8], u32)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, link, content, mode) in entries {
        let mut header = Header::new_gnu();
        // The safe function would refuse what is tested here.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Unpacks into a directory beside which there is a file that must not change.
fn unpacked(packing: Packing, packed: &[u8], bytes_max: u64) -> (tempfile::TempDir, Result<(), String>) {
    let directory = tempfile::tempdir().unwrap();
    let (files, outside) = (directory.path().join("files"), directory.path().join("outside"));
    fs::create_dir(&files).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(packed).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let outcome = unpack(packing, file, &mut Tree::open(&files, bytes_max, 50).unwrap());
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    (directory, outcome)
}

#[track_caller]
fn check_refused(entries: &[(&str, EntryType, &str, &[u8], u32)], why: &str) {
    let (_directory, outcome) = unpacked(Packing::Tar, &archive(entries), 1 << 20);
    let said = outcome.unwrap_err();
    assert!(said.contains(why), "{said}");
}

#[test]
fn ma_62_archives_are_told_by_their_names() {
    for (name, packing) in [
        ("a.tar", Some(Packing::Tar)),
        ("a.tgz", Some(Packing::TarGzip)),
        ("a.b.tar.gz", Some(Packing::TarGzip)),
        ("a.tar.bz2", Some(Packing::TarBzip2)),
        ("a.zip", Some(Packing::Zip)),
        ("a.jar", None),
        ("tar", None),
    ] {
        assert_eq!(Packing::of(name), packing, "{name}");
    }
}

#[test]
fn ma_62_every_kind_of_archive_is_unpacked() {
    use EntryType::{Block, Directory, Link, Regular, Symlink};
    let plain = archive(&[
        ("./", Directory, "", b"", 0o700),
        ("d/", Directory, "", b"", 0o000),
        ("d/run", Regular, "", b"#!", 0o4777),
        ("d/same", Link, "d/run", b"", 0o644),
        ("d/near", Symlink, "../d/run", b"", 0o777),
        ("made/on/the/way", Regular, "", b"deep", 0o400),
        ("disk", Block, "", b"", 0o666),
        ("twice", Regular, "", b"first", 0o644),
        ("twice", Regular, "", b"second", 0o644),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).unwrap();
    for (packing, packed) in [
        (Packing::Tar, plain.clone()),
        (Packing::TarGzip, gzip.finish().unwrap()),
        (Packing::TarBzip2, bzip2.finish().unwrap()),
    ] {
        let (directory, outcome) = unpacked(packing, &packed, 1 << 20);
        outcome.unwrap();
        let files = directory.path().join("files");
        let mode = |path: &str| fs::metadata(files.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("d/run"), mode("made/on/the/way"), mode("d")), (0o755, 0o600, 0o755));
        assert_eq!(fs::read(files.join("d/near")).unwrap(), b"#!");
        assert_eq!(fs::read(files.join("d/same")).unwrap(), b"#!");
        assert_eq!(fs::read(files.join("twice")).unwrap(), b"second");
        assert!(!files.join("disk").exists());
        // Half of it is none.
        let (_directory, outcome) = unpacked(packing, &packed[..packed.len() / 2], 1 << 20);
        assert!(outcome.is_err());
    }
}

#[test]
fn me_15_nothing_of_an_archive_gets_out() {
    use EntryType::{Link, Regular, Symlink};
    check_refused(&[("../outside/precious", Regular, "", b"x", 0o644)], "leads up");
    check_refused(&[("a/../../outside/precious", Regular, "", b"x", 0o644)], "leads up");
    check_refused(&[("/etc/passwd", Regular, "", b"x", 0o644)], "absolute");
    check_refused(&[("out", Symlink, "../outside", b"", 0o777)], "link to outside");
    check_refused(&[("a/out", Symlink, "b/../../../outside", b"", 0o777)], "link to outside");
    check_refused(&[("out", Symlink, "/etc", b"", 0o777)], "link to outside");
    check_refused(&[("out", Link, "../outside/precious", b"", 0o644)], "leads up");
    check_refused(&[("out", Link, "/etc/passwd", b"", 0o644)], "absolute");
    check_refused(&[("in", Symlink, "d", b"", 0o777), ("in/x", Regular, "", b"x", 0o644)], "through a link");
    check_refused(&[("in", Symlink, "x", b"", 0o777), ("hard", Link, "in", b"", 0o644)], "not in it");
    check_refused(&[("f", Regular, "", b"x", 0o644), ("f/x", Regular, "", b"x", 0o644)], "link or a file");
    check_refused(&[(&"d/".repeat(49), Regular, "", b"", 0o644), (&"d/".repeat(49), Link, "", b"", 0)], "");
}

#[test]
fn me_15_bombs_end_at_the_instances_disk() {
    use EntryType::Regular;
    let zeros = vec![0; 8 << 20];
    let plain = archive(&[("zeros", Regular, "", &zeros, 0o644)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&plain).unwrap();
    let (directory, outcome) = unpacked(Packing::TarGzip, &gzip.finish().unwrap(), 1 << 20);
    assert!(outcome.unwrap_err().contains("larger than the disk of the instance, 1 MiB"));
    assert!(fs::metadata(directory.path().join("files/zeros")).unwrap().len() <= 1 << 20);
    let names: Vec<String> = (0..60).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), Regular, "", &b""[..], 0o644)).collect();
    let (_directory, outcome) = unpacked(Packing::Tar, &archive(&many), 1 << 20);
    assert!(outcome.unwrap_err().contains("too many files"));
}

/// One entry of a zip archive: name, content, attributes as of Unix.
fn zip(entries: &[(&str, &[u8], u32)], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let (mut all, mut directory) = (Vec::new(), Vec::new());
    for (index, (name, content, mode)) in entries.iter().enumerate() {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(content).unwrap();
        // Every second one is stored.
        let (method, packed) =
            if index % 2 == 0 { (8u16, packer.finish().unwrap()) } else { (0, content.to_vec()) };
        let local_at = all.len() as u32;
        let mut middle = Vec::new();
        for word in [20u16, 0, method, 0, 0] {
            middle.extend(word.to_le_bytes());
        }
        for long in [crc.sum(), packed.len() as u32, content.len() as u32] {
            middle.extend(long.to_le_bytes());
        }
        middle.extend((name.len() as u16).to_le_bytes());
        middle.extend(0u16.to_le_bytes());
        all.extend(b"PK\x03\x04");
        all.extend(&middle);
        all.extend(name.as_bytes());
        all.extend(packed);
        directory.extend(b"PK\x01\x02");
        directory.extend([20, 3]);
        directory.extend(&middle);
        directory.extend([0; 6]);
        directory.extend((mode << 16).to_le_bytes());
        directory.extend(local_at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    change(&mut directory);
    let directory_at = all.len() as u32;
    all.extend(&directory);
    all.extend(b"PK\x05\x06\0\0\0\0");
    all.extend((entries.len() as u16).to_le_bytes());
    all.extend((entries.len() as u16).to_le_bytes());
    all.extend((directory.len() as u32).to_le_bytes());
    all.extend(directory_at.to_le_bytes());
    all.extend(0u16.to_le_bytes());
    all
}

#[test]
fn ma_62_me_15_zip_archives_are_unpacked_with_the_same_care() {
    let same = |_: &mut Vec<u8>| {};
    let good = zip(
        &[
            ("d/", b"", 0o040_755),
            ("d/run", b"#!/bin/sh", 0o100_755),
            ("text", &[b'a'; 5000], 0o100_640),
            ("link", b"d/run", 0o120_777),
            ("plain", b"", 0),
        ],
        same,
    );
    let (directory, outcome) = unpacked(Packing::Zip, &good, 1 << 20);
    outcome.unwrap();
    let files = directory.path().join("files");
    let mode = |path: &str| fs::metadata(files.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("d/run"), mode("text"), mode("plain")), (0o755, 0o640, 0o644));
    assert_eq!(fs::read(files.join("link")).unwrap(), b"#!/bin/sh");
    assert_eq!(fs::read(files.join("text")).unwrap().len(), 5000);
    let refused = |packed: &[u8], why: &str| {
        let (_directory, outcome) = unpacked(Packing::Zip, packed, 1 << 20);
        let said = outcome.unwrap_err();
        assert!(said.contains(why), "{said}");
    };
    refused(&zip(&[("../outside/precious", b"x", 0o100_644)], same), "leads up");
    refused(&zip(&[("/etc/x", b"x", 0o100_644)], same), "absolute");
    refused(&zip(&[("out", b"../outside", 0o120_777)], same), "link to outside");
    refused(&zip(&[("zeros", &vec![0; 8 << 20], 0o100_644)], same), "larger than the disk");
    // It says to be of one byte and is not; it says another sum; it is encrypted; it leads elsewhere.
    refused(&zip(&[("a", b"content", 0)], |dir| dir[24] = 1), "larger than it says");
    refused(&zip(&[("a", b"content", 0)], |dir| dir[16] ^= 1), "damaged");
    refused(&zip(&[("a", b"content", 0)], |dir| dir[8] |= 1), "encrypted");
    refused(&zip(&[("a", b"content", 0)], |dir| dir[42] = 3), "no entry");
    refused(b"PK but not really", "no zip archive");
    for length in 0..good.len() {
        let (_directory, outcome) = unpacked(Packing::Zip, &good[..length], 1 << 20);
        assert!(outcome.is_err());
    }
}
