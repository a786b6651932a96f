use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{KEPT, Unsynced};

struct Disk {
    root: tempfile::TempDir,
    unsynced: Unsynced,
}

impl Disk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let unsynced = Unsynced::new(root.path()).unwrap();
        Self { root, unsynced }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    fn open(&mut self, name: &str) -> File {
        let path = self.path(name);
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        if is_new {
            self.unsynced.made(&path);
        }
        file
    }

    fn write(&mut self, file: &File, offset: u64, text: &str) {
        self.unsynced.will_write(file, offset, text.len() as u64).unwrap();
        file.write_all_at(text.as_bytes(), offset).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.root.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name != KEPT);
        names.sort();
        names
    }
}

#[test]
fn what_was_not_synced_is_as_it_was() {
    let mut disk = Disk::new();
    let log = disk.open("log");
    let long = "x".repeat(10_000);
    disk.write(&log, 0, &long);
    disk.unsynced.synced(&log).unwrap();
    disk.write(&log, 10_000, "lost at the end");
    disk.write(&log, 4_000, "lost in the middle, over the border of two pages".repeat(4).as_str());
    disk.unsynced.will_resize(&log, 100).unwrap();
    log.set_len(100).unwrap();
    disk.unsynced.lose().unwrap();
    assert_eq!(disk.text("log"), long);
}

#[test]
fn names_go_back_in_reverse_and_any_sync_makes_them_safe() {
    let mut disk = Disk::new();
    let old = disk.open("settings");
    disk.write(&old, 0, "old");
    disk.unsynced.synced(&old).unwrap();
    // As most programs replace a file: written, synced, renamed.
    let new = disk.open("settings.new");
    disk.write(&new, 0, "new");
    disk.unsynced.synced(&new).unwrap();
    let [from, to] = ["settings.new", "settings"].map(|name| disk.path(name));
    disk.unsynced.rename(&from, &to).unwrap();
    disk.unsynced.remove(&to).unwrap();
    let directory = disk.path("folder");
    fs::create_dir(&directory).unwrap();
    disk.unsynced.made(&directory);
    assert_eq!(disk.names(), ["folder"]);
    assert_eq!(disk.unsynced.lose().unwrap(), (4, 0));
    assert_eq!(disk.names(), ["settings", "settings.new"]);
    assert_eq!(disk.text("settings"), "old");
    disk.unsynced.rename(&from, &to).unwrap();
    disk.unsynced.names_synced().unwrap();
    disk.unsynced.lose().unwrap();
    assert_eq!(disk.text("settings"), "new");
    assert_eq!(fs::read_dir(disk.root.path().join(Path::new(KEPT))).unwrap().count(), 0);
}

#[test]
fn a_file_that_was_renamed_before_its_sync_is_there_and_empty() {
    let mut disk = Disk::new();
    let (new, other) = (disk.open("new"), disk.open("other"));
    disk.write(&new, 0, "not synced");
    let [from, to] = ["new", "settings"].map(|name| disk.path(name));
    disk.unsynced.rename(&from, &to).unwrap();
    disk.unsynced.synced(&other).unwrap();
    disk.unsynced.lose().unwrap();
    assert_eq!(disk.text("settings"), "");
}
