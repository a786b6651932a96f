//! Bytes on their way from one side of a request to the other, with what is waiting bounded: a
//! side is read only when everything read before has been written.
//!
//! A buffer is held only while there are bytes in it. A read that finds nothing gives its buffer
//! back to the worker's pool at once, so ten thousand idle connections own no buffers at all, and a
//! busy worker goes on using the few that are still in the processor's cache.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::body::{BadBody, Body};

/// Holds nearly every request head whole.
const SMALL: usize = 4 << 10;
/// Holds the largest head, and moves a large body with few system calls.
const LARGE: usize = 64 << 10;
/// Buffers that a pool keeps of each size.
const POOL_MAX: usize = 64;
/// A piece of a body up to this size is copied behind the head and goes with it in one write.
const JOIN_MAX: usize = 2 << 10;
/// What a head's memory may stay at between requests.
const OUTPUT_KEPT_MAX: usize = 4 << 10;

/// Buffers of a worker that nobody uses.
#[derive(Default)]
pub(crate) struct BufferPool {
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
}

impl BufferPool {
    fn take(&self, size: usize) -> Box<[u8]> {
        let pool = if size == SMALL { &self.small } else { &self.large };
        pool.borrow_mut().pop().unwrap_or_else(|| vec![0; size].into_boxed_slice())
    }

    fn give_back(&self, bytes: Box<[u8]>) {
        let pool = match bytes.len() {
            SMALL => &self.small,
            LARGE => &self.large,
            _ => return,
        };
        let mut pool = pool.borrow_mut();
        if pool.len() < POOL_MAX {
            pool.push(bytes);
        }
    }
}

/// What has been read and not yet been used. Without bytes it has no memory either.
#[derive(Default)]
pub(crate) struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Makes room behind the bytes; false if there can be none.
    fn make_room(&mut self, pool: &BufferPool, eager: bool) -> bool {
        if self.bytes.is_empty() {
            self.bytes = pool.take(if eager { LARGE } else { SMALL });
        }
        if self.end < self.bytes.len() {
            return true;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
        } else if self.bytes.len() < LARGE {
            let mut larger = pool.take(LARGE);
            larger[..self.end].copy_from_slice(&self.bytes[..self.end]);
            pool.give_back(std::mem::replace(&mut self.bytes, larger));
        } else {
            return false;
        }
        self.end -= self.start;
        self.start = 0;
        true
    }

    /// Gives the memory back when there are no bytes in it.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        if self.is_empty() {
            pool.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

/// What is to be written before anything else: heads and pages.
#[derive(Default)]
pub(crate) struct Output {
    pub bytes: Vec<u8>,
    written: usize,
}

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Anything at all has been written since the last [`Output::clear`].
    pub(crate) fn has_begun(&self) -> bool {
        self.written > 0
    }

    /// Forgets what there was.
    pub(crate) fn clear(&mut self) {
        self.written = 0;
        self.bytes.clear();
        if self.bytes.capacity() > OUTPUT_KEPT_MAX {
            self.bytes.shrink_to(OUTPUT_KEPT_MAX);
        }
    }

    /// Writes it all once more, from the start.
    pub(crate) fn rewind(&mut self) {
        self.written = 0;
    }
}

/// One end of a request: the client's connection, or the instance's.
pub(crate) struct Side<S> {
    pub io: S,
    pub input: Input,
    pub output: Output,
    /// The last read filled all the room there was: the next one gets more.
    eager: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Side<S> {
    /// `eager`: large reads from the start.
    pub(crate) fn new(io: S, output: Output, eager: bool) -> Self {
        Self { io, input: Input::default(), output, eager }
    }

    /// Reads once, behind what is there. 0: the other end has closed, or there is no room.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, pool: &BufferPool) -> Poll<io::Result<usize>> {
        if !self.input.make_room(pool, self.eager) {
            return Poll::Ready(Ok(0));
        }
        let room = &mut self.input.bytes[self.input.end..];
        let room_len = room.len();
        let mut read = ReadBuf::new(room);
        let result = Pin::new(&mut self.io).poll_read(cx, &mut read);
        let count = read.filled().len();
        self.input.end += count;
        match result {
            Poll::Pending => {
                self.input.release(pool);
                Poll::Pending
            }
            Poll::Ready(result) => {
                self.eager |= count == room_len;
                Poll::Ready(result.map(|()| count))
            }
        }
    }

    /// Reads ahead what a client sends too early, to notice that it has gone. Ready: it has.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>, pool: &BufferPool) -> Poll<()> {
        while self.input.end < SMALL {
            match ready!(self.poll_fill(cx, pool)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Writes the output.
    pub(crate) fn poll_write_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let count =
                ready!(Pin::new(&mut self.io).poll_write(cx, &self.output.bytes[self.output.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.written += count;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

/// Why a flow has ended before its body did.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The sending side has closed or failed.
    From,
    /// The receiving side has closed or failed.
    To,
    /// The bytes are not a body.
    Body(BadBody),
}

/// One body on its way, behind what the receiving side's output holds.
pub(crate) struct Flow {
    body: Body,
    /// Of the sending side's input: to be written, then to be left out.
    forward: usize,
    skip: usize,
    /// Bytes of the body written, or put behind a head, so far.
    pub moved: u64,
    done: bool,
}

impl Flow {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, forward: 0, skip: 0, moved: 0, done: false }
    }

    /// All is written, output included.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// There is no body.
    pub(crate) fn is_empty(&self) -> bool {
        self.moved == 0 && self.body.is_done()
    }

    /// There is something to write that the receiving side does not take.
    pub(crate) fn is_held_up(&self) -> bool {
        self.forward > 0
    }

    /// Moves what can be moved. Ready once the body has ended and is written.
    pub(crate) fn poll<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side<A>,
        to: &mut Side<B>,
        pool: &BufferPool,
    ) -> Poll<Result<(), Fault>>
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            if self.forward == 0 && !self.body.is_done() && !from.input.is_empty() {
                let scan = self.body.scan(from.input.filled()).map_err(Fault::Body)?;
                (self.forward, self.skip) = (scan.forward, scan.skip);
                self.finish_piece(from);
                continue;
            }
            let nothing_to_write = self.forward == 0 && to.output.is_empty();
            if nothing_to_write && self.body.is_done() {
                ready!(Pin::new(&mut to.io).poll_flush(cx)).map_err(|_| Fault::To)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            if nothing_to_write {
                match from.poll_fill(cx, pool) {
                    Poll::Pending => {
                        // TLS keeps written bytes back until it is told that these are all.
                        if let Poll::Ready(Err(_)) = Pin::new(&mut to.io).poll_flush(cx) {
                            return Poll::Ready(Err(Fault::To));
                        }
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(0)) if self.body.end_of_stream() => {}
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Fault::From)),
                    Poll::Ready(Ok(_)) => {}
                }
                continue;
            }
            if !to.output.is_empty() && self.forward > 0 && self.forward <= JOIN_MAX && !to.output.has_begun()
            {
                to.output.bytes.extend_from_slice(&from.input.filled()[..self.forward]);
                self.take(from, self.forward);
                continue;
            }
            let head = &to.output.bytes[to.output.written..];
            let piece = &from.input.filled()[..self.forward];
            let written = match (head, piece) {
                (head, []) => Pin::new(&mut to.io).poll_write(cx, head),
                ([], piece) => Pin::new(&mut to.io).poll_write(cx, piece),
                (head, piece) => {
                    Pin::new(&mut to.io).poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(piece)])
                }
            };
            let count = match ready!(written) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Fault::To)),
                Ok(count) => count,
            };
            let of_head = count.min(head.len());
            to.output.written += of_head;
            self.take(from, count - of_head);
        }
    }

    fn take<A>(&mut self, from: &mut Side<A>, count: usize) {
        from.input.consume(count);
        self.forward -= count;
        self.moved += count as u64;
        self.finish_piece(from);
    }

    fn finish_piece<A>(&mut self, from: &mut Side<A>) {
        if self.forward == 0 {
            from.input.consume(self.skip);
            self.skip = 0;
        }
    }
}
