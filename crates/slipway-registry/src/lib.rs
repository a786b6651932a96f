//! The registry: where layers and images are kept, and how they come in and go out.
//!
//! A [`Registry`] is one directory that one process owns. A blob is a file named by its digest,
//! complete or absent; everything else (which repository may read which blob, manifests, tags,
//! pins, counted references) is rows of one embedded database, changed in one transaction each.
//! The order of the two is the whole crash story: a file is durable before a row names it, and a
//! row is gone before its file is removed.
//!
//! Read in this order: [`name`] and [`digest`] (the words), [`store`] (the registry itself, used
//! in the same process by builder and agent), [`image`] (OCI documents, making an image, importing
//! and exporting one), [`server`] (OCI distribution 1.1 over HTTP for everybody else) and
//! [`client`] (fetching an image from another node's registry).

pub mod name;

pub mod digest;

mod error;

pub mod store;

pub mod image;

pub mod server;

pub mod client;

pub use error::Error;
pub use name::{Reference, Repository, Tag};
pub use store::{BlobWriter, Options, Registry, SharedLog, StoredManifest};

/// What most functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
