//! What outlives an instance (MA-70).

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use libtest_mimic::Trial;
use slipway_model::id::VolumeId;
use slipway_model::instance::{ExitReason, InstanceSpec, PublishedPort, VolumeMount};
use slipway_model::service::PortProtocol;
use slipway_model::unit::{Bytes, Span};

use crate::world::{Image, World, get_at, new_id, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("ma_70_a_volume_outlives_its_instance_and_has_a_limit", outlives),
        trial("ma_70_a_volume_is_the_programs_own_whoever_it_is", ownership),
        trial("ma_70_two_living_instances_never_have_one_volume", exclusive),
        trial("ma_70_a_volume_whose_program_was_killed_is_whole", killed),
        trial("ma_70_volumes_that_nobody_wants_are_deleted", deleted),
        trial("ma_32_ma_70_a_link_in_the_image_does_not_lead_a_volume_away", links),
        trial("ma_70_another_tenant_does_not_get_a_volume_by_its_id", other_tenant),
        trial("me_06_ma_61_ma_70_ports_and_volumes_go_on_without_an_agent", adopted),
    ]
}

pub fn volume(path: &str, mib: u64) -> VolumeMount {
    let token = new_id();
    let id =
        VolumeId::from_random(token.as_str().bytes().rev().take(10).collect::<Vec<_>>().try_into().unwrap());
    VolumeMount { id, path: path.into(), size: Bytes::mebi(mib) }
}

fn with(world: &World, line: &str, volume: &VolumeMount) -> InstanceSpec {
    InstanceSpec { volumes: vec![volume.clone()], ..world.spec(line) }
}

fn place(world: &World, volume: &VolumeMount) -> PathBuf {
    world.directory.path().join("state/volumes/acme").join(volume.id.as_str())
}

async fn outlives(mut world: World) {
    let data = volume("data", 8);
    // Relative to the working directory, which is `/` here.
    let spec = with(
        &world,
        "echo kept > /data/a; dd if=/dev/zero of=/data/big bs=1M count=30 2>&1; echo status $?; ls /data/big && stat -c %s /data/big; rm /data/big",
        &data,
    );
    let (exit, log) = world.outcome(spec).await;
    assert_eq!(exit.reason, ExitReason::Status { code: 0 }, "{log:?}");
    assert!(log.iter().any(|line| line.contains("No space left on device")), "{log:?}");
    let written: u64 = log.last().unwrap().parse().unwrap();
    assert!((8 << 20..11 << 20).contains(&written), "{written} bytes fitted");
    // Another instance, another agent, and a machine that has restarted: nothing is left in /run.
    world.leave().await;
    for entry in fs::read_dir(world.directory.path().join("run")).unwrap().flatten() {
        if entry.file_name() != "netns" {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    world.start_agent().await;
    let spec = with(&world, "cat /data/a; echo more >> /data/a", &data);
    let (_, log) = world.outcome(spec).await;
    assert_eq!(log, ["kept"]);
    let moved = VolumeMount { path: "/var/lib/other".into(), ..data };
    let spec = with(&world, "cat /var/lib/other/a", &moved);
    let (_, log) = world.outcome(spec).await;
    assert_eq!(log, ["kept", "more"]);
    world.finish().await;
}

async fn ownership(mut world: World) {
    // The tenant's ids as the host sees them, and the container's in the image, whatever the range.
    let data = volume("/data", 8);
    let spec = with(&world, "id -u; stat -c %u:%g /data; touch /data/mine; sleep 1000", &data);
    let id = world.run(spec);
    world.until_healthy(&id).await;
    assert_eq!(world.log(&id), ["0", "0:0"]);
    use std::os::unix::fs::MetadataExt;
    let seen = fs::metadata(format!("/proc/{}/root/data/mine", world.init_pid(&id))).unwrap();
    assert_eq!(seen.uid(), slipway_model::instance::uid_range(3));
    world.finish().await;
}

async fn exclusive(mut world: World) {
    let data = volume("/data", 8);
    let spec = with(&world, "trap '' TERM; while :; do sleep 0.05; done", &data);
    let first = world.run(InstanceSpec { stop_grace: Span::from_millis(500), ..spec });
    world.until_healthy(&first).await;
    let refused = |exit: slipway_model::instance::Exit| match exit.reason {
        ExitReason::LaunchFailed { error } => assert!(error.contains(first.as_str()), "{error}"),
        other => panic!("{other:?}"),
    };
    let spec = with(&world, "true", &data);
    refused(world.outcome(spec).await.0);
    // An agent that has adopted the first knows it as well; and so while it is being stopped.
    world.leave().await;
    world.start_agent().await;
    let spec = with(&world, "true", &data);
    refused(world.outcome(spec).await.0);
    world.stop(&first);
    let spec = with(&world, "true", &data);
    refused(world.outcome(spec).await.0);
    world.until_ended(&first).await;
    let spec = with(&world, "echo mine now", &data);
    assert_eq!(world.outcome(spec).await.1, ["mine now"]);
    // One instance cannot have it twice, nor two volumes in one another.
    let mut spec = with(&world, "true", &data);
    spec.volumes.push(VolumeMount { path: "/again".into(), ..data.clone() });
    assert!(matches!(world.outcome(spec).await.0.reason, ExitReason::LaunchFailed { .. }));
    let mut spec = with(&world, "true", &data);
    spec.volumes.push(volume("/data/deeper", 8));
    assert!(matches!(world.outcome(spec).await.0.reason, ExitReason::LaunchFailed { .. }));
    world.finish().await;
}

async fn killed(mut world: World) {
    let data = volume("/data", 8);
    for round in 0..3 {
        let spec = with(
            &world,
            "wc -l < /data/lines; while :; do echo line >> /data/lines; sync; sleep 0.01; done",
            &data,
        );
        let id = world.run(spec);
        world.until_healthy(&id).await;
        // The shim and the program at once: nobody unmounts anything.
        let shim =
            fs::read(world.directory.path().join("state/instances").join(id.as_str()).join("shim.json"));
        let shim: slipway_shim::spec::ShimProcess = serde_json::from_slice(&shim.unwrap()).unwrap();
        for pid in [shim.pid, shim.init_pid] {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        }
        world.until_ended(&id).await;
        let count: u32 = world.log(&id).first().and_then(|line| line.parse().ok()).unwrap_or(0);
        assert!((count > 0) == (round > 0), "round {round}: {:?}", world.log(&id));
    }
    world.finish().await;
}

async fn deleted(mut world: World) {
    let (kept, gone) = (volume("/data", 8), volume("/data", 8));
    for data in [&kept, &gone] {
        let spec = with(&world, "touch /data/x", data);
        world.outcome(spec).await;
    }
    let held = world.run(with(&world, "sleep 1000", &gone));
    world.until_healthy(&held).await;
    // What was put beside them by a mistake leads nowhere.
    let outside = world.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    let stray = volume("/x", 1);
    std::os::unix::fs::symlink(&outside, place(&world, &stray)).unwrap();
    let mut list = world.desired();
    list.volumes = Some(BTreeSet::from([kept.id.clone()]));
    world.agent().apply(list).unwrap();
    while fs::symlink_metadata(place(&world, &stray)).is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(outside.join("precious").exists());
    assert!(place(&world, &kept).exists());
    assert!(place(&world, &gone).exists(), "an instance that lives has it");
    world.forget(&held);
    while world.report(&held).is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut list = world.desired();
    list.volumes = Some(BTreeSet::from([kept.id.clone()]));
    world.agent().apply(list).unwrap();
    while place(&world, &gone).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A list that says nothing of volumes deletes none, also after a restart.
    world.leave().await;
    world.start_agent().await;
    world.apply();
    let spec = with(&world, "ls /data", &kept);
    assert_eq!(world.outcome(spec).await.1, ["x"]);
    world.finish().await;
}

async fn links(mut world: World) {
    let mut image = Image::busybox();
    image.add("data", tar::EntryType::Symlink, 0o777, Some("/etc"), b"");
    image.add("file", tar::EntryType::Regular, 0o644, None, b"x");
    image.add("up", tar::EntryType::Symlink, 0o777, Some("../../../../../../tmp"), b"");
    let image = world.add_image(image);
    for path in ["/data", "/data/deeper", "/file", "/up/x"] {
        let spec = InstanceSpec { image: image.clone(), ..with(&world, "true", &volume(path, 8)) };
        let (exit, _) = world.outcome(spec).await;
        let ExitReason::LaunchFailed { error } = exit.reason else { panic!("{path}: {:?}", exit.reason) };
        assert!(error.contains("link or a file in the image"), "{error}");
    }
    world.finish().await;
}

async fn other_tenant(mut world: World) {
    let data = volume("/data", 8);
    let spec = with(&world, "echo secret > /data/x", &data);
    world.outcome(spec).await;
    let mut spec = with(&world, "ls /data; echo end", &data);
    (spec.tenant, spec.tenant_index) = ("evil".parse().unwrap(), 4);
    assert_eq!(world.outcome(spec).await.1, ["end"]);
    world.finish().await;
}

/// Everything that must go on without an agent, and be found again by the next one.
async fn adopted(mut world: World) {
    let data = volume("/app", 8);
    let mut spec = with(&world, "echo kept > /app/index.html; httpd -f -p 8080 -h /app", &data);
    spec.port = Some(8080);
    spec.ports = vec![PublishedPort { host: 31_001, container: 8080, protocol: PortProtocol::Tcp }];
    let id = world.run(spec);
    world.until_healthy(&id).await;
    let list = world.desired();
    let pid = world.init_pid(&id);
    let node = Ipv4Addr::new(10, 100 + world.number as u8, 0, 2);
    let ask = async || get_at((node, 31_001), "/index.html").await;
    assert!(ask().await.unwrap().contains("kept"));
    // An agent that is killed, and meanwhile nobody.
    let child = crate::adoption::agent_elsewhere(&mut world, list).await;
    assert!(ask().await.unwrap().contains("kept"));
    crate::adoption::kill(child);
    assert!(ask().await.unwrap().contains("kept"));
    world.start_agent().await;
    assert!(ask().await.unwrap().contains("kept"));
    assert_eq!(world.init_pid(&id), pid);
    // Another instance gets neither the one nor the other, until this one is gone.
    let mut other = world.spec("httpd -f -p 9090 -h /data");
    other.ports = vec![PublishedPort { host: 31_001, container: 9090, protocol: PortProtocol::Tcp }];
    let (exit, _) = world.outcome(other.clone()).await;
    let ExitReason::LaunchFailed { error } = exit.reason else { panic!("{:?}", exit.reason) };
    assert!(error.contains("31001") && error.contains(id.as_str()), "{error}");
    world.forget(&id);
    while world.report(&id).is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(ask().await.is_err());
    let next =
        InstanceSpec { id: new_id(), volumes: vec![VolumeMount { path: "/data".into(), ..data }], ..other };
    let next = world.run(next);
    world.until_healthy(&next).await;
    while !ask().await.is_ok_and(|answer| answer.contains("kept")) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.finish().await;
}
