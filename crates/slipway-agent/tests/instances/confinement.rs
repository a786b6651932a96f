//! What a program cannot do to its node and its neighbours.

use std::fs;

use libtest_mimic::Trial;
use slipway_model::instance::{ExitReason, Program, uid_range};
use slipway_model::unit::Bytes;

use crate::world::{Image, World, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("nothing_that_leads_out_is_let_through", probe),
        trial("two_tenants_are_two_ranges_of_users", users),
        trial("an_instance_sees_itself_and_nothing_else", inside),
        trial("the_runtimes_binary_is_not_changed", runtime_binary),
    ]
}

async fn probe(mut world: World) {
    let image = world.add_image(Image::busybox().with_probe());
    let mut spec = world.spec("");
    spec.image = image;
    spec.mem = Bytes::mebi(256);
    spec.program = Program::Argv { argv: vec!["/app/probe".into(), "probe".into()] };
    let (exit, log) = world.outcome(spec).await;
    assert_eq!((exit.reason, log.join("\n").as_str()), (ExitReason::Status { code: 0 }, "probed"));
    world.finish().await;
}

async fn users(mut world: World) {
    for (index, tenant) in [(3, "acme"), (4, "globex")] {
        let mut spec = world.spec("sleep 1000");
        (spec.tenant_index, spec.tenant) = (index, tenant.parse().unwrap());
        let id = world.run(spec);
        world.until_healthy(&id).await;
        let status = fs::read_to_string(format!("/proc/{}/status", world.init_pid(&id))).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        let uid: u32 = field("Uid:").parse().unwrap();
        assert!((uid_range(index)..uid_range(index + 1)).contains(&uid), "{tenant} runs as {uid}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
    }
    world.finish().await;
}

async fn inside(mut world: World) {
    let mut secretive = world.spec("sleep 1000");
    secretive.env.insert("PASSWORD".into(), "sesame".into());
    let neighbour = world.run(secretive);
    world.until_healthy(&neighbour).await;
    let mut spec = world.spec(
        "env; echo processes $(ls /proc | grep -c '^[0-9]'); cat /proc/*/environ | grep -c sesame; \
         cat /proc/1/root/etc/shadow; echo host $(hostname); id; echo x > /proc/sys/kernel/hostname; ls -ld /app; \
         echo written > /app/file && ls -l /app/file; ping -c 1 -W 1 127.0.0.1 > /dev/null; echo end",
    );
    // Words that would steer our own helpers reach the program only (N10).
    spec.env.insert("LD_PRELOAD".into(), "/nonexistent.so".into());
    spec.env.insert("MULTI".into(), "a\nb".into());
    let id = spec.id.clone();
    let (exit, log) = world.outcome(spec).await;
    assert_eq!(exit.reason, ExitReason::Status { code: 0 });
    let has = |text: &str| assert!(log.iter().any(|line| line.contains(text)), "{text:?} is not in {log:#?}");
    for text in
        ["FROM_IMAGE=yes", "LD_PRELOAD=/nonexistent.so", "HOME=/app", "SLIPWAY_RELEASE=v7", "/app/file"]
    {
        has(text);
    }
    has(&format!("host {id}"));
    has("uid=0(root) gid=0");
    has("end");
    assert!(!log.iter().any(|line| line.contains("PASSWORD")), "{log:#?}");
    let count: usize =
        log.iter().find_map(|line| line.strip_prefix("processes ")).unwrap().trim().parse().unwrap();
    assert!(count < 10, "{count} processes are visible");
    // Nothing with the secret is in what the agent keeps on disk.
    let state = world.directory.path().join("state/instances").join(neighbour.as_str());
    for entry in fs::read_dir(state).unwrap().flatten() {
        let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
        assert!(!text.contains("sesame"), "{}", entry.path().display());
    }
    world.finish().await;
}

/// CVE-2019-5736: writing to the runtime through `/proc/self/exe` (N79).
async fn runtime_binary(mut world: World) {
    let runtime = world.agent().runtime().to_owned();
    let before = fs::read(&runtime).unwrap();
    let line = "for f in /proc/*/exe; do echo x > $f; done; ls -l /proc/1/exe; true";
    let (exit, _) = world.outcome(world.spec(line)).await;
    assert_eq!(exit.reason, ExitReason::Status { code: 0 });
    assert!(fs::read(&runtime).unwrap() == before);
    world.finish().await;
}
