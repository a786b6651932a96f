//! Whoever is attached to a one-off run: what the program prints goes to them, what they type goes
//! to the program.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::frame::{Decoder, Frame};

/// Attached at once. One is usual; a second may look over a shoulder.
const CLIENTS_MAX: usize = 4;
/// Output that waits for a slow client before the program has to wait too.
const BACKLOG_BYTES_MAX: usize = 256 << 10;
/// A client that takes nothing for this long is dropped, so that it cannot stop a program for ever.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Input that waits for a slow program before we stop reading more.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// The socket and everybody connected to it.
#[derive(Debug)]
pub struct Attachments {
    listener: UnixListener,
    clients: Vec<Client>,
    /// What was printed before the first client came.
    early: VecDeque<u8>,
    anybody_came: bool,
    input: VecDeque<u8>,
    input_ended: bool,
    resize: Option<(u16, u16)>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    decoder: Decoder,
    backlog: VecDeque<u8>,
    progress_at: Instant,
    gone: bool,
}

impl Attachments {
    /// Listens on that path.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn listen(path: &Path) -> std::io::Result<Self> {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            clients: Vec::new(),
            early: VecDeque::new(),
            anybody_came: false,
            input: VecDeque::new(),
            input_ended: false,
            resize: None,
        })
    }

    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub(crate) fn clients(&self) -> &[Client] {
        &self.clients
    }

    pub(crate) fn anybody_came(&self) -> bool {
        self.anybody_came
    }

    /// Takes those who are waiting at the door.
    pub(crate) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() == CLIENTS_MAX || stream.set_nonblocking(true).is_err() {
                continue;
            }
            self.anybody_came = true;
            let backlog = std::mem::take(&mut self.early);
            self.clients.push(Client {
                stream,
                decoder: Decoder::default(),
                backlog,
                progress_at: Instant::now(),
                gone: false,
            });
        }
    }

    /// Queues a frame for everybody; for the first to come, when nobody has.
    pub(crate) fn send(&mut self, frame: &Frame) {
        let bytes = frame.encode();
        if !self.anybody_came && self.early.len() + bytes.len() <= BACKLOG_BYTES_MAX {
            self.early.extend(&bytes);
        }
        for client in &mut self.clients {
            client.backlog.extend(&bytes);
        }
    }

    /// Moves bytes in both directions as far as they go.
    pub(crate) fn exchange(&mut self) {
        for client in &mut self.clients {
            client.write();
            while self.input.len() < INPUT_BYTES_MAX && !client.gone {
                match client.next_frame() {
                    Some(Frame::Stdin(data)) if !self.input_ended => self.input.extend(&data),
                    Some(Frame::StdinEnd) => self.input_ended = true,
                    Some(Frame::Resize { columns, rows }) => self.resize = Some((columns, rows)),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        self.clients.retain(|client| !client.gone);
    }

    /// True when somebody is so far behind that the program should wait.
    pub(crate) fn is_congested(&self) -> bool {
        self.clients.iter().any(|client| client.backlog.len() > BACKLOG_BYTES_MAX)
    }

    pub(crate) fn has_backlog(&self) -> bool {
        self.clients.iter().any(Client::has_backlog)
    }

    pub(crate) fn wants_input(&self) -> bool {
        self.input.len() < INPUT_BYTES_MAX
    }

    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// What is to be typed into the program.
    pub(crate) fn input(&mut self) -> &mut VecDeque<u8> {
        &mut self.input
    }

    pub(crate) fn input_is_over(&self) -> bool {
        self.input_ended && self.input.is_empty()
    }

    pub(crate) fn take_resize(&mut self) -> Option<(u16, u16)> {
        self.resize.take()
    }
}

impl Client {
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    fn write(&mut self) {
        while !self.backlog.is_empty() {
            let (front, _) = self.backlog.as_slices();
            match (&self.stream).write(front) {
                Ok(count) if count > 0 => {
                    self.backlog.drain(..count);
                    self.progress_at = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.gone |= self.progress_at.elapsed() > STALL_MAX;
                    return;
                }
                _ => {
                    self.gone = true;
                    return;
                }
            }
        }
        self.progress_at = Instant::now();
    }

    /// The next whole frame that has arrived, if any.
    fn next_frame(&mut self) -> Option<Frame> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                Err(_) => {
                    self.gone = true;
                    return None;
                }
            }
            let mut bytes = [0; 8192];
            match (&self.stream).read(&mut bytes) {
                Ok(0) => self.gone = true,
                Ok(count) => {
                    self.decoder.push(&bytes[..count]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => self.gone |= error.kind() != ErrorKind::WouldBlock,
            }
            return None;
        }
    }
}
