//! Looking at the files of sandboxes (ME-18, ME-19).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use libtest_mimic::Trial;
use slipway_agent::files::{FileKind, READ_BYTES_MAX};
use slipway_model::id::InstanceId;
use slipway_model::instance::InstanceSpec;
use slipway_model::service::Fetch;
use slipway_model::unit::Bytes;

use crate::world::{World, new_id, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("me_18_me_19_files_are_seen_while_it_lives_and_after_its_end", seen),
        trial("me_19_no_name_or_link_leads_out_of_a_sandbox", inside),
        trial("me_18_of_what_was_written_a_bounded_part_is_kept", bounded),
    ]
}

async fn names(world: &World, id: &InstanceId, path: &str) -> Vec<String> {
    let listing = world.agent().browse(id, path).await.unwrap();
    listing.entries.into_iter().map(|entry| entry.name).collect()
}

async fn whole(world: &World, id: &InstanceId, path: &str) -> Vec<u8> {
    let mut download = world.agent().download(id, path).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = download.pieces.recv().await {
        all.extend(piece);
    }
    assert_eq!(all.len() as u64, download.size);
    all
}

async fn seen(mut world: World) {
    let line = "echo from the log; mkdir -p /app/d/e; echo 0123456789 > /app/d/file; dd if=/dev/zero of=/app/large bs=1M count=3 2>/dev/null; \
                rm /etc/passwd; while ! test -e /app/go; do sleep 0.02; done";
    let fetch = Fetch {
        uri: "http://files.example/hello.txt".into(),
        extract: false,
        executable: false,
        cache: false,
        dest: None,
    };
    let id = world.run(InstanceSpec { fetch: vec![fetch], ..world.spec(line) });
    world.until_healthy(&id).await;
    while world.agent().browse(&id, "files/app").await.map_or(0, |listing| listing.entries.len()) < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(names(&world, &id, "/").await, ["fetched", "files", "log"]);
    assert_eq!(names(&world, &id, "fetched").await, ["hello.txt"]);
    assert_eq!(whole(&world, &id, "/fetched/hello.txt").await, b"hello\n");
    for round in ["living", "adopted", "ended", "ended and forgotten"] {
        match round {
            "living" => {}
            "adopted" => {
                world.leave().await;
                world.start_agent().await;
            }
            "ended" => {
                fs::write(format!("/proc/{}/root/app/go", world.init_pid(&id)), "").unwrap();
                world.until_ended(&id).await;
            }
            _ => {
                world.forget(&id);
                assert!(world.report(&id).is_none());
            }
        }
        let info = world.agent().sandbox(&id).await.unwrap();
        assert_eq!(
            (info.ended_at.is_some(), info.is_partial),
            (round.starts_with("ended"), false),
            "{round}"
        );
        assert_eq!(world.agent().sandboxes(&info.environment).await, std::slice::from_ref(&info));
        assert!(world.agent().sandboxes(&"acme/shop/prod".parse().unwrap()).await.is_empty());
        let directory = world.agent().browse(&id, "/files/app/d").await.unwrap();
        let kinds: Vec<_> = directory.entries.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
        assert_eq!(kinds, [("e", FileKind::Directory), ("file", FileKind::File)], "{round}");
        let file = &directory.entries[1];
        assert_eq!((file.size, file.uid, file.gid, file.mode & 0o777), (11, 0, 0, 0o644), "{round}");
        assert!(file.modified_at.0 > 1_700_000_000_000);
        let read = async |offset, length| {
            world.agent().read_file(&id, "files/app/d/file", offset, length).await.unwrap()
        };
        let piece = read(3, 4).await;
        assert_eq!((piece.data.as_slice(), piece.size), (&b"3456"[..], 11), "{round}");
        assert_eq!(read(9, 100).await.data, b"9\n");
        assert_eq!(
            (read(11, 5).await.data.len(), read(u64::MAX, 5).await.data.len(), read(0, 0).await.size),
            (0, 0, 11)
        );
        let most = world.agent().read_file(&id, "files/app/large", 0, usize::MAX).await.unwrap();
        assert_eq!((most.data.len(), most.size), (READ_BYTES_MAX, 3 << 20));
        assert_eq!(whole(&world, &id, "files/app/large").await.len(), 3 << 20);
        let log = whole(&world, &id, "/log").await;
        assert!(String::from_utf8(log).unwrap().ends_with(" o from the log\n"));
    }
    // Nothing of what was fetched stays, and none of it can be read by others on the node.
    assert_eq!(names(&world, &id, "/").await, ["files", "log"]);
    let kept = world.directory.path().join("state/sandboxes");
    assert_eq!(fs::metadata(kept).unwrap().permissions().mode() & 0o777, 0o700);
    let unknown = new_id();
    assert!(world.agent().sandbox(&unknown).await.is_none());
    assert!(world.agent().browse(&unknown, "/").await.is_err());
    world.finish().await;
}

async fn inside(mut world: World) {
    let precious = world.directory.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let up = "../".repeat(30);
    let line = format!(
        "cd /app; ln -s {precious} absolute; ln -s {up}{relative} relative; ln -s / root; ln -s /proc/self/root proc; \
         ln -s /etc/motd good; echo inside > /etc/motd; ln -s loop loop; mkfifo pipe; echo ready; \
         while ! test -e /app/go; do sleep 0.02; done",
        precious = precious.display(),
        relative = precious.strip_prefix("/").unwrap().display(),
    );
    let id = world.run(world.spec(&line));
    while world.log(&id) != ["ready"] {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for ended in [false, true] {
        if ended {
            fs::write(format!("/proc/{}/root/app/go", world.init_pid(&id)), "").unwrap();
            world.until_ended(&id).await;
        }
        let agent = world.agent();
        for bad in [
            "files/app/absolute",
            "files/app/relative",
            "files/app/root/proc/self/environ",
            &format!("files/app/root{}", precious.display()),
            "files/app/proc/etc/shadow",
            &format!("files/{up}{}", precious.display()),
            &format!("files/app/{up}etc/shadow"),
            &format!("{up}etc/shadow"),
            "/etc/shadow",
            "log/../../list.json",
            "about.json",
            "files/../about.json",
            "files/app/pipe",
            "files/app/loop",
            "files/app",
            "files/app/no\0thing",
            "/",
            &"x/".repeat(4000),
        ] {
            let read = agent.read_file(&id, bad, 0, 100).await;
            assert!(read.is_err(), "{bad}: {read:?}");
            assert!(agent.download(&id, bad).await.is_err(), "{bad}");
        }
        // A link is followed as it is meant: within what the instance has written.
        assert_eq!(agent.read_file(&id, "files/app/good", 0, 100).await.unwrap().data, b"inside\n");
        let tops: Vec<String> = names(&world, &id, &format!("files/{up}")).await;
        assert!(tops.contains(&"app".to_owned()) && !tops.contains(&"root".to_owned()), "{tops:?}");
        let kinds = agent.browse(&id, "files/app").await.unwrap();
        let absolute = kinds.entries.iter().find(|entry| entry.name == "absolute").unwrap();
        assert_eq!(absolute.kind, FileKind::Link);
    }
    world.finish().await;
}

async fn bounded(mut world: World) {
    let line = "cd /app; echo small > a; dd if=/dev/zero of=big bs=1M count=20 2>/dev/null; echo small > z; \
                d=/app; i=0; while [ $i -lt 100 ]; do d=$d/d; mkdir $d; i=$((i+1)); done; \
                dd if=/dev/zero of=sparse bs=1 count=1 seek=25000000 2>/dev/null; sleep 0.2";
    let mut spec = world.spec(line);
    (spec.disk, spec.mem) = (Bytes::mebi(48), Bytes::mebi(64));
    let id = spec.id.clone();
    world.outcome(spec).await;
    assert!(world.agent().sandbox(&id).await.unwrap().is_partial);
    assert_eq!(names(&world, &id, "files/app").await, ["a", "d", "z"]);
    // And of many, some.
    let mut spec =
        world.spec("cd /app; i=0; while [ $i -lt 3000 ]; do echo > f$i; i=$((i+1)); done; sleep 0.2");
    spec.id = new_id();
    let id = spec.id.clone();
    world.outcome(spec).await;
    assert!(world.agent().sandbox(&id).await.unwrap().is_partial);
    let kept = names(&world, &id, "files/app").await.len();
    assert!((1900..=2000).contains(&kept), "{kept}");
    world.finish().await;
}
