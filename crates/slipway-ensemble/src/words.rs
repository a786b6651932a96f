//! ZooKeeper's four-letter words (ZK-11): a connection for each, the word, and text until it closes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::zoo_cfg;

/// The longest answer that is read; `conf` of a thousand servers is a tenth.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A server's client port.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its host name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How to speak TLS with it, if it does.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Server {
    /// The server beside us. If its host is a name, its port is open on all addresses, and the nearest
    /// cannot be out of reach.
    pub async fn ask_here(&self, word: &str, patience: Duration) -> io::Result<String> {
        let host = zoo_cfg::address(&self.host).map_or("127.0.0.1".to_owned(), |at| at.to_string());
        self.within(&host, word, patience).await
    }

    /// What it answers.
    ///
    /// # Errors
    /// The word is not of the white list; it did not answer in time, or with more than text.
    pub async fn ask(&self, word: &str, patience: Duration) -> io::Result<String> {
        self.within(&self.host, word, patience).await
    }

    async fn within(&self, host: &str, word: &str, patience: Duration) -> io::Result<String> {
        if !zoo_cfg::WORDS.contains(&word) {
            let known = zoo_cfg::WORDS.join(", ");
            let sentence = format!("{word:?} is not one of the words that are allowed: {known}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer to {word} in time"));
        tokio::time::timeout(patience, self.exchange(host, word)).await.map_err(late)?
    }

    async fn exchange(&self, host: &str, word: &str) -> io::Result<String> {
        let stream = TcpStream::connect((host, self.port)).await?;
        let Some(tls) = &self.tls else { return exchange(stream, word).await };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        exchange(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?, word).await
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, word: &str) -> io::Result<String> {
    stream.write_all(word.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await {
        // Over TLS the server leaves without saying so.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        result => drop(result?),
    }
    String::from_utf8(answer).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the answer is no text"))
}
