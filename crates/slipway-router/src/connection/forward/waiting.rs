//! The wait for an answer: the request goes up, until the head of its answer is there and understood, or
//! it is known that there will be none.

use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Again, Failure, Upload};
use crate::connection::Connection;
use crate::flow::{Fault, Side};
use crate::http::body::BadBody;
use crate::http::head::{self, End};
use crate::http::rewrite::{self, After};
use crate::life::Expired;
use crate::limits::INTERIM_RESPONSES_MAX;

/// Why there is no answer to bring to the client.
pub(super) enum Lost {
    /// Nobody wants it.
    Client,
    /// The request's body is none.
    Body(BadBody),
    /// The app has none.
    App(Failure),
}

/// What the wait for an answer's head ended with.
enum Event {
    Head(usize),
    ClientGone,
    BadBody(BadBody),
    AppClosed,
    Garbage(&'static str),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Sends the request until the answer's head is there, which is parsed and still in the input.
    pub(super) async fn await_answer(
        &mut self,
        app: &mut Side<TcpStream>,
        upload: &mut Upload,
        kept: bool,
    ) -> Result<usize, Lost> {
        let limits = &self.worker.limits;
        let may_repeat = self.may_repeat();
        let mut interim = 0;
        let mut from = 0;
        self.extend(if upload.flow.is_empty() { limits.response_time } else { limits.idle_time });
        loop {
            let (side, life, worker) = (&mut self.side, self.life, self.worker);
            let event = life.until(|cx| {
                if !upload.is_over() {
                    let moved = upload.flow.moved;
                    match upload.flow.poll(cx, side, app, &worker.buffers) {
                        Poll::Ready(Ok(())) => life.extend(worker.now_ms(), limits.response_time),
                        // It may have answered before it closed.
                        Poll::Ready(Err(Fault::To)) => upload.abandoned = true,
                        Poll::Ready(Err(Fault::From)) => return Poll::Ready(Event::ClientGone),
                        Poll::Ready(Err(Fault::Body(bad))) => return Poll::Ready(Event::BadBody(bad)),
                        Poll::Pending => self.progress.note(upload.flow.moved - moved, true, || {
                            life.extend(worker.now_ms(), limits.idle_time);
                        }),
                    }
                }
                if let Poll::Ready(Err(_)) = side.poll_write_output(cx) {
                    return Poll::Ready(Event::ClientGone);
                }
                loop {
                    match head::find_end(app.input.filled(), from) {
                        Ok(End::At(length)) => return Poll::Ready(Event::Head(length)),
                        Ok(End::From(position)) => from = position,
                        Err(refusal) => return Poll::Ready(Event::Garbage(refusal.why)),
                    }
                    match app.poll_fill(cx, &worker.buffers) {
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Event::AppClosed),
                        Poll::Ready(Ok(_)) => {}
                        Poll::Pending => break,
                    }
                }
                if upload.is_over() && side.poll_gone(cx, &worker.buffers).is_ready() {
                    return Poll::Ready(Event::ClientGone);
                }
                Poll::Pending
            });
            let event = event.await;

            let nothing_sent = upload.flow.moved == 0 && !app.output.has_begun();
            let again = match () {
                () if nothing_sent => Again::Elsewhere,
                () if !may_repeat || interim > 0 => Again::No,
                () if kept && app.input.is_empty() => Again::Free,
                () => Again::Elsewhere,
            };
            let lost = |status, why, end, again| Err(Lost::App(Failure { status, why, end, again }));
            let head_len = match event {
                Ok(Event::Head(length)) => length,
                Ok(Event::ClientGone) => return Err(Lost::Client),
                Ok(Event::BadBody(bad)) => return Err(Lost::Body(bad)),
                Ok(Event::AppClosed) => {
                    return lost(
                        502,
                        "The app closed the connection without an answer.",
                        "app_closed",
                        again,
                    );
                }
                Ok(Event::Garbage(why)) => {
                    tracing::debug!(instance = %self.entry.instance, why, "app sent no HTTP");
                    return lost(502, "The app's answer is not HTTP.", "app_garbage", again);
                }
                Err(Expired) if upload.is_over() || upload.flow.is_held_up() => {
                    return lost(504, "The app did not answer in time.", "app_timeout", Again::No);
                }
                Err(Expired) => {
                    return lost(408, "The body did not arrive in time.", "client_timeout", Again::No);
                }
            };
            if let Err(refusal) = self.response.parse(&app.input.filled()[..head_len]) {
                tracing::debug!(instance = %self.entry.instance, why = refusal.why, "app sent no HTTP");
                return lost(502, "The app's answer is not HTTP.", "app_garbage", again);
            }
            match self.response.status {
                101 if self.request.upgrade && self.response.upgrade => return Ok(head_len),
                101 => {
                    return lost(
                        502,
                        "The app switched protocols without being asked.",
                        "app_garbage",
                        Again::No,
                    );
                }
                100..=199 if interim == INTERIM_RESPONSES_MAX => {
                    return lost(502, "The app did not come to an answer.", "app_garbage", Again::No);
                }
                100..=199 => {
                    interim += 1;
                    if self.request.http_1_1 {
                        self.clear_written();
                        let bytes = &app.input.filled()[..head_len];
                        rewrite::response(
                            &mut self.side.output.bytes,
                            bytes,
                            &self.response,
                            false,
                            After::KeepAlive,
                        );
                    }
                    app.input.consume(head_len);
                    from = 0;
                }
                _ => return Ok(head_len),
            }
        }
    }
}
