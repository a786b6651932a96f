//! A connection that can be ended from outside, whatever it is made of.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Ends by itself when one of two flags is raised, or whoever could raise it is gone.
pub(crate) struct Cut<S> {
    stream: S,
    /// One each, because reading and writing may be waited for by different tasks.
    reading: End,
    writing: End,
}

/// Waits for the end, and then says so as often as it is asked.
struct End(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl End {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(cut) = &mut self.0 {
            match cut.as_mut().poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(()) => self.0 = None,
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl<S> Cut<S> {
    pub(crate) fn new(stream: S, one: watch::Receiver<bool>, all: watch::Receiver<bool>) -> Self {
        let end = || End(Some(Box::pin(either(one.clone(), all.clone()))));
        Self { stream, reading: end(), writing: end() }
    }
}

async fn either(mut one: watch::Receiver<bool>, mut all: watch::Receiver<bool>) {
    tokio::select! {
        _ = one.wait_for(|cut| *cut) => {}
        _ = all.wait_for(|cut| *cut) => {}
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reading.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writing.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writing.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
