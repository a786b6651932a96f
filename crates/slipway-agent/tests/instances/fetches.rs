//! Files from elsewhere (MA-62, ME-15).

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use slipway_model::id::InstanceId;
use slipway_model::instance::{ExitReason, InstanceSpec, InstanceState, uid_range};
use slipway_model::service::Fetch;
use slipway_model::unit::Bytes;

use crate::internet::{self, METADATA, NODE, PRIVATE};
use crate::world::{Image, World, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("ma_62_files_are_in_the_working_directory_before_the_start", fetched),
        trial("ma_62_a_failed_fetch_fails_the_launch_and_names_the_uri_without_credentials", failed),
        trial("me_15_a_fetch_reaches_nothing_that_the_sandbox_does_not_reach", forgery),
        trial("me_15_what_is_kept_is_asked_for_once_and_only_for_its_tenant", cached),
        trial("me_15_the_process_that_fetches_has_no_rights_and_ends_when_told", confined),
        trial("me_06_ma_62_fetched_files_stay_with_an_adopted_instance_and_go_with_it", adopted),
    ]
}

fn file(uri: &str) -> Fetch {
    Fetch { uri: uri.into(), extract: true, executable: false, cache: false, dest: None }
}

fn with(world: &World, line: &str, fetch: Vec<Fetch>) -> InstanceSpec {
    InstanceSpec { fetch, ..world.spec(line) }
}

async fn fetched(mut world: World) {
    let mut image = Image::busybox().with_working_dir("/srv/work");
    image.add("srv/work", tar::EntryType::Directory, 0o755, None, b"");
    image.add("srv/work/of-image", tar::EntryType::Regular, 0o644, None, b"x");
    let image = world.add_image(image);
    let mut spec = with(
        &world,
        "pwd; ls; cat hello.txt sub/named of-tls inner/file secret; ./run.sh; echo more >> hello.txt; \
         tail -n 1 hello.txt; rm sub/named; stat -c '%a %u %n' hello.txt run.sh . ; ls app.tar.gz raw.tar.gz; \
         test $(stat -c %s large) = 25165824 && echo whole",
        vec![
            file("http://files.example/hello.txt"),
            Fetch { dest: Some("sub/named".into()), ..file("http://203.0.113.80/hello.txt#part") },
            Fetch { dest: Some("of-tls".into()), ..file("https://files.example/hello.txt") },
            file("http://files.example/app.tar.gz"),
            Fetch {
                extract: false,
                dest: Some("raw.tar.gz".into()),
                ..file("http://files.example/app.tar.gz")
            },
            Fetch { executable: true, ..file("http://files.example/run.sh") },
            file("http://me:pw@files.example/secret"),
            Fetch { dest: Some("redirected".into()), ..file("http://files.example/redirect/4") },
            file("http://files.example/large"),
        ],
    );
    // The large one does not count as its memory.
    (spec.image, spec.mem, spec.disk) = (image, Bytes::mebi(16), Bytes::mebi(64));
    let (exit, log) = world.outcome(spec).await;
    assert_eq!(exit.reason, ExitReason::Status { code: 0 }, "{log:?}");
    let said = log.join("\n");
    let expected = "/srv/work\nhello.txt\ninner\nlarge\nof-image\nof-tls\nraw.tar.gz\nredirected\nrun.sh\nsecret\nsub\n\
        hello\nhello\nhello\nfrom the archive\ntold\nran ./run.sh\nmore\n\
        644 0 hello.txt\n755 0 run.sh\n755 0 .\nraw.tar.gz\nls: app.tar.gz: No such file or directory\nwhole";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&said), sorted(expected), "{said}");
    world.finish().await;
}

async fn launch_error(world: &mut World, spec: InstanceSpec) -> String {
    let (exit, log) = world.outcome(spec).await;
    match exit.reason {
        ExitReason::LaunchFailed { error } => error,
        other => panic!("{other:?}: {log:?}"),
    }
}

async fn failed(mut world: World) {
    let host = "http://me:s3cret@files.example";
    for (path, shown, why) in [
        ("/none?token=t0ken", "http://files.example/none", "status 404"),
        ("/broken", "http://files.example/broken", "broke off"),
        ("/huge", "http://files.example/huge", "larger than the disk of the instance, 32 MiB"),
        ("/endless", "http://files.example/endless", "larger than the disk of the instance"),
        ("/evil.tar.gz", "http://files.example/evil.tar.gz", "leads up"),
        ("/redirect/5", "http://files.example/redirect/5", "more than 5 times"),
        ("/to?ftp://x/y", "http://files.example/to", "only http"),
        ("/count/", "http://files.example/count/", "no name"),
    ] {
        let spec = with(
            &world,
            "echo started",
            vec![file("http://files.example/hello.txt"), file(&format!("{host}{path}"))],
        );
        let id = spec.id.clone();
        let error = launch_error(&mut world, spec).await;
        assert!(error.contains(shown) && error.contains(why), "{error}");
        assert!(!error.contains("s3cret") && !error.contains("t0ken"), "{error}");
        assert!(!world.directory.path().join("state/fetch").join(id.as_str()).exists());
    }
    for (uri, why) in [
        ("http://nobody.example/x", "not known"),
        ("https://203.0.113.80/hello.txt", "no TLS"),
        ("file:///etc/passwd", "only http"),
    ] {
        let spec = with(&world, "true", vec![file(uri)]);
        let error = launch_error(&mut world, spec).await;
        assert!(error.contains(why), "{error}");
    }
    for dest in ["../x", "/etc/x", "a/../../x"] {
        let spec = with(
            &world,
            "true",
            vec![Fetch { dest: Some(dest.into()), ..file("http://files.example/hello.txt") }],
        );
        let error = launch_error(&mut world, spec).await;
        assert!(error.contains("leads up") || error.contains("absolute"), "{error}");
    }
    // A working directory behind a link of the image would be somewhere else.
    let mut image = Image::busybox().with_working_dir("/srv/work");
    image.add("srv", tar::EntryType::Symlink, 0o777, Some("etc"), b"");
    let image = world.add_image(image);
    let spec = InstanceSpec { image, ..with(&world, "true", vec![file("http://files.example/hello.txt")]) };
    let error = launch_error(&mut world, spec).await;
    assert!(error.contains("is a link"), "{error}");
    // No secret of a URI is on the disk.
    let secret = |path: &std::path::Path| {
        fs::read(path).is_ok_and(|text| String::from_utf8_lossy(&text).contains("s3cret"))
    };
    for directory in fs::read_dir(world.directory.path().join("state/instances")).unwrap().flatten() {
        for entry in fs::read_dir(directory.path()).unwrap().flatten() {
            assert!(!secret(&entry.path()), "{:?}", entry.path());
        }
    }
    world.finish().await;
}

/// On every address of the node, its loopback too, on ports that would be a fetch's.
fn serve_on_the_node() {
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        if let Ok(listener) = TcpListener::bind((address, 7777)) {
            std::thread::spawn(move || internet::serve_plain(&listener));
        }
    }
}

async fn forgery(mut world: World) {
    serve_on_the_node();
    let mut victim = world.spec("mkdir /app/count; echo x > /app/count/victim; httpd -f -v -p 8080 -h /app");
    (victim.tenant, victim.tenant_index, victim.port) = ("evil".parse().unwrap(), 9, Some(8080));
    let victim = world.run(victim);
    let victim_address = world.until_healthy(&victim).await.address.unwrap();
    let uplink = Ipv4Addr::new(10, 100 + world.number as u8, 0, 2);
    let gateway = Ipv4Addr::new(10, 100 + world.number as u8, 0, 1);
    let direct = [
        "http://127.0.0.1:7777/count/node".to_owned(),
        "http://localhost:7777/count/node".to_owned(),
        "http://0.0.0.0:7777/count/node".to_owned(),
        "http://0x7f000001:7777/count/node".to_owned(),
        "http://[::1]:7777/count/node".to_owned(),
        format!("http://{NODE}:7777/count/node"),
        format!("http://{uplink}:7777/count/node"),
        format!("http://{gateway}:7777/count/node"),
        format!("http://{METADATA}/count/node"),
        format!("http://{PRIVATE}/count/node"),
        format!("http://{victim_address}:8080/count/victim"),
        "http://loopback.example:7777/count/node".to_owned(),
        "http://node.example:7777/count/node".to_owned(),
        "http://metadata.example/count/node".to_owned(),
        "http://private.example/count/node".to_owned(),
    ];
    let redirected = direct.iter().map(|uri| format!("http://files.example/to?{uri}"));
    let all: Vec<String> = direct.iter().cloned().chain(redirected).collect();
    let mut ids: Vec<InstanceId> = Vec::new();
    for (index, uri) in all.iter().enumerate() {
        let mut spec = with(&world, "ls", vec![file(uri)]);
        // So that they need not wait for one another.
        spec.tenant = format!("tenant{index}").parse().unwrap();
        spec.tenant_index = 20 + index as u32;
        ids.push(world.wish(spec));
    }
    world.apply();
    for (id, uri) in ids.iter().zip(&all) {
        let exit = world.until_ended(id).await;
        assert!(matches!(exit.reason, ExitReason::LaunchFailed { .. }), "{uri}: {:?}", exit.reason);
    }
    assert_eq!(internet::asked("/count/node"), 0);
    assert!(!world.log(&victim).iter().any(|line| line.contains("victim")), "{:?}", world.log(&victim));
    world.finish().await;
}

async fn cached(mut world: World) {
    let kept = |uri: &str| Fetch { cache: true, dest: Some("file".into()), ..file(uri) };
    let uri = format!("http://files.example/count/{}", world.number);
    let path = format!("/count/{}", world.number);
    let asked_before = internet::asked(&path);
    assert_eq!(asked_before, 0);
    let mut run = async |tenant: &str, index: u32, fetch: Fetch| {
        let mut spec = with(&world, "cat file; echo changed > file", vec![fetch]);
        (spec.tenant, spec.tenant_index) = (tenant.parse().unwrap(), index);
        let (_, log) = world.outcome(spec).await;
        log.join("")
    };
    assert_eq!(run("acme", 3, kept(&uri)).await, "answer 1");
    assert_eq!(run("acme", 3, kept(&uri)).await, "answer 1");
    assert_eq!(run("evil", 4, kept(&uri)).await, "answer 2");
    assert_eq!(run("acme", 3, Fetch { cache: false, ..kept(&uri) }).await, "answer 3");
    assert_eq!(run("acme", 3, Fetch { executable: true, ..kept(&uri) }).await, "answer 1");
    world.leave().await;
    world.start_agent().await;
    let spec = with(&world, "cat file", vec![kept(&uri)]);
    assert_eq!(world.outcome(spec).await.1, ["answer 1"]);
    assert_eq!(internet::asked(&path), 3);
    world.finish().await;
}

async fn confined(mut world: World) {
    let spec = with(&world, "echo started", vec![file("http://files.example/slow")]);
    let id = world.run(spec);
    let place = world.directory.path().join("state/fetch").join(id.as_str());
    let deadline = Instant::now() + Duration::from_secs(30);
    let pid = 'found: loop {
        assert!(Instant::now() < deadline, "no process fetches");
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let root = fs::read_link(process.path().join("root")).unwrap_or_default();
            if line.starts_with(b"slipway-fetch\0")
                && root == place
                && fs::metadata(place.join("tmp/0")).is_ok()
            {
                break 'found process.path();
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let status = fs::read_to_string(pid.join("status")).unwrap();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let uid = uid_range(3).to_string();
    let uid = uid.as_str();
    assert_eq!(line("Uid:"), [uid, uid, uid, uid]);
    assert_eq!(line("Gid:"), [uid, uid, uid, uid]);
    assert_eq!((line("Groups:").len(), line("NoNewPrivs:")), (0, vec!["1".to_owned()]));
    for capabilities in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(line(capabilities), ["0000000000000000"], "{capabilities}");
    }
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert_ne!(fs::read_link(pid.join("ns/net")).unwrap(), own);
    assert_eq!(world.report(&id).unwrap().state, InstanceState::Preparing);
    // Another instance is launched meanwhile, and this one ends when it is told to.
    let other = world.run(world.spec("sleep 1000"));
    world.until_healthy(&other).await;
    world.stop(&id);
    assert_eq!(world.until_ended(&id).await.reason, ExitReason::Stopped);
    while pid.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!place.exists());
    world.finish().await;
}

async fn adopted(mut world: World) {
    let spec = with(
        &world,
        "while ! test -e /app/go; do sleep 0.02; done; cat /hello.txt",
        vec![file("http://files.example/hello.txt")],
    );
    let id = world.run(spec);
    world.until_healthy(&id).await;
    let place = world.directory.path().join("state/fetch").join(id.as_str());
    assert!(place.join("tree/hello.txt").exists() && !place.join("tmp").exists());
    world.leave().await;
    world.start_agent().await;
    fs::write(format!("/proc/{}/root/app/go", world.init_pid(&id)), "").unwrap();
    assert_eq!(world.until_ended(&id).await.reason, ExitReason::Status { code: 0 });
    assert_eq!(world.log(&id), ["hello"]);
    assert!(!place.exists());
    world.finish().await;
}
