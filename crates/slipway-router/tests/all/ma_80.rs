//! What marathon-lb's users say by labels (MA-80): paths, stickiness and the way to TLS.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use slipway_model::route::{Route, RouteUpdate};
use slipway_router::{Listen, Options, Router, RouterHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{App, Client, Response, options, route, router_to, table, until};
use crate::log_and_tls::certificate;

async fn change(router: &RouterHandle, after: u64, set: &[(&str, Route)], remove: &[&str]) {
    let set = set.iter().map(|(key, route)| ((*key).to_owned(), route.clone())).collect();
    let remove = remove.iter().map(|key| (*key).to_owned()).collect();
    router.apply(RouteUpdate::Change { after, generation: after + 1, set, remove }).await.unwrap();
}

#[tokio::test]
async fn ma_80_the_longest_path_wins_at_a_segment_border() {
    let (root, api, deep, slash) = (
        App::well_behaved().await,
        App::well_behaved().await,
        App::well_behaved().await,
        App::well_behaved().await,
    );
    let router = Router::start(options()).unwrap();
    let routes: [(&str, &[&App]); 5] = [
        ("A.test", &[&root]),
        ("a.test/api", &[&api]),
        ("A.test/api/v2/Deep", &[&deep]),
        ("a.test/slash/", &[&slash]),
        ("b.test/api", &[&api]),
    ];
    router.set_table(table(1, &routes)).await.unwrap();
    let mut client = Client::connect(&router).await;
    for (path, app) in [
        ("/", &root),
        ("/apix", &root),
        ("/API", &root),
        ("/api", &api),
        ("/api?x=/y", &api),
        ("/api/", &api),
        ("/api/v2/deep", &api),
        ("/api/v2/Deeper", &api),
        ("/api/v2/Deep", &deep),
        ("/api/v2/Deep/x?y", &deep),
        ("/slash", &root),
        ("/slash/x", &slash),
        // Compared as sent, whatever an app may take it for.
        ("//api", &root),
        ("/x/../api", &root),
        ("/%61pi", &root),
        ("/api%2fv2", &root),
        ("/api/../x", &api),
        ("/?/api", &root),
    ] {
        let response = client.get("a.test", path).await;
        assert_eq!(response.body, app.instance.as_str(), "{path}");
        let head = app.heads().pop().unwrap();
        assert!(head.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{path}: {head}");
    }
    client.send("GET http://a.test/api/x HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.receive().await.unwrap().body, api.instance.as_str());
    client.send("GET http://a.test?/api HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.receive().await.unwrap().body, root.instance.as_str());
    for (path, status) in [("/api/x", 200), ("/", 404), ("/apix", 404)] {
        assert_eq!(client.get("b.test", path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn ma_80_a_change_of_one_path_leaves_the_others() {
    let (root, api, new) = (App::well_behaved().await, App::well_behaved().await, App::well_behaved().await);
    let router = Router::start(options()).unwrap();
    router.set_table(table(1, &[("a.test", &[&root]), ("a.test/api", &[&api])])).await.unwrap();
    let mut client = Client::connect(&router).await;
    let mut both = async |expected: [&str; 2]| {
        for (path, expected) in ["/", "/api/x"].into_iter().zip(expected) {
            let response = client.get("a.test", path).await;
            assert_eq!(if response.status == 200 { &response.body } else { "" }, expected, "{path}");
        }
    };
    both([root.instance.as_str(), api.instance.as_str()]).await;
    change(&router, 1, &[("a.test/api", route(&[&new]))], &[]).await;
    both([root.instance.as_str(), new.instance.as_str()]).await;
    change(&router, 2, &[], &["a.test"]).await;
    both(["", new.instance.as_str()]).await;
    change(&router, 3, &[("a.test", route(&[&root]))], &["a.test/api"]).await;
    both([root.instance.as_str(), root.instance.as_str()]).await;
    change(&router, 4, &[], &["a.test"]).await;
    both(["", ""]).await;
}

#[tokio::test]
async fn ma_80_a_path_route_drains() {
    let (root, api, new) = (App::well_behaved().await, App::well_behaved().await, App::well_behaved().await);
    let router = Router::start(options()).unwrap();
    let routes: [(&str, &[&App]); 3] =
        [("a.test", &[&root]), ("a.test/slow", &[&api]), ("a.test/too", &[&api])];
    router.set_table(table(1, &routes)).await.unwrap();
    let mut busy = Client::connect(&router).await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    until("the slow request is under way", || api.heads().len() == 1).await;
    // Another route lists the instance still.
    change(&router, 1, &[("a.test/slow", route(&[&new]))], &[]).await;
    assert!(router.report().draining.is_empty());
    change(&router, 2, &[], &["a.test/too"]).await;
    assert_eq!(router.report().draining.get(&api.instance), Some(&1));
    assert_eq!(busy.receive().await.unwrap().body, api.instance.as_str());
    router.report_when(|report| report.draining.is_empty()).await.unwrap();
}

fn sticky(apps: &[&App]) -> Route {
    Route { is_sticky: true, ..route(apps) }
}

/// The value of the cookie that a response sets.
fn cookie(response: &Response) -> Option<&str> {
    let line = response.head.split("\r\n").find(|line| line.starts_with("Set-Cookie: slipway-instance="))?;
    Some(line["Set-Cookie: ".len()..].split(';').next().unwrap())
}

async fn get_with(client: &mut Client, path: &str, cookies: &str) -> Response {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\ncookie: {cookies}\r\n\r\n")).await;
    client.receive().await.unwrap()
}

#[tokio::test]
async fn ma_80_a_client_stays_with_its_instance_until_that_is_gone() {
    let (one, two) = (App::well_behaved().await, App::well_behaved().await);
    let router = router_to(&[&one]).await;
    change(&router, 1, &[("a.test", sticky(&[&one, &two]))], &[]).await;
    let mut client = Client::connect(&router).await;
    let mut instances = BTreeSet::new();
    for _ in 0..20 {
        instances.insert(client.get("a.test", "/").await.body);
    }
    assert_eq!(instances.len(), 2, "without a cookie nobody is bound");

    let first = client.get("a.test", "/").await;
    assert!(first.head.contains("; Path=/; HttpOnly; SameSite=Lax\r\n"), "{}", first.head);
    let mine = cookie(&first).expect("a cookie").to_owned();
    assert_eq!(mine.len(), "slipway-instance=".len() + 16);
    assert!(!mine.contains(&first.body));
    for number in 0..20 {
        // Each worker knows it.
        let mut client = Client::connect(&router).await;
        let response = get_with(&mut client, "/", &format!("a=b; {mine};c=d")).await;
        assert_eq!((response.body.as_str(), cookie(&response)), (first.body.as_str(), None), "{number}");
    }
    let app = if first.body == one.instance.as_str() { &one } else { &two };
    assert!(app.heads().pop().unwrap().contains(&format!("cookie: a=b; {mine};c=d\r\n")));

    // Gone from the table.
    let other = if first.body == one.instance.as_str() { &two } else { &one };
    change(&router, 2, &[("a.test", sticky(&[other]))], &[]).await;
    let response = get_with(&mut client, "/", &mine).await;
    assert_eq!(response.body, other.instance.as_str());
    let theirs = cookie(&response).expect("a new one").to_owned();
    assert_ne!(theirs, mine);

    // Dead, but still in the table.
    change(&router, 3, &[("a.test", sticky(&[&one, &two]))], &[]).await;
    let (dead, alive) = if other.instance == one.instance { (one, two) } else { (two, one) };
    let address = dead.address;
    drop(dead);
    until("it is gone", || std::net::TcpListener::bind(address).is_ok()).await;
    let response = get_with(&mut client, "/", &theirs).await;
    assert_eq!((response.body.as_str(), cookie(&response)), (alive.instance.as_str(), Some(mine.as_str())));
}

#[tokio::test]
async fn ma_80_cookies_that_are_not_ours_do_nothing() {
    let (one, two, api) = (App::well_behaved().await, App::well_behaved().await, App::well_behaved().await);
    let router = router_to(&[&one]).await;
    let other = Route { service: "acme/shop/dev/api".parse().unwrap(), ..sticky(&[&api, &one]) };
    let routes = [("a.test", sticky(&[&one, &two])), ("a.test/api", other), ("a.test/plain", route(&[&one]))];
    change(&router, 1, &routes, &[]).await;
    let mut client = Client::connect(&router).await;
    let ours = client.get("a.test", "/").await;
    let mine = cookie(&ours).unwrap().to_owned();
    let theirs = client.get("a.test", "/api").await;
    assert!(theirs.head.contains("; Path=/api; HttpOnly;"), "{}", theirs.head);
    let theirs = cookie(&theirs).unwrap().to_owned();
    assert_eq!(cookie(&client.get("a.test", "/plain").await), None);

    // Below /api a browser sends both; each service takes its own.
    for path in ["/", "/api"] {
        for cookies in [format!("{mine}; {theirs}"), format!("{theirs}; {mine}")] {
            let response = get_with(&mut client, path, &cookies).await;
            assert_eq!(cookie(&response), None, "{path} {cookies}");
        }
    }
    // The other service's, even with an instance that both list; made up; empty; near misses; huge.
    let huge = format!("slipway-instance={}", "a".repeat(20_000));
    let many = "slipway-instance=0123456789abcdef; ".repeat(500);
    let near =
        [mine.to_uppercase(), format!("{mine}0"), format!("x{mine}"), mine[..mine.len() - 1].to_owned()];
    for cookies in [theirs.as_str(), "slipway-instance=", "slipway-instance", ";;=;", &huge, &many]
        .into_iter()
        .chain(near.iter().map(String::as_str))
    {
        let response = get_with(&mut client, "/", cookies).await;
        assert_eq!(response.status, 200);
        assert!(cookie(&response).is_some(), "{cookies:.60}");
    }
    // Only so many are looked at.
    let response = get_with(&mut client, "/", &format!("{many}{mine}")).await;
    assert!(cookie(&response).is_some());
    // Two that are both good: the first.
    let pair = loop {
        let response = client.get("a.test", "/").await;
        if cookie(&response).unwrap() != mine {
            break format!("{}; {mine}", cookie(&response).unwrap());
        }
    };
    let response = get_with(&mut client, "/", &pair).await;
    assert!(response.body != ours.body && cookie(&response).is_none());
}

#[tokio::test]
async fn ma_80_plain_requests_are_sent_to_tls() {
    let directory = tempfile::tempdir().unwrap();
    let tls = certificate(directory.path());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&tls.certificate).unwrap()).unwrap();
    let app = App::well_behaved().await;
    let listen_tls = vec![Listen::Address("127.0.0.1:0".parse().unwrap())];
    let router = Router::start(Options { listen_tls, tls: Some(tls), ..options() }).unwrap();
    let mut routes = table(1, &[("a.test", &[&app]), ("a.test/plain", &[&app])]);
    let secure = Route { to_https: true, ..sticky(&[&app]) };
    routes.routes.insert("a.test".to_owned(), secure.clone());
    router.set_table(routes).await.unwrap();
    let port = router.tls_addresses()[0].port();
    let mut client = Client::connect(&router).await;
    for (request, status, target) in [
        ("GET /x?y=1 HTTP/1.1\r\nHost: A.test:80\r\n\r\n", 301, "/x?y=1"),
        ("HEAD / HTTP/1.1\r\nHost: a.test.\r\n\r\n", 301, "/"),
        ("DELETE /x HTTP/1.1\r\nHost: a.test\r\n\r\n", 308, "/x"),
        ("GETX /x HTTP/1.1\r\nHost: a.test\r\n\r\n", 308, "/x"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", 308, ""),
        ("GET //evil.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", 301, "//evil.test/x"),
        ("GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", 301, "/x"),
        ("GET http://A.test?@evil.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 301, "/?@evil.test/"),
        ("GET /%0d%0aX:y HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n", 301, "/%0d%0aX:y"),
    ] {
        client.send(request).await;
        let response = client.receive().await.unwrap();
        assert_eq!(response.status, status, "{request}");
        let location = format!("\r\nLocation: https://a.test:{port}{target}\r\n");
        assert!(response.head.contains(&location), "{request}: {}", response.head);
    }
    assert_eq!(client.get("evil.test", "/").await.status, 404);
    assert_eq!(client.get("a.test", "/plain").await.status, 200);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(client.receive().await.unwrap().status, 308);
    assert_eq!(client.rest().await, "");
    assert_eq!(app.heads().len(), 1);

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = TcpStream::connect(router.tls_addresses()[0]).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("a.test").unwrap(), tcp).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("; SameSite=Lax; Secure\r\n"), "{answer}");

    // Without a TLS listener there is nowhere to send anybody.
    let router = router_to(&[&app]).await;
    change(&router, 1, &[("a.test", secure)], &[]).await;
    assert_eq!(Client::connect(&router).await.get("a.test", "/").await.status, 200);
}
