//! What a client asks for at the head of a push, read in passing before git sees it.
//!
//! git puts no bound on how many refs and options a push may name, so they are counted here. And git
//! cannot take a push from a shallow clone whose refs `proc-receive` moves: it wants to check and note
//! the boundary while it moves the ref itself, and gives up with "BUG: connectivity check skipped". So
//! the `shallow` lines are taken out of the stream, and git is given them in a file instead, as if
//! they had always been known (see [`crate::shallow`]). All of it stands at the head of the stream
//! (gitprotocol-pack, "Reference Update Request"); what follows is not looked at.

use std::fmt;

use slipway_model::id::CommitId;
use slipway_model::limit::{PUSH_OPTION_BYTES_MAX, PUSH_OPTIONS_MAX};

use crate::pkt_line::{self, PktLine};

/// Refs that one push may name. Nobody deploys so many; a mirror of a large repository would.
const REFS_MAX: usize = 1000;
/// Bytes of one ref name (N19).
pub(crate) const REF_BYTES_MAX: usize = 255;
/// Boundary commits of a shallow clone. One for each branch that was fetched with a depth.
const SHALLOW_MAX: usize = 10_000;

/// Why a push is refused at its head. In words for the pusher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the head of a push as it comes in.
#[derive(Debug, Default)]
pub(crate) struct PushRequest {
    section: Section,
    /// The start of a pkt-line whose rest has not arrived. At most one pkt-line long.
    rest: Vec<u8>,
    refs: usize,
    options: usize,
    with_options: bool,
    shallow: Vec<CommitId>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Section {
    #[default]
    Commands,
    Options,
    Pack,
}

impl PushRequest {
    /// True when the head has been read; nothing after it needs to be fed.
    pub(crate) fn is_complete(&self) -> bool {
        self.section == Section::Pack
    }

    /// Reads the next bytes of the stream, and returns those that are meant for git.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut buffer = std::mem::take(&mut self.rest);
        buffer.extend_from_slice(bytes);
        let mut for_git = Vec::with_capacity(buffer.len());
        let mut used = 0;
        while !self.is_complete() {
            let taken = pkt_line::take(&buffer[used..])
                .map_err(|error| Refused(format!("the push is not understood: {error}")))?;
            let Some((line, length)) = taken else {
                self.rest = buffer.split_off(used);
                return Ok(for_git);
            };
            let is_for_git = match line {
                PktLine::Flush => {
                    self.end_section();
                    true
                }
                PktLine::Data(payload) => self.line(payload)?,
            };
            if is_for_git {
                for_git.extend_from_slice(&buffer[used..used + length]);
            }
            used += length;
        }
        for_git.extend_from_slice(&buffer[used..]);
        Ok(for_git)
    }

    /// Takes out the commits whose parents the client does not have, and so does not send.
    pub(crate) fn take_shallow(&mut self) -> Vec<CommitId> {
        std::mem::take(&mut self.shallow)
    }

    fn end_section(&mut self) {
        self.section = match self.section {
            Section::Commands if self.with_options => Section::Options,
            _ => Section::Pack,
        };
    }

    /// Counts a line. False when git shall not see it.
    fn line(&mut self, payload: &[u8]) -> Result<bool, Refused> {
        if self.section == Section::Options {
            self.options += 1;
            if self.options > PUSH_OPTIONS_MAX {
                return Err(Refused(format!(
                    "a push takes at most {PUSH_OPTIONS_MAX} options (git push -o)"
                )));
            }
            if payload.len() > PUSH_OPTION_BYTES_MAX {
                return Err(Refused(format!(
                    "a push option (git push -o) has at most {PUSH_OPTION_BYTES_MAX} bytes"
                )));
            }
            return Ok(true);
        }
        if let Some(commit) = payload.strip_prefix(b"shallow ") {
            let commit = std::str::from_utf8(commit).ok().and_then(|text| text.parse().ok());
            self.shallow
                .push(commit.ok_or_else(|| Refused("the push is not understood: bad shallow line".into()))?);
            if self.shallow.len() > SHALLOW_MAX {
                return Err(Refused(format!(
                    "a shallow clone with more than {SHALLOW_MAX} boundary commits is refused"
                )));
            }
            return Ok(false);
        }
        self.refs += 1;
        if self.refs > REFS_MAX {
            return Err(Refused(format!("one push takes at most {REFS_MAX} branches and tags")));
        }
        let (command, capabilities) = match payload.iter().position(|byte| *byte == 0) {
            Some(at) => (&payload[..at], &payload[at + 1..]),
            None => (payload, &[][..]),
        };
        // Old id, space, new id, space, name.
        if command.len() > 2 * 65 + REF_BYTES_MAX {
            return Err(Refused(format!("the name of a branch or tag has at most {REF_BYTES_MAX} bytes")));
        }
        self.with_options |= capabilities.split(|byte| *byte == b' ').any(|word| word == b"push-options");
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1111111111111111111111111111111111111111";

    fn stream(lines: &[&str], options: Option<&[&str]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            pkt_line::put(&mut bytes, line);
        }
        pkt_line::put_flush(&mut bytes);
        for option in options.into_iter().flatten() {
            pkt_line::put(&mut bytes, option);
        }
        if options.is_some() {
            pkt_line::put_flush(&mut bytes);
        }
        bytes.extend_from_slice(b"PACK\0\0\0\x02 and whatever follows");
        bytes
    }

    /// Reads a stream in pieces of every small size, since the network cuts where it likes.
    fn read(bytes: &[u8]) -> Result<(PushRequest, Vec<u8>), Refused> {
        let mut results = [1, 2, 3, 5, 7, 16, 64, 4096, 1 << 20].into_iter().map(|piece| {
            let (mut request, mut for_git) = (PushRequest::default(), Vec::new());
            for chunk in bytes.chunks(piece) {
                for_git.extend(if request.is_complete() { chunk.to_vec() } else { request.feed(chunk)? });
            }
            Ok((request, for_git))
        });
        let first = results.next().unwrap();
        for other in results {
            let seen = |read: &Result<(PushRequest, Vec<u8>), Refused>| {
                read.as_ref()
                    .map(|(request, for_git)| (request.shallow.clone(), for_git.clone()))
                    .map_err(Refused::clone)
            };
            assert_eq!(seen(&first), seen(&other));
        }
        first
    }

    #[test]
    fn the_head_of_a_push_is_read_however_it_is_cut() {
        let update = format!("{ID} {ID} refs/heads/main\0 report-status push-options agent=git/2");
        let (mut request, for_git) =
            read(&stream(&[&format!("shallow {ID}"), &update], Some(&["detach"]))).unwrap();
        assert_eq!(for_git, stream(&[&update], Some(&["detach"])), "all but the shallow line");
        assert_eq!((request.refs, request.options, request.section), (1, 1, Section::Pack));
        assert_eq!(request.take_shallow(), [ID.parse().unwrap()]);
        let plain = format!("{ID} {ID} refs/heads/main\0 report-status");
        assert_eq!(read(&stream(&[&plain], None)).unwrap().0.section, Section::Pack);
    }

    #[test]
    fn too_much_is_refused_in_words() {
        let check = |lines: &[&str], options: Option<&[&str]>, expected: &str| {
            let refused = read(&stream(lines, options)).unwrap_err().0;
            assert!(refused.contains(expected), "{refused}");
        };
        let update = format!("{ID} {ID} refs/heads/main\0push-options");
        check(&vec![update.as_str(); 1001], None, "1000 branches");
        check(&[&format!("{ID} {ID} refs/heads/{}", "x".repeat(60_000))], None, "255 bytes");
        check(&[&update], Some(&["a"; 17]), "16 options");
        check(&[&update], Some(&[&"a".repeat(257)]), "256 bytes");
        check(&["shallow --all"], None, "not understood");
        assert!(PushRequest::default().feed(b"GET / HTTP/1.1").is_err());
    }
}
