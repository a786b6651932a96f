//! The router beside nginx as a proxy: requests a second and processor time per request at 64
//! connections that are kept, with access logs; then how soon a new route among 1,000 answers, and
//! what other requests notice of it.
//!
//! The router is the real `slipwayd router`; the bench is its leader and feeds it the table.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use slipway_testing::free_port;

use super::Bench;
use super::http;
use super::measure::{Goal, Report, Samples};
use super::probe::Probe;
use super::process::{Daemon, Folder, cpu_seconds, output, wait_for, wait_for_port};
use super::slipway::release;

const ROUNDS: usize = 5;
const CONNECTIONS: &str = "64";
const SECONDS: &str = "3";
const ROUTES: usize = 1000;
const NEW_ROUTES: usize = 30;
/// So that the probe asks in between and around.
const BETWEEN_ROUTES: Duration = Duration::from_millis(50);
const NGINX_RELOADS: usize = 5;
const HOST: &str = "app0.test";

pub fn router(_bench: &mut Bench, report: &mut Report) -> anyhow::Result<()> {
    let folder = Folder::make("router")?;
    let backend = Backend::start(&folder)?;
    let nginx = Nginx::start(&folder, backend.port)?;
    let mut ours = Ours::start(backend.port)?;
    let ports = [ours.port, nginx.port];
    for port in ports {
        let answers = || http::page(port, HOST, "/");
        wait_for("the proxy to answer", Duration::from_secs(20), answers)?;
    }

    let pids = [ours.daemon.pid(), nginx.daemon.pid()];
    let [mut direct, mut ours_rate, mut nginx_rate, mut ours_cpu, mut nginx_cpu]: [Samples; 5] =
        Default::default();
    for _ in 0..ROUNDS {
        crate::interrupt::check()?;
        direct.push(load(backend.port, backend.pid())?.per_second);
        let [ours, nginx] = [0, 1].map(|side| load(ports[side], pids[side]));
        let (ours, nginx) = (ours?, nginx?);
        ours_rate.push(ours.per_second);
        nginx_rate.push(nginx.per_second);
        ours_cpu.push(ours.cpu_us);
        nginx_cpu.push(nginx.cpu_us);
    }
    report.note("the backend without a proxy", "requests/s", &direct);
    report.note("router", "requests/s", &ours_rate);
    report.note("nginx", "requests/s", &nginx_rate);
    report.note("router, processor time", "µs a request", &ours_cpu);
    report.note("nginx, processor time", "µs a request", &nginx_cpu);
    report.found("router's processor time beside nginx", Goal::AtMost(1.2), " ×", &ours_cpu.over(&nginx_cpu));
    report.found(
        "router's requests a second beside nginx",
        Goal::AtLeast(0.9),
        " ×",
        &ours_rate.over(&nginx_rate),
    );

    let probe = Probe::start(ours.port, HOST, "/");
    let calm = (0..NEW_ROUTES).map(|_| ours.add_route()).collect::<Result<Samples, _>>()?;
    let seen = probe.end();
    let reloads = (0..NGINX_RELOADS).map(|_| nginx.add_host()).collect::<Result<Samples, _>>()?;
    let under_load = std::thread::spawn({
        let (port, pid) = (ours.port, ours.daemon.pid());
        move || load(port, pid)
    });
    let busy = (0..NEW_ROUTES).map(|_| ours.add_route()).collect::<Result<Samples, _>>()?;
    under_load.join().expect("wrk's thread does not panic")?;
    report.note("a new host in nginx with 1,000, by reload", "ms", &reloads);
    report.note("a new route while 64 connections keep both processors busy", "ms", &busy);
    report.found("a new route among 1,000 answers after", Goal::AtMost(5.0), " ms", &calm);
    let what =
        format!("failed requests of {} beside {NEW_ROUTES} new routes, and of all of wrk's", seen.requests);
    report.found(&what, Goal::AtMost(0.0), "", &Samples::from_iter([seen.failed as f64]));
    Ok(())
}

/// What one run of wrk says.
struct Load {
    per_second: f64,
    cpu_us: f64,
}

/// Loads one server, and fails when a request fails.
fn load(port: u16, pid: u32) -> anyhow::Result<Load> {
    let cpu_before = cpu_seconds(pid);
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "2", "--connections", CONNECTIONS, "--duration", &format!("{SECONDS}s")]);
    let said =
        output(wrk.args(["--header", &format!("Host: {HOST}"), &format!("http://127.0.0.1:{port}/")]))?;
    let cpu = cpu_seconds(pid) - cpu_before;
    if said.contains("Socket errors") || said.contains("Non-2xx") {
        bail!("requests failed under load: {said}");
    }
    let number = |words: &[&str], at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok());
    let lines = || said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rate = lines().find(|words| words.first() == Some(&"Requests/sec:"));
    let rate = rate.and_then(|words| number(&words, 1)).context("wrk says no rate")?;
    let count = lines().find(|words| words.get(1) == Some(&"requests"));
    let count = count.and_then(|words| number(&words, 0)).context("wrk says no count")?;
    Ok(Load { per_second: rate, cpu_us: cpu / count * 1e6 })
}

/// What both proxies lead to: nginx, answering 64 bytes from memory.
struct Backend {
    port: u16,
    daemon: Daemon,
}

impl Backend {
    fn start(folder: &Folder) -> anyhow::Result<Self> {
        let port = free_port();
        let answer = "hello from the backend, sixty four bytes of text, give or take.";
        let server = format!(
            "access_log off; keepalive_requests 1000000000; server {{ listen 127.0.0.1:{port} reuseport; \
             default_type text/plain; location / {{ return 200 '{answer}\\n'; }} }}"
        );
        let daemon = nginx(folder, "backend", &server)?;
        wait_for_port("the backend", port)?;
        Ok(Self { port, daemon })
    }

    fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}

fn nginx(folder: &Folder, name: &str, http: &str) -> anyhow::Result<Daemon> {
    let settings = super::nginx_settings(folder, name, http)?;
    let mut command = Command::new("nginx");
    command.args(["-p", &folder.text(""), "-c", &settings]);
    Daemon::start(command, &folder.join(&format!("{name}.log")))
}

/// nginx as a proxy with as many hosts as we have routes.
struct Nginx<'f> {
    port: u16,
    backend: u16,
    folder: &'f Folder,
    hosts: std::cell::Cell<usize>,
    daemon: Daemon,
}

impl<'f> Nginx<'f> {
    fn start(folder: &'f Folder, backend: u16) -> anyhow::Result<Self> {
        let port = free_port();
        let daemon = nginx(folder, "proxy", &Self::settings(folder, port, backend, ROUTES))?;
        Ok(Self { port, backend, folder, hosts: ROUTES.into(), daemon })
    }

    fn settings(folder: &Folder, port: u16, backend: u16, hosts: usize) -> String {
        // Its log is collected in memory like ours; without that nginx would write once per request.
        let mut text = format!(
            "access_log {} combined buffer=32k flush=1s; keepalive_requests 1000000000; \
             server_names_hash_bucket_size 128; server_names_hash_max_size 8192; \
             upstream backend {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 1000000000; }}\n",
            folder.text("proxy-access.log")
        );
        for host in 0..hosts {
            // Only those that are new say who they are: it would cost the others something.
            let mark = if host < ROUTES { String::new() } else { format!("add_header X-Host app{host};") };
            let first = if host == 0 { " default_server reuseport" } else { "" };
            text.push_str(&format!(
                "server {{ listen 127.0.0.1:{port}{first}; server_name app{host}.test; location / {{ \
                 proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ''; \
                 proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; \
                 proxy_set_header X-Forwarded-Proto $scheme; {mark} }} }}\n"
            ));
        }
        text
    }

    /// Milliseconds from the reload until the new host answers as itself.
    fn add_host(&self) -> anyhow::Result<f64> {
        let host = self.hosts.replace(self.hosts.get() + 1);
        let settings = Self::settings(self.folder, self.port, self.backend, host + 1);
        super::nginx_settings(self.folder, "proxy", &settings)?;
        let begun_at = Instant::now();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.daemon.pid() as i32),
            nix::sys::signal::Signal::SIGHUP,
        )?;
        let mark = format!("X-Host: app{host}\r");
        let is_there = || {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            write!(stream, "HEAD / HTTP/1.1\r\nHost: app{host}.test\r\nConnection: close\r\n\r\n").ok()?;
            let answer = std::io::read_to_string(stream).ok()?;
            answer.contains(&mark).then_some(())
        };
        eagerly("the new host", is_there)?;
        Ok(begun_at.elapsed().as_secs_f64() * 1000.0)
    }
}

/// `slipwayd router`, fed by us.
struct Ours {
    port: u16,
    backend: u16,
    generation: usize,
    feed: UnixStream,
    daemon: Daemon,
    _folder: Folder,
}

impl Ours {
    fn start(backend: u16) -> anyhow::Result<Self> {
        let folder = Folder::make("our-router")?;
        fs::create_dir_all(folder.join("run"))?;
        let listener = UnixListener::bind(folder.join("run/router.sock"))?;
        let port = free_port();
        let mut command = Command::new(release("slipwayd"));
        command.args(["router", "--listen", &format!("127.0.0.1:{port}")]);
        command.arg("--data-dir").arg(folder.join("data")).arg("--run-dir").arg(folder.join("run"));
        let daemon = Daemon::start(command, &folder.join("router.log"))?;
        let mut feed = accept(&listener, &folder.join("router.log"))?;
        let table: serde_json::Map<_, _> =
            (0..ROUTES).map(|number| (host(number), route(number, backend))).collect();
        let update = json!({ "update": "whole", "table": { "generation": 1, "routes": table } });
        writeln!(feed, "{update}")?;
        Ok(Self { port, backend, generation: 1, feed, daemon, _folder: folder })
    }

    /// Milliseconds from the leader's line until the new route answers.
    fn add_route(&mut self) -> anyhow::Result<f64> {
        let number = ROUTES + self.generation;
        let host = host(number);
        let change = json!({
            "update": "change",
            "after": self.generation,
            "generation": self.generation + 1,
            "set": { host.as_str(): route(number, self.backend) },
            "remove": [],
        });
        self.generation += 1;
        std::thread::sleep(BETWEEN_ROUTES);
        if http::page(self.port, &host, "/").is_some() {
            bail!("{host} answers before there is a route");
        }
        let begun_at = Instant::now();
        writeln!(self.feed, "{change}")?;
        eagerly("the new route", || http::page(self.port, &host, "/"))?;
        Ok(begun_at.elapsed().as_secs_f64() * 1000.0)
    }
}

/// The router's connection. What it reports is read, so that it is never held up, and not used.
fn accept(listener: &UnixListener, log: &Path) -> anyhow::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let connected = wait_for("the router to connect", Duration::from_secs(20), || listener.accept().ok());
    let (stream, _) = connected.with_context(|| fs::read_to_string(log).unwrap_or_default())?;
    stream.set_nonblocking(false)?;
    let reports = BufReader::new(stream.try_clone()?);
    std::thread::spawn(move || reports.lines().map_while(Result::ok).for_each(drop));
    Ok(stream)
}

fn host(number: usize) -> String {
    format!("app{number}.test")
}

fn route(number: usize, backend: u16) -> serde_json::Value {
    let endpoint = json!({ "instance": "i0000000000000000", "address": format!("127.0.0.1:{backend}") });
    json!({ "service": format!("bench/app/prod/s{number}"), "endpoints": [endpoint] })
}

/// Asks again without a pause; a pause would be part of the figure.
fn eagerly<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(10) {
        if let Some(value) = condition() {
            return Ok(value);
        }
    }
    bail!("waited 10 s in vain for {what}")
}
