//! The care of a node's ZooKeeper server: Exhibitor's role.
//!
//! Decisions neither wait nor read the clock: [`settings`] that all instances share, the [`config`]
//! made of them, what to do about a server that was looked at ([`monitor`]), what to purge. At the
//! edge are the process, its four-letter words, and the loop that looks after it ([`supervisor`]).

pub mod settings;

pub mod monitor;

pub mod options;

pub mod config;

mod purge;

mod tls;

pub mod words;

pub mod process;

pub mod handle;

pub mod supervisor;

pub mod instance;

pub mod http;

pub use handle::Handle;
pub use options::{Options, Tls};
pub mod members;
pub mod quarantine;
pub mod recover;
pub mod wire;

pub mod backup;
pub use slipway_storage as place;
pub mod shared;
