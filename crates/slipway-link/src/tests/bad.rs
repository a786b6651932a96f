use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::dialler::dial_pinned;
use crate::tls;

const OTHER: &str = "cluster-bbbbbbbbbbbbbbbb";

/// A link by hand, as far as the handshake.
async fn handshake(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(config).connect(tls::server_name(), tcp).await.unwrap()
}

#[tokio::test]
async fn without_a_certificate_there_is_only_join() {
    let world = World::new();
    let address = world.echo().await;
    let addresses = [address.to_string()];
    let fingerprint = world.authority.fingerprint();
    for service in [Service::Renew, Service::Node, Service::Routes, Service::Registry, Service::Api] {
        let error = dial_pinned(&fingerprint, &addresses, Hello::new(service)).await.unwrap_err();
        says(&error, &["refused", "there is only 'join'"]);
    }
    dial_pinned(&fingerprint, &addresses, Hello::new(Service::Join)).await.unwrap();
}

#[tokio::test]
async fn what_is_a_servers_is_refused_to_a_node() {
    let world = World::new();
    let address = world.echo().await;
    for service in [Service::Api, Service::Ssh] {
        let error = dial(&world.dialler("n1"), address, service).await.unwrap_err();
        says(&error, &["only a server may ask for this"]);
    }
    let error = dial(&world.server_dialler(), address, Service::Node).await.unwrap_err();
    says(&error, &["only a node may ask for this"]);
    let speaking_for = Hello::passing_on(Service::Registry, "203.0.113.9:4711".parse().unwrap());
    let error = world.dialler("n1").dial(&[address.to_string()], speaking_for).await.unwrap_err();
    says(&error, &["only servers may speak for a caller"]);
}

#[tokio::test]
async fn a_server_of_another_cluster_is_told_nothing() {
    let (world, other) = (World::new(), World::named(OTHER));
    let (address, accepting) = accept_one(other.acceptor()).await;
    let error = dial(&world.dialler("n1"), address, Service::Node).await.unwrap_err();
    says(&error, &["not a server of this cluster", "nothing was sent to it"]);
    accepting.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_token_for_another_cluster_is_not_sent() {
    let (world, other) = (World::new(), World::named(OTHER));
    let (address, accepting) = accept_one(world.acceptor()).await;
    let hello = Hello::new(Service::Join);
    let error = dial_pinned(&other.authority.fingerprint(), &[address.to_string()], hello).await.unwrap_err();
    says(&error, &["not a server of the cluster that the join token is for", "nothing was sent"]);
    says(&accepting.await.unwrap().unwrap_err(), &["did not become a link"]);
}

#[tokio::test]
async fn a_node_cannot_stand_for_a_server() {
    let world = World::new();
    let node = watch::Sender::new(Arc::new(world.node("n1", now())));
    let address = serve(Acceptor::new(node.subscribe()), |_| async {}).await;
    let error = dial(&world.dialler("n2"), address, Service::Node).await.unwrap_err();
    says(&error, &["not a server of this cluster"]);
    // Neither to a machine that only has a token.
    let fingerprint = world.authority.fingerprint();
    let error = dial_pinned(&fingerprint, &[address.to_string()], Hello::new(Service::Join)).await;
    says(&error.unwrap_err(), &["not a server of this cluster"]);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_and_says_so() {
    let (world, other) = (World::new(), World::named("cluster-aaaaaaaaaaaaaaaa"));
    let address = world.echo().await;
    // It knows the cluster's real authority, so that it is the server which has to refuse.
    let (key, request) = crate::join::key_and_request().unwrap();
    let forged = other.authority.issue(&request, Role::Node, "n1", NODE_LIFETIME, now()).unwrap().chain;
    let own = forged.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let own = own.to_owned() + world.authority.certificate();
    let forged = Credentials::new(&own, &key.serialize_pem()).unwrap();
    let error = dial(&dialler(forged), address, Service::Node).await.unwrap_err();
    says(&error, &["does not accept the certificate", "another cluster"]);
}

#[tokio::test]
async fn f18_dates_that_do_not_hold_are_told_in_words() {
    let world = World::new();
    let address = world.echo().await;
    // By one's own clock.
    let slept = dialler(world.node("n1", ago(Span::from_secs(31 * 86_400))));
    let error = dial(&slept, address, Service::Node).await.unwrap_err();
    says(&error, &["n1 expired on", "join again, with a new token made with --node n1"]);
    let early = dialler(world.node("n1", now().plus(DAY)));
    let error = dial(&early, address, Service::Node).await.unwrap_err();
    says(&error, &["is valid from", "set the clock right"]);
    // Within the hour that certificates are dated back, clocks may differ.
    let early = world.node("n1", now().plus(Span::from_secs(3000)));
    dial(&dialler(early), address, Service::Node).await.unwrap();
    // By the server's clock: the dialler does not look.
    let slept = world.node("n1", ago(Span::from_secs(31 * 86_400)));
    let addresses = [address.to_string()];
    let error = crate::dialler::dial_unchecked(&slept, &addresses, Hello::new(Service::Renew)).await;
    says(&error.unwrap_err(), &["by its clock the certificate of this machine", "clocks is wrong"]);
    // The server's own certificate.
    for (at, words) in
        [(now().plus(DAY), "is not yet valid"), (ago(Span::from_secs(31 * 86_400)), "has expired")]
    {
        let server = watch::Sender::new(Arc::new(world.authority.server_credentials("s1", at).unwrap()));
        let address = serve(Acceptor::new(server.subscribe()), |_| async {}).await;
        let error = dial(&world.dialler("n1"), address, Service::Node).await.unwrap_err();
        says(&error, &[words, "by this machine's clock"]);
    }
}

#[tokio::test]
async fn a_server_that_is_frozen_does_not_keep_a_node_from_the_next() {
    let world = World::new();
    // Connections are made by the kernel, and nobody takes them.
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let next = world.echo().await;
    let addresses = [frozen.local_addr().unwrap().to_string(), next.to_string()];
    let since = std::time::Instant::now();
    let link = world.dialler("n1").dial(&addresses, Hello::new(Service::Node)).await.unwrap();
    assert_eq!(link.far_end(), next);
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    let error = world.dialler("n1").dial(&addresses[..1], Hello::new(Service::Node)).await.unwrap_err();
    says(&error, &["did not answer in time"]);
}

#[tokio::test]
async fn a_refusal_of_any_length_and_kind_arrives() {
    let world = World::new();
    let address = world
        .serve(|incoming| async move {
            let sentence = "\u{1}\"é\u{1F600}".repeat(1000);
            incoming.refuse(&sentence).await;
        })
        .await;
    let error = dial(&world.dialler("n1"), address, Service::Node).await.unwrap_err();
    says(&error, &["refused: \u{1}\"é\u{1F600}"]);
}

#[tokio::test]
async fn servers_that_send_on_in_a_circle_are_left() {
    let world = World::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let mut listener = crate::Listener::new(tcp, world.acceptor());
    tokio::spawn(async move {
        loop {
            let incoming = listener.next().await;
            counted.fetch_add(1, Ordering::Relaxed);
            incoming.go_to(&address.to_string()).await;
        }
    });
    let error = dial(&world.dialler("n1"), address, Service::Node).await.unwrap_err();
    says(&error, &["in a circle", &address.to_string()]);
    assert_eq!(asked.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn garbage_on_the_port_is_turned_away() {
    let world = World::new();
    let endless = vec![0x16; 1 << 20];
    for garbage in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"SSH-2.0-x\r\n", &[0; 64], &endless] {
        let (address, accepting) = accept_one(world.acceptor()).await;
        let mut tcp = TcpStream::connect(address).await.unwrap();
        // It may be closed before all is written.
        _ = tcp.write_all(garbage).await;
        says(&accepting.await.unwrap().unwrap_err(), &["did not become a link"]);
    }
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    let world = World::new();
    let (address, accepting) = accept_one(world.acceptor()).await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(tls::server_name(), tcp).await.unwrap_err();
    accepting.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn another_protocol_on_the_other_end_is_not_talked_to() {
    let world = World::new();
    let (address, accepting) = accept_one(world.acceptor()).await;
    let mut config = (*world.node("n1", now()).configs.client).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(tls::server_name(), tcp).await.unwrap_err();
    accepting.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_slow_handshake_and_a_missing_hello_have_an_end() {
    let world = World::new();
    let acceptor = world.acceptor().with_handshake_time(SOON);
    let (address, accepting) = accept_one(acceptor.clone()).await;
    let silent = TcpStream::connect(address).await.unwrap();
    says(&accepting.await.unwrap().unwrap_err(), &["deadline"]);
    drop(silent);

    let (address, accepting) = accept_one(acceptor.clone()).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let dripping = tokio::spawn(async move {
        while slow.write_all(&[0x16]).await.is_ok() {
            tokio::time::sleep(SOON / 10).await;
        }
    });
    accepting.await.unwrap().unwrap_err();
    dripping.await.unwrap();

    let (address, accepting) = accept_one(acceptor).await;
    let silent = handshake(address, world.node("n1", now()).configs.client).await;
    says(&accepting.await.unwrap().unwrap_err(), &["deadline"]);
    drop(silent);
}

#[tokio::test]
async fn a_hello_too_long_or_senseless_is_no_hello() {
    let world = World::new();
    let node = world.node("n1", now());
    let long = format!("{{\"service\":\"node\",\"x\":\"{}\"}}\n", "x".repeat(1 << 20));
    for (hello, words) in [
        (long.as_str(), "longer than 4096 bytes"),
        ("{\"service\":\"shell\"}\n", "not understood"),
        ("{}\n", "not understood"),
        ("node\n", "not understood"),
        ("\n", "not understood"),
        ("{\"service\":\"node\"", "ended before a whole line"),
    ] {
        let (address, accepting) = accept_one(world.acceptor()).await;
        let mut tls = handshake(address, node.configs.client.clone()).await;
        _ = tls.write_all(hello.as_bytes()).await;
        _ = tls.shutdown().await;
        says(&accepting.await.unwrap().unwrap_err(), &[words]);
    }
}

#[tokio::test]
async fn an_answer_too_long_or_senseless_is_no_answer() {
    let world = World::new();
    let long = format!("{{\"answer\":\"go-to\",\"address\":\"{}\"}}\n", "x".repeat(1 << 20));
    for (answer, words) in [(long, "longer than"), ("{\"answer\":\"maybe\"}\n".to_owned(), "not understood")]
    {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let server = world.server.borrow().configs.server.clone();
        tokio::spawn(async move {
            let (tcp, _) = tcp.accept().await.unwrap();
            let mut tls = tokio_rustls::TlsAcceptor::from(server).accept(tcp).await.unwrap();
            _ = tls.write_all(answer.as_bytes()).await;
            _ = tls.read_to_end(&mut Vec::new()).await;
        });
        let error = dial(&world.dialler("n1"), address, Service::Node).await.unwrap_err();
        says(&error, &["failed to talk to", words]);
    }
}
