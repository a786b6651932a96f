//! A real ZooKeeper server.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use slipway_testing::free_port;

use crate::server::wait_for;

const JAVA: &str = "/usr/bin/java";
/// The second makes the server say why it does not start.
const JARS: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";

pub struct ZooKeeper {
    folder: PathBuf,
    pub port: u16,
    process: Option<Child>,
}

impl ZooKeeper {
    /// Starts one in that directory, and waits until it serves.
    pub fn start(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let data = folder.join("data");
        let config = format!(
            "tickTime=200\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\nmaxClientCnxns=0\n",
            data.display()
        );
        fs::write(folder.join("zoo.cfg"), config).unwrap();
        let mut server = Self { folder, port, process: None };
        server.run();
        server
    }

    /// Starts it again with what it has on disk.
    pub fn run(&mut self) {
        let log = fs::File::create(self.folder.join("output")).unwrap();
        let child = Command::new(JAVA)
            .env_clear()
            .args(["-Xmx128m", "-Dzookeeper.4lw.commands.whitelist=srvr", "-cp", JARS])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(self.folder.join("zoo.cfg"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("install the packages zookeeper and default-jre-headless");
        self.process = Some(child);
        wait_for("ZooKeeper to serve", Duration::from_secs(60), || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            stream.write_all(b"srvr").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            text.contains("Mode:").then_some(())
        });
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.kill();
    }
}
