//! One question to the host's name server: which TXT records has a name? (RFC 1035, section 4.)
//!
//! A resolver library would be more code than the rest of the API; this asks one question over UDP,
//! checks that the answer belongs to it, and reads nothing but TXT.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// How long the name server may take, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(3);
const TRIES: usize = 2;
const TXT: u16 = 16;

/// The texts of a name's TXT records; none when there is no such name.
///
/// # Errors
/// A sentence for the user, when the name server does not answer.
pub async fn lookup(name: &str) -> Result<Vec<String>, String> {
    let server = name_server().await.ok_or("this server has no name server in /etc/resolv.conf")?;
    let id: u16 = rand::random();
    let question = question(id, name).ok_or_else(|| format!("{name} is too long for a DNS name"))?;
    for _ in 0..TRIES {
        if let Ok(Ok(answer)) = tokio::time::timeout(TIMEOUT, ask(server, &question)).await
            && let Some(texts) = texts(id, &answer)
        {
            return Ok(texts);
        }
    }
    Err(format!("the name server {server} did not answer for {name}; try again"))
}

async fn name_server() -> Option<IpAddr> {
    let text = tokio::fs::read_to_string("/etc/resolv.conf").await.ok()?;
    let mut servers = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok());
    servers.next()
}

async fn ask(server: IpAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let local: SocketAddr = match server {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // Connected, so that only the asked server can answer.
    socket.connect((server, 53)).await?;
    socket.send(question).await?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut packet = Vec::new();
    packet.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question, nothing else.
    packet.extend_from_slice(&[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    if name.len() > 250 {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        packet.push(length);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&TXT.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    Some(packet)
}

/// `None` when it is not an answer to our question.
fn texts(id: u16, packet: &[u8]) -> Option<Vec<String>> {
    let number = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let flags = number(2)?;
    let no_such_name = flags & 0x0f == 3;
    if number(0)? != id || flags & 0x8000 == 0 || (flags & 0x0f != 0 && !no_such_name) {
        return None;
    }
    let mut at = 12;
    for _ in 0..number(4)? {
        at = skip_name(packet, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = skip_name(packet, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = packet.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        if kind == TXT {
            found.push(strings(data)?);
        }
    }
    Some(found)
}

/// A record's strings, joined (RFC 7208, section 3.3 joins them the same way).
fn strings(mut data: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    while let [length, rest @ ..] = data {
        text.extend_from_slice(rest.get(..usize::from(*length))?);
        data = &rest[usize::from(*length)..];
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            // A pointer ends the name; where it leads does not matter here.
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests;
