//! The cookie by which a client goes on with the instance that it had first (MA-80).
//!
//! Its value is a hash of the service and the instance, so that it tells a client neither addresses
//! nor ids, and every router and worker knows it without being told. It proves nothing and need not:
//! whoever makes one up gets an instance of that service, as everybody does.

use sha2::{Digest as _, Sha256};
use slipway_model::id::InstanceId;
use slipway_model::name::ServicePath;

use crate::http::field::Field;
use crate::limits::STICKY_COOKIES_MAX;

const NAME: &[u8] = b"slipway-instance=";

/// The value of the cookie: 64 bits in hexadecimal.
pub(crate) type Tag = [u8; 16];

/// The value that stands for an instance of a service.
pub(crate) fn tag(service: &ServicePath, instance: &InstanceId) -> Tag {
    let hash = Sha256::digest(format!("slipway-instance {service} {instance}"));
    let mut tag = [0; 16];
    for (digits, byte) in tag.chunks_exact_mut(2).zip(hash) {
        digits[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        digits[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    tag
}

/// The values that a request's cookies have, the first [`STICKY_COOKIES_MAX`] of those that could be
/// ours at all. There may be several: one for each path of the host that leads to a sticky service.
pub(crate) fn tags<'a>(bytes: &'a [u8], fields: &'a [Field]) -> impl Iterator<Item = &'a Tag> {
    fields
        .iter()
        .filter(|field| bytes[field.name.clone()].eq_ignore_ascii_case(b"cookie"))
        .flat_map(|field| bytes[field.value.clone()].split(|byte| *byte == b';'))
        .filter_map(|pair| pair.trim_ascii().strip_prefix(NAME)?.try_into().ok())
        .take(STICKY_COOKIES_MAX)
}

/// What stands behind the value for a site below `prefix`: the path is the route's, so that two
/// sticky services on one host do not overwrite each other's cookie.
pub(crate) fn attributes(prefix: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'"' | b'\\');
    let path = if prefix.starts_with('/') && prefix.bytes().all(plain) { prefix } else { "/" };
    format!("; Path={path}; HttpOnly; SameSite=Lax")
}

/// Writes the header line that sets the cookie.
pub(crate) fn write(out: &mut Vec<u8>, tag: &Tag, attributes: &str, tls: bool) {
    out.extend_from_slice(b"Set-Cookie: ");
    out.extend_from_slice(NAME);
    out.extend_from_slice(tag);
    out.extend_from_slice(attributes.as_bytes());
    out.extend_from_slice(if tls { b"; Secure\r\n" } else { b"\r\n" });
}
