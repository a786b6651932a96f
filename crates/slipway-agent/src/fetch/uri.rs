//! URIs: which ones can be fetched, where a redirect leads, and how they are shown.

use http::Uri;

/// Longest that is taken.
const URI_BYTES_MAX: usize = 4096;

/// Something that can be asked for over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: String,
    /// `user:password`, as it is sent (RFC 7617), when the URI has one.
    pub(super) credentials: Option<Vec<u8>>,
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > URI_BYTES_MAX {
            return Err("it is longer than 4096 bytes".into());
        }
        // What follows a '#' is for whoever asks.
        let text = text.split('#').next().unwrap_or_default();
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let is_tls = match scheme.as_deref() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("only http:// and https:// can be fetched".into()),
        };
        let uri: Uri = text.parse().map_err(|_| "it is not a URI".to_owned())?;
        let authority = uri.authority().ok_or("it names no host")?;
        let host = authority.host().trim_end_matches('.').to_owned();
        if host.is_empty() {
            return Err("it names no host".into());
        }
        let credentials = authority.as_str().rsplit_once('@').map(|(user, _)| decoded(user));
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { is_tls, host, port, path, credentials })
    }

    /// Where a redirect of this one leads. Credentials go along only to the same place, and from TLS there
    /// is no way back.
    pub(super) fn redirected(&self, location: &str) -> Result<Self, String> {
        let scheme = if self.is_tls { "https" } else { "http" };
        let is_absolute = location.contains("://");
        let whole = if is_absolute {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else {
            let path = self.path.split('?').next().unwrap_or("/");
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let below =
                if location.starts_with('/') { location.to_owned() } else { format!("{folder}/{location}") };
            format!("{scheme}://{}:{}{below}", self.host, self.port)
        };
        let mut target =
            Self::parse(&whole).map_err(|why| format!("it is redirected to what is no place: {why}"))?;
        if self.is_tls && !target.is_tls {
            return Err("it is redirected from https to http".into());
        }
        let same_place = (target.is_tls, &target.host, target.port) == (self.is_tls, &self.host, self.port);
        if target.credentials.is_none() && same_place {
            target.credentials.clone_from(&self.credentials);
        }
        Ok(target)
    }

    /// For the `Host` header.
    pub(super) fn authority(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// Without what may be a secret: no user, and no query, in which signatures travel.
pub(super) fn shown(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let text: String = text[..end].chars().filter(|letter| !letter.is_control()).take(300).collect();
    let Some((scheme, rest)) = text.split_once("://") else {
        // No URI; it may be anything.
        return text.rsplit_once('@').map_or(text.clone(), |(_, rest)| rest.to_owned());
    };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(a, path)| (a, Some(path)));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match path {
        Some(path) => format!("{scheme}://{host}/{path}"),
        None => format!("{scheme}://{host}"),
    }
}

/// The last part of its path, decoded: how a file is called when nobody says otherwise.
pub(super) fn base_name(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let path = text[..end].split_once("://").map_or("", |(_, rest)| rest);
    let name = path.split_once('/').map_or("", |(_, path)| path).rsplit('/').next().unwrap_or_default();
    String::from_utf8_lossy(&decoded(name)).into_owned()
}

/// `%41` is `A`.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
