//! What the tests stand on: apps, clients, routers and tables.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use slipway_model::id::InstanceId;
use slipway_model::route::{Endpoint, Route, RouteTable};
use slipway_router::{Listen, Options, Router, RouterHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Nothing in these tests takes this long; whoever waits longer waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How an app answers a request whose head and body (by `Content-Length`) have been read.
pub type Answer = fn(&str) -> Vec<u8>;

/// An app: an instance that listens on a port of this machine.
pub struct App {
    pub instance: InstanceId,
    pub address: SocketAddrV4,
    pub seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
pub struct Seen {
    pub heads: Mutex<Vec<String>>,
    pub connections: AtomicUsize,
    pub open: AtomicUsize,
}

impl App {
    /// Answers `/name` and all else with its instance id, `/head` with the request's head, `/slow` after
    /// 300 ms, and `/echo` with the body as it comes.
    pub async fn well_behaved() -> Self {
        Self::listen(Behaviour::Well, None).await
    }

    /// Answers with these bytes and closes.
    pub async fn raw(answer: Answer) -> Self {
        Self::listen(Behaviour::Raw(answer), None).await
    }

    /// Another instance on a port that was in use before.
    pub async fn at(address: SocketAddrV4) -> Self {
        Self::listen(Behaviour::Well, Some(address)).await
    }

    async fn listen(behaviour: Behaviour, address: Option<SocketAddrV4>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance: InstanceId = format!("i{number:016}").parse().unwrap();
        let listener = TcpListener::bind(address.unwrap_or("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
        let seen = Arc::new(Seen::default());
        let (name, shared) = (instance.to_string(), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, name) = (Arc::clone(&shared), name.clone());
                connections.spawn(async move {
                    seen.open.fetch_add(1, Ordering::SeqCst);
                    serve(stream, &name, &seen, behaviour).await;
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { instance, address, seen, task }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint { instance: self.instance.clone(), address: self.address }
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }
}

/// The app dies: its listener and all connections are closed.
impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone, Copy)]
enum Behaviour {
    Well,
    Raw(Answer),
}

async fn serve(mut stream: TcpStream, name: &str, seen: &Seen, behaviour: Behaviour) {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await {
        let head = String::from_utf8(head).unwrap();
        seen.heads.lock().unwrap().push(head.clone());
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let done = match behaviour {
            Behaviour::Raw(answer) => {
                read_body(&mut stream, &mut buffer, &head).await;
                stream.write_all(&answer(&head)).await.ok();
                return;
            }
            Behaviour::Well if path.starts_with("/echo") => echo(&mut stream, &mut buffer, &head).await,
            Behaviour::Well => {
                read_body(&mut stream, &mut buffer, &head).await;
                if path == "/slow" {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                let body = if path == "/head" { &head } else { name };
                let body = if head.starts_with("HEAD ") { "" } else { body };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-App: {name}\r\n\r\n{body}",
                    if body.is_empty() { 17 } else { body.len() }
                );
                stream.write_all(answer.as_bytes()).await.is_ok()
            }
        };
        if !done {
            return;
        }
    }
}

/// Sends the body back in the framing in which it comes, while it comes.
async fn echo(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> bool {
    if head.contains("100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    }
    let length = content_length(head);
    let framing =
        length.map_or("Transfer-Encoding: chunked".to_owned(), |length| format!("Content-Length: {length}"));
    stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes()).await.unwrap();
    let mut left = length.unwrap_or(u64::MAX);
    let mut piece = vec![0; 64 << 10];
    let mut tail = Vec::new();
    loop {
        let bytes = if buffer.is_empty() {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return false,
                Ok(count) => piece[..count].to_vec(),
            }
        } else {
            std::mem::take(buffer)
        };
        left -= bytes.len() as u64;
        if stream.write_all(&bytes).await.is_err() {
            return false;
        }
        tail.extend_from_slice(&bytes);
        tail.drain(..tail.len().saturating_sub(5));
        if left == 0 || (length.is_none() && tail == b"0\r\n\r\n") {
            return true;
        }
    }
}

pub async fn read_head(stream: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = buffer.split_off(end + 4);
            return Some(std::mem::replace(buffer, rest));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn read_body(stream: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>, head: &str) -> Vec<u8> {
    let length = content_length(head).unwrap_or(0) as usize;
    while buffer.len() < length {
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            break;
        }
    }
    let rest = buffer.split_off(length.min(buffer.len()));
    std::mem::replace(buffer, rest)
}

pub fn content_length(head: &str) -> Option<u64> {
    head.to_ascii_lowercase().split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()
}

/// A client's connection, over which requests follow one another.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// What a client got.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    pub async fn connect(router: &RouterHandle) -> Self {
        let stream = TcpStream::connect(router.addresses()[0]).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub async fn receive(&mut self) -> Option<Response> {
        self.receive_to(true).await
    }

    /// A response; one to `HEAD` has no body.
    pub async fn receive_to(&mut self, with_body: bool) -> Option<Response> {
        let receive = async {
            let head = String::from_utf8(read_head(&mut self.stream, &mut self.buffer).await?).unwrap();
            let body = if with_body {
                read_body(&mut self.stream, &mut self.buffer, &head).await
            } else {
                Vec::new()
            };
            let status = head.get(9..12)?.parse().ok()?;
            Some(Response { status, head, body: String::from_utf8(body).unwrap() })
        };
        tokio::time::timeout(PATIENCE, receive).await.expect("an answer comes in time")
    }

    pub async fn get(&mut self, host: &str, path: &str) -> Response {
        self.try_get(host, path).await.expect("an answer")
    }

    pub async fn try_get(&mut self, host: &str, path: &str) -> Option<Response> {
        self.stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .await
            .ok()?;
        self.receive().await
    }

    /// Everything until the router closes.
    pub async fn rest(&mut self) -> String {
        let read = self.stream.read_to_end(&mut self.buffer);
        // A reset ends it too.
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("the router closes in time");
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }
}

pub fn options() -> Options {
    Options {
        listen: vec![Listen::Address("127.0.0.1:0".parse().unwrap())],
        workers: 2,
        ..Options::default()
    }
}

/// Routes from host names to apps.
pub fn table(generation: u64, routes: &[(&str, &[&App])]) -> RouteTable {
    let route = |(host, apps): &(&str, &[&App])| ((*host).to_owned(), route(apps));
    RouteTable { generation, routes: routes.iter().map(route).collect::<BTreeMap<_, _>>() }
}

pub fn route(apps: &[&App]) -> Route {
    Route::new("acme/shop/dev/web".parse().unwrap(), apps.iter().map(|app| app.endpoint()).collect())
}

/// A router with one route, `a.test`, to these apps.
pub async fn router_to(apps: &[&App]) -> RouterHandle {
    router_with(options(), apps).await
}

pub async fn router_with(options: Options, apps: &[&App]) -> RouterHandle {
    let router = Router::start(options).unwrap();
    router.set_table(table(1, &[("a.test", apps)])).await.unwrap();
    router
}

/// Waits until it is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
