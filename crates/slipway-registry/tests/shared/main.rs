//! A registry that several servers share: one after the other writes it, and one that was paused does no
//! harm when it wakes.

mod cluster;
mod forged;
mod random;
mod room;
mod s3;
#[path = "../../../slipway-storage/tests/servers/s3.rs"]
mod s3_server;
mod takeover;
