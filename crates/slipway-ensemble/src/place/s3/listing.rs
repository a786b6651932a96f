//! What is read of S3's XML: the keys of a listing, and the words of a refusal. These elements have no
//! attributes and no elements in them, so looking for their tags is enough.

#[cfg(test)]
mod tests;

/// One page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub keys: Vec<String>,
    /// How to ask for the next one, if there is one.
    pub next: Option<String>,
}

/// Nothing when it is none.
pub(super) fn read(body: &[u8]) -> Option<Page> {
    let text = std::str::from_utf8(body).ok()?;
    if !text.contains("<ListBucketResult") {
        return None;
    }
    let keys = elements(text, "Key").collect::<Option<Vec<_>>>()?;
    let is_cut = elements(text, "IsTruncated").next().flatten().is_some_and(|cut| cut == "true");
    let next = elements(text, "NextContinuationToken").next().flatten();
    // Names that nobody hears of would be worse than an error.
    if is_cut && next.is_none() {
        return None;
    }
    Some(Page { keys, next: next.filter(|_| is_cut) })
}

/// The refusal's word.
pub(super) fn code(body: &[u8]) -> Option<String> {
    elements(std::str::from_utf8(body).ok()?, "Code").next()?
}

/// The refusal's sentence.
pub(super) fn message(body: &[u8]) -> Option<String> {
    elements(std::str::from_utf8(body).ok()?, "Message").next()?
}

fn elements<'a>(text: &'a str, name: &str) -> impl Iterator<Item = Option<String>> + use<'a> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let from = rest.find(&open)? + open.len();
        let length = rest[from..].find(&close)?;
        let inner = &rest[from..from + length];
        rest = &rest[from + length + close.len()..];
        Some(unescape(inner))
    })
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let (name, after) = rest[at + 1..].split_once(';')?;
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#')?;
                let number = match number.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(number)?
            }
        });
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}
