//! The care of an ensemble of real ZooKeeper servers.

mod reconfiguring;
mod servers;
