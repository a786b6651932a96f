//! The answers that the router gives itself: short plain text, for people and for programs.

/// Seconds after which a client may try again when an app is down: about the time that a release or
/// a restart needs.
const RETRY_AFTER_SECS: u32 = 5;

/// Writes a whole response. `why` is one sentence; nothing of the request is repeated in it.
pub fn write(out: &mut Vec<u8>, status: u16, why: &str, head_only: bool, keep_alive: bool) {
    let reason = reason(status);
    let body = format!("{status} {reason}\n{why}\n");
    let retry = if status == 503 { format!("Retry-After: {RETRY_AFTER_SECS}\r\n") } else { String::new() };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{retry}Connection: {connection}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    if !head_only {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Where the same address is over TLS.
#[derive(Debug, Clone, Copy)]
pub struct Redirect<'a> {
    /// 301 or 308.
    pub status: u16,
    /// A host name that has a route, without port.
    pub host: &'a str,
    /// When it is not the usual one.
    pub port: Option<u16>,
    /// Written before `target`.
    pub prefix: &'a str,
    /// Path and query, as in [`super::head::Request`].
    pub target: &'a [u8],
}

/// Writes a redirect to the same address over TLS.
pub fn write_redirect(out: &mut Vec<u8>, to: &Redirect<'_>, keep_alive: bool) {
    let Redirect { status, host, port, prefix, target } = *to;
    let reason = reason(status);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let head =
        format!("HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\nLocation: https://{host}{port}{prefix}");
    out.extend_from_slice(head.as_bytes());
    // `OPTIONS *` asks about the server, which has no path (RFC 9112 section 3.2.4).
    out.extend_from_slice(if target == b"*" { b"" } else { target });
    out.extend_from_slice(if keep_alive {
        b"\r\nConnection: keep-alive\r\n\r\n"
    } else {
        b"\r\nConnection: close\r\n\r\n"
    });
}

fn reason(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}
