//! An authority for one test, with a server's and a client's certificate.

use std::path::{Path, PathBuf};
use std::process::Command;

use slipway_store::ZooKeeperTls;
use tempfile::TempDir;

pub struct Authority(TempDir);

impl Authority {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let create = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let subject = ["-subj", "/CN=authority", "-keyout", "authority.key", "-out", "authority.pem"];
        openssl(dir.path(), &[&create[..], &subject, &["-days", "1"]].concat());
        let authority = Self(dir);
        authority.certify("server");
        authority.certify("client");
        authority
    }

    /// Makes `<name>.key` and `<name>.pem`, good for 127.0.0.1.
    fn certify(&self, name: &str) {
        let file = |end: &str| format!("{name}.{end}");
        let create = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let subject = format!("/CN={name}");
        openssl(
            self.0.path(),
            &[&create[..], &["-subj", &subject, "-keyout", &file("key"), "-out", &file("csr")]].concat(),
        );
        std::fs::write(self.path("extensions"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
            .unwrap();
        let sign = ["x509", "-req", "-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial"];
        let out = ["-days", "1", "-extfile", "extensions", "-in", &file("csr"), "-out", &file("pem")];
        openssl(self.0.path(), &[&sign[..], &out].concat());
    }

    /// What a server must be told to speak TLS on a port, with nobody but our own clients.
    pub fn server(&self, port: u16) -> String {
        let read = |name: &str| std::fs::read_to_string(self.path(name)).unwrap();
        std::fs::write(self.path("both.pem"), read("server.key") + &read("server.pem")).unwrap();
        let (both, authority) = (self.path("both.pem"), self.path("authority.pem"));
        format!(
            "secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\n\
             serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
             ssl.keyStore.type=PEM\nssl.keyStore.location={}\n\
             ssl.trustStore.type=PEM\nssl.trustStore.location={}\nssl.clientAuth=need\n",
            both.display(),
            authority.display()
        )
    }

    pub fn client(&self) -> ZooKeeperTls {
        ZooKeeperTls {
            authority: self.path("authority.pem"),
            certificate: self.path("client.pem"),
            key: self.path("client.key"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).current_dir(dir).output();
    let done = done.expect("these tests make certificates: install the package openssl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
