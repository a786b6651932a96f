//! One request and its answer: choose an instance, send, bring the answer back, and decide what to do
//! when that fails.
//!
//! Both directions move at the same time: an app may answer while the request's body is still coming
//! (an echo, a refusal), so each step of the task first moves the body up, then the answer down.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Connection, Next};
use crate::flow::{Fault, Flow, Side};
use crate::http::body::{BadBody, Body};
use crate::http::head::{self, End, Framing, Method, Refusal};
use crate::http::rewrite::{self, After};
use crate::life::Expired;
use crate::limits::{
    CLIENT_PROGRESS_BYTES_MIN, INTERIM_RESPONSES_MAX, POOL_AGE_MAX, POOL_AGE_MAX_UNSAFE, TRIES_MAX,
};
use crate::routes::{Site, Upstream};

/// How an attempt with one instance ended.
enum Attempt {
    /// The client has an answer, or does not want one any more.
    Over(Next),
    /// The client has been told nothing yet.
    Failed(Failure),
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    status: u16,
    why: &'static str,
    /// For the log.
    end: &'static str,
    again: Again,
}

/// Whether a failed request may be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Never.
    No,
    /// To another instance, as long as the retry budget lasts.
    Elsewhere,
    /// A kept connection had been closed by the app meanwhile, or the instance has left the table:
    /// nobody's fault, so this costs no retry.
    Free,
}

/// What the wait for an answer's head ended with.
enum Event {
    Head(usize),
    ClientGone,
    BadBody(BadBody),
    AppClosed,
    Garbage(&'static str),
}

const DOWN: Failure = Failure {
    status: 503,
    why: "No instance of this app is running at the moment.",
    end: "down",
    again: Again::No,
};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Sends the request whose head lies in `to_app` to an instance of the site.
    pub(super) async fn forward(&mut self, site: Rc<Site>) -> Next {
        let mut site = site;
        let mut tried = Vec::new();
        let mut last = DOWN;
        let mut stale_left = 1;
        // The one that closed a kept connection is asked once more, on a new one.
        let mut same = None;
        loop {
            let now_ms = self.worker.now_ms();
            let fresh = same.is_some();
            let known = if tried.is_empty() { self.known } else { None };
            let chosen = same.take().or_else(|| site.named(&known?, now_ms));
            let Some(upstream) = chosen.or_else(|| site.pick(&tried, now_ms)) else {
                return self.answer_failure(last).await;
            };
            self.cookie.clear();
            site.write_cookie(&mut self.cookie, &upstream, self.known, self.client.tls.is_some());
            let under_way = upstream.begin();
            self.entry.instance.clear();
            self.entry.instance.push_str(upstream.endpoint.instance.as_str());
            let attempt = match self.connect(&upstream, fresh).await {
                Ok((stream, kept)) => self.attempt(&upstream, stream, kept).await,
                Err(failure) => Attempt::Failed(failure),
            };
            drop(under_way);
            last = match attempt {
                Attempt::Over(next) => return next,
                Attempt::Failed(failure) => failure,
            };
            let may_go_on = match last.again {
                Again::No => false,
                Again::Free if !upstream.is_retired() && stale_left > 0 => {
                    stale_left -= 1;
                    same = Some(Rc::clone(&upstream));
                    true
                }
                Again::Free => tried.len() + 1 < TRIES_MAX,
                Again::Elsewhere => tried.len() + 1 < TRIES_MAX && self.worker.may_retry(),
            };
            if !may_go_on {
                return self.answer_failure(last).await;
            }
            if same.is_none() {
                tried.push(upstream);
            }
            // The table may have changed meanwhile, and the request has not.
            if let Some(current) = self.worker.routes.borrow().find(&self.host, self.entry.path()) {
                site = current;
            }
            self.to_app.rewind();
        }
    }

    async fn answer_failure(&mut self, failure: Failure) -> Next {
        let next = self.answer(failure.status, failure.why).await;
        self.entry.end = failure.end;
        next
    }

    /// A connection to the instance, and whether it was in use before.
    async fn connect(&self, upstream: &Rc<Upstream>, fresh: bool) -> Result<(TcpStream, bool), Failure> {
        let age_max = if self.may_repeat() { POOL_AGE_MAX } else { POOL_AGE_MAX_UNSAFE };
        let kept =
            if fresh { None } else { upstream.pooled(self.worker.now_ms(), age_max.as_millis() as u64) };
        if let Some(stream) = kept {
            return Ok((stream, true));
        }
        let failure = |status, why, end| Failure { status, why, end, again: Again::Elsewhere };
        let connected =
            tokio::time::timeout(self.worker.limits.connect_time, TcpStream::connect(upstream.address)).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => {
                upstream.rest(self.worker.now_ms());
                return Err(failure(502, "The app refused the connection.", "app_refused"));
            }
            Err(_) => {
                upstream.rest(self.worker.now_ms());
                return Err(failure(
                    504,
                    "The app did not take the connection in time.",
                    "app_connect_timeout",
                ));
            }
        };
        // While we waited the instance may have gone and its address been given to another one.
        if upstream.is_retired() {
            return Err(Failure { again: Again::Free, ..failure(503, DOWN.why, "moved") });
        }
        // Fails only on a connection that is gone already; reading from it will tell.
        let _ = stream.set_nodelay(true);
        Ok((stream, false))
    }

    /// The method may be repeated, and there is no body that would have to be kept for it.
    fn may_repeat(&self) -> bool {
        self.request.method != Method::Other && self.request.framing == Framing::Empty
    }

    /// Sends the request and brings the answer back.
    async fn attempt(&mut self, upstream: &Rc<Upstream>, stream: TcpStream, kept: bool) -> Attempt {
        let mut app = Side::new(stream, std::mem::take(&mut self.to_app), true);
        let mut upload = Upload {
            flow: Flow::new(Body::new(self.request.framing, self.worker.limits.body_bytes_max)),
            abandoned: false,
        };
        let awaited = self.await_answer(&mut app, &mut upload, kept).await;
        self.entry.bytes_in = upload.flow.moved;
        let mut whole = false;
        let attempt = match awaited {
            Ok(head_len) if self.response.status == 101 => {
                Attempt::Over(self.tunnel(&mut app, head_len).await)
            }
            Ok(head_len) => {
                let next;
                (whole, next) = self.download(&mut app, &mut upload, head_len).await;
                Attempt::Over(next)
            }
            Err(Lost::Client) => {
                // nginx's number for it; the client does not see it.
                self.entry.status = 499;
                self.entry.end = "client_gone";
                Attempt::Over(Next::Abort)
            }
            Err(Lost::Body(bad)) => {
                let refusal = match bad {
                    BadBody::Framing => Refusal { status: 400, why: "the chunks of the body are not valid" },
                    BadBody::TooLarge => {
                        Refusal { status: 413, why: "the request is larger than is allowed here" }
                    }
                };
                Attempt::Over(self.refuse(refusal).await)
            }
            Err(Lost::App(failure)) => Attempt::Failed(failure),
        };
        self.to_app = std::mem::take(&mut app.output);
        app.input.release(&self.worker.buffers);
        let reusable = whole
            && self.response.keep_alive
            && self.response_framing() != Framing::Close
            && upload.flow.is_done()
            // Bytes behind the answer belong to nobody (N62).
            && app.input.is_empty();
        if reusable {
            upstream.give_back(app.io, self.worker.now_ms());
        }
        attempt
    }

    /// Sends the request until the answer's head is there, which is parsed and still in the input.
    async fn await_answer(
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

    /// Brings the answer to the client, while the rest of the request may still be coming. Also says
    /// whether all of it was brought.
    async fn download(
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

    /// How the body of this answer ends, given the request.
    fn response_framing(&self) -> Framing {
        if self.request.method == Method::Head { Framing::Empty } else { self.response.framing }
    }

    /// Begins a new piece of output, behind what of an interim answer is still to be written.
    pub(super) fn clear_written(&mut self) {
        if self.side.output.is_empty() {
            self.side.output.clear();
        }
    }

    pub(super) fn extend(&mut self, span: Duration) {
        self.progress = Progress::default();
        self.life.extend(self.worker.now_ms(), span);
    }
}

/// The request's body on its way to the app.
struct Upload {
    flow: Flow,
    /// The app does not take it, but may have answered.
    abandoned: bool,
}

impl Upload {
    fn is_over(&self) -> bool {
        self.abandoned || self.flow.is_done()
    }
}

/// Why there is no answer to bring to the client.
enum Lost {
    /// Nobody wants it.
    Client,
    /// The request's body is none.
    Body(BadBody),
    /// The app has none.
    App(Failure),
}

/// Decides when a deadline is extended: at once for a side that waits for the app, and with every
/// so many bytes for one that waits for a client (N58).
#[derive(Default)]
pub(super) struct Progress {
    moved: u64,
}

impl Progress {
    fn note(&mut self, moved: u64, waits_for_client: bool, extend: impl FnOnce()) {
        self.moved += moved;
        let enough = if waits_for_client { CLIENT_PROGRESS_BYTES_MIN } else { 1 };
        if self.moved >= enough {
            self.moved = 0;
            extend();
        }
    }
}
