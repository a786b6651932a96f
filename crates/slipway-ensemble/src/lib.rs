//! The care of a node's ZooKeeper server. This crate holds the decisions, which neither wait nor read
//! the clock: the settings that all instances share, and what to do about a server that was looked at.

pub mod monitor;
pub mod settings;
