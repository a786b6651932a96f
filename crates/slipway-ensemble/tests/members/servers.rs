//! Real ZooKeeper servers that let their ensemble be changed, each with its own directory and ports.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use slipway_ensemble::configuration::{Configuration, Member, Role};
use slipway_ensemble::wire::{Client, Options};
use tempfile::TempDir;

const JAVA: &str = "/usr/bin/java";
const JARS: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";
/// `super:secret`, as ZooKeeper's DigestAuthenticationProvider hashes it.
const SUPER: &str = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";
const TICK_MS: u32 = 200;

pub struct Server {
    pub dir: TempDir,
    pub id: u8,
    /// For clients, followers and votes.
    pub ports: [u16; 3],
    child: Option<Child>,
}

/// Starts that many voters, and waits until they serve.
pub fn start(count: u8) -> Vec<Server> {
    let mut servers: Vec<Server> = (1..=count).map(Server::new).collect();
    let members: Vec<Member> = servers.iter().map(|server| server.member(Role::Participant)).collect();
    servers.iter_mut().for_each(|server| server.configure_and_start(&members));
    servers.iter().for_each(Server::wait);
    servers
}

pub fn options() -> Options {
    Options { timeout: Duration::from_secs(5), digest: Some("super:secret".to_owned()), tls: None }
}

pub async fn configuration(server: &Server) -> Configuration {
    let mut client = Client::connect(&server.address(), &options()).await.unwrap();
    let configuration = client.configuration().await.unwrap();
    client.close().await;
    configuration
}

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Server {
    pub fn new(id: u8) -> Self {
        let ports = [(); 3].map(|()| slipway_testing::free_port());
        Self { dir: tempfile::tempdir().unwrap(), id, ports, child: None }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// As it stands in the ensemble's configuration.
    pub fn member(&self, role: Role) -> Member {
        let [client, quorum_port, election_port] = self.ports;
        let client = Some(format!("127.0.0.1:{client}"));
        Member { id: self.id, host: "127.0.0.1".to_owned(), quorum_port, election_port, role, client }
    }

    /// Writes the files of a server that knows of those members, and starts it.
    pub fn configure_and_start(&mut self, members: &[Member]) {
        let dynamic = members.iter().fold(String::new(), |mut lines, member| {
            writeln!(lines, "{member}").unwrap();
            lines
        });
        let at = self.dir.path();
        std::fs::write(at.join("zoo.dynamic"), dynamic).unwrap();
        let config = format!(
            "tickTime={TICK_MS}\ninitLimit=50\nsyncLimit=25\ndataDir={}\nreconfigEnabled=true\n\
             standaloneEnabled=false\nadmin.enableServer=false\n4lw.commands.whitelist=ruok,srvr\n\
             dynamicConfigFile={}\n",
            at.display(),
            at.join("zoo.dynamic").display()
        );
        std::fs::write(at.join("zoo.cfg"), config).unwrap();
        std::fs::write(at.join("myid"), self.id.to_string()).unwrap();
        self.start();
    }

    pub fn start(&mut self) {
        let log = std::fs::File::create(self.output_file()).unwrap();
        let child = Command::new(JAVA)
            .env_clear()
            .args(["-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER}"))
            .args(["-cp", JARS, "org.apache.zookeeper.server.quorum.QuorumPeerMain"])
            .arg(self.dir.path().join("zoo.cfg"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("these tests need the packages zookeeper and default-jre-headless");
        self.child = Some(child);
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn output_file(&self) -> PathBuf {
        self.dir.path().join("output")
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(self.output_file()).unwrap_or_default()
    }

    pub fn wait(&self) {
        let started = Instant::now();
        while self.mode().is_none() {
            assert!(started.elapsed() < Duration::from_secs(60), "it does not serve: {}", self.output());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `leader`, `follower` or `observer`; nothing when it does not serve.
    pub fn mode(&self) -> Option<String> {
        let text = self.ask("srvr")?;
        text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    pub fn ask(&self, word: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(word.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
