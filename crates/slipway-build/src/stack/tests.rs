use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use slipway_registry::Options;

use super::*;

/// Path → what kind of entry it is, with target or content.
fn entries(layer: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(layer).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let target = entry.link_name().unwrap().map(|target| target.display().to_string());
        let shown = format!("{:?} {}", entry.header().entry_type(), target.unwrap_or(content));
        found.insert(path, shown.trim_end().to_owned());
    }
    found
}

fn layer_of(root: &Path, lower: Option<&Path>) -> Vec<u8> {
    let mut layer = Vec::new();
    let newest = SystemTime::now() - Duration::from_secs(60);
    tree::write(&tree::Tree { root, lower, newest }, &mut layer).unwrap();
    layer
}

#[test]
fn a_tree_is_written_sorted_with_links_and_without_what_is_mounted_over() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("dev/shm")).unwrap();
    fs::write(root.join("usr/bin/a"), "text").unwrap();
    fs::hard_link(root.join("usr/bin/a"), root.join("usr/bin/b")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    let first = layer_of(root, None);
    let expected = [
        ("bin", "Symlink usr/bin"),
        ("dev/", "Directory"),
        ("usr/", "Directory"),
        ("usr/bin/", "Directory"),
        ("usr/bin/a", "Regular text"),
        ("usr/bin/b", "Link usr/bin/a"),
    ];
    assert_eq!(entries(&first), expected.map(|(path, what)| (path.to_owned(), what.to_owned())).into());

    // What is made now gets a fixed time, so a later tree of the same content is the same layer.
    let file = fs::File::options().write(true).open(root.join("usr/bin/a")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(2)).unwrap();
    assert_eq!(layer_of(root, None), first);
}

#[test]
fn what_an_overlay_removes_is_marked() {
    let (dir, below) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, lower) = (dir.path(), below.path());
    fs::create_dir_all(root.join("etc/fresh")).unwrap();
    fs::create_dir_all(lower.join("etc/fresh")).unwrap();
    fs::write(lower.join("etc/gone"), "").unwrap();
    for name in ["etc/gone", "etc/never"] {
        let made = Command::new("mknod")
            .args([root.join(name).as_os_str(), "c".as_ref(), "0".as_ref(), "0".as_ref()])
            .status();
        assert!(made.unwrap().success(), "these tests run as root");
    }
    rustix::fs::lsetxattr(
        root.join("etc/fresh"),
        "trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let found = entries(&layer_of(root, Some(lower)));
    assert!(found.contains_key("etc/.wh.gone"), "{found:?}");
    assert!(found.contains_key("etc/fresh/.wh..wh..opq"), "{found:?}");
    assert!(!found.contains_key("etc/gone") && !found.contains_key("etc/.wh.never"), "{found:?}");
}

#[test]
fn a_name_without_a_recipe_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path(), Options { reserve_bytes: 0, ..Options::default() }).unwrap();
    for name in ["debian-7", "../x", "a/b", ""] {
        let error = create(name, &registry, dir.path(), &mut |_| (), None).unwrap_err();
        assert!(matches!(error, Error::UnknownName { .. } | Error::BadName { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(find("debian-12", &registry).unwrap(), None);
}

#[test]
fn only_one_creation_runs_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let registry =
        Registry::open(&dir.path().join("registry"), Options { reserve_bytes: 0, ..Options::default() })
            .unwrap();
    let lock = fs::File::create(dir.path().join("stack.lock")).unwrap();
    lock.lock().unwrap();
    let error = create("debian-12", &registry, dir.path(), &mut |_| (), None).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
}

/// The launcher itself, with a real bash, on directories of this test by way of a private root.
#[test]
fn the_launcher_reads_profiles_in_order_and_becomes_the_command() {
    let script = String::from_utf8_lossy(recipe::LAUNCH);
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("app");
    let etc = dir.path().join("profile.d");
    fs::create_dir_all(app.join(".profile.d")).unwrap();
    fs::create_dir_all(&etc).unwrap();
    fs::write(etc.join("1.sh"), "export ORDER=etc; set -- lost; cd /").unwrap();
    fs::write(app.join(".profile.d/1.sh"), "export ORDER=$ORDER,app").unwrap();
    fs::write(app.join(".profile"), "export ORDER=$ORDER,profile").unwrap();
    let script = script
        .replace("/app", &app.display().to_string())
        .replace("/etc/profile.d", &etc.display().to_string());
    let launch = dir.path().join("launch");
    fs::write(&launch, script).unwrap();
    let run = |words: &[&str]| {
        let output = Command::new("bash")
            .arg(&launch)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    let here = app.display().to_string();
    assert_eq!(run(&["echo $ORDER $PWD; exit 3"]), (Some(3), format!("etc,app,profile {here}")));
    assert_eq!(run(&["printf", "%s|", "a b", "$ORDER"]), (Some(0), "a b|$ORDER|".to_owned()));
    assert_eq!(run(&[]).0, Some(64));
}
