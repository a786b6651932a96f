//! Where a body ends. Bodies are passed on as they came: a chunked one keeps its chunks, but
//! extensions and trailers, which only ever carried attacks, are left out; the framing is checked to
//! the letter (N51), so that the app cannot see other chunks than we do.

use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};

use super::head::Framing;

/// A body on its way.
#[derive(Debug)]
pub struct Body {
    state: State,
    /// Payload bytes still allowed.
    room: u64,
    /// Leave out the chunk framing too, for a client of HTTP/1.0.
    bare: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    /// In a chunk's size line: the value and the digits so far.
    Size(u64, u8),
    /// In an extension: its size line's value, and extension bytes so far.
    Extension(u64, usize),
    SizeLineFeed(u64),
    Data(u64),
    DataReturn,
    DataLineFeed,
    /// At the start of a trailer line, with the trailer bytes so far.
    Trailer(usize),
    TrailerName(usize),
    TrailerValue(usize),
    TrailerLineFeed(usize),
    LastLineFeed,
    Done,
}

/// Why a body cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBody {
    /// The framing is not what RFC 9112 section 7.1 says.
    Framing,
    /// More than the limit.
    TooLarge,
}

/// What to do with bytes of a body: pass the first `forward` on, then leave `skip` out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Bytes to pass on.
    pub forward: usize,
    /// Bytes after those to leave out.
    pub skip: usize,
}

impl Body {
    /// A body that has this framing and at most `bytes_max` payload bytes.
    pub fn new(framing: Framing, bytes_max: u64) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(0, 0),
            Framing::Close => State::UntilClose,
        };
        Self { state, room: bytes_max, bare: false }
    }

    /// The same body, to be passed on without its chunk framing.
    pub fn bare(self) -> Self {
        Self { bare: true, ..self }
    }

    /// Nothing more belongs to it.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The connection was closed by the sender; true if that is a proper end.
    pub fn end_of_stream(&mut self) -> bool {
        let proper = matches!(self.state, State::UntilClose | State::Done);
        if proper {
            self.state = State::Done;
        }
        proper
    }

    /// Takes in bytes that have come. What is behind the end of the body is not touched.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, BadBody> {
        let mut scan = Scan { forward: 0, skip: 0 };
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            let passed_on = self.passes_on(bytes[at]);
            if passed_on && scan.skip > 0 {
                break;
            }
            let taken = self.step(&bytes[at..])?;
            at += taken;
            if passed_on {
                scan.forward += taken;
            } else {
                scan.skip += taken;
            }
        }
        Ok(scan)
    }

    /// Whether the next step's bytes, of which this is the first, are passed on.
    fn passes_on(&self, byte: u8) -> bool {
        match self.state {
            State::Length(_) | State::UntilClose | State::Data(_) => true,
            _ if self.bare => false,
            State::Size(..) => byte != b';',
            State::Extension(..) | State::Trailer(_) => byte == b'\r',
            State::TrailerName(_) | State::TrailerValue(_) | State::TrailerLineFeed(_) => false,
            State::SizeLineFeed(_)
            | State::DataReturn
            | State::DataLineFeed
            | State::LastLineFeed
            | State::Done => true,
        }
    }

    /// Consumes at least one byte, all of the same sort.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, BadBody> {
        let byte = bytes[0];
        let mut taken = 1;
        self.state = match self.state {
            State::Length(left) => {
                taken = bulk(left, bytes);
                match left - taken as u64 {
                    0 => State::Done,
                    left => State::Length(left),
                }
            }
            State::UntilClose => {
                taken = bytes.len();
                State::UntilClose
            }
            State::Size(size, digits) => match (char::from(byte).to_digit(16), byte) {
                // 16 digits are 64 bits.
                (Some(digit), _) if digits < 16 => State::Size(size << 4 | u64::from(digit), digits + 1),
                (None, b'\r') if digits > 0 => State::SizeLineFeed(size),
                (None, b';') if digits > 0 => State::Extension(size, 1),
                _ => return Err(BadBody::Framing),
            },
            State::Extension(size, length) => match byte {
                b'\r' => State::SizeLineFeed(size),
                b'\t' | b' '..=b'~' if length < CHUNK_EXTENSION_BYTES_MAX => {
                    State::Extension(size, length + 1)
                }
                _ => return Err(BadBody::Framing),
            },
            State::SizeLineFeed(size) => {
                expect(byte, b'\n')?;
                self.room = self.room.checked_sub(size).ok_or(BadBody::TooLarge)?;
                if size == 0 { State::Trailer(0) } else { State::Data(size) }
            }
            State::Data(left) => {
                taken = bulk(left, bytes);
                match left - taken as u64 {
                    0 => State::DataReturn,
                    left => State::Data(left),
                }
            }
            State::DataReturn => {
                expect(byte, b'\r')?;
                State::DataLineFeed
            }
            State::DataLineFeed => {
                expect(byte, b'\n')?;
                State::Size(0, 0)
            }
            State::Trailer(length) => match byte {
                b'\r' => State::LastLineFeed,
                byte if byte.is_ascii_alphanumeric() => State::TrailerName(length + 1),
                _ => return Err(BadBody::Framing),
            },
            State::TrailerName(length) => match byte {
                b':' => State::TrailerValue(length + 1),
                byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') => {
                    State::TrailerName(length + 1)
                }
                _ => return Err(BadBody::Framing),
            },
            State::TrailerValue(length) => match byte {
                b'\r' => State::TrailerLineFeed(length + 1),
                b'\t' | b' '..=b'~' | 0x80.. => State::TrailerValue(length + 1),
                _ => return Err(BadBody::Framing),
            },
            State::TrailerLineFeed(length) => {
                expect(byte, b'\n')?;
                State::Trailer(length + 1)
            }
            State::LastLineFeed => {
                expect(byte, b'\n')?;
                State::Done
            }
            State::Done => return Err(BadBody::Framing),
        };
        match self.state {
            State::Trailer(length) | State::TrailerName(length) | State::TrailerValue(length)
                if length > TRAILER_BYTES_MAX =>
            {
                Err(BadBody::TooLarge)
            }
            _ => Ok(taken),
        }
    }
}

fn bulk(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

fn expect(byte: u8, wanted: u8) -> Result<(), BadBody> {
    if byte == wanted { Ok(()) } else { Err(BadBody::Framing) }
}

#[cfg(test)]
mod tests;
