//! A client's connection: one request after another, each read, understood, sent to an instance or
//! answered here, and logged.

mod forward;

mod tunnel;

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::access_log::Line;
use crate::flow::{Output, Side};
use crate::http::head::{self, End, Framing, Method, Refusal};
use crate::http::page::{self, Redirect};
use crate::http::rewrite::Via;
use crate::life::Life;
use crate::limits::{LINGER_BYTES_MAX, LINGER_TIME};
use crate::routes::{Service, Site};
use crate::sticky::{self, Tag};
use crate::worker::Worker;

/// Who is at the other end.
pub(crate) struct Client {
    pub peer: SocketAddr,
    /// The port of ours that it came to.
    pub port: u16,
    /// It came over TLS, and named this server.
    pub tls: Option<Option<String>>,
    /// It is to come over TLS.
    pub redirect: bool,
}

/// Serves a connection to its end.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    worker: &Worker,
    life: &Life,
    io: S,
    client: Client,
) {
    let mut connection = Connection {
        worker,
        life,
        via: Via::new(client.peer, client.port, client.tls.is_some()),
        peer: client.peer.ip().to_canonical().to_string(),
        side: Side::new(io, Output::default(), false),
        request: head::Request::default(),
        response: head::Response::default(),
        to_app: Output::default(),
        host: String::new(),
        known: None,
        cookie: Vec::new(),
        entry: Entry::default(),
        progress: forward::Progress::default(),
        client,
    };
    loop {
        match connection.serve_one().await {
            Next::Request => {}
            Next::Linger => return connection.linger().await,
            Next::Close => {
                connection.shut_down().await;
                return;
            }
            Next::Abort => return,
        }
    }
}

/// What becomes of the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another request.
    Request,
    /// All has been said, by both sides.
    Close,
    /// We have said all, but the client may still be sending.
    Linger,
    /// Cut off, so that the client can tell that something is missing.
    Abort,
}

struct Connection<'a, S> {
    worker: &'a Worker,
    life: &'a Life,
    client: Client,
    via: Via,
    peer: String,
    side: Side<S>,
    request: head::Request,
    response: head::Response,
    /// The request's head as the app gets it.
    to_app: Output,
    /// The host of this request: lower case, no port.
    host: String,
    /// The cookie's value by which the request goes to the instance that the client had before.
    known: Option<Tag>,
    /// The line that sets this cookie anew, or nothing.
    cookie: Vec<u8>,
    entry: Entry,
    progress: forward::Progress,
}

/// What the log will say about the request at hand.
#[derive(Default)]
struct Entry {
    /// Method, then target.
    text: Vec<u8>,
    method_end: usize,
    target_prefix: &'static str,
    request_id: [u8; 32],
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    service: Option<Rc<Service>>,
    instance: String,
    end: &'static str,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn serve_one(&mut self) -> Next {
        let head_len = match self.read_head().await {
            Ok(Some(length)) => length,
            Ok(None) => return Next::Close,
            Err(refusal) => {
                self.begin();
                let started = self.worker.now();
                let next = self.refuse(refusal).await;
                self.log(started);
                return next;
            }
        };
        let started = self.worker.now();
        self.begin();
        let next = match self.understand(head_len) {
            Ok(site) => {
                self.entry.service = Some(Rc::clone(&site.service));
                self.worker.earn_retry();
                self.forward(site).await
            }
            Err(Answer::Refusal(refusal)) => self.refuse(refusal).await,
            Err(Answer::Page(status, why)) => self.answer(status, why).await,
            Err(Answer::Redirect { status, port }) => self.redirect(head_len, status, port).await,
        };
        self.log(started);
        next
    }

    fn begin(&mut self) {
        self.host.clear();
        self.known = None;
        self.cookie.clear();
        self.entry.begin();
    }

    /// Waits for a request's head; `None` if none comes.
    async fn read_head(&mut self) -> Result<Option<usize>, Refusal> {
        let limits = &self.worker.limits;
        let mut from = 0;
        let mut begun = false;
        let mut skipped_empty_line = false;
        self.life.extend(self.worker.now_ms(), limits.idle_time);
        self.life.set_idle(true);
        let result = loop {
            // Some clients end a body with one line end too many (RFC 9112 section 2.2).
            if !skipped_empty_line && self.side.input.filled().starts_with(b"\r\n") {
                self.side.input.consume(2);
                skipped_empty_line = true;
                from = 0;
            }
            match head::find_end(self.side.input.filled(), from) {
                Ok(End::At(length)) => break Ok(Some(length)),
                Ok(End::From(position)) => from = position,
                Err(refusal) => break Err(refusal),
            }
            if !begun && !self.side.input.is_empty() {
                begun = true;
                self.life.set_idle(false);
                self.life.extend(self.worker.now_ms(), limits.head_time);
            }
            let (side, worker) = (&mut self.side, self.worker);
            let filled = self.life.until(|cx| match side.poll_fill(cx, &worker.buffers) {
                // What has arrived before the router stops is still served.
                Poll::Pending if !begun && worker.stopping.get() => Poll::Ready(Ok(0)),
                filled => filled,
            });
            match filled.await {
                Ok(Ok(0) | Err(_)) => break Ok(None),
                Ok(Ok(_)) => {}
                Err(_expired) if !begun => break Ok(None),
                Err(_expired) => {
                    break Err(Refusal { status: 408, why: "the header did not arrive in time" });
                }
            }
        };
        self.life.set_idle(false);
        result
    }

    /// From bytes to a site, or to what is to be answered instead. Afterwards the head is consumed,
    /// and its new version lies in `to_app`.
    fn understand(&mut self, head_len: usize) -> Result<Rc<Site>, Answer> {
        let bytes = &self.side.input.filled()[..head_len];
        self.request.parse(bytes).map_err(Answer::Refusal)?;
        let request = &self.request;
        let entry = &mut self.entry;
        entry.text.extend_from_slice(&bytes[request.method_text.clone()]);
        entry.method_end = entry.text.len();
        entry.text.extend_from_slice(&bytes[request.target.clone()]);
        entry.target_prefix = request.target_prefix;

        let bad_host = Answer::Refusal(Refusal { status: 400, why: "the Host header is not a host name" });
        let host = head::host_name(&bytes[request.host.clone()]).ok_or(bad_host)?;
        self.host.extend(host.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        if let Some(Some(named)) = &self.client.tls
            && !named.trim_end_matches('.').eq_ignore_ascii_case(&self.host)
        {
            // The certificate was checked for another name (N60).
            return Err(Answer::Refusal(Refusal {
                status: 421,
                why: "this connection was made for another host",
            }));
        }
        if matches!(request.framing, Framing::Length(length) if length > self.worker.limits.body_bytes_max) {
            return Err(Answer::Refusal(Refusal {
                status: 413,
                why: "the request is larger than is allowed here",
            }));
        }
        let Some(site) = self.worker.routes.borrow().find(&self.host, entry.path()) else {
            self.side.input.consume(head_len);
            return Err(Answer::Page(404, "There is nothing here by this name."));
        };
        if self.client.redirect {
            return Err(Answer::Redirect { status: 308, port: None });
        }
        if let (true, None, Some(port)) = (site.to_https, &self.client.tls, self.worker.tls_port) {
            let status = match &bytes[request.method_text.clone()] {
                b"GET" | b"HEAD" => 301,
                _ => 308,
            };
            return Err(Answer::Redirect { status, port: Some(port).filter(|port| *port != 443) });
        }
        self.known = site.known(sticky::tags(bytes, &request.fields), self.worker.now_ms());
        entry.request_id = self.worker.request_id();
        self.to_app.clear();
        crate::http::rewrite::request(&mut self.to_app.bytes, bytes, request, &self.via, &entry.request_id);
        self.side.input.consume(head_len);
        Ok(site)
    }

    /// Answers what is not understood. Whatever comes behind it is not looked at (N54).
    async fn refuse(&mut self, refusal: Refusal) -> Next {
        self.entry.end = "refused";
        self.write_page(refusal.status, refusal.why, false).await;
        Next::Linger
    }

    /// Answers in place of an app.
    async fn answer(&mut self, status: u16, why: &'static str) -> Next {
        self.entry.end = "router";
        // A body that nobody has read would be taken for the next request.
        let keep_alive =
            self.request.keep_alive && self.request.framing == Framing::Empty && !self.worker.stopping.get();
        let written = self.write_page(status, why, keep_alive).await;
        if written && keep_alive { Next::Request } else { Next::Linger }
    }

    async fn redirect(&mut self, head_len: usize, status: u16, port: Option<u16>) -> Next {
        self.entry.end = "redirect";
        self.entry.status = status;
        let keep_alive = self.request.keep_alive && self.request.framing == Framing::Empty;
        let bytes = &self.side.input.filled()[..head_len];
        let to = Redirect {
            status,
            host: &self.host,
            port,
            prefix: self.request.target_prefix,
            target: &bytes[self.request.target.clone()],
        };
        page::write_redirect(&mut self.side.output.bytes, &to, keep_alive);
        self.side.input.consume(head_len);
        let written = self.write_output().await;
        if written && keep_alive { Next::Request } else { Next::Linger }
    }

    async fn write_page(&mut self, status: u16, why: &str, keep_alive: bool) -> bool {
        self.entry.status = status;
        let head_only = self.entry.method_end > 0 && self.request.method == Method::Head;
        page::write(&mut self.side.output.bytes, status, why, head_only, keep_alive);
        self.write_output().await
    }

    /// Writes what is in the output; false if the client does not take it.
    async fn write_output(&mut self) -> bool {
        self.life.extend(self.worker.now_ms(), self.worker.limits.idle_time);
        let side = &mut self.side;
        let written = self.life.until(|cx| side.poll_write_output(cx)).await;
        self.side.output.clear();
        matches!(written, Ok(Ok(())))
    }

    /// Closes so that the client gets to see the answer: a socket that is closed with unread bytes
    /// sends a reset, which overtakes what was written.
    async fn linger(&mut self) {
        if !self.shut_down().await {
            return;
        }
        let mut left = LINGER_BYTES_MAX;
        loop {
            self.side.input.consume(self.side.input.filled().len());
            let (side, pool) = (&mut self.side, &self.worker.buffers);
            match self.life.until(|cx| side.poll_fill(cx, pool)).await {
                Ok(Ok(count)) if count > 0 && count <= left => left -= count,
                _ => return,
            }
        }
    }

    /// Tells the client that nothing more will come, which over TLS may take a moment.
    async fn shut_down(&mut self) -> bool {
        self.life.extend(self.worker.now_ms(), LINGER_TIME);
        let io = &mut self.side.io;
        matches!(self.life.until(|cx| Pin::new(&mut *io).poll_shutdown(cx)).await, Ok(Ok(())))
    }

    /// Counts and logs the request that `entry` describes.
    fn log(&mut self, started: Instant) {
        let entry = &self.entry;
        let now = self.worker.now();
        let took = now.duration_since(started);
        if let Some(service) = &entry.service {
            service.counters.count(entry.status, entry.bytes_in, entry.bytes_out, took);
        }
        let Some(log) = &self.worker.log else { return };
        let (method, target) = entry.text.split_at(entry.method_end);
        log.borrow_mut().write(
            now,
            &Line {
                peer: &self.peer,
                method,
                host: self.host.as_bytes(),
                target_prefix: entry.target_prefix,
                target,
                status: entry.status,
                bytes_in: entry.bytes_in,
                bytes_out: entry.bytes_out,
                took,
                service: entry.service.as_ref().map_or("-", |service| &service.name),
                instance: &entry.instance,
                request_id: if entry.service.is_some() { &entry.request_id } else { b"" },
                end: entry.end,
            },
        );
    }
}

/// What is answered when no instance is asked.
enum Answer {
    /// The request is not understood; the connection is closed.
    Refusal(Refusal),
    /// It is understood, but leads nowhere.
    Page(u16, &'static str),
    /// It is to come over TLS.
    Redirect { status: u16, port: Option<u16> },
}

impl Entry {
    /// The request's path as it was sent, without the query.
    fn path(&self) -> &[u8] {
        let target = &self.text[self.method_end..];
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        if path.is_empty() { b"/" } else { path }
    }

    fn begin(&mut self) {
        self.text.clear();
        self.instance.clear();
        self.service = None;
        self.method_end = 0;
        self.target_prefix = "";
        self.bytes_in = 0;
        self.bytes_out = 0;
        self.status = 0;
        self.end = "ok";
    }
}
