//! How far a transaction log is whole.
//!
//! After a header of 16 bytes comes one transaction after the other: the Adler-32 of its bytes (8 bytes),
//! their number (4), the bytes, and a `B`. ZooKeeper makes the file longer in steps, so zeros follow. A
//! server refuses to start from a log with a half transaction, and that is what a copy of a log being
//! written may end with.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};

const HEADER_BYTES: u64 = 16;
const MAGIC: &[u8; 4] = b"ZKLG";

/// How far a log is whole, and what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The end of its last whole transaction, in bytes; 0 if not even the header is there.
    pub whole: u64,
    /// What comes after that.
    pub tail: Tail,
}

/// What comes after the last whole transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing, or room for more.
    Empty,
    /// Part of a transaction, up to the file's end.
    Half,
    /// Something that is not what was written.
    Damaged,
}

pub(super) fn extent(file: &File) -> io::Result<Extent> {
    let mut log = BufReader::with_capacity(256 << 10, file);
    let mut header = [0; HEADER_BYTES as usize];
    match log.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Ok(Extent { whole: 0, tail: Tail::Half });
        }
        read => read?,
    }
    if !header.starts_with(MAGIC) {
        let is_empty = header.iter().all(|byte| *byte == 0);
        return Ok(Extent { whole: 0, tail: if is_empty { Tail::Half } else { Tail::Damaged } });
    }
    let mut whole = HEADER_BYTES;
    loop {
        match transaction(&mut log) {
            Ok(Next::Whole(bytes)) => whole += bytes,
            Ok(Next::Empty) => return Ok(Extent { whole, tail: Tail::Empty }),
            Ok(Next::Damaged) => return Ok(Extent { whole, tail: Tail::Damaged }),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let is_at_end = file.metadata()?.len() == whole;
                return Ok(Extent { whole, tail: if is_at_end { Tail::Empty } else { Tail::Half } });
            }
            Err(error) => return Err(error),
        }
    }
}

enum Next {
    Whole(u64),
    Empty,
    Damaged,
}

fn transaction(log: &mut impl Read) -> io::Result<Next> {
    let mut head = [0; 12];
    log.read_exact(&mut head)?;
    let (sum, length) = head.split_at(8);
    let sum = u64::from_be_bytes(sum.try_into().expect("8 bytes"));
    let length = u32::from_be_bytes(length.try_into().expect("4 bytes"));
    if length == 0 {
        return Ok(if sum == 0 { Next::Empty } else { Next::Damaged });
    }
    let mut adler = Adler::default();
    let mut left = u64::from(length);
    let mut buffer = [0; 8 << 10];
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        log.read_exact(&mut buffer[..size])?;
        adler.update(&buffer[..size]);
        left -= size as u64;
    }
    let mut end = [0];
    log.read_exact(&mut end)?;
    let is_whole = end == *b"B" && u64::from(adler.sum()) == sum;
    Ok(if is_whole { Next::Whole(12 + u64::from(length) + 1) } else { Next::Damaged })
}

/// Adler-32.
struct Adler {
    a: u32,
    b: u32,
}

impl Adler {
    const MODULUS: u32 = 65_521;
    /// As many bytes as can be added before the sums have to be reduced.
    const RUN_BYTES: usize = 5552;

    fn update(&mut self, bytes: &[u8]) {
        for run in bytes.chunks(Self::RUN_BYTES) {
            for byte in run {
                self.a += u32::from(*byte);
                self.b += self.a;
            }
            self.a %= Self::MODULUS;
            self.b %= Self::MODULUS;
        }
    }

    fn sum(&self) -> u32 {
        self.b << 16 | self.a
    }
}

impl Default for Adler {
    fn default() -> Self {
        Self { a: 1, b: 0 }
    }
}
