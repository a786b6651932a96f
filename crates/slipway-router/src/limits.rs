//! Every bound of the router, with the reason for its value (`robustness.md` section 7).

use std::time::Duration;

/// A request's or a response's head, request line included. Apps accept 8 to 64 KiB.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
/// Header fields in one head; the servers behind us stop at 100 as well.
pub const FIELDS_MAX: usize = 100;
/// The request target; nginx and Apache stop at 8 KiB too.
pub const TARGET_BYTES_MAX: usize = 8 << 10;
/// Names that one `Connection` header may list. More is an attempt to strip somebody's headers.
pub const CONNECTION_NAMES_MAX: usize = 16;
/// Extension bytes of one chunk; nobody uses extensions, so a little is plenty.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 256;
/// Trailer bytes of one body. They are read, checked and dropped.
pub const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Interim responses (1xx) before the real one: `100` and a few `103` are legitimate, a stream of
/// them without end is not (N62).
pub const INTERIM_RESPONSES_MAX: usize = 8;

/// Idle connections kept per instance and worker. More than the requests under way that one
/// instance can have a use for.
pub const POOL_PER_INSTANCE_MAX: usize = 128;
/// Endpoints that one request looks at for the least loaded. A window that rotates is as good as
/// all of them, and a thousand instances do not make a request slower.
pub const BALANCE_WINDOW: usize = 32;
/// Cookies of ours that are looked at in one request. A browser sends one for each sticky route that
/// its path is below.
pub const STICKY_COOKIES_MAX: usize = 8;
/// Endpoints that one request may try.
pub const TRIES_MAX: usize = 3;
/// Retries per request in percent: an outage must not be made worse by our repeating (F60).
pub const RETRY_BUDGET_PERCENT: u32 = 10;
/// Retries that may be saved up, so that a single dead instance of a quiet service is not noticed.
pub const RETRY_BUDGET_SAVED_MAX: u32 = 20;
/// An endpoint that refused a connection is passed over for so long, while others do not.
pub const REFUSED_REST: Duration = Duration::from_secs(1);
/// A request that must not be sent twice takes a pooled connection only when it was in use this
/// recently: an older one may be just about to be closed by the app.
pub const POOL_AGE_MAX_UNSAFE: Duration = Duration::from_secs(1);
/// Pooled connections are closed after this long; shorter than the keep-alive time of every
/// common app server that has one above 2 s (node and uvicorn: 5 s).
pub const POOL_AGE_MAX: Duration = Duration::from_secs(4);

/// A client must move this much of a body in each [`Limits::idle_time`], in either direction, or it
/// is cut off: one byte a minute keeps no connection (N58).
pub const CLIENT_PROGRESS_BYTES_MIN: u64 = 1 << 10;
/// After a refusal the rest of what the client was sending is read and dropped, so that it sees the
/// answer and not a reset; up to so many bytes …
pub const LINGER_BYTES_MAX: usize = 256 << 10;
/// … and for so long.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// How often deadlines are looked at; a time-out is late by this much at most.
pub const DEADLINE_TICK: Duration = Duration::from_millis(100);

/// One line of the feed: 10,000 routes with 20 endpoints each fit four times.
pub const FEED_LINE_BYTES_MAX: usize = 64 << 20;
/// One line from a router to the leader: a report on some 10,000 draining instances.
pub const REPORT_LINE_BYTES_MAX: usize = 1 << 20;
/// Table changes on the way to one worker. The feed waits when they are used up.
pub const CHANGES_QUEUED_MAX: usize = 64;
/// Reports that differ only in counts are this far apart at least.
pub const REPORT_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// The table file is written at most this often.
pub const TABLE_FILE_INTERVAL: Duration = Duration::from_secs(1);
/// First and longest wait between two attempts to reach the leader.
pub const RECONNECT_FIRST: Duration = Duration::from_millis(20);
/// See [`RECONNECT_FIRST`]. Short: the socket is on this machine, and a route waits for it.
pub const RECONNECT_LONGEST: Duration = Duration::from_secs(1);

/// Bounds that an operator may want to change.
#[derive(Debug, Clone)]
pub struct Limits {
    /// First byte of a request to the end of its head; also the time for a TLS handshake.
    pub head_time: Duration,
    /// A connection between two requests, and a body that does not move.
    pub idle_time: Duration,
    /// A tunnel (WebSocket) in which nothing moves. Longer than common ping intervals.
    pub tunnel_idle_time: Duration,
    /// Connecting to an instance: same machine or same network, so anything slower is broken.
    pub connect_time: Duration,
    /// End of the request to the head of the response.
    pub response_time: Duration,
    /// Bytes of a request body.
    pub body_bytes_max: u64,
    /// Client connections per worker; further ones wait in the kernel's queue. Each may need a second
    /// file descriptor for its instance, so the process's limit must allow twice that.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            tunnel_idle_time: Duration::from_secs(600),
            connect_time: Duration::from_secs(2),
            response_time: Duration::from_secs(60),
            body_bytes_max: 1 << 30,
            connections_max: 16_384,
        }
    }
}
