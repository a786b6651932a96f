//! A registry that listens on a free port, and a client that says exactly what it wants to say.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use slipway_model::id::Digest;
use slipway_registry::digest::digest_of;
use slipway_registry::server::{Action, Authority, ServerOptions, Subject, serve};
use slipway_registry::{Options, Registry, Repository};
use tokio::net::TcpListener;

/// Every user's password.
pub const PASSWORD: &str = "open sesame";

/// Users are named like their tenant, and everybody may read stacks.
pub struct ByTenant;

impl Authority for ByTenant {
    async fn authenticate(&self, user: &str, password: &str, _from: IpAddr) -> Option<Subject> {
        (password == PASSWORD).then(|| Subject(user.to_owned()))
    }

    async fn allows(&self, subject: &Subject, repository: &Repository, action: Action) -> bool {
        repository.tenant() == subject.0 || (repository.tenant() == "stacks" && action == Action::Pull)
    }
}

/// Options for a test's own small disk and few bytes.
pub fn options() -> Options {
    Options { reserve_bytes: 0, ..Options::default() }
}

/// Serves until the runtime of the test ends.
pub async fn start(registry: &Registry) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(
        listener,
        registry.clone(),
        ByTenant,
        ServerOptions::default(),
        std::future::pending(),
    ));
    address
}

/// A registry in a directory of its own, with its server.
pub struct Fixture {
    pub registry: Registry,
    pub address: SocketAddr,
    pub dir: tempfile::TempDir,
}

impl Fixture {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(dir.path(), options()).unwrap();
        let address = start(&registry).await;
        Self { registry, address, dir }
    }

    pub async fn user(&self, user: &str, repositories: &[&str]) -> User {
        User::new(self.address, user, repositories).await
    }
}

/// A client with a token.
#[derive(Clone)]
pub struct User {
    http: Client<HttpConnector, BoxBody<Bytes, std::io::Error>>,
    address: SocketAddr,
    token: String,
}

/// What came back.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }
}

impl User {
    /// Gets a token for all actions on these repositories; it holds those that are allowed.
    pub async fn new(address: SocketAddr, user: &str, repositories: &[&str]) -> Self {
        use base64::Engine as _;
        let http = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let mut new = Self { http, address, token: String::new() };
        let scopes: Vec<String> =
            repositories.iter().map(|name| format!("scope=repository:{name}:*")).collect();
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{PASSWORD}"));
        let basic = [("authorization", format!("Basic {basic}"))];
        let got = new
            .send(Method::GET, &format!("/token?{}", scopes.join("&")), &basic, full(""))
            .await
            .expect(200);
        new.token = format!("Bearer {}", got.json()["token"].as_str().unwrap());
        new
    }

    /// Somebody without a token.
    pub fn nobody(address: SocketAddr) -> Self {
        Self {
            http: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            address,
            token: String::new(),
        }
    }

    pub async fn get(&self, path: &str) -> Got {
        self.call(Method::GET, path, &[], "").await
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: impl Into<Bytes>,
    ) -> Got {
        self.send(method, path, headers, full(body)).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: BoxBody<Bytes, std::io::Error>,
    ) -> Got {
        self.try_send(method, path, headers, body).await.expect("the registry answers")
    }

    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: BoxBody<Bytes, std::io::Error>,
    ) -> Result<Got, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if !self.token.is_empty() {
            request = request.header("authorization", &self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = self.http.request(request.body(body)?).await?;
        let (parts, body) = response.into_parts();
        Ok(Got { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
    }

    /// Pushes a blob in one request.
    pub async fn push_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = digest_of(&bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.call(Method::POST, &path, &[], bytes).await.expect(201);
        digest
    }

    /// Opens an upload and returns its path.
    pub async fn open_upload(&self, repository: &str) -> String {
        let got =
            self.call(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], "").await.expect(202);
        got.header("location").to_owned()
    }

    /// Pushes an image of one layer.
    pub async fn push_image(&self, repository: &str, tag: &str, layer: impl Into<Bytes>) -> Image {
        let layer = layer.into();
        let layer_size = layer.len();
        let layer = self.push_blob(repository, layer).await;
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
        );
        let config_size = config.len();
        let config = self.push_blob(repository, config).await;
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_size }],
        });
        let digest = self
            .put_manifest(repository, tag, &manifest)
            .await
            .expect(201)
            .header("docker-content-digest")
            .parse()
            .unwrap();
        Image { digest, layer }
    }

    pub async fn put_manifest(&self, repository: &str, reference: &str, manifest: &serde_json::Value) -> Got {
        let kind = [("content-type", manifest["mediaType"].as_str().unwrap().to_owned())];
        self.call(
            Method::PUT,
            &format!("/v2/{repository}/manifests/{reference}"),
            &kind,
            manifest.to_string(),
        )
        .await
    }
}

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What [`User::push_image`] pushed.
pub struct Image {
    pub digest: Digest,
    pub layer: Digest,
}

pub fn full(bytes: impl Into<Bytes>) -> BoxBody<Bytes, std::io::Error> {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// Bytes that do not compress and differ by seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Names of the files below a folder of the registry.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}
