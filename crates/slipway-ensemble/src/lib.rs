//! The care of a node's ZooKeeper server: Exhibitor's role.
//!
//! Beside each server runs an instance of this. All instances share one set of settings, kept at a place
//! that none of them owns; each keeps its own server as these say, and tells about it over HTTP. To
//! read it all, go from what is decided to what is done:
//!
//! | part | what it knows |
//! |---|---|
//! | [`settings`] | what all instances share, under Exhibitor's names, and how new ones reach one server after the other ([`settings::roll`]) |
//! | [`options`] | what an instance was started with, which differs from node to node |
//! | [`configuration`] | what the ensemble itself says of its servers, and what a majority is |
//! | [`monitor`] | what is made of a look at a server, and when it is started again |
//! | [`zoo_cfg`] | ZooKeeper's configuration files, made of settings and options |
//! | `purge` | which files a cleanup deletes |
//! | [`members::decide`] | who should belong to the ensemble: the next step, or the reason for none |
//! | [`place`], [`shared`] | the place that none owns; versions of settings there, and locks |
//! | [`user`], [`process`], `tls`, [`words`], [`wire`] | the server: as whom it runs, as a process, by its four-letter words, by its protocol |
//! | [`handle`], [`supervisor`] | the loop that looks after the one server, and what it shares with the rest |
//! | [`quarantine`] | a server that does not start because of its own data |
//! | [`backup`] | backups, and a server made from one |
//! | [`members`] | the loop in which the instances change who belongs to the ensemble, and its settings |
//! | [`instance`] | all of these loops together |
//! | [`recover`] | what a person does when the quorum is lost for good |
//! | [`http`] | Exhibitor's HTTP interface |
//!
//! Down to `members::decide` nothing waits, and nothing reads the clock: what was seen goes in, a decision
//! comes out. (`settings` is read from a store that others can write to; its types cannot hold what would
//! be another line of ZooKeeper's configuration or another program of Java's.)

pub mod settings;

pub mod options;

pub mod configuration;

pub mod monitor;

pub mod zoo_cfg;

mod purge;

pub use slipway_storage as place;

pub mod shared;

pub mod user;

pub mod process;

mod tls;

mod cause;

pub mod words;

pub mod wire;

pub mod handle;

pub mod supervisor;

pub mod quarantine;

pub mod backup;

pub mod members;

pub mod instance;

pub mod recover;

pub mod http;

pub use handle::Handle;
pub use options::{Options, Tls};
