use super::*;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use tar::{EntryType, Header};

/// An archive in the making; unlike a writer's, its headers may say anything.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, path: &str, kind: EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o6755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(8).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.append(&header, content);
        self
    }

    fn append(&mut self, header: &Header, content: &[u8]) {
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, EntryType::Regular, "", content)
    }

    fn directory(self, path: &str) -> Self {
        self.entry(path, EntryType::Directory, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, target, b"")
    }

    fn pax(self, records: &str) -> Self {
        self.entry("pax", EntryType::XHeader, "", records.as_bytes())
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

struct Fixture {
    directory: tempfile::TempDir,
    layers: Layers,
}

impl Fixture {
    fn new(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layers = Layers::open(&directory.path().join("layers"), limits).unwrap();
        Self { directory, layers }
    }

    fn unpack(&self, packed: &[u8], packing: Packing, plain: &[u8]) -> Result<PathBuf, LayerError> {
        self.unpack_as(
            packed,
            packing,
            &slipway_registry::digest::digest_of(plain),
            &mut self.layers.limits(),
        )
    }

    fn unpack_as(
        &self,
        packed: &[u8],
        packing: Packing,
        diff_id: &Digest,
        left: &mut Limits,
    ) -> Result<PathBuf, LayerError> {
        let file = self.directory.path().join("blob");
        fs::write(&file, packed).unwrap();
        let blob = slipway_registry::digest::digest_of(packed);
        self.layers.ensure(Wanted { diff_id, blob: &blob, packing }, left, || fs::File::open(&file))
    }
}

fn unpack(archive: Archive) -> (Fixture, Result<PathBuf, LayerError>) {
    let fixture = Fixture::new(Limits::default());
    let plain = archive.finish();
    let outcome = fixture.unpack(&plain, Packing::Tar, &plain);
    (fixture, outcome)
}

#[track_caller]
fn check_refused(archive: Archive, expected: &str) {
    let (fixture, outcome) = unpack(archive);
    let text = crate::error::chain(&outcome.expect_err("it must be refused"));
    assert!(text.contains(expected), "{text}");
    // Nothing half-done stays, and nothing is outside.
    assert_eq!(fs::read_dir(fixture.directory.path().join("layers")).unwrap().count(), 0);
    let names: Vec<_> =
        fs::read_dir(fixture.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn what_leads_out_is_refused() {
    check_refused(Archive::default().file("../evil", b"x"), "its path leads up");
    check_refused(Archive::default().file("a/../../evil", b"x"), "its path leads up");
    check_refused(Archive::default().file("/evil", b"x"), "absolute");
    check_refused(Archive::default().symlink("a", "/tmp").file("a/evil", b"x"), "through a link");
    check_refused(Archive::default().symlink("a", "..").directory("a/evil/"), "through a link");
    check_refused(Archive::default().file("a", b"x").file("a/evil", b"x"), "through a link or a file");
    check_refused(Archive::default().entry("h", EntryType::Link, "../blob", b""), "leads up");
    check_refused(Archive::default().entry("h", EntryType::Link, "/etc/shadow", b""), "absolute");
    check_refused(
        Archive::default().symlink("s", "/etc").entry("h", EntryType::Link, "s/shadow", b""),
        "not in this layer",
    );
    check_refused(Archive::default().symlink("etc", "/tmp"), "must be a directory");
    check_refused(Archive::default().symlink("./proc", "/tmp"), "must be a directory");
    for name in ["tmp", "run", "slipway", "dev", "sys"] {
        check_refused(Archive::default().symlink(name, "/proc"), "must be a directory");
        check_refused(
            Archive::default().file("f", b"").entry(name, EntryType::Link, "f", b""),
            "must be a directory",
        );
    }
    check_refused(Archive::default().file("d/.wh...", b""), "hides a name that is none");
    check_refused(Archive::default().pax("19 path=../../evil\n").file("a", b"x"), "its path leads up");
}

#[test]
fn headers_that_disagree_are_refused() {
    check_refused(Archive::default().pax("12 size=999\n").file("a", b"x"), "different sizes");
    check_refused(Archive::default().pax("9 path=a\n9 path=b\n").file("a", b"x"), "contradict");
    check_refused(Archive::default().pax("99 path=a\n").file("a", b"x"), "malformed");
    check_refused(Archive::default().pax("11 size=-5\n").file("a", b"x"), "not one");
    check_refused(Archive::default().pax("22 GNU.sparse.major=1\n").file("a", b"x"), "sparse");
    check_refused(
        Archive::default().entry("g", EntryType::XGlobalHeader, "", b"13 path=evil\n").file("a", b"x"),
        "global header",
    );
    check_refused(
        Archive::default().entry("s", EntryType::Symlink, "x", b"content"),
        "only a file may have content",
    );
}

#[test]
fn what_is_allowed_is_unpacked_without_its_rights() {
    let (_fixture, outcome) = unpack(
        Archive::default()
            .directory("./")
            .directory("bin/")
            .file("bin/tool", b"#!tool")
            .entry("bin/same", EntryType::Link, "bin/tool", b"")
            .symlink("bin/far", "/anywhere/../at/all")
            .file("made/on/the/way", b"deep")
            .file("twice", b"first")
            .file("twice", b"second")
            .entry("disk", EntryType::Block, "", b"")
            .entry("pipe", EntryType::Fifo, "", b"")
            .file("bin/.wh.gone", b"")
            .file("made/.wh..wh..opq", b"")
            .pax("12 path=p/q\n")
            .file("ignored", b"by pax"),
    );
    let tree = outcome.unwrap();
    let data = |path: &str| fs::symlink_metadata(tree.join(path)).unwrap();
    let tool = data("bin/tool");
    assert_eq!((tool.permissions().mode() & 0o7777, tool.uid(), tool.gid()), (0o755, 7, 8));
    assert_eq!(tool.mtime(), 1_000_000_000);
    assert_eq!(data("bin/same").ino(), tool.ino());
    assert_eq!(data("bin").permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_link(tree.join("bin/far")).unwrap(), Path::new("/anywhere/../at/all"));
    assert_eq!(fs::read(tree.join("made/on/the/way")).unwrap(), b"deep");
    assert_eq!(fs::read(tree.join("twice")).unwrap(), b"second");
    assert_eq!(fs::read(tree.join("p/q")).unwrap(), b"by pax");
    assert!(!tree.join("disk").exists() && !tree.join("pipe").exists() && !tree.join("ignored").exists());
    let whiteout = data("bin/gone");
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(whiteout.rdev(), 0);
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(tree.join("made"), "trusted.overlay.opaque", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"y");
}

#[test]
fn a_field_left_blank_is_zero() {
    let mut archive = Archive::default();
    let mut header = Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_mode(0o644);
    header.set_size(1);
    header.set_cksum();
    archive.append(&header, b"x");
    let (_fixture, outcome) = unpack(archive);
    let data = fs::metadata(outcome.unwrap().join("a")).unwrap();
    assert_eq!((data.uid(), data.gid()), (0, 0));
}

#[test]
fn bombs_stop_at_their_limits() {
    let zeros = vec![0; 128 << 20];
    let plain = Archive::default().file("zeros", &zeros).finish();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let packed = gzip.finish().unwrap();
    let strict = Limits { ratio_max: 10, ..Limits::default() };
    let refused = Fixture::new(strict).unpack(&packed, Packing::Gzip, &plain);
    assert!(crate::error::chain(&refused.unwrap_err()).contains("larger than allowed"));

    let many = (0..11).fold(Archive::default(), |archive, n| archive.file(&format!("f{n}"), b"")).finish();
    let refused =
        Fixture::new(Limits { entries_max: 10, ..Limits::default() }).unpack(&many, Packing::Tar, &many);
    assert!(crate::error::chain(&refused.unwrap_err()).contains("too many entries"));

    let deep = Archive::default().file(&"d/".repeat(49), b"").finish();
    let refused =
        Fixture::new(Limits { depth_max: 10, ..Limits::default() }).unpack(&deep, Packing::Tar, &deep);
    assert!(crate::error::chain(&refused.unwrap_err()).contains("too deep"));
}

#[test]
fn damage_is_found() {
    let plain = Archive::default().file("a", &[7; 5000]).finish();
    let fixture = Fixture::new(Limits::default());
    let mut flipped = plain.clone();
    flipped[700] ^= 1;
    assert!(matches!(fixture.unpack(&flipped, Packing::Tar, &plain), Err(LayerError::Mismatch { .. })));
    assert!(fixture.unpack(&plain[..1000], Packing::Tar, &plain).is_err());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let mut packed = gzip.finish().unwrap();
    packed.extend(b"and more");
    assert!(fixture.unpack(&packed, Packing::Gzip, &plain).is_err());
    assert!(matches!(
        Packing::of_media_type("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        Err(LayerError::MediaType(_))
    ));
    // And the whole one is taken.
    fixture.unpack(&plain, Packing::Tar, &plain).unwrap();
}

#[test]
fn a_tree_is_given_to_who_has_a_blob_that_holds_it() {
    let plain = Archive::default().directory("d/").file("d/a", &[7; 5000]).finish();
    let other = Archive::default().file("d/a", b"my own").finish();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let packed = gzip.finish().unwrap();
    let fixture = Fixture::new(Limits::default());
    let diff_id = slipway_registry::digest::digest_of(&plain);
    let tree = fixture.unpack(&plain, Packing::Tar, &plain).unwrap();
    // The config claims somebody else's layer for a blob of one's own, again and again.
    for _ in 0..2 {
        let claimed = fixture.unpack_as(&other, Packing::Tar, &diff_id, &mut Limits::default());
        assert!(matches!(claimed, Err(LayerError::Mismatch { .. })), "{claimed:?}");
    }
    // The same layer packed in another way is looked at once.
    let spent = |left: Limits| (left.bytes_max, left.entries_max);
    let (mut first, mut second) = (Limits::default(), Limits::default());
    assert_eq!(fixture.unpack_as(&packed, Packing::Gzip, &diff_id, &mut first).unwrap(), tree);
    let blob = slipway_registry::digest::digest_of(&packed);
    let wanted = Wanted { diff_id: &diff_id, blob: &blob, packing: Packing::Gzip };
    let unread = || -> io::Result<fs::File> { panic!("a warm start reads no blob") };
    assert_eq!(fixture.layers.ensure(wanted, &mut second, unread).unwrap(), tree);
    let expected = ((4 << 30) - 3 * 4096, 1_000_000 - 2);
    assert_eq!((spent(first), spent(second)), (expected, expected));
}

#[test]
fn the_layers_of_an_image_share_one_bound() {
    let limits = Limits { bytes_max: 40_000, entries_max: 10, ..Limits::default() };
    let fixture = Fixture::new(limits);
    let mut left = fixture.layers.limits();
    let large = |name: &str| Archive::default().file(name, &[1; 16_384]).finish();
    let mut take = |plain: &[u8]| {
        fixture.unpack_as(plain, Packing::Tar, &slipway_registry::digest::digest_of(plain), &mut left)
    };
    take(&large("a")).unwrap();
    // Also when it is there already.
    take(&large("a")).unwrap();
    for plain in [large("a"), large("b")] {
        let text = crate::error::chain(&take(&plain).unwrap_err());
        assert!(text.contains("larger than allowed"), "{text}");
    }
}

/// A disk with 520 MiB, of which 512 stay free.
#[test]
fn unpacking_leaves_the_node_its_reserve() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().to_owned();
    mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=520m")).unwrap();
    let outcome = std::panic::catch_unwind(|| {
        let layers = Layers::open(&disk.join("layers"), Limits::default()).unwrap();
        let plain = Archive::default().file("a", &vec![1; 60 << 20]).finish();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &plain).unwrap();
        for (packed, packing) in [(plain.clone(), Packing::Tar), (gzip.finish().unwrap(), Packing::Gzip)] {
            let elsewhere = tempfile::NamedTempFile::new().unwrap();
            fs::write(elsewhere.path(), &packed).unwrap();
            let digest = slipway_registry::digest::digest_of(&plain);
            let wanted = Wanted { diff_id: &digest, blob: &digest, packing };
            let outcome = layers.ensure(wanted, &mut layers.limits(), || fs::File::open(elsewhere.path()));
            assert!(matches!(&outcome, Err(LayerError::NoRoom(_))), "{outcome:?}");
            assert_eq!(fs::read_dir(disk.join("layers")).unwrap().count(), 0, "nothing half-done stays");
        }
    });
    umount2(&disk, MntFlags::MNT_DETACH).unwrap();
    outcome.unwrap();
}

#[test]
fn layers_that_nobody_uses_are_kept_up_to_a_number_of_bytes() {
    let fixture = Fixture::new(Limits::default());
    let mut places = Vec::new();
    for number in 0..4u64 {
        let plain = Archive::default().file("a", &[number as u8]).finish();
        let place = fixture.unpack(&plain, Packing::Tar, &plain).unwrap().parent().unwrap().to_owned();
        // Making it durable changes the directory once more.
        while !place.join("durable").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::write(place.join("size"), format!("{} 1", 2u64 << 30)).unwrap();
        // The last one was asked for just now, the others an hour ago and more.
        let age = if number == 3 { 0 } else { 3600 * (4 - number) };
        let used_at = SystemTime::now() - Duration::from_secs(age);
        fs::File::open(&place).unwrap().set_modified(used_at).unwrap();
        places.push(place);
    }
    let in_use = BTreeSet::from([places[0].join("tree")]);
    fixture.layers.collect(&in_use);
    let kept: Vec<bool> = places.iter().map(|place| place.exists()).collect();
    assert_eq!(kept, [true, false, true, true]);
}

#[test]
fn names_that_are_mounted_over_are_no_links() {
    let (_fixture, outcome) = unpack(
        Archive::default()
            .directory("etc/")
            .symlink("etc/resolv.conf", "/proc/1/root")
            .file("etc/passwd", b"x")
            .entry("etc/hosts", EntryType::Link, "etc/passwd", b"")
            .symlink("etc/mtab", "/proc/mounts"),
    );
    let etc = outcome.unwrap().join("etc");
    assert!(fs::symlink_metadata(etc.join("resolv.conf")).is_err() && !etc.join("hosts").exists());
    assert!(fs::symlink_metadata(etc.join("mtab")).unwrap().is_symlink());
}

#[test]
fn a_layer_of_another_boot_that_may_have_holes_goes() {
    let plain = Archive::default().file("a", b"x").finish();
    let fixture = Fixture::new(Limits::default());
    let tree = fixture.unpack(&plain, Packing::Tar, &plain).unwrap();
    let place = tree.parent().unwrap();
    let reopen = || Layers::open(&fixture.directory.path().join("layers"), Limits::default()).unwrap();
    reopen();
    assert!(tree.exists());
    // Whatever the thread that makes it durable has done by now.
    while !place.join("durable").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::write(place.join("boot"), "another").unwrap();
    reopen();
    assert!(tree.exists());
    fs::remove_file(place.join("durable")).unwrap();
    fs::create_dir(fixture.directory.path().join("layers/new-half")).unwrap();
    reopen();
    assert_eq!(fs::read_dir(fixture.directory.path().join("layers")).unwrap().count(), 0);
}
