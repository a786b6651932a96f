//! What tests and measurements of several crates need of the machine.
//!
//! A port that was free a moment ago, because the kernel has just given it and taken it back, is given to
//! whoever asks next: another test, or a connection that needs any port to go out from. Tests that run for
//! minutes beside each other meet that every few hundred times. [`free_port`] keeps its promise.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

/// Below what the kernel gives to outgoing connections (32,768 and up), and away from what the product
/// listens on and gives to programs if it is not told otherwise.
const FIRST: u32 = 12_000;
const COUNT: u32 = 8_000;

/// What says that a port is taken: a name that only one process can have, and that goes with it.
static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port of this machine where nothing listens and which nobody else is given until this process ends.
///
/// # Panics
/// When none of 8,000 is free.
pub fn free_port() -> u16 {
    let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
    // Processes begin at places of their own, so that few of them are ever tried in vain.
    let first = std::process::id().wrapping_mul(97).wrapping_add(claims.len() as u32);
    for offset in 0..COUNT {
        let port = (FIRST + first.wrapping_add(offset) % COUNT) as u16;
        if let Some(claim) = claim(port) {
            claims.push(claim);
            return port;
        }
    }
    panic!("no port from {FIRST} to {} is free", FIRST + COUNT - 1);
}

fn claim(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("slipway-test-port-{port}")).ok()?;
    let claim = UnixListener::bind_addr(&name).ok()?;
    // At all addresses, so that a program that listens at any of them is seen.
    TcpListener::bind(("0.0.0.0", port)).ok().map(|_| claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once() {
        let mut ports: Vec<_> = (0..200).map(|_| free_port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 200);
    }

    #[test]
    fn a_port_where_something_listens_is_not_given() {
        let port = free_port();
        CLAIMS.lock().unwrap().retain(|claim| {
            let address = claim.local_addr().unwrap();
            !address.as_abstract_name().unwrap().ends_with(format!("-{port}").as_bytes())
        });
        let _listening = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(claim(port).is_none());
    }
}
