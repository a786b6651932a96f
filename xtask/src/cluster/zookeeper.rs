//! The three ZooKeeper servers.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::{Host, HostKind, Lab, certificates};

/// For four-letter words only: the records' access lists let nobody in who comes here.
const PORT: u16 = 2181;
const SECURE_PORT: u16 = 2281;
const CLASSES: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:/usr/share/java/netty-codec.jar:\
    /usr/share/java/netty-resolver.jar:/usr/share/java/netty-transport-native-unix-common.jar";

/// The command that runs one.
pub fn server(lab: &Lab, host: &Host) -> anyhow::Result<Command> {
    let data = lab.data(host);
    fs::create_dir_all(&data)?;
    let config = lab.folder.join(format!("{}.cfg", host.name));
    let mut text = format!(
        "tickTime=500\ninitLimit=20\nsyncLimit=4\ndataDir={}\nclientPort={PORT}\nclientPortAddress={}\n\
         admin.enableServer=false\nmaxClientCnxns=0\nautopurge.purgeInterval=1\n4lw.commands.whitelist=srvr,mntr,ruok\n",
        data.display(),
        host.address
    );
    let [own, authority] =
        [certificates::path(lab, &host.name, "both"), certificates::path(lab, "ca", "pem")]
            .map(|p| p.display().to_string());
    text += &format!(
        "secureClientPort={SECURE_PORT}\nsecureClientPortAddress={}\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\nssl.clientAuth=need\n\
         sslQuorum=true\n",
        host.address
    );
    for purpose in ["ssl", "ssl.quorum"] {
        text += &format!(
            "{purpose}.keyStore.type=PEM\n{purpose}.keyStore.location={own}\n\
             {purpose}.trustStore.type=PEM\n{purpose}.trustStore.location={authority}\n"
        );
    }
    for member in lab.of(HostKind::ZooKeeper) {
        text += &format!("server.{}={}:2888:3888\n", member.number, member.address);
    }
    fs::write(&config, text)?;
    fs::write(data.join("myid"), host.number.to_string())?;
    let mut command = lab.inside(&host.name, "java");
    command.args(["-Xmx128m", "-Dzookeeper.4lw.commands.whitelist=srvr", "-cp", CLASSES]);
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(config);
    Ok(command)
}

/// `host:port` of each, with commas.
pub fn addresses(lab: &Lab) -> String {
    let addresses = lab.of(HostKind::ZooKeeper).map(|host| format!("{}:{SECURE_PORT}", host.address));
    addresses.collect::<Vec<_>>().join(",")
}

/// The host that leads, when there is a quorum.
pub fn leader(lab: &Lab) -> Option<String> {
    let leads = |host: &&Host| mode(host).as_deref() == Some("leader");
    lab.of(HostKind::ZooKeeper).find(leads).map(|host| host.name.clone())
}

/// Whether it is part of a quorum.
pub fn serves(host: &Host) -> bool {
    mode(host).is_some()
}

/// `leader` or `follower`; nothing when it does not serve.
fn mode(host: &Host) -> Option<String> {
    let address = SocketAddr::from((host.address, PORT));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"srvr").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}
