//! Archives, by their names as Mesos tells them (ME-15). An allow-list: files, directories, and links that
//! stay inside. Devices and pipes are left out; owners and rights beyond the usual are not taken over.

use std::fs::File;
use std::io::{BufReader, Read};

use tar::Archive;

use super::tree::Tree;
use super::zip;
use crate::layers::LayerError;
use crate::layers::tar_entry::{self, Kind};

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Tar,
    TarGzip,
    TarBzip2,
    Zip,
}

impl Packing {
    /// `None` for what is no archive.
    pub(super) fn of(name: &str) -> Option<Self> {
        let ends = [
            (".tar", Self::Tar),
            (".tar.gz", Self::TarGzip),
            (".tgz", Self::TarGzip),
            (".tar.bz2", Self::TarBzip2),
            (".tbz2", Self::TarBzip2),
            (".zip", Self::Zip),
        ];
        ends.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, packing)| packing)
    }
}

/// Unpacks the whole archive.
pub(super) fn unpack(packing: Packing, file: File, tree: &mut Tree) -> Result<(), String> {
    let unpacked = match packing {
        Packing::Zip => zip::unpack(file, tree),
        Packing::Tar => untar(BufReader::new(file), tree),
        Packing::TarGzip => untar(flate2::bufread::MultiGzDecoder::new(BufReader::new(file)), tree),
        Packing::TarBzip2 => untar(bzip2::bufread::MultiBzDecoder::new(BufReader::new(file)), tree),
    };
    unpacked.map_err(|why| format!("it cannot be unpacked: {why}"))
}

fn untar(content: impl Read, tree: &mut Tree) -> Result<(), String> {
    let mut content =
        Bounded { inner: content, left: tree.budget.bytes_left().saturating_mul(2).saturating_add(64 << 20) };
    let mut refused = None;
    let done = tar_entry::for_each(&mut Archive::new(&mut content), |entry, data| {
        let taken = match &entry.kind {
            Kind::Skipped => Ok(()),
            Kind::Directory => tree.directory(&entry.path),
            Kind::File { bytes } => tree.file(&entry.path, entry.mode, data, *bytes),
            Kind::Symlink { target } => tree.symlink(&entry.path, target),
            Kind::HardLink { target } => tree.hard_link(&entry.path, target),
        };
        taken.map_err(|why| {
            refused = Some(why);
            LayerError::Read(std::io::ErrorKind::InvalidData.into())
        })
    });
    match refused {
        Some(why) => Err(why),
        None => done.map_err(|error| crate::error::chain(&error)),
    }
}

/// What is skipped is read all the same; a bomb of that ends, too.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| std::io::Error::other("unpacked it is larger than allowed"))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
