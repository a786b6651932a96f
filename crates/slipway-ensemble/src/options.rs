//! What an instance was started with; unlike the settings, this differs from node to node.

use std::path::PathBuf;

use crate::user::User;

/// The jars of Debian's package `zookeeper`. Behind the first, whose manifest names most others: one
/// that makes the server log, and those that TLS needs.
pub const CLASS_PATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:\
    /usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:\
    /usr/share/java/netty-transport-native-unix-common.jar";

/// What belongs to this instance alone.
#[derive(Clone)]
pub struct Options {
    /// The name by which the list of servers knows it.
    pub hostname: String,
    /// Its own files: configuration, log, what it knows of the process; and the data, when the
    /// settings name no other place.
    pub dir: PathBuf,
    /// The program `java`.
    pub java: PathBuf,
    /// ZooKeeper's jars.
    pub class_path: String,
    /// How much the kernel should prefer others when memory is short: -1000 to 1000.
    pub oom_score_adj: i32,
    /// As whom the server runs; nothing for who we are.
    pub user: Option<User>,
    /// Certificates, when the server speaks TLS.
    pub tls: Option<Tls>,
    /// The password of ZooKeeper's user `super`, who changes the list of servers while they run (ZK-09);
    /// the same on every node. Without one nobody may.
    pub super_password: Option<String>,
    /// Where the instances answer HTTP, the same port on every node.
    pub http_port: u16,
    /// A line that operators see above everything.
    pub heading: String,
}

/// Certificates in PEM. With them clients and servers speak TLS only, on the same ports.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Key, then certificate chain, in one file.
    pub key_store: PathBuf,
    /// The authority whose certificates are trusted.
    pub trust_store: PathBuf,
}
