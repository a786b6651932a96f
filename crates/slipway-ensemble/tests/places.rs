//! Shared settings, locks and backups on a real S3 server, and backups of real ZooKeeper servers.

#[path = "places/s3.rs"]
mod s3;

#[path = "../../slipway-storage/tests/servers/s3.rs"]
mod s3_server;

#[path = "places/zookeeper.rs"]
mod zookeeper;
