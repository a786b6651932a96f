//! Which texts can be a host name that a tenant claims.

use std::net::Ipv4Addr;

use crate::error::Error;

/// Checks a domain and puts it into its one form: lower case, no dot at the end.
///
/// # Errors
/// [`Error::Invalid`] when it is not a host name of at least two labels, is an address, or lies
/// under `base`, where names are given by the platform.
pub(crate) fn parse(text: &str, base: &str) -> Result<String, Error> {
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let invalid = |why: &str| {
        let shown: String = text.chars().take(100).collect();
        Err(Error::invalid(format!("{shown:?} cannot be a domain: {why}")))
    };
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // 253 less `_slipway-challenge.`, which must fit in front of it.
    if host.len() > 253 - 19 {
        return invalid("it is too long");
    }
    if !host.split('.').all(label_ok) {
        return invalid("write a host name such as shop.example.com, an international one in its xn-- form");
    }
    if !host.contains('.') {
        return invalid("it has only one label");
    }
    let last_label_is_number =
        host.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if last_label_is_number || host.parse::<Ipv4Addr>().is_ok() {
        return invalid("it is an address");
    }
    if host == base || host.strip_suffix(base).is_some_and(|rest| rest.ends_with('.')) {
        return invalid(&format!("names under {base} are given by the platform"));
    }
    Ok(host)
}

#[cfg(test)]
mod tests;
