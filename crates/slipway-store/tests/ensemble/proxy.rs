//! A way to a server that can be cut.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to what comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Connections end, new ones too.
    Cut,
    /// At the next `multi`, the connection ends before the server gets it.
    LoseMulti,
    /// At the next `multi`, the connection ends after the server has carried it out.
    LoseMultiReply,
}

pub struct Proxy {
    pub address: String,
    way: watch::Sender<Way>,
}

impl Proxy {
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let way = watch::Sender::new(Way::Open);
        let shared = Arc::new(way.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, way) = (server.clone(), shared.clone());
                tokio::spawn(async move {
                    // However it ends, both connections are dropped.
                    let _ = carry(client, &server, &way).await;
                });
            }
        });
        Self { address, way }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Waits until what was to be lost is lost.
    pub async fn lost(&self) {
        self.way.subscribe().wait_for(|way| *way == Way::Open).await.unwrap();
    }
}

async fn carry(mut client: TcpStream, server: &str, way: &watch::Sender<Way>) -> std::io::Result<()> {
    let mut changes = way.subscribe();
    if *changes.borrow_and_update() == Way::Cut {
        return Ok(());
    }
    let mut server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut requests = Vec::new();
    let mut replies = vec![0; 64 << 10];
    loop {
        tokio::select! {
            read = from_client.read_buf(&mut requests) => {
                if read? == 0 {
                    return Ok(());
                }
                while let Some((length, rest)) = requests.split_first_chunk::<4>() {
                    let length = u32::from_be_bytes(*length) as usize;
                    let Some(message) = rest.get(..length) else { break };
                    let is_multi = message.get(4..8) == Some(&14i32.to_be_bytes());
                    let now = *way.borrow();
                    if is_multi && now == Way::LoseMulti {
                        way.send_replace(Way::Open);
                        return Ok(());
                    }
                    to_server.write_all(&requests[..4 + length]).await?;
                    if is_multi && now == Way::LoseMultiReply {
                        // Events may come first; the answer is what has the multi's number.
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
            read = from_server.read(&mut replies) => {
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                to_client.write_all(&replies[..count]).await?;
            }
            () = async { drop(changes.wait_for(|way| *way == Way::Cut).await) } => return Ok(()),
        }
    }
}
