//! What follows a `101 Switching Protocols`: bytes both ways, WebSocket as a rule. We come here only when
//! the client has asked for it and the app has agreed in so many words (N61).

use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Connection, Next};
use crate::flow::{Flow, Side};
use crate::http::body::Body;
use crate::http::head::Framing;
use crate::http::rewrite::{self, After};
use crate::life::Expired;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Lets both sides talk in a protocol that is not ours, until both have closed.
    pub(super) async fn tunnel(&mut self, app: &mut Side<TcpStream>, head_len: usize) -> Next {
        self.clear_written();
        let bytes = &app.input.filled()[..head_len];
        rewrite::response(&mut self.side.output.bytes, bytes, &self.response, false, After::Tunnel);
        rewrite::add_lines(&mut self.side.output.bytes, &self.cookie);
        app.input.consume(head_len);
        app.output.clear();
        self.entry.status = 101;

        let mut up = Flow::new(Body::new(Framing::Close, u64::MAX));
        let mut down = Flow::new(Body::new(Framing::Close, u64::MAX));
        let (mut up_closed, mut down_closed) = (false, false);
        self.extend(self.worker.limits.tunnel_idle_time);
        let (side, life, worker) = (&mut self.side, self.life, self.worker);
        let result = life.until(|cx| {
            let moved = up.moved + down.moved;
            if !up.is_done()
                && let Poll::Ready(Err(fault)) = up.poll(cx, side, app, &worker.buffers)
            {
                return Poll::Ready(Err(fault));
            }
            if !down.is_done()
                && let Poll::Ready(Err(fault)) = down.poll(cx, app, side, &worker.buffers)
            {
                return Poll::Ready(Err(fault));
            }
            up_closed |= up.is_done() && Pin::new(&mut app.io).poll_shutdown(cx).is_ready();
            down_closed |= down.is_done() && Pin::new(&mut side.io).poll_shutdown(cx).is_ready();
            if up_closed && down_closed {
                return Poll::Ready(Ok(()));
            }
            if up.moved + down.moved > moved {
                life.extend(worker.now_ms(), worker.limits.tunnel_idle_time);
            }
            Poll::Pending
        });
        let result = result.await;
        self.side.output.clear();
        self.entry.bytes_in = up.moved;
        self.entry.bytes_out = down.moved;
        self.entry.end = match result {
            Ok(Ok(())) => "ok",
            Ok(Err(_)) => "cut",
            Err(Expired) => "idle",
        };
        Next::Abort
    }
}
