//! The bytes on an attach socket: one byte of kind, four of length (big end first), then so many.

use std::collections::VecDeque;

/// Longest payload of a frame; longer input is split by the sender and refused by the receiver.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Input for the program.
    Stdin(Vec<u8>),
    /// There will be no more input.
    StdinEnd,
    /// The terminal has this size now.
    Resize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// Output of the program.
    Stdout(Vec<u8>),
    /// Error output of the program.
    Stderr(Vec<u8>),
    /// The program has ended; an [`crate::spec::ExitRecord`] as JSON.
    Exit(Vec<u8>),
}

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let resize;
        let (kind, payload): (u8, &[u8]) = match self {
            Frame::Stdin(data) => (0, data),
            Frame::Stdout(data) => (1, data),
            Frame::Stderr(data) => (2, data),
            Frame::Resize { columns, rows } => {
                let ([a, b], [c, d]) = (columns.to_be_bytes(), rows.to_be_bytes());
                resize = [a, b, c, d];
                (3, &resize)
            }
            Frame::StdinEnd => (4, &[]),
            Frame::Exit(data) => (5, data),
        };
        let mut bytes = Vec::with_capacity(5 + payload.len());
        bytes.push(kind);
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// Bytes as they arrive → frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: VecDeque<u8>,
}

impl Decoder {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// When the peer does not keep to the format; the connection should be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, &'static str> {
        if self.buffer.len() < 5 {
            return Ok(None);
        }
        let header: Vec<u8> = self.buffer.iter().take(5).copied().collect();
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err("a frame is longer than allowed");
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        let payload: Vec<u8> = self.buffer.drain(..5 + length).skip(5).collect();
        let frame = match (header[0], payload.as_slice()) {
            (0, _) => Frame::Stdin(payload),
            (1, _) => Frame::Stdout(payload),
            (2, _) => Frame::Stderr(payload),
            (3, &[a, b, c, d]) => {
                Frame::Resize { columns: u16::from_be_bytes([a, b]), rows: u16::from_be_bytes([c, d]) }
            }
            (4, []) => Frame::StdinEnd,
            (5, _) => Frame::Exit(payload),
            _ => return Err("a frame of unknown kind"),
        };
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests;
