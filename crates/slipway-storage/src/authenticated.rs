//! A place that does not have to be believed: what a server of this cluster put there proves it.
//!
//! Whoever can write a shared directory or a bucket (an account's key that got away, the file server
//! itself) could otherwise move branches and tags, and so run programs as anybody. So each object that
//! *leads* to others (a state of a repository, an entry of the registry's log) ends with a code over it:
//! HMAC-SHA-256, with a key that comes from the cluster's master key. It is also over the object's full
//! path and the id of the storage, so that an object that was put under another name, or comes from
//! another storage, is not believed either. What objects lead to (packs, blobs) is big and never
//! changed; they name it by its digest.
//!
//! A code does not tell that there was something newer: an older object, put back when the newer one was
//! deleted, has the right code. Against that, whoever reads remembers how far it was ([`Code`]s make a
//! chain where each entry names the one before it). So that a storage can be put back from a backup *on
//! purpose*, its [`Identity`] says when that was done last: what was remembered before does not count
//! then. Only who has the key can say so.
//!
//! The text before the code stays what it is, readable for a person who looks.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::mac::{keyed, same};
use super::{Error, Place};

#[cfg(test)]
mod tests;

/// What stands between an object's own bytes and its code.
const MARK: &[u8] = b"\nhmac:";
const CODE_DIGITS: usize = 64;
/// So many bytes are at the end of each object.
const SEAL_BYTES: usize = MARK.len() + CODE_DIGITS;
/// Where the identity is, below the place's root.
const FOLDER: &str = "storage";
const ID: &str = "id";
/// An identity is shorter.
const ID_BYTES_MAX: usize = 512;
/// The form of all that is authenticated here; the first that is.
const FORMAT: &str = "slipway-storage-2";
/// Files are read in pieces of this size.
const PIECE_BYTES: usize = 1 << 16;

/// An object's code, in hexadecimal digits; of nothing, empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(String);

impl Code {
    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Code {
    fn from(digits: &str) -> Self {
        Self(digits.to_owned())
    }
}

/// Which storage it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Random, and the same as long as the storage is used.
    pub id: String,
    /// When it was last put back from a backup on purpose, in milliseconds since 1970; 0 for never. It only
    /// rises, and what was known of the storage under a lower one counts no more.
    pub restored: u64,
}

/// How far something in a storage was seen to be. The greater one is the newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// Of the storage's identity, then.
    pub restored: u64,
    /// Of the newest object, from 1 on; 0 for none.
    pub number: u64,
}

/// A place, and the key by which objects in it are believed. Clones share what they know.
#[derive(Clone)]
pub struct Authenticated {
    place: Place,
    identity: Arc<Identity>,
    mac: Hmac<Sha256>,
}

/// An object as it is stored.
#[derive(Debug, Clone)]
pub struct Closed {
    /// With the code at their end.
    pub bytes: Bytes,
    /// The code.
    pub code: Code,
}

impl Authenticated {
    /// Whether a storage was founded in the place, by whomever.
    ///
    /// # Errors
    /// The place is away or refuses.
    pub async fn is_founded(place: &Place) -> Result<bool, Error> {
        Ok(place.size(FOLDER, ID).await?.is_some())
    }

    /// The storage in `place`; nothing when nobody has founded one there.
    ///
    /// # Errors
    /// The place is away or refuses; [`Error::Forged`] when the storage's identity was not written under
    /// this key.
    pub async fn open(place: Place, key: &[u8; 32]) -> Result<Option<Self>, Error> {
        let own = Self::without_identity(place, key);
        let Some((text, _)) = own.get(FOLDER, ID, ID_BYTES_MAX).await? else { return Ok(None) };
        let identity = parse(&text).ok_or_else(|| own.forged(FOLDER, ID, "it has another form"))?;
        // A length is not needed before the id: nothing follows it.
        let key = own.mac.clone().chain_update(b"objects of ").chain_update(&identity.id).finalize();
        Ok(Some(Self { mac: keyed(&key.into_bytes().into()), identity: Arc::new(identity), ..own }))
    }

    /// The same, and founds a storage if there is none. The caller has seen to it that nothing is there.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub async fn found(place: Place, key: &[u8; 32]) -> Result<Self, Error> {
        let own = Self::without_identity(place, key);
        let identity = Identity { id: format!("{:032x}", rand::random::<u128>()), restored: 0 };
        let closed = own.close(FOLDER, ID, text_of(&identity).as_bytes())?;
        // Another may be faster.
        own.place.create(FOLDER, ID, closed.bytes).await?;
        let founded = Self::open(own.place.clone(), key).await?;
        founded.ok_or_else(|| own.forged(FOLDER, ID, "it went away again"))
    }

    /// The place by a key alone, for what is not lost with a storage and so belongs to none: its identity,
    /// and settings that were there before it. Its [`identity`](Self::identity) is empty.
    pub fn without_identity(place: Place, key: &[u8; 32]) -> Self {
        let identity = Arc::new(Identity { id: String::new(), restored: 0 });
        Self { place, identity, mac: keyed(key) }
    }

    /// Says that the storage in `place` was put back from a backup on purpose at that time (milliseconds
    /// since 1970): whoever knew of newer objects believes the older ones all the same. Nothing when there
    /// is no storage.
    ///
    /// # Errors
    /// As of [`open`](Self::open). It may have been said nevertheless.
    pub async fn accept(place: Place, key: &[u8; 32], now: u64) -> Result<Option<Self>, Error> {
        let Some(there) = Self::open(place.clone(), key).await? else { return Ok(None) };
        // The backup may know less than the servers do of when that was done before.
        let restored = now.max(there.identity.restored.saturating_add(1));
        let identity = Identity { restored, ..(*there.identity).clone() };
        Self::without_identity(place, key).put(FOLDER, ID, text_of(&identity).as_bytes()).await?;
        Ok(Some(Self { identity: Arc::new(identity), ..there }))
    }

    /// Which storage it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How far something is whose newest object has that number.
    pub fn mark(&self, number: u64) -> Mark {
        Mark { restored: self.identity.restored, number }
    }

    /// The place itself, for what is named by its digest.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The same storage, seen from one of its folders.
    ///
    /// # Errors
    /// As of [`Place::below`].
    pub fn below(&self, folder: &str) -> Result<Self, Error> {
        Ok(Self { place: self.place.below(folder)?, ..self.clone() })
    }

    /// An object of that name with its code, for [`Place::create`].
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn close(&self, folder: &str, name: &str, text: &[u8]) -> Result<Closed, Error> {
        let code = code_of(self.mac_of(folder, name)?.chain_update(text));
        let bytes = [text, MARK, code.as_str().as_bytes()].concat().into();
        Ok(Closed { bytes, code })
    }

    /// What was put there, without its code, and the code; nothing if there is no such object.
    ///
    /// # Errors
    /// As of [`Place::get`], of so many bytes and a code; and [`Error::Forged`].
    pub async fn get(
        &self,
        folder: &str,
        name: &str,
        bytes_max: usize,
    ) -> Result<Option<(Bytes, Code)>, Error> {
        let found = self.place.get(folder, name, bytes_max.saturating_add(SEAL_BYTES)).await?;
        found.map(|bytes| self.open_object(folder, name, bytes)).transpose()
    }

    /// Puts the object there with its code, in the place of one that is there.
    ///
    /// # Errors
    /// As of [`Place::put`].
    pub async fn put(&self, folder: &str, name: &str, text: &[u8]) -> Result<(), Error> {
        self.place.put(folder, name, self.close(folder, name, text)?.bytes).await
    }

    /// How many bytes were put there, as the place says, which nobody has compared with the code.
    ///
    /// # Errors
    /// As of [`Place::size`].
    pub async fn size(&self, folder: &str, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.place.size(folder, name).await?.map(|bytes| bytes.saturating_sub(SEAL_BYTES as u64)))
    }

    /// Puts a file there with its code, which is written to the file's end.
    ///
    /// # Errors
    /// As of [`Place::put_file`].
    pub async fn put_file(&self, folder: &str, name: &str, file: &Path) -> Result<(), Error> {
        let mac = self.mac_of(folder, name)?;
        on_file(file, move |path| {
            let mut file = OpenOptions::new().read(true).append(true).open(path)?;
            let length = file.metadata()?.len();
            let code = code_of(read_into(mac, &mut file, length)?);
            file.write_all(&[MARK, code.as_str().as_bytes()].concat())
        })
        .await?;
        self.place.put_file(folder, name, file).await
    }

    /// Writes what was put there into a file, without its code; says whether there is such an object. What
    /// stands in the file after an error is worth nothing.
    ///
    /// # Errors
    /// As of [`Place::get_file`], and [`Error::Forged`].
    pub async fn get_file(
        &self,
        folder: &str,
        name: &str,
        file: &Path,
        bytes_max: u64,
    ) -> Result<bool, Error> {
        let mac = self.mac_of(folder, name)?;
        if !self.place.get_file(folder, name, file, bytes_max.saturating_add(SEAL_BYTES as u64)).await? {
            return Ok(false);
        }
        let opened = on_file(file, move |path| {
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            let Some(length) = file.metadata()?.len().checked_sub(SEAL_BYTES as u64) else {
                return Ok(Err(NO_CODE));
            };
            let mac = read_into(mac, &mut file, length)?;
            let mut seal = [0; SEAL_BYTES];
            file.seek(SeekFrom::Start(length))?;
            file.read_exact(&mut seal)?;
            file.set_len(length)?;
            Ok(check(mac, &seal).map(drop))
        });
        opened.await?.map_err(|why| self.forged(folder, name, why))?;
        Ok(true)
    }

    fn open_object(&self, folder: &str, name: &str, bytes: Bytes) -> Result<(Bytes, Code), Error> {
        let forged = |why| self.forged(folder, name, why);
        let length = bytes.len().checked_sub(SEAL_BYTES).ok_or_else(|| forged(NO_CODE))?;
        let mac = self.mac_of(folder, name)?.chain_update(&bytes[..length]);
        let code = check(mac, &bytes[length..]).map_err(forged)?;
        Ok((bytes.slice(..length), code))
    }

    /// What the code is over, as far as it does not depend on the text. A path has no line breaks.
    fn mac_of(&self, folder: &str, name: &str) -> Result<Hmac<Sha256>, Error> {
        let folder = self.place.both(folder, name)?;
        Ok(self.mac.clone().chain_update(format!("{folder}/{name}\n")))
    }

    fn forged(&self, folder: &str, name: &str, why: &'static str) -> Error {
        let object = match self.place.folder(folder) {
            Ok(folder) => format!("{folder}/{name}"),
            Err(_) => name.to_owned(),
        };
        Error::Forged { object, place: self.place.to_string(), why }
    }
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Authenticated({:?}, {:?})", self.place, self.identity)
    }
}

const NO_CODE: &str = "it has no code";
const WRONG_CODE: &str = "its code is wrong: it is damaged, was forged, was put there from another place, or was written under another master key or other credentials";

fn text_of(identity: &Identity) -> String {
    format!("{FORMAT}\nid {}\nrestored {}", identity.id, identity.restored)
}

fn parse(text: &[u8]) -> Option<Identity> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    lines.next().filter(|format| *format == FORMAT)?;
    let id = lines.next()?.strip_prefix("id ").filter(|id| !id.is_empty())?.to_owned();
    let restored = lines.next()?.strip_prefix("restored ")?.parse().ok()?;
    Some(Identity { id, restored })
}

fn code_of(mac: Hmac<Sha256>) -> Code {
    Code(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The code in what stands at an object's end, if it is the right one.
fn check(mac: Hmac<Sha256>, seal: &[u8]) -> Result<Code, &'static str> {
    let digits = seal.strip_prefix(MARK).ok_or(NO_CODE)?;
    let code = code_of(mac);
    if same(digits, code.as_str().as_bytes()) { Ok(code) } else { Err(WRONG_CODE) }
}

fn read_into(mut mac: Hmac<Sha256>, file: &mut File, length: u64) -> io::Result<Hmac<Sha256>> {
    let mut left = length;
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let wanted = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut piece[..wanted])?;
        mac.update(&piece[..wanted]);
        left -= wanted as u64;
    }
    Ok(mac)
}

/// Works on a file of this machine's, on a thread that may wait.
async fn on_file<T: Send + 'static>(
    file: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let path = file.to_owned();
    let worked = tokio::task::spawn_blocking(move || work(&path)).await;
    let worked = worked.map_err(io::Error::other).flatten();
    worked.map_err(|source| Error::File { path: file.to_owned(), source })
}
