use std::process::Command;

use proptest::prelude::*;

use super::*;

/// What `ssh-keygen` itself makes and prints.
fn made_by_openssh(arguments: &[&str]) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "ann@laptop"])
        .args(arguments)
        .arg("-f")
        .arg(&path));
    let public = path.with_extension("pub");
    let printed = run(Command::new("ssh-keygen").arg("-lf").arg(&public));
    (std::fs::read_to_string(public).unwrap(), printed.split(' ').nth(1).unwrap().to_owned())
}

#[test]
fn keys_of_openssh_are_read_and_have_the_fingerprint_it_prints() {
    for arguments in [
        &["-t", "ed25519"][..],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "rsa", "-b", "2048"],
        &["-t", "rsa", "-b", "3072"],
    ] {
        let (line, fingerprint) = made_by_openssh(arguments);
        let key = PublicKey::parse(&line).unwrap();
        assert_eq!(key.fingerprint.as_str(), fingerprint, "{arguments:?}");
        assert_eq!(format!("{} {}", key.text, key.label), line.trim_end());
    }
}

#[test]
fn a_short_rsa_key_is_refused() {
    let (line, _) = made_by_openssh(&["-t", "rsa", "-b", "1024"]);
    refused(&line, "too short");
}

fn refused(line: &str, wanted: &str) {
    let error = PublicKey::parse(line).unwrap_err().to_string();
    assert!(error.contains(wanted), "{line:.80}: {error}");
}

fn field(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn line(algorithm: &str, fields: &[&[u8]]) -> String {
    let blob: Vec<u8> = [algorithm.as_bytes()].iter().chain(fields).flat_map(|bytes| field(bytes)).collect();
    format!("{algorithm} {}", STANDARD.encode(blob))
}

#[test]
fn security_keys_are_read() {
    let sk = "sk-ssh-ed25519@openssh.com";
    assert!(PublicKey::parse(&line(sk, &[&[1; 32], b"ssh:"])).is_ok());
    refused(&line(sk, &[&[1; 32], b"https://example.com"]), "not made for SSH");
    refused(&line(sk, &[&[1; 32]]), "not whole");
    let sk = "sk-ecdsa-sha2-nistp256@openssh.com";
    let point = [&[4][..], &[1; 64]].concat();
    assert!(PublicKey::parse(&line(sk, &[b"nistp256", &point, b"ssh:work"])).is_ok());
    refused(&line(sk, &[b"nistp384", &point, b"ssh:"]), "another curve");
}

#[test]
fn what_is_not_wholly_understood_is_refused() {
    let ed = "ssh-ed25519";
    assert_eq!(
        PublicKey::parse(&format!("  {}\tann\u{1b}[31m at\u{7} work \n", line(ed, &[&[1; 32]])))
            .unwrap()
            .label,
        "ann[31m at work"
    );
    refused("", "one line");
    refused("ssh-ed25519", "one line");
    refused("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", "private key");
    refused(&format!("{}\n{}", line(ed, &[&[1; 32]]), line(ed, &[&[2; 32]])), "one line");
    refused(&format!("command=\"sh\" {}", line(ed, &[&[1; 32]])), "not a kind");
    refused("ssh-dss AAAAB3NzaC1kc3M=", "not a kind");
    refused("ssh-rsa-cert-v01@openssh.com AAAA", "not a kind");
    refused("ssh-ed25519 %%%", "base64");
    refused("ssh-ed25519 AAAA", "not whole");
    refused(&line(ed, &[&[1; 31]]), "32 bytes");
    refused(&line(ed, &[&[1; 32], b"more"]), "does not belong");
    refused(&line("ssh-rsa", &[&[1; 32]]).replace("ssh-rsa", ed), "does not match");
    refused(&line("ecdsa-sha2-nistp256", &[b"nistp256", &[4; 64]]), "point");
    refused(&line("ecdsa-sha2-nistp256", &[b"nistp256", &[2; 65]]), "point");
    let modulus = |bits: usize| [&[0u8][..], &vec![0xff; bits / 8]].concat();
    assert!(PublicKey::parse(&line("ssh-rsa", &[&[1, 0, 1], &modulus(2048)])).is_ok());
    refused(&line("ssh-rsa", &[&[1, 0, 1], &modulus(2040)]), "too short");
    refused(&line("ssh-rsa", &[&[1, 0, 1], &modulus(16_392)]), "longer");
    refused(&line("ssh-rsa", &[&[1], &modulus(2048)]), "exponent");
    refused(&line("ssh-rsa", &[&[4], &modulus(2048)]), "exponent");
    refused(&line("ssh-rsa", &[&[], &modulus(2048)]), "exponent");
    refused(&line("ssh-rsa", &[&[1, 0, 1], &vec![0xff; 256]]), "modulus");
    refused(&line("ssh-rsa", &[&[1, 0, 1], &[&[0u8; 200][..], &[0xff; 100]].concat()]), "modulus");
    refused(&"x".repeat(10_000), "one line");
}

proptest! {
    #[test]
    fn any_text_is_read_without_harm(text in ".{0,200}", blob in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = PublicKey::parse(&text);
        for algorithm in ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp521", "sk-ecdsa-sha2-nistp256@openssh.com"] {
            let _ = PublicKey::parse(&format!("{algorithm} {}", STANDARD.encode(&blob)));
            let _ = check_blob(algorithm, &[field(algorithm.as_bytes()), blob.clone()].concat());
        }
    }
}
