//! Ports and sockets, bound before anything else is begun.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Context;
use tokio::net::{TcpListener, UnixListener};

/// A port. `flag` is what another can be chosen with.
pub fn bind(what: &str, flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = std::net::TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address}, where {what} shall answer, is in use by another program; \
             end it (ss -ltnp names it) or choose another with {flag}"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot listen on {address} for {what}")),
    })?;
    bound.set_nonblocking(true)?;
    Ok(TcpListener::from_std(bound)?)
}

/// A unix socket that only root can connect to. One left by an earlier life is replaced: its owner
/// is gone, or could not have let go of the directory.
pub fn bind_socket(path: &PathBuf) -> anyhow::Result<UnixListener> {
    let _absent = fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
