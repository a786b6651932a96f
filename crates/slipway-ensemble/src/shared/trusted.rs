//! What instances with the same credentials put at the place, and nobody else.
//!
//! Who can write a bucket or a shared directory could otherwise name servers, to which instances send what
//! operators show them, and change every setting. So each object carries a code, with a key from the
//! credentials. A file of credentials has several lines; an object is believed by the key of any of them and
//! written by that of the first. So a line can be replaced while everything runs: the new one is put before
//! the old one on all machines, what is there is written once more, and then the old one goes.

use std::sync::Arc;

use bytes::Bytes;

use crate::place::{Authenticated, Error, Place};

/// The keys of those who share a place.
#[derive(Clone)]
pub struct Keys(Arc<[[u8; 32]]>);

impl Keys {
    /// The first is the one to write with.
    ///
    /// # Panics
    /// There are none.
    pub fn new(keys: Vec<[u8; 32]>) -> Self {
        assert!(!keys.is_empty(), "a place that is shared has a key");
        Self(keys.into())
    }
}

/// The place as who has the keys sees it.
#[derive(Clone)]
pub(crate) struct Trusted {
    views: Vec<Authenticated>,
}

impl Trusted {
    pub fn new(place: &Place, keys: &Keys) -> Self {
        let view = |key| Authenticated::without_identity(place.clone(), key);
        Self { views: keys.0.iter().map(view).collect() }
    }

    /// What one of us put there, without its code; [`Error::Forged`] when somebody else did.
    pub async fn get(&self, folder: &str, name: &str, bytes_max: usize) -> Result<Option<Bytes>, Error> {
        let mut forged = None;
        for view in &self.views {
            match view.get(folder, name, bytes_max).await {
                Err(error @ Error::Forged { .. }) => forged = Some(error),
                other => return Ok(other?.map(|(bytes, _)| bytes)),
            }
        }
        forged.map_or(Ok(None), Err)
    }

    /// An object of that name with its code, for [`Place::create`].
    pub fn close(&self, folder: &str, name: &str, text: &[u8]) -> Result<Bytes, Error> {
        Ok(self.views[0].close(folder, name, text)?.bytes)
    }

    /// Puts it there with its code.
    pub async fn put(&self, folder: &str, name: &str, text: &[u8]) -> Result<(), Error> {
        self.views[0].put(folder, name, text).await
    }
}
