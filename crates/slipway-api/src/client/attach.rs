//! The attach protocol: after `101 Switching Protocols`, frames of one kind byte, four bytes of
//! length (big endian) and the payload, both ways. Used by client and server alike.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// One frame's payload; a terminal writes less, a pipe is cut into several.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// What passes over an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Input one way, output the other.
    Data(Vec<u8>),
    /// The program's standard error, when it has no terminal.
    ErrorData(Vec<u8>),
    /// The client's input has ended.
    Eof,
    /// The client's window has this size.
    Resize {
        /// Width in characters.
        columns: u16,
        /// Height in lines.
        rows: u16,
    },
    /// The program has ended: its status for the shell, and a sentence when there is more to say.
    Exit {
        /// 0 to 255; 128 + signal for a signal.
        status: u8,
        /// How it ended, unless it just exited.
        reason: String,
    },
}

/// An open attachment.
pub struct Attachment {
    /// Frames from the other side.
    pub receive: Receiver,
    /// Frames to the other side.
    pub send: Sender,
}

/// The half that reads.
pub struct Receiver(ReadHalf<Box<dyn Duplex>>);
/// The half that writes.
pub struct Sender(WriteHalf<Box<dyn Duplex>>);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Attachment {
    /// Speaks frames over an upgraded connection.
    pub fn new(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (read, write) = tokio::io::split(Box::new(io) as Box<dyn Duplex>);
        Self { receive: Receiver(read), send: Sender(write) }
    }
}

impl Receiver {
    /// The next frame; `None` when the other side has gone. Not cancel-safe.
    ///
    /// # Errors
    /// A broken connection, or a frame that breaks the rules.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0u8; 5];
        match self.0.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        };
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::other("a frame is longer than allowed"));
        }
        let mut payload = vec![0u8; length];
        self.0.read_exact(&mut payload).await?;
        let frame = match (head[0], payload.as_slice()) {
            (0, _) => Frame::Data(payload),
            (1, _) => Frame::ErrorData(payload),
            (2, []) => Frame::Eof,
            (3, [c1, c0, r1, r0]) => Frame::Resize {
                columns: u16::from_be_bytes([*c1, *c0]),
                rows: u16::from_be_bytes([*r1, *r0]),
            },
            (4, [status, reason @ ..]) => {
                Frame::Exit { status: *status, reason: String::from_utf8_lossy(reason).into_owned() }
            }
            _ => return Err(io::Error::other("a frame of an unknown kind")),
        };
        Ok(Some(frame))
    }
}

impl Sender {
    /// Sends a frame; long data is cut into several.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        match frame {
            Frame::Data(data) => self.pieces(0, data).await?,
            Frame::ErrorData(data) => self.pieces(1, data).await?,
            Frame::Eof => self.piece(2, &[]).await?,
            Frame::Resize { columns, rows } => {
                let [c1, c0] = columns.to_be_bytes();
                let [r1, r0] = rows.to_be_bytes();
                self.piece(3, &[c1, c0, r1, r0]).await?;
            }
            Frame::Exit { status, reason } => {
                let mut payload = vec![*status];
                payload.extend_from_slice(&reason.as_bytes()[..reason.len().min(4096)]);
                self.piece(4, &payload).await?;
            }
        }
        self.0.flush().await
    }

    async fn pieces(&mut self, kind: u8, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(FRAME_BYTES_MAX) {
            self.piece(kind, piece).await?;
        }
        Ok(())
    }

    async fn piece(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(5 + payload.len());
        bytes.push(kind);
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(payload);
        self.0.write_all(&bytes).await
    }
}
