//! Git over SSH: authenticate, receive in quarantine, record the push, bring the build's output
//! back, and keep refs equal to what runs.
//!
//! The arrow of the data path that lives here is `receive → [Push]`. A push comes in over [`ssh`],
//! which proves a key and understands one command; [`transfer`] connects the channel with a git
//! process ([`git`]) in a [`repository`], which in a cluster is a copy ([`copies`]); git's hooks ([`hook`]) hand their streams to the server
//! ([`hook_server`]), where [`receive`] judges the push and writes the record. From there on
//! everything happens by others, who watch records; [`follow`] only tells the pusher what they do, and
//! the [`keeper`] moves the deploying branch when their work has come to something.
//!
//! What must stay true:
//! - Nothing of a push is kept before all of it has been judged, and once a push is recorded nothing
//!   the pusher or this process does or suffers can lose it.
//! - `git push` exits with 0 only when the release is live and healthy, or `-o detach` was given.
//! - A string that a client chose is compared or parsed into a type; it never becomes an option, a
//!   variable, a path or a shell's business. The exceptions are ref names, which [`receive`] checks.
//! - Memory does not grow with the push.

mod ssh;

mod transfer;

mod pkt_line;

mod push_request;

mod shallow;

mod git;

mod repository;

mod copies;

pub mod hook;

mod hook_server;

mod receive;

mod pusher;

mod follow;

mod keeper;

mod turns;

mod records;

mod host_key;

mod server;

mod error;

pub use copies::{SharedStorage, bring_up};
pub use error::Error;
pub use git::GitUser;
pub use host_key::{make as make_host_key, replace as write_host_key};
pub use server::{GitServer, Options, Sources};
pub use ssh::Entrance;
pub use ssh::turn_away::Doorkeeper;
