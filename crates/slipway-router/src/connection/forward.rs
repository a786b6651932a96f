//! One request and its answer: choose an instance, send, bring the answer back, and decide what to do
//! when that fails.
//!
//! Both directions move at the same time: an app may answer while the request's body is still coming
//! (an echo, a refusal), so each step of the task first moves the body up, then the answer down: until there
//! is an answer in [`waiting`], after that in [`download`].

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Connection, Next};
use crate::flow::{Flow, Side};
use crate::http::body::{BadBody, Body};
use crate::http::head::{Framing, Method, Refusal};
use crate::limits::{CLIENT_PROGRESS_BYTES_MIN, POOL_AGE_MAX, POOL_AGE_MAX_UNSAFE, TRIES_MAX};
use crate::routes::{Site, Upstream};

mod download;

mod waiting;

use waiting::Lost;

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
