//! Just enough of an HTTP client to measure servers with: it adds nothing between them and the clock.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};

/// Longer than anything that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that is kept.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Connection {
    pub fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    /// A request whose whole answer is small enough to be kept. `fields` are whole lines.
    pub fn ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &[&str],
        body: &[u8],
    ) -> anyhow::Result<(Head, Vec<u8>)> {
        let head = self.send(method, target, fields, body)?;
        let mut content = vec![0; self.length(&head, method)?];
        self.stream.read_exact(&mut content)?;
        Ok((head, content))
    }

    /// A GET whose answer is read and thrown away. How many bytes there were.
    pub fn drain(&mut self, target: &str, fields: &[&str], buffer: &mut [u8]) -> anyhow::Result<usize> {
        let head = self.send("GET", target, fields, b"")?;
        if head.status != 200 {
            bail!("GET {target} answered {}", head.status);
        }
        let length = self.length(&head, "GET")?;
        let mut left = length;
        while left > 0 {
            let wanted = left.min(buffer.len());
            match self.stream.read(&mut buffer[..wanted])? {
                0 => bail!("GET {target} ended {left} bytes early"),
                count => left -= count,
            }
        }
        Ok(length)
    }

    fn send(&mut self, method: &str, target: &str, fields: &[&str], body: &[u8]) -> anyhow::Result<Head> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        for field in fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        if method != "GET" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        for piece in body.chunks(1 << 20) {
            stream.write_all(piece)?;
        }
        self.read_head()
    }

    fn read_head(&mut self) -> anyhow::Result<Head> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("{line:?} is no status line"))?;
        let mut fields = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Head { status, fields })
    }

    fn length(&self, head: &Head, method: &str) -> anyhow::Result<usize> {
        if method == "HEAD" || head.status == 204 {
            return Ok(0);
        }
        let length = head.field("content-length").context("an answer without a length")?;
        Ok(length.parse()?)
    }
}

/// One GET on a connection of its own, as from a browser that has just come: `None` when it does not
/// answer 200 within a second.
pub fn page(port: u16, host: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).filter(|status| *status == "200")?;
    Some(body.to_owned())
}
