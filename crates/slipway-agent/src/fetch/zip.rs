//! Zip archives (APPNOTE.TXT 6.3): stored and deflated entries, as every writer makes them. Not those of
//! more than 4 GiB, encrypted ones, or ones in several parts.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::tree::{Tree, shown};

const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: u64 = 65_535;
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
const LINK_BYTES_MAX: u32 = 4096;
/// Names and such of all entries; read as a whole.
const DIRECTORY_BYTES_MAX: u64 = 64 << 20;

/// Unpacks the whole archive. What counts is its directory at the end.
pub(super) fn unpack(mut file: File, tree: &mut Tree) -> Result<(), String> {
    for entry in entries(&mut file)? {
        let data_at = entry.data_at(&mut file)?;
        file.seek(SeekFrom::Start(data_at)).map_err(said)?;
        let packed = Read::by_ref(&mut file).take(u64::from(entry.packed_bytes));
        let plain: Box<dyn Read + '_> = match entry.method {
            0 => Box::new(packed),
            8 => Box::new(DeflateDecoder::new(packed)),
            method => return Err(format!("{} is packed with method {method}", shown(&entry.name))),
        };
        let mut plain = Checked { plain, crc: Crc::new() };
        if entry.name.ends_with(b"/") {
            tree.directory(&entry.name)?;
            continue;
        }
        match entry.kind() {
            Kind::File => {
                tree.file(&entry.name, entry.mode(), &mut plain, u64::from(entry.bytes))?;
            }
            Kind::Link => {
                if entry.bytes > LINK_BYTES_MAX {
                    return Err(format!("{} is too long a link", shown(&entry.name)));
                }
                let mut target = Vec::new();
                Read::by_ref(&mut plain)
                    .take(u64::from(entry.bytes) + 1)
                    .read_to_end(&mut target)
                    .map_err(said)?;
                tree.symlink(&entry.name, &target)?;
            }
            Kind::Other => continue,
        }
        if plain.crc.sum() != entry.crc {
            return Err(format!("{} is damaged", shown(&entry.name)));
        }
    }
    Ok(())
}

/// One line of the directory.
struct Entry {
    name: Vec<u8>,
    method: u16,
    crc: u32,
    packed_bytes: u32,
    bytes: u32,
    attributes: u32,
    made_on_unix: bool,
    local_at: u32,
}

enum Kind {
    File,
    Link,
    Other,
}

impl Entry {
    fn kind(&self) -> Kind {
        // S_IFMT; a writer that knows no kinds leaves it blank.
        match (self.attributes >> 16) & 0o170_000 {
            _ if !self.made_on_unix => Kind::File,
            0 | 0o100_000 => Kind::File,
            0o120_000 => Kind::Link,
            _ => Kind::Other,
        }
    }

    fn mode(&self) -> u32 {
        let mode = (self.attributes >> 16) & 0o777;
        if self.made_on_unix && mode != 0 { mode } else { 0o644 }
    }

    /// Behind the entry's other header, which repeats what the directory says and is believed in nothing
    /// but its length.
    fn data_at(&self, file: &mut File) -> Result<u64, String> {
        let mut head = [0; LOCAL_BYTES];
        file.seek(SeekFrom::Start(u64::from(self.local_at))).map_err(said)?;
        file.read_exact(&mut head).map_err(said)?;
        if !head.starts_with(b"PK\x03\x04") {
            return Err("its directory leads to what is no entry".into());
        }
        let more = u64::from(short(&head, 26)) + u64::from(short(&head, 28));
        Ok(u64::from(self.local_at) + LOCAL_BYTES as u64 + more)
    }
}

fn entries(file: &mut File) -> Result<Vec<Entry>, String> {
    let odd = || "it is no zip archive, or one of a kind that is not supported".to_owned();
    let length = file.seek(SeekFrom::End(0)).map_err(said)?;
    let from = length.saturating_sub(END_BYTES as u64 + COMMENT_BYTES_MAX);
    file.seek(SeekFrom::Start(from)).map_err(said)?;
    let mut tail = Vec::new();
    Read::by_ref(file).take(END_BYTES as u64 + COMMENT_BYTES_MAX).read_to_end(&mut tail).map_err(said)?;
    let last = tail.len().checked_sub(END_BYTES).ok_or_else(odd)?;
    let at = (0..=last).rev().find(|at| tail[*at..].starts_with(b"PK\x05\x06")).ok_or_else(odd)?;
    let end = &tail[at..];
    let (count, bytes, directory_at) = (short(end, 10), u64::from(long(end, 12)), u64::from(long(end, 16)));
    let is_whole = short(end, 4) == 0 && short(end, 8) == count && count != u16::MAX;
    if !is_whole || bytes > DIRECTORY_BYTES_MAX || directory_at + bytes > length {
        return Err(odd());
    }
    file.seek(SeekFrom::Start(directory_at)).map_err(said)?;
    let mut directory = vec![0; bytes as usize];
    file.read_exact(&mut directory).map_err(said)?;
    let mut rest = directory.as_slice();
    let mut entries = Vec::new();
    for _ in 0..count {
        let head =
            rest.get(..CENTRAL_BYTES).filter(|head| head.starts_with(b"PK\x01\x02")).ok_or_else(odd)?;
        let name_bytes = usize::from(short(head, 28));
        let whole = CENTRAL_BYTES + name_bytes + usize::from(short(head, 30)) + usize::from(short(head, 32));
        let name = rest.get(CENTRAL_BYTES..CENTRAL_BYTES + name_bytes).ok_or_else(odd)?.to_vec();
        if short(head, 8) & 1 != 0 {
            return Err(format!("{} is encrypted", shown(&name)));
        }
        entries.push(Entry {
            name,
            method: short(head, 10),
            crc: long(head, 16),
            packed_bytes: long(head, 20),
            bytes: long(head, 24),
            attributes: long(head, 38),
            made_on_unix: short(head, 4) >> 8 == 3,
            local_at: long(head, 42),
        });
        rest = rest.get(whole..).ok_or_else(odd)?;
    }
    Ok(entries)
}

struct Checked<'a> {
    plain: Box<dyn Read + 'a>,
    crc: Crc,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.plain.read(buffer)?;
        self.crc.update(&buffer[..count]);
        Ok(count)
    }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn said(error: std::io::Error) -> String {
    format!("it cannot be read: {error}")
}
