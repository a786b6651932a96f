//! Just enough of netlink: build messages, send several at once, wait for their answers.
//!
//! Written by hand rather than with the async `rtnetlink`, because a socket stays in the network
//! namespace that it was opened in: one opened in the switch namespace can be used from any thread,
//! with no executor there, and all steps that prepare a sandbox go to the kernel in two system calls.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

const HEADER_BYTES: usize = 16;

/// One netlink message, and what it shall do in words for the error.
pub(super) struct Message {
    what: String,
    bytes: Vec<u8>,
}

impl Message {
    /// A request of that type with its fixed body.
    pub(super) fn new(what: impl Into<String>, kind: u16, flags: i32, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        bytes.extend_from_slice(body);
        Self { what: what.into(), bytes }
    }

    /// Adds an attribute.
    pub(super) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        self.align();
        self.bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    /// Adds a text attribute, with the zero at its end that the kernel wants.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut value = value.as_bytes().to_vec();
        value.push(0);
        self.attr(kind, &value)
    }

    /// Adds an attribute that holds other things, which `fill` adds.
    pub(super) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        self.align();
        let start = self.bytes.len();
        let mut filled = self.attr(kind, &[]);
        filled = fill(filled);
        let length = (filled.bytes.len() - start) as u16;
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// Adds bytes that are no attribute: the fixed head inside a nest.
    pub(super) fn raw(mut self, body: &[u8]) -> Self {
        self.bytes.extend_from_slice(body);
        self
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(&mut self, sequence: u32, extra_flags: i32) -> &[u8] {
        self.align();
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | extra_flags as u16;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.bytes
    }
}

/// What the kernel answered to a message, and what the message was to do.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what}")]
pub struct NetlinkError {
    /// What was tried.
    pub what: String,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

impl NetlinkError {
    /// True when the thing is not there, so that a second removal counts as done.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::ESRCH))
    }

    /// True when the thing is there already.
    pub(super) fn is_present(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EEXIST)
    }
}

/// A netlink socket of the namespace that it was opened in.
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one in the network namespace of the calling thread.
    pub(super) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        // The kernel answers while `send` still runs; a wait of seconds means that it never will.
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(10))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Carries out all messages in their order and waits for the kernel's answers. Later messages
    /// are carried out even if an earlier one failed; the first failure is returned.
    pub(super) fn run(&mut self, messages: Vec<Message>) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut buffer = Vec::new();
        let mut whats = Vec::new();
        for mut message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            buffer.extend_from_slice(message.finish(self.sequence, libc::NLM_F_ACK));
            whats.push(message.what);
        }
        let failed = |whats: &[String], source: io::Error| NetlinkError { what: whats.join(", "), source };
        send(self.fd.as_raw_fd(), &buffer, MsgFlags::empty()).map_err(|e| failed(&whats, e.into()))?;

        let mut first_failure = None;
        let mut answered = 0;
        while answered < whats.len() {
            for answer in self.receive().map_err(|source| failed(&whats, source))? {
                let index = answer.sequence.wrapping_sub(first) as usize;
                let (Some(what), Some(code)) = (whats.get(index), answer.code()) else { continue };
                answered += 1;
                if code != 0 && first_failure.is_none() {
                    let source = io::Error::from_raw_os_error(-code);
                    first_failure = Some(NetlinkError { what: what.clone(), source });
                }
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// Asks for a list and returns the body of each entry.
    pub(super) fn dump(&mut self, mut message: Message) -> Result<Vec<Vec<u8>>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let wanted = self.sequence;
        let bytes = message.finish(wanted, libc::NLM_F_DUMP).to_vec();
        let failed = |source| NetlinkError { what: message.what.clone(), source };
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty()).map_err(|e| failed(e.into()))?;
        let mut entries = Vec::new();
        loop {
            for answer in self.receive().map_err(failed)? {
                if answer.sequence != wanted {
                    continue;
                }
                match answer.kind as i32 {
                    libc::NLMSG_DONE => return Ok(entries),
                    libc::NLMSG_ERROR => {
                        let code = answer.code().unwrap_or(-libc::EPROTO);
                        return Err(failed(io::Error::from_raw_os_error(-code)));
                    }
                    _ => entries.push(answer.body),
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<Vec<Answer>> {
        // The kernel puts at most 32 KiB into one datagram of a dump.
        let mut buffer = vec![0; 64 << 10];
        let length = loop {
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(nix::Error::EINTR) => continue,
                other => break other?,
            }
        };
        let mut rest = &buffer[..length];
        let mut answers = Vec::new();
        while rest.len() >= HEADER_BYTES {
            let size = u32_at(rest, 0) as usize;
            if size < HEADER_BYTES || size > rest.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            answers.push(Answer {
                kind: u16_at(rest, 4),
                sequence: u32_at(rest, 8),
                body: rest[HEADER_BYTES..size].to_vec(),
            });
            rest = &rest[size.next_multiple_of(4).min(rest.len())..];
        }
        Ok(answers)
    }
}

struct Answer {
    kind: u16,
    sequence: u32,
    body: Vec<u8>,
}

impl Answer {
    /// The error code of an acknowledgement: 0, or an errno with its sign turned.
    fn code(&self) -> Option<i32> {
        (i32::from(self.kind) == libc::NLMSG_ERROR && self.body.len() >= 4)
            .then(|| u32_at(&self.body, 0).cast_signed())
    }
}

/// The attributes after a body's fixed head.
pub(super) fn attributes(body: &[u8], head_bytes: usize) -> Vec<(u16, &[u8])> {
    let mut rest = body.get(head_bytes..).unwrap_or_default();
    let mut found = Vec::new();
    while rest.len() >= 4 {
        let size = u16_at(rest, 0) as usize;
        if size < 4 || size > rest.len() {
            break;
        }
        // The two top bits say "nested" and "big-endian".
        found.push((u16_at(rest, 2) & 0x3fff, &rest[4..size]));
        rest = &rest[size.next_multiple_of(4).min(rest.len())..];
    }
    found
}

/// The native-endian number at that place; the caller has checked the length.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}
