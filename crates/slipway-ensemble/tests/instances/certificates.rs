//! An authority for one test, and a certificate that is good for all of its hosts.

use std::path::Path;
use std::process::Command;

use slipway_ensemble::Tls;

/// Makes the files in that directory.
pub fn make(dir: &Path, hosts: &[String]) -> Tls {
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let subject = ["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem", "-days", "1"];
    openssl(dir, &[&["req", "-x509"][..], &curve, &subject].concat());
    let subject = ["-subj", "/CN=server", "-keyout", "own.key", "-out", "own.csr"];
    openssl(dir, &[&["req", "-new"][..], &curve, &subject].concat());
    // Servers also verify who connects, and on one machine that is always 127.0.0.1.
    let hosts = hosts.iter().map(String::as_str).chain(["127.0.0.1"]);
    let names: Vec<String> = hosts.map(|host| format!("IP:{host}")).collect();
    let extensions = format!("subjectAltName={}\nbasicConstraints=CA:FALSE\n", names.join(","));
    std::fs::write(dir.join("extensions"), extensions).unwrap();
    let sign = ["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1"];
    openssl(dir, &[&sign[..], &["-extfile", "extensions", "-in", "own.csr", "-out", "own.pem"]].concat());
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    std::fs::write(dir.join("both.pem"), read("own.key") + &read("own.pem")).unwrap();
    Tls { key_store: dir.join("both.pem"), trust_store: dir.join("ca.pem") }
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).current_dir(dir).output();
    let done = done.expect("these tests make certificates: install the package openssl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
