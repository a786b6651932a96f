//! `/v1`, as both sides see it.
//!
//! [`wire`] holds the bodies, one type per thing; [`error`] what a refusal looks like; [`endpoint`]
//! is the table of all routes, from which the server checks rights, the OpenAPI document is made
//! ([`openapi`]) and the tests build their matrices; [`client`] is what the command line uses.

pub mod wire;

pub mod error;

pub mod endpoint;

pub mod openapi;

pub mod client;
