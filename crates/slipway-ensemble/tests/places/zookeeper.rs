//! A real server's data goes away and comes back, by a directory and by a bucket.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use slipway_ensemble::backup::{Backups, Dirs, Folder, restore};
use slipway_ensemble::place::Place;

use crate::s3_server::S3Server;

const JAVA: &str = "/usr/bin/java";
const JAR: &str = "/usr/share/java/zookeeper.jar";
const SLF4J: &str = "/usr/share/java/slf4j-simple.jar";

/// A server by itself, which makes a snapshot after each few hundred transactions.
struct Server {
    child: Child,
    port: u16,
    output: PathBuf,
}

impl Server {
    fn start(dir: &Path) -> Self {
        assert!(
            Path::new(JAVA).exists() && Path::new(JAR).exists(),
            "these tests start ZooKeeper servers: install the packages zookeeper and default-jre-headless"
        );
        let port = slipway_testing::free_port();
        fs::create_dir_all(dir).unwrap();
        let (config, output) = (dir.with_extension("cfg"), dir.with_extension("out"));
        let text = format!(
            "tickTime=200\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
            dir.display()
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(&output).unwrap();
        let child = Command::new(JAVA)
            .env_clear()
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dzookeeper.snapCount=300"])
            .args(["-cp", &format!("{JAR}:{SLF4J}")])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { child, port, output };
        let started = Instant::now();
        while !server.ask("srvr").contains("Mode: ") {
            let said = fs::read_to_string(&server.output).unwrap_or_default();
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the server does not serve; it says: {said}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn ask(&self, word: &str) -> String {
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            // A server that is just starting may forget to close a connection.
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let _ignored =
                stream.write_all(word.as_bytes()).and_then(|()| stream.read_to_string(&mut text).map(drop));
        }
        text
    }

    fn nodes(&self) -> u64 {
        let said = self.ask("srvr");
        said.lines().find_map(|line| line.strip_prefix("Node count: ")).unwrap().parse().unwrap()
    }

    fn kill(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client of the few bytes that these tests need.
struct Client(TcpStream, i32);

impl Client {
    fn connect(server: &Server) -> Self {
        let mut client = Self(TcpStream::connect(("127.0.0.1", server.port)).unwrap(), 0);
        let mut hello = Vec::new();
        hello.extend(0_i32.to_be_bytes());
        hello.extend(0_i64.to_be_bytes());
        hello.extend(4000_i32.to_be_bytes());
        hello.extend(0_i64.to_be_bytes());
        hello.extend(16_i32.to_be_bytes());
        hello.extend([0; 16]);
        client.exchange(&hello);
        client
    }

    /// Creates a node, and returns once the server has said that it is durable.
    fn create(&mut self, path: &str, data: &[u8]) {
        self.1 += 1;
        let mut request = Vec::new();
        request.extend(self.1.to_be_bytes());
        request.extend(1_i32.to_be_bytes());
        let mut bytes = |bytes: &[u8]| {
            request.extend((bytes.len() as i32).to_be_bytes());
            request.extend(bytes);
        };
        bytes(path.as_bytes());
        bytes(data);
        request.extend(1_i32.to_be_bytes());
        request.extend(31_i32.to_be_bytes());
        for word in ["world", "anyone"] {
            request.extend((word.len() as i32).to_be_bytes());
            request.extend(word.as_bytes());
        }
        request.extend(0_i32.to_be_bytes());
        let answer = self.exchange(&request);
        assert_eq!(answer[12..16], [0; 4], "the node {path} is not created");
    }

    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let length = (request.len() as i32).to_be_bytes();
        self.0.write_all(&[&length, request].concat()).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut answer = vec![0; i32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer).unwrap();
        answer
    }
}

/// Backs up a server while it is written to, kills it, restores elsewhere, and counts.
async fn round_trip(place: Arc<Place>) {
    let dir = tempfile::tempdir().unwrap();
    let dirs = |name: &str| Dirs { data: dir.path().join(name), log: dir.path().join(name) };
    let folder = Folder { place, path: "backups/1".to_owned(), cluster: "one".to_owned() };
    let mut server = Server::start(&dirs("first").data);
    let empty = server.nodes();
    let mut client = Client::connect(&server);
    for at in 0..1500 {
        client.create(&format!("/n{at}"), &[7; 500]);
    }
    // Goes on being written to while it is backed up.
    let writer = tokio::task::spawn_blocking(move || {
        for at in 1500..3000 {
            client.create(&format!("/n{at}"), &[7; 500]);
        }
    });
    let rate = NonZeroU64::new(64 << 20);
    let mut backups = Backups::open(folder.clone(), rate).await.unwrap();
    let during = backups.store(&dirs("first"), SystemTime::now()).await.unwrap();
    writer.await.unwrap();
    let after = backups.store(&dirs("first"), SystemTime::now()).await.unwrap();
    println!("during {during:?}, after {after:?}");
    // The server may just be writing another snapshot; once it rests, there is nothing to put.
    let began = Instant::now();
    while backups.store(&dirs("first"), SystemTime::now()).await.unwrap().put_bytes > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "what has not changed is put again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let all = server.nodes();
    assert_eq!(all, empty + 3000);
    server.kill();

    restore(&dirs("second"), &folder, Some(after.id)).await.unwrap();
    assert_eq!(Server::start(&dirs("second").data).nodes(), all);
    restore(&dirs("third"), &folder, Some(during.id)).await.unwrap();
    let then = Server::start(&dirs("third").data).nodes();
    assert!((empty + 1500..=all).contains(&then), "{then} nodes of {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_13_a_servers_data_comes_back_from_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    round_trip(Arc::new(Place::directory(dir.path()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_13_a_servers_data_comes_back_from_a_bucket() {
    let Some(server) = S3Server::start() else { return };
    round_trip(server.place()).await;
}
