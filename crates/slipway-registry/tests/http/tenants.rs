use std::net::IpAddr;

use http::Method;
use slipway_registry::server::{Action, Authority, ServerOptions, Subject, serve};
use slipway_registry::{Registry, Repository};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;

use crate::harness::{Fixture, User, noise, options};

/// N42: nothing that another tenant does tells it whether something exists.
#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_things_look_as_if_they_did_not_exist() {
    let fixture = Fixture::new().await;
    let acme = fixture.user("acme", &["acme/shop"]).await;
    let image = acme.push_image("acme/shop", "v1", "layer").await;
    let evil = fixture.user("evil", &["acme/shop", "acme/none", "evil/copy"]).await;
    for (method, path) in [
        (Method::GET, "manifests/v1".to_owned()),
        (Method::HEAD, format!("blobs/{}", image.layer)),
        (Method::GET, "tags/list".to_owned()),
        (Method::GET, format!("referrers/{}", image.digest)),
        (Method::POST, "blobs/uploads/".to_owned()),
        (Method::DELETE, "manifests/v1".to_owned()),
        (Method::PUT, "manifests/v1".to_owned()),
    ] {
        let there = evil.call(method.clone(), &format!("/v2/acme/shop/{path}"), &[], "").await.expect(401);
        let nowhere = evil.call(method.clone(), &format!("/v2/acme/none/{path}"), &[], "").await.expect(401);
        assert_eq!(there.body, nowhere.body, "{method} {path}");
    }
    acme.get("/v2/acme/shop/manifests/v1").await.expect(200);
}

/// N43: who cannot read the source must send the bytes, and sees no difference to "not there".
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_mounted_only_from_where_the_caller_may_read() {
    let fixture = Fixture::new().await;
    let acme = fixture.user("acme", &["acme/shop", "acme/site", "acme/third"]).await;
    let secret = acme.push_blob("acme/shop", noise(7, 1000)).await;
    let mount = |user: User, to: &'static str, from: Option<&'static str>| {
        let from = from.map(|from| format!("&from={from}")).unwrap_or_default();
        let path = format!("/v2/{to}/blobs/uploads/?mount={secret}{from}");
        async move { user.call(Method::POST, &path, &[], "").await.status.as_u16() }
    };
    let evil = fixture.user("evil", &["acme/shop", "evil/copy"]).await;
    assert_eq!(mount(evil.clone(), "evil/copy", Some("acme/shop")).await, 202);
    assert_eq!(mount(evil.clone(), "evil/copy", Some("acme/none")).await, 202);
    assert_eq!(mount(evil.clone(), "evil/copy", Some("../x")).await, 202);
    assert_eq!(mount(evil.clone(), "evil/copy", None).await, 202);
    evil.get(&format!("/v2/evil/copy/blobs/{secret}")).await.expect(404);

    acme.get(&format!("/v2/acme/site/blobs/{secret}")).await.expect(404);
    assert_eq!(mount(acme.clone(), "acme/site", Some("acme/shop")).await, 201);
    acme.get(&format!("/v2/acme/site/blobs/{secret}")).await.expect(200);
    assert_eq!(mount(acme.clone(), "acme/third", None).await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_one_is_told_where_to_get_it() {
    let fixture = Fixture::new().await;
    let nobody = User::nobody(fixture.address);
    let got = nobody.get("/v2/acme/shop/manifests/v1").await.expect(401);
    let wanted = format!(
        "Bearer realm=\"http://{}/token\",service=\"slipway-registry\",scope=\"repository:acme/shop:pull\"",
        fixture.address
    );
    assert_eq!(got.header("www-authenticate"), wanted);
    assert_eq!(got.json()["errors"][0]["code"], "UNAUTHORIZED");
    nobody.get("/token?scope=repository:acme/shop:pull").await.expect(401);
    let wrong = [("authorization", "Basic YWNtZTp3cm9uZw==".to_owned())];
    nobody.call(Method::GET, "/token", &wrong, "").await.expect(401);
}

/// N45: an upload belongs to who opened it, and there is an end to how many.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_belongs_to_who_opened_it() {
    let fixture = Fixture::new().await;
    let acme = fixture.user("acme", &["acme/shop", "acme/site"]).await;
    let upload = acme.open_upload("acme/shop").await;
    let elsewhere = upload.replace("acme/shop", "acme/site");
    acme.call(Method::PATCH, &elsewhere, &[], "x").await.expect(404);
    let evil = fixture.user("evil", &["evil/copy"]).await;
    evil.call(Method::PATCH, &upload.replace("acme/shop", "evil/copy"), &[], "x").await.expect(404);
    evil.call(Method::PATCH, &upload, &[], "x").await.expect(401);
    for _ in 0..99 {
        acme.open_upload("acme/shop").await;
    }
    let got = acme.call(Method::POST, "/v2/acme/shop/blobs/uploads/", &[], "").await.expect(429);
    assert_eq!(got.json()["errors"][0]["code"], "TOOMANYREQUESTS");
    evil.open_upload("evil/copy").await;
    acme.call(Method::DELETE, &upload, &[], "").await.expect(204);
    acme.open_upload("acme/shop").await;
}

/// To know a digest is no right to the content, whatever kind of thing a manifest calls it.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_names_no_config_of_another_repository() {
    let fixture = Fixture::new().await;
    let acme = fixture.user("acme", &["acme/shop"]).await;
    acme.push_image("acme/shop", "v1", "layer").await;
    let theirs = acme.get("/v2/acme/shop/manifests/v1").await.json();
    let evil = fixture.user("evil", &["evil/copy"]).await;
    evil.push_image("evil/copy", "v1", "own").await;
    let own = evil.get("/v2/evil/copy/manifests/v1").await.json();
    for kind in [
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        let mut manifest = own.clone();
        manifest["config"]["digest"] = theirs["config"]["digest"].clone();
        manifest["config"]["mediaType"] = kind.into();
        let got = evil.put_manifest("evil/copy", "v2", &manifest).await.expect(400);
        assert_eq!(got.json()["errors"][0]["code"], "MANIFEST_BLOB_UNKNOWN");
    }
}

/// N46: what a release uses stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_released_image_cannot_be_deleted() {
    let fixture = Fixture::new().await;
    let acme = fixture.user("acme", &["acme/shop"]).await;
    let image = acme.push_image("acme/shop", "v1", "layer").await;
    let repository = "acme/shop".parse().unwrap();
    fixture.registry.pin(&repository, &image.digest, "release acme/shop/prod v1").unwrap();
    let path = format!("/v2/acme/shop/manifests/{}", image.digest);
    let got = acme.call(Method::DELETE, &path, &[], "").await.expect(409);
    assert!(got.json()["errors"][0]["message"].as_str().unwrap().contains("release acme/shop/prod v1"));
    acme.get(&path).await.expect(200);
    fixture.registry.unpin(&repository, &image.digest, "release acme/shop/prod v1").unwrap();
    acme.call(Method::DELETE, &path, &[], "").await.expect(202);
}

/// Keeps from where somebody tried.
struct Recorder(mpsc::UnboundedSender<IpAddr>);

impl Authority for Recorder {
    async fn authenticate(&self, _user: &str, _password: &str, from: IpAddr) -> Option<Subject> {
        self.0.send(from).unwrap();
        None
    }

    async fn allows(&self, _: &Subject, _: &Repository, _: Action) -> bool {
        false
    }
}

/// Guesses are counted by where they come from; those of one address must not count against all.
#[tokio::test]
async fn it_is_known_from_where_somebody_tries_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path(), options()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tried, mut from) = mpsc::unbounded_channel();
    let server = serve(listener, registry, Recorder(tried), ServerOptions::default(), std::future::pending());
    tokio::spawn(server);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
    let mut connection = socket.connect(address).await.unwrap();
    let request = "GET /token HTTP/1.1\r\nHost: r\r\nAuthorization: Basic YW5uOmd1ZXNz\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(from.recv().await, Some(IpAddr::from([127, 0, 0, 9])));
}
