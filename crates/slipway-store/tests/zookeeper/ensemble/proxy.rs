//! A way to a server that can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to what comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Connections end, new ones too.
    Cut,
    /// At the next request of this kind, the connection ends before the server gets it.
    Lose(i32),
    /// At the next request of this kind, the connection ends after the server has carried it out.
    LoseReply(i32),
    /// At the next request of this kind, it and all after it wait until the way is open.
    Hold(i32),
    /// Such a request waits.
    Held,
}

pub const CREATE: i32 = 1;
pub const MULTI: i32 = 14;

pub struct Proxy {
    pub address: String,
    way: watch::Sender<Way>,
    told: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let way = watch::Sender::new(Way::Open);
        let shared = Arc::new(way.clone());
        let told = Arc::new(AtomicUsize::new(0));
        let counter = told.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, way, told) = (server.clone(), shared.clone(), counter.clone());
                tokio::spawn(async move {
                    // However it ends, both connections are dropped.
                    let _ = carry(client, &server, &way, &told).await;
                });
            }
        });
        Self { address, way, told }
    }

    /// How often somebody was told of a candidate.
    pub fn told_of_candidates(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Waits until what was to be held is held.
    pub async fn held(&self) {
        self.way.subscribe().wait_for(|way| *way == Way::Held).await.unwrap();
    }

    /// Waits until what was to be lost is lost.
    pub async fn lost(&self) {
        self.way.subscribe().wait_for(|way| *way == Way::Open).await.unwrap();
    }
}

async fn carry(
    mut client: TcpStream,
    server: &str,
    way: &watch::Sender<Way>,
    told: &AtomicUsize,
) -> std::io::Result<()> {
    let mut changes = way.subscribe();
    if *changes.borrow_and_update() == Way::Cut {
        return Ok(());
    }
    let mut server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut requests = Vec::new();
    let mut greeted = false;
    let mut replies = Vec::new();
    loop {
        tokio::select! {
            read = from_client.read_buf(&mut requests) => {
                if read? == 0 {
                    return Ok(());
                }
                while let Some((length, rest)) = requests.split_first_chunk::<4>() {
                    let length = u32::from_be_bytes(*length) as usize;
                    let Some(message) = rest.get(..length) else { break };
                    // The greeting has no kind.
                    let kind = message.get(4..8).filter(|_| greeted);
                    let kind = kind.map(|kind| i32::from_be_bytes(kind.try_into().unwrap()));
                    greeted = true;
                    let now = *way.borrow();
                    if kind.is_some_and(|kind| now == Way::Lose(kind)) {
                        way.send_replace(Way::Open);
                        return Ok(());
                    }
                    if kind.is_some_and(|kind| now == Way::Hold(kind)) {
                        way.send_replace(Way::Held);
                        drop(way.subscribe().wait_for(|way| *way == Way::Open).await);
                    }
                    to_server.write_all(&requests[..4 + length]).await?;
                    if kind.is_some_and(|kind| now == Way::LoseReply(kind)) {
                        // Events may come first; the answer is what has the request's number.
                        let xid = message[..4].to_vec();
                        let mut answers = Vec::new();
                        while !answers.windows(4).any(|bytes| bytes == xid) {
                            from_server.read_buf(&mut answers).await?;
                        }
                        way.send_replace(Way::Open);
                        return Ok(());
                    }
                    requests.drain(..4 + length);
                }
            }
            read = from_server.read_buf(&mut replies) => {
                if read? == 0 {
                    return Ok(());
                }
                while let Some((length, rest)) = replies.split_first_chunk::<4>() {
                    let length = u32::from_be_bytes(*length) as usize;
                    let Some(message) = rest.get(..length) else { break };
                    let is_event = message.starts_with(&(-1i32).to_be_bytes());
                    if is_event && message.windows(12).any(|part| part == b"/candidates/") {
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                    to_client.write_all(&replies[..4 + length]).await?;
                    replies.drain(..4 + length);
                }
            }
            () = async { drop(changes.wait_for(|way| *way == Way::Cut).await) } => return Ok(()),
        }
    }
}
