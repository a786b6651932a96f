//! An answer on its way to the client.

use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Upload;
use crate::connection::{Connection, Next};
use crate::flow::{Fault, Flow, Side};
use crate::http::body::Body;
use crate::http::head::Framing;
use crate::http::rewrite::{self, After};
use crate::life::Expired;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Brings the answer to the client, while the rest of the request may still be coming. Also says
    /// whether all of it was brought.
    pub(super) async fn download(
        &mut self,
        app: &mut Side<TcpStream>,
        upload: &mut Upload,
        head_len: usize,
    ) -> (bool, Next) {
        let framing = self.response_framing();
        let bare = framing == Framing::Chunked && !self.request.http_1_1;
        let mut body = Body::new(framing, u64::MAX);
        if bare {
            body = body.bare();
        }
        // An app that answers while the body is still coming reads on, as a rule. One that was asked
        // first has just said that it will not, and the client may or may not send the body.
        let reads_on = upload.flow.is_done() || !(upload.abandoned || self.request.expects_continue);
        let may_stay = self.request.keep_alive
            && reads_on
            && framing != Framing::Close
            && !bare
            && !self.worker.stopping.get();
        let after = match may_stay {
            true if self.request.http_1_1 => After::KeepAlive,
            true => After::KeepAliveSaid,
            false => After::Close,
        };
        self.clear_written();
        let chunked = self.response.framing == Framing::Chunked && !bare;
        let bytes = &app.input.filled()[..head_len];
        rewrite::response(&mut self.side.output.bytes, bytes, &self.response, chunked, after);
        rewrite::add_lines(&mut self.side.output.bytes, &self.cookie);
        app.input.consume(head_len);
        self.entry.status = self.response.status;

        let mut flow = Flow::new(body);
        self.extend(self.worker.limits.idle_time);
        let (side, life, worker) = (&mut self.side, self.life, self.worker);
        let result = life.until(|cx| {
            let moved = upload.flow.moved + flow.moved;
            if !upload.is_over() {
                match upload.flow.poll(cx, side, app, &worker.buffers) {
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                    Poll::Ready(Err(Fault::To)) => upload.abandoned = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Fault::To)),
                }
            }
            if let Poll::Ready(result) = flow.poll(cx, app, side, &worker.buffers) {
                return Poll::Ready(result);
            }
            let client_is_slow = flow.is_held_up() || !side.output.is_empty();
            self.progress.note(upload.flow.moved + flow.moved - moved, client_is_slow, || {
                life.extend(worker.now_ms(), worker.limits.idle_time);
            });
            if upload.is_over() && side.poll_gone(cx, &worker.buffers).is_ready() {
                return Poll::Ready(Err(Fault::To));
            }
            Poll::Pending
        });
        let result = result.await;
        let nothing_said = !self.side.output.has_begun();
        self.side.output.clear();
        self.entry.bytes_in = upload.flow.moved;
        self.entry.bytes_out = flow.moved;
        let end = match result {
            Ok(Ok(())) if !upload.flow.is_done() => return (false, Next::Linger),
            Ok(Ok(())) if may_stay => return (true, Next::Request),
            Ok(Ok(())) => return (true, Next::Close),
            Ok(Err(Fault::From)) => "app_cut",
            Ok(Err(Fault::Body(_))) => "app_garbage",
            Ok(Err(Fault::To)) => "client_gone",
            Err(Expired) if flow.is_held_up() => "client_timeout",
            Err(Expired) => "app_timeout",
        };
        let next = if nothing_said && end.starts_with("app_") {
            self.answer(502, "The app's answer broke off.").await
        } else {
            // The client must be able to tell that this is not all.
            Next::Abort
        };
        self.entry.end = end;
        (false, next)
    }
}
