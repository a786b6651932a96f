//! The access log, the counters, and TLS.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use slipway_router::access_log::AccessLogOptions;
use slipway_router::counters::prometheus;
use slipway_router::tls::TlsOptions;
use slipway_router::{Listen, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{App, Client, options, router_with};

#[tokio::test]
async fn each_request_is_a_line_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let app = App::well_behaved().await;
    let log = Some(AccessLogOptions { path: path.clone(), bytes_max: 1 << 20 });
    let router = router_with(Options { access_log: log, ..options() }, &[&app]).await;
    let mut client = Client::connect(&router).await;
    assert_eq!(client.get("A.test", "/one?x=1").await.status, 200);
    client.send("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello").await;
    client.receive().await.unwrap();
    assert_eq!(client.get("b.test", "/two").await.status, 404);
    client.send("GET /forged\nline HTTP/1.1\r\n\r\n").await;
    client.rest().await;

    let counts = router.counters();
    let shop = counts.get(&"acme/shop/dev/web".parse().unwrap()).unwrap();
    assert_eq!((shop.statuses, shop.bytes_in, shop.bytes_out), ([0, 2, 0, 0, 0], 5, 17 + 5));
    assert_eq!(shop.latency.iter().sum::<u64>(), shop.requests());
    let text = prometheus(&counts);
    assert!(
        text.contains("slipway_router_requests_total{service=\"acme/shop/dev/web\",status=\"2xx\"} 2\n"),
        "{text}"
    );
    assert!(
        text.contains("slipway_router_request_seconds_count{service=\"acme/shop/dev/web\"} 2\n"),
        "{text}"
    );

    tokio::task::spawn_blocking(move || router.stop(Duration::ZERO)).await.unwrap();
    let log = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 4, "{log}");
    let instance = format!(" instance={} ", app.instance);
    for (line, words) in lines.iter().zip([
        [
            " method=GET host=a.test path=/one?x=1 status=200 in=0 out=17 ",
            " service=acme/shop/dev/web ",
            &instance,
            " end=ok",
        ],
        [
            " method=POST host=a.test path=/echo status=200 in=5 out=5 ",
            " service=acme/shop/dev/web ",
            &instance,
            " end=ok",
        ],
        [" method=GET host=b.test path=/two status=404 ", " service=- ", " instance=- ", " end=router"],
        [" method=- host=- path= status=400 ", " service=- ", " instance=- ", " end=refused"],
    ]) {
        assert!(line.starts_with("time=20") && line.contains(" peer=127.0.0.1 "), "{line}");
        words.iter().for_each(|word| assert!(line.contains(word), "{word} in {line}"));
    }
}

#[tokio::test]
async fn the_log_does_not_outgrow_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let app = App::well_behaved().await;
    let bytes_max = 100_000;
    let log = Some(AccessLogOptions { path: path.clone(), bytes_max });
    let router = router_with(Options { access_log: log, ..options() }, &[&app]).await;
    let mut client = Client::connect(&router).await;
    let target = format!("/{}", "a".repeat(4000));
    for _ in 0..100 {
        assert_eq!(client.get("a.test", &target).await.status, 200);
    }
    tokio::task::spawn_blocking(move || router.stop(Duration::ZERO)).await.unwrap();
    let size = |name: &str| std::fs::metadata(directory.path().join(name)).unwrap().len();
    assert!(size("access.log") <= bytes_max && size("access.log.1") <= bytes_max);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

/// A certificate for `a.test` that signs itself, made by Debian's openssl.
pub fn certificate(directory: &Path) -> TlsOptions {
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=slipway test",
            "-addext",
            "subjectAltName=DNS:a.test",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    TlsOptions { certificate, key }
}

#[tokio::test]
async fn tls_with_one_certificate_for_all_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let tls = certificate(directory.path());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&tls.certificate).unwrap()).unwrap();
    let app = App::well_behaved().await;
    let options = Options {
        listen_tls: vec![Listen::Address("127.0.0.1:0".parse().unwrap())],
        tls: Some(tls),
        https_only: true,
        ..options()
    };
    let router = router_with(options, &[&app]).await;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = TcpStream::connect(router.tls_addresses()[0]).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("a.test").unwrap(), tcp).await.unwrap();
    let body = "x".repeat(300_000);
    stream.write_all(format!("GET /head HTTP/1.1\r\nHost: a.test\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 300000\r\n\r\n{body}").as_bytes()).await.unwrap();
    // Another host than the one that the certificate was checked for (N60).
    stream.write_all(b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert!(all.contains("X-Forwarded-Proto: https\r\n") && all.contains(&body), "{}", &all[..500]);
    let last = &all[all.rfind("HTTP/1.1 ").unwrap()..];
    assert!(last.starts_with("HTTP/1.1 421 "), "{last}");

    let mut plain = Client::connect(&router).await;
    let response = plain.get("A.test:80", "/path?query").await;
    assert_eq!(response.status, 308);
    assert!(response.head.contains("\r\nLocation: https://a.test/path?query\r\n"), "{response:?}");
}
