//! What is outside of the node: a namespace with web servers, a resolver, and places that nobody in a
//! sandbox may reach. One for all tests.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The resolver that [`crate::world::options`] names.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
pub const PRIVATE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 7);
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The node's address on the way there.
pub const NODE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// How often each path was asked for.
static ASKED: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
static CA: OnceLock<PathBuf> = OnceLock::new();

/// Must be called before the first test, in the namespace that plays the node.
pub fn connect(directory: &Path) {
    let (tell, told) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    make_certificates(directory);
    let directory = directory.to_owned();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(nix::unistd::gettid()).unwrap();
        wait.recv().unwrap();
        ip("link set lo up");
        for address in [RESOLVER, PUBLIC, PRIVATE, METADATA] {
            ip(&format!("addr add {address}/32 dev lo"));
        }
        ip("addr add 198.51.100.1/24 dev wan");
        ip("link set wan up");
        serve(&directory);
        ready.send(()).unwrap();
    });
    let thread = told.recv().unwrap();
    ip(&format!("link add eth0 type veth peer name wan netns {thread}"));
    ip(&format!("addr add {NODE}/24 dev eth0"));
    ip("link set eth0 up");
    go.send(()).unwrap();
    is_ready.recv().unwrap();
    ip("route add default via 198.51.100.1");
}

/// Who vouches for the servers there.
pub fn ca() -> PathBuf {
    CA.get().cloned().unwrap_or_default()
}

/// How often that path was asked for, on whatever address.
pub fn asked(path: &str) -> usize {
    ASKED.lock().unwrap().get(path).copied().unwrap_or(0)
}

fn ip(words: &str) {
    let done = Command::new("/sbin/ip").args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words}: {done:?}");
}

fn make_certificates(directory: &Path) {
    let openssl = |words: &str| {
        let done = Command::new("openssl").args(words.split(' ')).current_dir(directory).output().unwrap();
        assert!(done.status.success(), "openssl {words}: {done:?}");
    };
    std::fs::write(directory.join("ext"), "subjectAltName=DNS:files.example\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -subj /CN=tests -days 2 -keyout ca.key -out ca.pem"));
    openssl(&format!("req -new {key} -subj /CN=files -keyout leaf.key -out leaf.csr"));
    openssl(
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out leaf.pem",
    );
    CA.set(directory.join("ca.pem")).unwrap();
}

fn serve(directory: &Path) {
    let chain = vec![CertificateDer::from_pem_file(directory.join("leaf.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(directory.join("leaf.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let (plain, tls) = (listen(80), listen(443));
    std::thread::spawn(move || serve_plain(&plain));
    std::thread::spawn(move || {
        for stream in tls.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let session = rustls::ServerConnection::new(config).unwrap();
                let mut stream = rustls::StreamOwned::new(session, stream);
                answer(&mut stream);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
        }
    });
    let names = UdpSocket::bind((RESOLVER, 53)).unwrap();
    std::thread::spawn(move || resolve(&names));
}

fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
}

/// The same server, wherever it listens.
pub fn serve_plain(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer(&mut stream));
    }
}

fn answer(stream: &mut (impl Read + Write)) {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(count) if count > 0 => head.extend(&piece[..count]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
    let path = path.split('?').next().unwrap_or_default();
    let count = {
        let mut asked = ASKED.lock().unwrap();
        let count = asked.entry(path.to_owned()).or_default();
        *count += 1;
        *count
    };
    let has = |line: &str| head.to_lowercase().contains(&format!("\r\n{line}\r\n").to_lowercase());
    let mut say = |status: &str, header: &str, body: &[u8]| {
        let text = format!(
            "HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = stream
            .write_all(text.as_bytes())
            .and_then(|()| stream.write_all(body))
            .and_then(|()| stream.flush());
    };
    let redirect = |to: &str| format!("Location: {to}\r\n");
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "hello.txt"] => say("200 OK", "", b"hello\n"),
        ["", "run.sh"] => say("200 OK", "", b"#!/bin/sh\necho ran $0\n"),
        ["", "app.tar.gz"] => say("200 OK", "", &packed(&[("inner/file", b"from the archive\n")])),
        ["", "evil.tar.gz"] => say("200 OK", "", &packed(&[("../../../../../../tmp/slwtest-evil", b"x")])),
        ["", "secret"] if has("Authorization: Basic bWU6cHc=") => say("200 OK", "", b"told\n"),
        ["", "secret"] => say("401 Unauthorized", "", b""),
        ["", "redirect", "0"] => say("302 Found", &redirect("/hello.txt"), b""),
        ["", "redirect", left] => {
            let left: u32 = left.parse().unwrap();
            say("301 Moved", &redirect(&format!("{}", left - 1)), b"");
        }
        ["", "to"] => {
            let to = head.split(' ').nth(1).and_then(|path| path.split_once('?')).unwrap().1;
            say("307 Temporary", &redirect(to), b"");
        }
        ["", "count", _] => say("200 OK", "", format!("answer {count}\n").as_bytes()),
        ["", "large"] => say("200 OK", "", &vec![7; 24 << 20]),
        ["", "huge"] => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")),
        ["", "broken"] => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")),
        ["", "endless"] => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while stream.write_all(format!("10000\r\n{}\r\n", "x".repeat(0x10000)).as_bytes()).is_ok() {}
        }
        ["", "slow"] => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            while stream.write_all(b"x").and_then(|()| stream.flush()).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        _ => say("404 Not Found", "", b""),
    }
}

fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Knows five names.
fn resolve(socket: &UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        let question = &question[..length];
        let text = String::from_utf8_lossy(question).into_owned();
        let address = match &text {
            text if text.contains("\u{5}files\u{7}example") => Some(PUBLIC),
            text if text.contains("\u{8}metadata\u{7}example") => Some(METADATA),
            text if text.contains("\u{7}private\u{7}example") => Some(PRIVATE),
            text if text.contains("\u{8}loopback\u{7}example") => Some(Ipv4Addr::LOCALHOST),
            text if text.contains("\u{4}node\u{7}example") => Some(NODE),
            _ => None,
        };
        let mut answer = question.to_vec();
        let (flags, count) = if address.is_some() { (0x8180u16, 1u8) } else { (0x8183, 0) };
        answer[2..4].copy_from_slice(&flags.to_be_bytes());
        answer[7] = count;
        if let Some(address) = address {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
            answer.extend(address.octets());
        }
        let _ = socket.send_to(&answer, from);
    }
}
