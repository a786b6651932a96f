//! The care of an ensemble of real ZooKeeper servers.

mod caring;
mod reconfiguring;
mod servers;
mod writer;
