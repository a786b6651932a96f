//! Real namespaces, real packets. Each test builds a small world of its own: a namespace that plays
//! the host, and one that plays the internet, so that the machine's own network is left alone.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Instant;

use super::*;

mod isolation;
mod life;
mod mesh;
mod ports;
mod world;

use world::World;

/// How long a packet that should be dropped is waited for.
const SILENCE: Duration = Duration::from_millis(250);
/// How long one that should arrive may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of an attempt to connect.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Connected,
    /// Nobody listens there, but the packet got there.
    Refused,
    /// Nothing came back.
    Nothing,
}

fn instance(number: u8) -> InstanceId {
    InstanceId::from_random([number, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}

fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}
