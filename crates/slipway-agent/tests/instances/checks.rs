//! Health and readiness of real instances (MA-42…46).

use std::fs;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use slipway_model::instance::{
    ExitReason, InstanceReport, InstanceSpec, InstanceState, PublishedPort, ReadinessProbe,
};
use slipway_model::service::{HealthCheck, PortProtocol, Probe};
use slipway_model::unit::Span;

use crate::world::{Image, World, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("ma_42_https_is_asked_over_tls_whatever_the_certificate", https),
        trial("ma_43_a_check_asks_at_its_own_port", own_port),
        trial("ma_44_the_grace_period_takes_the_place_of_the_start_timeout", grace),
        trial("ma_44_a_check_without_a_number_of_failures_never_ends_it", never_ends),
        trial("ma_45_checks_are_told_when_they_change_and_not_at_each_question", told),
        trial("ma_42_several_checks_have_to_agree", several),
        trial("ma_46_me_06_readiness_is_asked_until_it_is_there_and_not_again", readiness),
    ]
}

fn check(probe: Probe) -> HealthCheck {
    HealthCheck { probe, interval: Span::from_millis(200), timeout: Span::from_secs(5), ..HealthCheck::tcp() }
}

fn http(path: &str) -> HealthCheck {
    check(Probe::Http(path.into()))
}

/// A web server of what is in /app, once a file says so.
fn server(world: &World, line: &str) -> InstanceSpec {
    InstanceSpec { port: Some(8080), ..world.spec(&format!("{line}; httpd -f -p 8080 -h /app")) }
}

/// Inside a sandbox: answers over TLS, `/ok` with 200 and all else with 404.
pub fn tls_server() -> ExitCode {
    let chain = vec![CertificateDer::from_pem_file("/app/cert.pem").unwrap()];
    let key = PrivateKeyDer::from_pem_file("/app/key.pem").unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
    for stream in listener.incoming().flatten() {
        use std::io::{Read, Write};
        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, stream);
        let mut head = [0; 1024];
        let Ok(length) = stream.read(&mut head) else { continue };
        let status = if head[..length].starts_with(b"GET /ok ") { "200 OK" } else { "404 Not Found" };
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
    ExitCode::SUCCESS
}

async fn https(mut world: World) {
    let (cert, key) = (world.directory.path().join("cert.pem"), world.directory.path().join("key.pem"));
    // For another name, signed by itself, long over: no certificate is checked.
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=elsewhere.example", "-days", "1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut image = Image::busybox().with_probe();
    for (name, path) in [("app/cert.pem", &cert), ("app/key.pem", &key)] {
        image.add(name, tar::EntryType::Regular, 0o644, None, &fs::read(path).unwrap());
    }
    let image = world.add_image(image);
    let spec = |world: &World, path: &str| InstanceSpec {
        image: image.clone(),
        port: Some(8080),
        health: Some(check(Probe::Https(path.into()))),
        ..world.spec("exec /app/probe tls")
    };
    let id = world.run(spec(&world, "/ok"));
    world.until_healthy(&id).await;
    let bad = InstanceSpec { start_timeout: Span::from_secs(3), ..spec(&world, "/other") };
    let (exit, _) = world.outcome(bad).await;
    let ExitReason::NotHealthyInTime { last_check } = exit.reason else { panic!("{:?}", exit.reason) };
    assert_eq!(last_check, "GET /other was answered with status 404");
    // Something that accepts connections and speaks no TLS is not healthy.
    let mut plain = server(&world, "true");
    (plain.health, plain.start_timeout) = (Some(check(Probe::Https("/".into()))), Span::from_secs(2));
    let (exit, _) = world.outcome(plain).await;
    let ExitReason::NotHealthyInTime { last_check } = exit.reason else { panic!("{:?}", exit.reason) };
    assert!(last_check.contains("no TLS is spoken on port 8080"), "{last_check}");
    world.finish().await;
}

async fn own_port(mut world: World) {
    let port = |container| PublishedPort { host: 0, container, protocol: PortProtocol::Tcp };
    for (number, index) in [(Some(7002), Some(0)), (None, Some(1)), (Some(7002), None)] {
        let mut spec = world.spec("httpd -f -p 7002 -h /app");
        spec.ports = vec![port(7001), port(7002)];
        spec.health = Some(HealthCheck { port: number, port_index: index, ..check(Probe::Tcp) });
        let id = world.run(spec);
        world.until_healthy(&id).await;
        world.forget(&id);
    }
    // The first, when nothing is said and there is no $PORT.
    let mut spec = world.spec("httpd -f -p 7001 -h /app");
    (spec.ports, spec.health) = (vec![port(7001), port(7002)], Some(check(Probe::Tcp)));
    let id = world.run(spec);
    world.until_healthy(&id).await;
    world.finish().await;
}

async fn grace(mut world: World) {
    let mut spec = server(&world, "sleep 1.5; echo ok > /app/ok");
    spec.start_timeout = Span::from_millis(300);
    spec.health = Some(HealthCheck { grace: Some(Span::from_secs(30)), failures_max: 1, ..http("/ok") });
    let id = world.run(spec);
    world.until_healthy(&id).await;
    // What has not worked by its end is asked as often as any other.
    let mut spec = server(&world, "sleep 1000");
    spec.start_timeout = Span::from_millis(300);
    spec.health = Some(HealthCheck { grace: Some(Span::from_secs(1)), ..http("/ok") });
    let (exit, _) = world.outcome(spec).await;
    let ExitReason::HealthCheckFailed { last_check } = exit.reason else { panic!("{:?}", exit.reason) };
    assert!(last_check.contains("nothing answers on port 8080"), "{last_check}");
    world.finish().await;
}

async fn never_ends(mut world: World) {
    let mut spec = server(
        &world,
        "echo ok > /app/ok; while :; do test -e /app/ill && mv /app/ok /app/gone; test -e /app/well && mv /app/gone /app/ok; sleep 0.05; done 2>/dev/null & true",
    );
    spec.health = Some(HealthCheck { failures_max: 0, ..http("/ok") });
    let id = world.run(spec);
    world.until_healthy(&id).await;
    let inside = format!("/proc/{}/root/app", world.init_pid(&id));
    fs::write(format!("{inside}/ill"), "").unwrap();
    let report = world.until(&id, "unhealthy", |s| matches!(s, InstanceState::Unhealthy { .. })).await;
    assert!(!report.checks[0].alive);
    let mut failures = 0;
    while failures < 5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        failures += 1;
        assert!(world.report(&id).unwrap().state.is_alive());
    }
    // Another agent does not take it for well, or it would get requests until the next check.
    world.leave().await;
    world.start_agent().await;
    let adopted = world.report(&id).unwrap();
    assert!(matches!(adopted.state, InstanceState::Unhealthy { .. }), "{adopted:?}");
    fs::remove_file(format!("{inside}/ill")).unwrap();
    fs::write(format!("{inside}/well"), "").unwrap();
    world.until_healthy(&id).await;
    assert!(world.report(&id).unwrap().checks[0].alive);
    world.finish().await;
}

async fn told(mut world: World) {
    let mut reports = world.agent().reports();
    let mut spec = server(&world, "sleep 0.5; echo ok > /app/ok");
    spec.health = Some(HealthCheck { interval: Span::from_millis(100), ..http("/ok") });
    let id = world.run(spec);
    world.until_healthy(&id).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let inside = format!("/proc/{}/root/app", world.init_pid(&id));
    fs::remove_file(format!("{inside}/ok")).unwrap();
    world.until_ended(&id).await;
    let mut all: Vec<InstanceReport> = Vec::new();
    while let Ok(report) = reports.try_recv() {
        all.push(report);
    }
    // Some thirty questions were asked.
    assert!(all.len() <= 12, "{} reports: {all:#?}", all.len());
    let courses: Vec<(bool, u32)> = all
        .iter()
        .filter_map(|report| report.checks.first())
        .map(|status| (status.alive, status.consecutive_failures))
        .collect();
    let first_failure = courses.iter().position(|course| *course == (false, 0)).unwrap();
    let works = courses.iter().position(|course| course.0).unwrap();
    let fails = courses.iter().position(|course| *course == (false, 1)).unwrap();
    let over = courses.iter().position(|course| *course == (false, 3)).unwrap();
    assert!(first_failure < works && works < fails && fails < over, "{courses:?}");
    let last = all.last().unwrap().checks.first().unwrap();
    assert!(last.first_success.is_some() && last.last_success > last.first_success);
    assert!(last.last_failure > last.last_success);
    assert_eq!(last.last_failure_cause.as_deref(), Some("GET /ok was answered with status 404"));
    world.finish().await;
}

async fn several(mut world: World) {
    let mut spec = server(&world, "echo ok > /app/ok");
    spec.health = Some(http("/ok"));
    spec.health_also = vec![check(Probe::Command("test -e /app/also".into()))];
    let id = world.run(spec);
    while world.report(&id).is_none_or(|report| report.checks.first().is_none_or(|status| !status.alive)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.report(&id).unwrap().state, InstanceState::Starting);
    let inside = format!("/proc/{}/root/app", world.init_pid(&id));
    fs::write(format!("{inside}/also"), "").unwrap();
    let report = world.until_healthy(&id).await;
    assert!(report.checks.len() == 2 && report.checks.iter().all(|status| status.alive));
    fs::remove_file(format!("{inside}/also")).unwrap();
    let exit = world.until_ended(&id).await;
    let ExitReason::HealthCheckFailed { last_check } = exit.reason else { panic!("{:?}", exit.reason) };
    assert!(last_check.contains("/app/also"), "{last_check}");
    world.finish().await;
}

async fn readiness(mut world: World) {
    let mut spec = server(&world, "true");
    spec.health = Some(check(Probe::Tcp));
    spec.readiness = Some(ReadinessProbe {
        path: "/ready".into(),
        port: 8080,
        interval: Span::from_millis(100),
        timeout: Span::from_secs(5),
        codes: vec![200],
    });
    let id = world.run(spec);
    world.until_healthy(&id).await;
    let wait = async |ready: bool| loop {
        let report = world.report(&id).unwrap();
        if let Some(readiness) = report.ready.filter(|readiness| readiness.ready == ready) {
            return readiness;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let not_yet = wait(false).await;
    assert_eq!(not_yet.status, Some(404));
    assert!(not_yet.body.contains("404"), "{not_yet:?}");
    let inside = format!("/proc/{}/root/app", world.init_pid(&id));
    fs::write(format!("{inside}/ready"), "é".repeat(2000)).unwrap();
    let ready = wait(true).await;
    assert_eq!((ready.status, ready.body.len()), (Some(200), 1024));
    // An answer that has once been good is not asked for again, by nobody.
    fs::remove_file(format!("{inside}/ready")).unwrap();
    world.leave().await;
    world.start_agent().await;
    assert_eq!(world.report(&id).unwrap().ready, Some(ready.clone()));
    assert_eq!(world.report(&id).unwrap().state, InstanceState::Healthy);
    assert_eq!(world.report(&id).unwrap().checks.len(), 1);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.report(&id).unwrap().ready, Some(ready));
    world.finish().await;
}
