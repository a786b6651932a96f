//! Names to addresses, by asking the sandbox's own resolver (RFC 1035): the host's files and services, which
//! the usual functions would ask, know names that are none of a tenant's business.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

const TRIES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(3);
/// An answer without extensions has at most 512 bytes; over TCP, what 16 bits can say.
const ANSWER_BYTES_MAX: usize = 4096;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
/// In the second word of a message: the answer did not fit.
const TRUNCATED: u16 = 0x0200;

/// The addresses of a host. Errors are sentences.
pub(super) async fn resolve(host: &str, resolver: Ipv4Addr) -> Result<Vec<Ipv4Addr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let id = random_id();
    let question = question(id, host).ok_or_else(|| format!("{host:?} is not the name of a host"))?;
    let server = SocketAddr::from((resolver, 53));
    let mut last = format!("the resolver did not tell an address of {host}");
    for _ in 0..TRIES {
        match timeout(PATIENCE, ask(server, &question)).await {
            Ok(Ok(answer)) => match read(id, &question, &answer) {
                Some(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
                Some(Ok(_)) => return Err(format!("{host} has no IPv4 address")),
                Some(Err(code)) => {
                    return Err(format!("{host} is not known (the resolver's answer has the code {code})"));
                }
                None => {}
            },
            Ok(Err(error)) => last = format!("the resolver cannot be asked for {host}: {error}"),
            Err(_) => {}
        }
    }
    Err(last)
}

async fn ask(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    // Takes answers from there only.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    if word(&answer, 2).is_none_or(|flags| flags & TRUNCATED == 0) {
        return Ok(answer);
    }
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&(question.len() as u16).to_be_bytes()[..], question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn question(id: u16, host: &str) -> Option<Vec<u8>> {
    // Wants recursion; one question.
    let mut message = [id, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    if host.len() > 253 {
        return None;
    }
    for label in host.split('.') {
        let fits = (1..=63).contains(&label.len());
        if !fits || !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return None;
        }
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend([TYPE_A, CLASS_IN].map(u16::to_be_bytes).concat());
    Some(message)
}

/// The addresses in an answer, or its error code; `None` when it is no answer to this question. A resolver
/// puts the addresses behind an alias into the same answer.
fn read(id: u16, question: &[u8], answer: &[u8]) -> Option<Result<Vec<Ipv4Addr>, u16>> {
    let flags = word(answer, 2)?;
    let is_answer = flags & 0x8000 != 0;
    let asked = &question[12..];
    if word(answer, 0)? != id || !is_answer || !answer.get(12..12 + asked.len())?.eq_ignore_ascii_case(asked)
    {
        return None;
    }
    let code = flags & 0xf;
    if code != 0 {
        return Some(Err(code));
    }
    let mut at = 12 + asked.len();
    let mut addresses = Vec::new();
    for _ in 0..word(answer, 6)? {
        at = end_of_name(answer, at)?;
        let (kind, class, length) =
            (word(answer, at)?, word(answer, at + 2)?, usize::from(word(answer, at + 8)?));
        let data = answer.get(at + 10..at + 10 + length)?;
        if (kind, class) == (TYPE_A, CLASS_IN)
            && let Ok(octets) = <[u8; 4]>::try_from(data)
            && addresses.len() < ADDRESSES_MAX
        {
            addresses.push(Ipv4Addr::from(octets));
        }
        at += 10 + length;
    }
    Some(Ok(addresses))
}

/// Behind a name that is there; a pointer is its end.
fn end_of_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

fn random_id() -> u16 {
    let mut bytes = [0; 2];
    // SAFETY: the buffer is live and as long as is said.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u16::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests;
