//! The life of instances as the leader sees it.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use slipway_agent::Error;
use slipway_agent::attach::{AttachInput, AttachOutput};
use slipway_agent::logs::LogQuery;
use slipway_model::id::Epoch;
use slipway_model::instance::{Desired, ExitReason, InstanceRole, InstanceSpec, InstanceState, Program};
use slipway_model::service::{HealthCheck, Probe};
use slipway_model::unit::{Bytes, Span};

use crate::world::{Image, World, get, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_service_starts_answers_and_stops", starts_answers_stops),
        trial("a_crash_is_reported_with_its_last_output", crash),
        trial("what_cannot_be_started_says_why", launch_failures),
        trial("too_much_memory_is_named_as_the_reason", out_of_memory),
        trial("a_fork_bomb_is_contained_and_can_be_stopped", fork_bomb),
        trial("a_full_disk_is_the_programs_own", full_disk),
        trial("term_is_a_chance_and_kill_the_end", term_and_kill),
        trial("a_program_on_the_wrong_port_is_told_so", wrong_port),
        trial("a_program_that_stops_answering_is_ended", stops_answering),
        trial("a_check_by_command_sees_the_inside", check_by_command),
        trial("lists_of_old_leaders_are_refused", epochs),
        trial("a_one_off_run_is_attached_to", attached),
        trial("a_one_off_run_has_a_terminal", terminal),
        trial("logs_are_followed_by_service_and_instance", follow),
        trial("a_flood_of_output_stays_bounded", flood),
        trial("au_08_a_scheduled_run_runs_once_and_tells_its_status", scheduled),
        trial("ma_60_args_follow_the_images_entrypoint", args),
    ]
}

fn http(path: &str) -> HealthCheck {
    HealthCheck {
        probe: Probe::Http(path.into()),
        interval: Span::from_millis(100),
        timeout: Span::from_secs(5),
        failures_max: 3,
        grace: None,
        port_index: None,
        port: None,
    }
}

async fn starts_answers_stops(mut world: World) {
    let mut spec =
        world.spec("echo hello from $SLIPWAY_RELEASE > /app/index.html; httpd -f -p $PORT -h /app");
    spec.port = Some(8080);
    spec.health = Some(http("/index.html"));
    let id = world.run(spec);
    let report = world.until_healthy(&id).await;
    let answer = get(report.address.unwrap(), "/index.html").await;
    assert!(answer.contains("hello from v7"), "{answer}");
    world.stop(&id);
    let exit = world.until_ended(&id).await;
    assert_eq!(exit.reason, ExitReason::Stopped);
    // It is reported until nobody asks for it, and its address is nobody's.
    assert_eq!(world.report(&id).unwrap().address, None);
    world.forget(&id);
    assert!(world.report(&id).is_none());
    world.finish().await;
}

async fn crash(mut world: World) {
    let line =
        "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; done; sleep 0.2; echo the end >&2; exit 3";
    let spec = world.spec(line);
    let (exit, _) = world.outcome(spec).await;
    assert_eq!(exit.reason, ExitReason::Status { code: 3 });
    assert_eq!(exit.tail.len(), 30);
    assert_eq!(exit.tail[29], "the end");
    assert_eq!(exit.tail[28], "line 40");
    world.finish().await;
}

async fn launch_failures(mut world: World) {
    let mut spec = world.spec("");
    spec.program = Program::Argv { argv: vec!["/bin/no-such-program".into()] };
    let (exit, _) = world.outcome(spec).await;
    let ExitReason::LaunchFailed { error } = exit.reason else { panic!("{:?}", exit.reason) };
    assert!(error.contains("/bin/no-such-program"), "{error}");

    let mut spec = world.spec("true");
    spec.image.digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let (exit, _) = world.outcome(spec).await;
    let ExitReason::LaunchFailed { error } = exit.reason else { panic!("{:?}", exit.reason) };
    assert!(error.contains("000000000"), "{error}");
    world.finish().await;
}

async fn out_of_memory(mut world: World) {
    let mut spec = world.spec("tail /dev/zero");
    spec.mem = Bytes::mebi(32);
    let (exit, _) = world.outcome(spec).await;
    assert_eq!(exit.reason, ExitReason::OutOfMemory);
    // What it writes to its disk counts as well.
    let mut spec = world.spec("dd if=/dev/zero of=/app/big bs=1M count=60");
    (spec.mem, spec.disk) = (Bytes::mebi(32), Bytes::gibi(1));
    let (exit, _) = world.outcome(spec).await;
    assert!(
        matches!(exit.reason, ExitReason::OutOfMemory | ExitReason::Status { code: 1 }),
        "{:?}",
        exit.reason
    );
    world.finish().await;
}

async fn fork_bomb(mut world: World) {
    let mut spec = world.spec("bomb() { bomb | bomb & }; bomb; sleep 1000");
    spec.stop_grace = Span::from_millis(200);
    let id = world.run(spec);
    // Another one starts while the bomb goes off.
    let neighbour = world.run(world.spec("sleep 1000"));
    world.until_healthy(&neighbour).await;
    world
        .until(&id, "running", |state| matches!(state, InstanceState::Healthy | InstanceState::Ended { .. }))
        .await;
    world.stop(&id);
    world.until_ended(&id).await;
    world.finish().await;
}

async fn full_disk(mut world: World) {
    let mut spec = world.spec("dd if=/dev/zero of=/app/big bs=1M count=30; echo status $?; rm /app/big; echo room > /app/small && echo again");
    spec.disk = Bytes::mebi(8);
    let (_, log) = world.outcome(spec).await;
    assert!(log.iter().any(|line| line.contains("No space left on device")), "{log:?}");
    assert!(log.iter().any(|line| line == "status 1"), "{log:?}");
    assert!(log.iter().any(|line| line == "again"), "{log:?}");
    world.finish().await;
}

async fn term_and_kill(mut world: World) {
    // A program with a handler ends in good order.
    let id = world.run(world.spec("trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"));
    world.until_healthy(&id).await;
    world.stop(&id);
    let exit = world.until_ended(&id).await;
    assert_eq!(exit.reason, ExitReason::Stopped);
    assert!(exit.tail.iter().any(|line| line == "bye"), "{:?}", exit.tail);

    // One without dies of it, although the kernel would spare the first process of its namespace.
    let id = world.run(world.spec("exec sleep 1000"));
    world.until_healthy(&id).await;
    let asked_at = Instant::now();
    world.stop(&id);
    world.until_ended(&id).await;
    assert!(asked_at.elapsed() < Duration::from_secs(8), "{:?}", asked_at.elapsed());

    // One that ignores it gets its grace and not more.
    let mut spec = world.spec("trap '' TERM; while :; do sleep 0.05; done");
    spec.stop_grace = Span::from_millis(700);
    let id = world.run(spec);
    world.until_healthy(&id).await;
    let asked_at = Instant::now();
    world.stop(&id);
    let exit = world.until_ended(&id).await;
    assert_eq!(exit.reason, ExitReason::Stopped);
    assert!(asked_at.elapsed() >= Duration::from_millis(700), "{:?}", asked_at.elapsed());
    world.finish().await;
}

async fn wrong_port(mut world: World) {
    for (line, expected) in [
        ("httpd -f -p 5000 -h /app", "it listens on port 5000 instead; it should listen on $PORT (8080)"),
        ("httpd -f -p 127.0.0.1:8080 -h /app", "it listens on 127.0.0.1:8080 only"),
        ("sleep 1000", "it does not listen on any port"),
    ] {
        let mut spec = world.spec(line);
        spec.port = Some(8080);
        spec.start_timeout = Span::from_secs(2);
        let (exit, _) = world.outcome(spec).await;
        let ExitReason::NotHealthyInTime { last_check } = exit.reason else { panic!("{:?}", exit.reason) };
        assert!(last_check.contains(expected), "{last_check}");
    }
    world.finish().await;
}

async fn stops_answering(mut world: World) {
    let mut spec = world.spec("echo ok > /app/ok; httpd -f -p 8080 -h /app & sleep 1; rm /app/ok; wait");
    spec.port = Some(8080);
    spec.health = Some(http("/ok"));
    let id = world.run(spec);
    world.until_healthy(&id).await;
    let exit = world.until_ended(&id).await;
    let ExitReason::HealthCheckFailed { last_check } = exit.reason else { panic!("{:?}", exit.reason) };
    assert_eq!(last_check, "GET /ok was answered with status 404");
    world.finish().await;
}

async fn check_by_command(mut world: World) {
    let check = |line: &str| {
        Some(HealthCheck {
            probe: Probe::Command(line.into()),
            interval: Span::from_millis(200),
            timeout: Span::from_secs(5),
            failures_max: 2,
            grace: None,
            port_index: None,
            port: None,
        })
    };
    let mut spec = world.spec("sleep 0.3; touch /app/ready; sleep 1; rm /app/ready; sleep 1000");
    spec.env.insert("COLOUR".into(), "blue".into());
    // As confined as the program itself.
    spec.health = check(
        "test -e /app/ready && test $COLOUR = blue && grep -q 'Seccomp:.2' /proc/self/status && \
         grep -q 'NoNewPrivs:.1' /proc/self/status && grep -q 'CapEff:.0000000000000000' /proc/self/status && \
         grep -q 'CapBnd:.0000000000000000' /proc/self/status && ! unshare -n true",
    );
    let id = world.run(spec);
    world.until_healthy(&id).await;
    let exit = world.until_ended(&id).await;
    assert!(matches!(exit.reason, ExitReason::HealthCheckFailed { .. }), "{:?}", exit.reason);

    // One that hangs is ended, and nothing of it stays.
    let mut spec = world.spec("sleep 1000");
    spec.health = check("sleep 2000").map(|check| HealthCheck { timeout: Span::from_millis(500), ..check });
    spec.start_timeout = Span::from_secs(2);
    let (exit, _) = world.outcome(spec).await;
    let ExitReason::NotHealthyInTime { last_check } = exit.reason else { panic!("{:?}", exit.reason) };
    assert!(last_check.contains("sleep 2000"), "{last_check}");
    world.finish().await;
}

async fn epochs(mut world: World) {
    let id = world.run(world.spec("sleep 1000"));
    let empty = |epoch, generation| Desired {
        epoch: Epoch(epoch),
        generation,
        instances: Vec::new(),
        volumes: None,
        peers: None,
    };
    // Older than what has been seen: of this leader ignored, of another refused.
    world.agent().apply(empty(1, 0)).unwrap();
    assert!(world.report(&id).is_some());
    world.until_healthy(&id).await;
    let mut newer = world.desired();
    (newer.epoch, newer.generation) = (Epoch(2), 1);
    world.agent().apply(newer).unwrap();
    assert!(matches!(world.agent().apply(empty(1, 1000)), Err(Error::StaleEpoch { .. })));
    assert_eq!(world.report(&id).unwrap().state, InstanceState::Healthy);
    // Not after a restart either.
    world.leave().await;
    world.start_agent().await;
    assert!(matches!(world.agent().apply(empty(1, 1000)), Err(Error::StaleEpoch { .. })));
    world.agent().apply(empty(2, 2)).unwrap();
    while world.report(&id).is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.finish().await;
}

fn one_off(world: &World, line: &str, tty: bool) -> slipway_model::instance::InstanceSpec {
    let mut spec = world.spec(line);
    spec.role = InstanceRole::OneOff { command: line.into(), tty };
    spec
}

async fn everything(mut output: tokio::sync::mpsc::Receiver<AttachOutput>) -> (String, String, ExitReason) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match output.recv().await.expect("an exit comes last") {
            AttachOutput::Stdout(piece) => out.extend(piece),
            AttachOutput::Stderr(piece) => err.extend(piece),
            AttachOutput::Exit(reason) => {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                return (text(out), text(err), reason);
            }
        }
    }
}

async fn attached(mut world: World) {
    let id = world.run(one_off(&world, "cat; echo done >&2; exit 5", false));
    let attachment = world.agent().attach(&id).unwrap();
    attachment.input.send(AttachInput::Stdin(b"ping\n".repeat(20_000))).await.unwrap();
    attachment.input.send(AttachInput::StdinEnd).await.unwrap();
    let (out, err, reason) = everything(attachment.output).await;
    assert_eq!(out.len(), 100_000);
    assert_eq!((err.as_str(), reason), ("done\n", ExitReason::Status { code: 5 }));

    // One that ended before anybody came.
    let id = world.run(one_off(&world, "echo quick", false));
    world.until_ended(&id).await;
    let (out, _, reason) = everything(world.agent().attach(&id).unwrap().output).await;
    assert_eq!((out.as_str(), reason), ("quick\n", ExitReason::Status { code: 0 }));

    let id = world.run(world.spec("sleep 1000"));
    assert!(matches!(world.agent().attach(&id), Err(Error::NotAttachable(_))));
    world.finish().await;
}

async fn terminal(mut world: World) {
    let id = world.run(one_off(&world, "read line; stty size; echo got $line; test -t 0 && echo tty", true));
    let attachment = world.agent().attach(&id).unwrap();
    attachment.input.send(AttachInput::Resize { columns: 132, rows: 43 }).await.unwrap();
    attachment.input.send(AttachInput::Stdin(b"hello\n".to_vec())).await.unwrap();
    let (out, _, reason) = everything(attachment.output).await;
    assert!(out.contains("43 132"), "{out:?}");
    assert!(out.contains("got hello\r\ntty"), "{out:?}");
    assert_eq!(reason, ExitReason::Status { code: 0 });
    world.finish().await;
}

async fn follow(mut world: World) {
    let id = world.run(world.spec("i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.02; done"));
    world.until_healthy(&id).await;
    let mut other = world.spec("while :; do echo other; sleep 0.02; done");
    other.role = InstanceRole::Service { service: "worker".parse().unwrap() };
    let other = world.run(other);
    world.until_healthy(&other).await;
    let query = LogQuery {
        environment: "acme/shop/dev".parse().unwrap(),
        service: Some("web".parse().unwrap()),
        instance: None,
        lines: 5,
        follow: true,
    };
    let mut lines = world.agent().logs(query.clone());
    let mut numbers = Vec::new();
    while numbers.len() < 40 {
        let line = lines.recv().await.unwrap();
        assert_eq!((&line.instance, line.role.as_str(), line.is_error), (&id, "web", false));
        numbers.push(line.text.strip_prefix("tick ").unwrap().parse::<u32>().unwrap());
    }
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let mut last =
        world.agent().logs(LogQuery { service: None, instance: Some(other.clone()), follow: false, ..query });
    let mut count = 0;
    while let Some(line) = last.recv().await {
        assert_eq!((line.instance, line.text.as_str()), (other.clone(), "other"));
        count += 1;
    }
    assert_eq!(count, 5);
    world.finish().await;
}

async fn flood(mut world: World) {
    let spec = world.spec(
        "dd if=/dev/zero bs=1M count=50 2>/dev/null; i=0; \
         while [ $i -lt 100 ]; do dd if=/bin/busybox bs=1M 2>/dev/null; i=$((i+1)); done; \
         echo; echo finished; sleep 0.1",
    );
    let id = spec.id.clone();
    let (exit, _) = world.outcome(spec).await;
    assert_eq!(exit.reason, ExitReason::Status { code: 0 });
    assert!(exit.tail.iter().any(|line| line == "finished"), "{:?}", exit.tail.last());
    let directory = world.directory.path().join("state/logs/acme/shop/dev");
    let of_it = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().contains(id.as_str());
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().flatten().filter(of_it).collect();
    let bytes: u64 = files.iter().map(|entry| entry.metadata().unwrap().len()).sum();
    assert!(bytes <= slipway_model::limit::INSTANCE_LOG_BYTES_MAX.0, "{bytes}");
    world.finish().await;
}

async fn scheduled(mut world: World) {
    let mut spec = world.spec("echo ran; exit 7");
    let due = slipway_model::unit::Timestamp(60_000);
    spec.role = InstanceRole::Scheduled { service: "nightly".parse().unwrap(), due };
    // Whatever the service's checks are: nobody asks something that is to end.
    (spec.port, spec.health) = (Some(8080), Some(http("/")));
    spec.start_timeout = Span::from_millis(1);
    let id = spec.id.clone();
    let (exit, log) = world.outcome(spec).await;
    assert_eq!((exit.reason, log), (ExitReason::Status { code: 7 }, vec!["ran".to_owned()]));
    // It stays on the list, and is not run again, by a later agent neither.
    world.apply();
    world.leave().await;
    world.start_agent().await;
    world.apply();
    assert_eq!(world.until_ended(&id).await.reason, ExitReason::Status { code: 7 });
    assert_eq!(world.log(&id), ["ran"]);
    world.finish().await;
}

async fn args(mut world: World) {
    let image = world.add_image(Image::busybox().with_entrypoint(&["/bin/echo", "from", "entrypoint"]));
    let argv = vec!["and".to_owned(), "$HOME; args".to_owned()];
    let spec = InstanceSpec { image, program: Program::Argv { argv }, ..world.spec("") };
    let (_, log) = world.outcome(spec).await;
    assert_eq!(log, ["from entrypoint and $HOME; args"]);
    world.finish().await;
}
