//! A full disk is said, loses nothing, and passes when there is room again.

use std::process::Command;
use std::time::Duration;

use crate::app::{files, web};
use crate::person::{PASSWORD, Person};
use crate::server::{Server, wait_for};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![a_full_disk_refuses_and_recovers]
}

/// A file system of its own for the data directory, unmounted at the end whatever happens.
struct SmallDisk(std::path::PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ignored = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn a_full_disk_refuses_and_recovers(_: &Server) {
    let server = Server::prepare("full");
    let data = server.folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=3g", "slipway-test"])
        .arg(&data)
        .status()
        .unwrap();
    assert!(mounted.success());
    let disk = SmallDisk(data.clone());
    server.import_stack();
    server.run();
    let claim = std::fs::read_to_string(server.folder.join("run/claim-token")).unwrap();
    let operator = Person::new(&server, "operator");
    operator
        .slipway_with_input(&["claim", claim.trim(), "--user", "operator"], &format!("{PASSWORD}\n"))
        .ok();
    let person = Person::with_tenant(&server, "filler");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let running = work.head();

    let fill = data.join("fill");
    let _ignored = Command::new("dd")
        .arg("if=/dev/zero")
        .arg(format!("of={}", fill.display()))
        .args(["bs=64k"])
        .output();
    // During a push: incompressible, so that it needs the room.
    let mut noise = Vec::new();
    let mut state = 88_172_645_463_325_252_u64;
    while noise.len() < 4 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    std::fs::write(work.path.join("noise"), &noise).unwrap();
    work.commit(&files(&web("two")), "Two");
    let said = work.push();
    assert!(said.status != 0, "{}", said.text);
    assert!(said.text.to_lowercase().contains("space") || said.text.contains("disk"), "{}", said.text);
    assert!(work.page("dev").starts_with("one"));
    // A store commit: refused in words, and reads go on.
    let big = "x".repeat(60_000);
    let said = work.slipway(&["config", "set", &format!("BIG={big}"), "-e", "dev", "--detach"]);
    if said.status != 0 {
        assert!(said.text.contains("disk") || said.text.contains("space"), "{}", said.text);
    }
    work.slipway(&["releases", "-e", "dev"]).ok().says("v1");
    assert_eq!(work.remote_head("dev").as_deref(), Some(running.as_str()));

    std::fs::remove_file(&fill).unwrap();
    wait_for("a push to succeed again", Duration::from_secs(60), || (work.push().status == 0).then_some(()));
    assert!(work.page("dev").starts_with("two"));
    server.wipe();
    drop(disk);
    server.remove();
}
