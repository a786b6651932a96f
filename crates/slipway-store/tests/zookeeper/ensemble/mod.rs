//! Real ZooKeeper servers, one or three, each with its own directory and ports.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use slipway_testing::free_port;
use tempfile::TempDir;

pub mod certificates;

pub mod proxy;

pub mod raw;

const JAVA: &str = "/usr/bin/java";
const JAR: &str = "/usr/share/java/zookeeper.jar";

/// The first makes the servers say why they do not start; TLS needs the others, which the jar does
/// not name.
const MORE_JARS: &str = "/usr/share/java/slf4j-simple.jar:/usr/share/java/netty-codec.jar:\
    /usr/share/java/netty-resolver.jar:/usr/share/java/netty-transport-native-unix-common.jar";

/// A session lasts 2 to 20 ticks.
const TICK_MS: u32 = 200;

/// Quick to start, and small, because several tests run at once.
const SMALL: &[&str] = &["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// Servers that belong together. All of them end with the value.
pub struct Ensemble {
    pub servers: Vec<Server>,
}

pub struct Server {
    dir: TempDir,
    pub port: u16,
    java: &'static [&'static str],
    child: Option<Child>,
}

impl Ensemble {
    /// Starts so many servers, and waits until they serve.
    pub fn start(count: usize) -> Self {
        Self::with(count, "")
    }

    /// The same, with more lines in the configuration.
    pub fn with(count: usize, more: &str) -> Self {
        Self::run(count, more, SMALL)
    }

    /// The same, with other words for Java.
    pub fn run(count: usize, more: &str, java: &'static [&'static str]) -> Self {
        assert!(
            Path::new(JAVA).exists() && Path::new(JAR).exists(),
            "these tests start ZooKeeper servers: install the packages zookeeper and default-jre-headless"
        );
        let ports: Vec<[u16; 3]> = (0..count).map(|_| [(); 3].map(|()| free_port())).collect();
        let members =
            ports.iter().enumerate().fold(String::new(), |mut lines, (at, [_, quorum, election])| {
                if count > 1 {
                    writeln!(lines, "server.{}=127.0.0.1:{quorum}:{election}", at + 1).unwrap();
                }
                lines
            });
        let servers = ports
            .iter()
            .enumerate()
            .map(|(at, [port, _, _])| {
                let dir = tempfile::tempdir().unwrap();
                let data = dir.path().display();
                let config = format!(
                    "tickTime={TICK_MS}\ninitLimit=50\nsyncLimit=25\ndataDir={data}\nclientPort={port}\n\
                     clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n{members}{more}\n"
                );
                std::fs::write(dir.path().join("zoo.cfg"), config).unwrap();
                std::fs::write(dir.path().join("myid"), (at + 1).to_string()).unwrap();
                let mut server = Server { dir, port: *port, java, child: None };
                server.spawn();
                server
            })
            .collect();
        let ensemble = Self { servers };
        ensemble.servers.iter().for_each(Server::wait);
        ensemble
    }

    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(Server::address).collect()
    }
}

impl Server {
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Lets it stand still, or go on.
    pub fn pause(&self, pause: bool) {
        let child = self.child.as_ref().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        let signal = if pause { nix::sys::signal::SIGSTOP } else { nix::sys::signal::SIGCONT };
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Starts it again.
    pub fn spawn(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("output")).unwrap();
        let child = Command::new(JAVA)
            .env_clear()
            .args(self.java)
            .arg("-Dzookeeper.4lw.commands.whitelist=srvr")
            .args(["-cp", &format!("{JAR}:{MORE_JARS}")])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(self.dir.path().join("zoo.cfg"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Waits until it serves.
    pub fn wait(&self) {
        let started = Instant::now();
        while self.mode().is_none() {
            if started.elapsed() > Duration::from_secs(60) {
                let output = std::fs::read_to_string(self.dir.path().join("output")).unwrap_or_default();
                panic!("the server does not serve; it says: {output}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `standalone`, `leader` or `follower`; nothing when it does not serve.
    pub fn mode(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(b"srvr").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
