//! Bodies of requests and answers. Names and ids travel as the texts that the model's types print,
//! and are parsed back into those types on arrival, so a handler never sees an unchecked one.
//! Secrets appear in exactly four answers, each shown once: a new token, a new invitation, a new
//! project credential, a new join token.

mod account;
mod cluster;
mod environment;
mod files;
mod join;
mod project;

pub use account::*;
pub use cluster::*;
pub use environment::*;
pub use files::*;
pub use join::*;
pub use project::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A list, in an object so that fields can be added beside it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Items<T> {
    /// The things, in an order that the endpoint states.
    pub items: Vec<T>,
}

/// The empty answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Done {}
