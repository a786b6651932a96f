//! Certificates for ZooKeeper: an authority of the lab, one certificate for each ZooKeeper server, and one
//! with which Slipway's servers prove that they belong.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::{HostKind, Lab};

/// Longer than any clock of the lab is set ahead.
const DAYS: &str = "3650";
const CURVE: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// Makes all of them.
pub fn make(lab: &Lab) -> anyhow::Result<()> {
    let folder = lab.folder.join("certificates");
    fs::create_dir_all(&folder)?;
    let subject = ["-subj", "/CN=zookeeper", "-keyout", "ca.key", "-out", "ca.pem", "-days", DAYS];
    openssl(lab, &[&["req", "-x509"][..], &CURVE, &subject].concat())?;
    for host in lab.of(HostKind::ZooKeeper) {
        certify(lab, &host.name, &format!("subjectAltName=IP:{}\n", host.address))?;
        // ZooKeeper reads both from one file.
        let (key, certificate) =
            (fs::read(path(lab, &host.name, "key"))?, fs::read(path(lab, &host.name, "pem"))?);
        fs::write(path(lab, &host.name, "both"), [key, certificate].concat())?;
    }
    certify(lab, "slipway", "")?;
    fs::write(folder.join("auth"), "slipway:of the lab\n").context("cannot write the lab's password")
}

/// A file of somebody's: `key`, `pem`, or `both`.
pub fn path(lab: &Lab, name: &str, kind: &str) -> PathBuf {
    lab.folder.join("certificates").join(format!("{name}.{kind}"))
}

/// With which Slipway's servers get at the records.
pub fn password(lab: &Lab) -> PathBuf {
    lab.folder.join("certificates/auth")
}

fn certify(lab: &Lab, name: &str, extensions: &str) -> anyhow::Result<()> {
    let [key, request, certificate, more] = ["key", "csr", "pem", "ext"].map(|end| format!("{name}.{end}"));
    fs::write(path(lab, name, "ext"), format!("{extensions}basicConstraints=CA:FALSE\n"))?;
    let subject = format!("/CN={name}");
    openssl(
        lab,
        &[&["req", "-new"][..], &CURVE, &["-subj", &subject, "-keyout", &key, "-out", &request]].concat(),
    )?;
    let authority = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", DAYS];
    let files = ["-extfile", &more, "-in", &request, "-out", &certificate];
    openssl(lab, &[&["x509", "-req"][..], &authority, &files].concat())
}

fn openssl(lab: &Lab, words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("openssl");
    command.args(words).current_dir(lab.folder.join("certificates")).stdin(Stdio::null());
    let output = command.output().context("cannot run openssl")?;
    if !output.status.success() {
        bail!("openssl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
