//! One entry of a tar archive, put together from its own header and the extension headers before
//! it (POSIX pax; GNU long names). What two headers say differently is refused: parsers that
//! disagree about a size are how files get smuggled (CVE-2025-62518, N35).

use std::io::Read;

use tar::{Archive, Entry, EntryType};

use super::LayerError;

/// Longest extension header: a path, a link and some attributes.
const EXTENSION_BYTES_MAX: u64 = 64 << 10;

/// What an entry is, as far as we make such things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File {
        bytes: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    HardLink {
        target: Vec<u8>,
    },
    /// Device nodes and pipes: `/dev` of an instance is made anew, so they are left out.
    Skipped,
}

/// The entry's description; its data follow in the archive.
#[derive(Debug)]
pub(crate) struct Described {
    pub path: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
}

/// Goes through the archive; `each` gets every entry with a reader of its data.
pub(crate) fn for_each<R: Read>(
    archive: &mut Archive<R>,
    mut each: impl FnMut(Described, &mut dyn Read) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut before = Extensions::default();
    for entry in archive.entries().map_err(LayerError::Read)?.raw(true) {
        let mut entry = entry.map_err(LayerError::Read)?;
        match entry.header().entry_type() {
            EntryType::XGlobalHeader => before.read_global(&mut entry)?,
            EntryType::XHeader => before.read_pax(&mut entry)?,
            EntryType::GNULongName => {
                let name = read_extension(&mut entry)?;
                set_once(&mut before.path, without_nul(name))?;
            }
            EntryType::GNULongLink => {
                let name = read_extension(&mut entry)?;
                set_once(&mut before.link, without_nul(name))?;
            }
            _ => {
                let described = describe(&entry, std::mem::take(&mut before))?;
                each(described, &mut entry)?;
            }
        }
    }
    Ok(())
}

fn describe<R: Read>(entry: &Entry<R>, before: Extensions) -> Result<Described, LayerError> {
    let header = entry.header();
    let path = before.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let refuse = |why: &str| refused(&path, why);
    let number = |field: std::io::Result<u64>| field.map_err(|_| refuse("a number in its header is not one"));
    // Some writers leave out what they do not care about, and every reader takes that for zero.
    let unless_blank = |field: &[u8], value| {
        if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { number(value) }
    };
    let bytes = number(header.entry_size())?;
    if before.bytes.is_some_and(|pax| pax != bytes) {
        return Err(refuse("its two headers give it different sizes"));
    }
    let link = || {
        let short = header.link_name_bytes().map(|name| name.into_owned());
        before.link.clone().or(short).ok_or_else(|| refuse("it is a link to nothing"))
    };
    let kind = match header.entry_type() {
        // As tar wrote directories before it had a kind for them.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File { bytes },
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink { target: link()? },
        EntryType::Link => Kind::HardLink { target: link()? },
        EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Skipped,
        EntryType::GNUSparse => return Err(refuse("sparse files are not supported")),
        _ => return Err(refuse("it is of an unknown kind")),
    };
    if bytes > 0 && !matches!(kind, Kind::File { .. }) {
        return Err(refuse("only a file may have content"));
    }
    let mode = header.mode().map_err(|_| refuse("its mode is not a number"))?;
    Ok(Described {
        kind,
        mode,
        uid: before.uid.map_or_else(|| unless_blank(&header.as_old().uid, header.uid()), Ok)?,
        gid: before.gid.map_or_else(|| unless_blank(&header.as_old().gid, header.gid()), Ok)?,
        mtime: unless_blank(&header.as_old().mtime, header.mtime())?,
        path,
    })
}

#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    bytes: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
}

impl Extensions {
    fn read_pax<R: Read>(&mut self, entry: &mut Entry<R>) -> Result<(), LayerError> {
        let text = read_extension(entry)?;
        for (key, value) in pax_records(&text)? {
            let number = || {
                let text = std::str::from_utf8(value).ok();
                text.and_then(|text| text.parse().ok())
                    .ok_or_else(|| refused(value, "a pax number is not one"))
            };
            match key {
                b"path" => set_once(&mut self.path, value.to_vec())?,
                b"linkpath" => set_once(&mut self.link, value.to_vec())?,
                b"size" => set_once(&mut self.bytes, number()?)?,
                b"uid" => set_once(&mut self.uid, number()?)?,
                b"gid" => set_once(&mut self.gid, number()?)?,
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(refused(key, "sparse files are not supported"));
                }
                // Times finer than a second, user names, extended attributes: file capabilities
                // among them, which nothing here may have (N82).
                _ => {}
            }
        }
        Ok(())
    }

    /// Git writes one with the commit's id. One that would change all entries is refused.
    fn read_global<R: Read>(&mut self, entry: &mut Entry<R>) -> Result<(), LayerError> {
        let text = read_extension(entry)?;
        for (key, _) in pax_records(&text)? {
            if matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid") {
                return Err(refused(key, "a global header must not describe entries"));
            }
        }
        Ok(())
    }
}

fn read_extension<R: Read>(entry: &mut Entry<R>) -> Result<Vec<u8>, LayerError> {
    let bytes = entry.header().entry_size().map_err(LayerError::Read)?;
    if bytes > EXTENSION_BYTES_MAX {
        return Err(refused(&entry.header().path_bytes(), "an extension header is too long"));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(LayerError::Read)?;
    Ok(text)
}

/// Key and value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// `<length> <key>=<value>\n`, again and again.
fn pax_records(mut text: &[u8]) -> Result<Vec<Record<'_>>, LayerError> {
    let mut records = Vec::new();
    while !text.is_empty() {
        let bad = || refused(b"", "a pax header is malformed");
        let space = text.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length: usize = std::str::from_utf8(&text[..space])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(bad)?;
        if length <= space + 1 || length > text.len() || text[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &text[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        records.push((&record[..equals], &record[equals + 1..]));
        text = &text[length..];
    }
    Ok(records)
}

/// Both headers may repeat what the other says, and nothing else.
fn set_once<T: PartialEq>(slot: &mut Option<T>, value: T) -> Result<(), LayerError> {
    if slot.as_ref().is_some_and(|before| *before != value) {
        return Err(refused(b"", "two extension headers contradict each other"));
    }
    *slot = Some(value);
    Ok(())
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    while name.last() == Some(&0) {
        name.pop();
    }
    name
}

pub(super) fn refused(path: &[u8], why: &str) -> LayerError {
    let entry = String::from_utf8_lossy(path).chars().take(200).collect();
    LayerError::Refused { entry, why: why.to_owned() }
}
