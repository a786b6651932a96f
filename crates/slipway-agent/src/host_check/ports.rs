//! Whether the ports that Slipway will listen on are free, and if not, who has them.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::Finding;

pub(super) fn all(listens: &[(&'static str, SocketAddr)]) -> Vec<Finding> {
    listens.iter().map(|(what, address)| one(what, *address)).collect()
}

fn one(what: &str, address: SocketAddr) -> Finding {
    let name = format!("port of the {what}");
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::ok(name, format!("{address} is free")),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::AddrInUse => match holder(address.port()) {
            Some(holder) if holder.starts_with("slipwayd ") => {
                Finding::ok(name, format!("{address} is already Slipway's, {holder}"))
            }
            holder => {
                let holder = holder.unwrap_or_else(|| "another program".into());
                let advice = format!("stop it, or give `slipwayd up` another address for the {what}");
                Finding::fail(name, format!("{address} is taken by {holder}"), advice)
            }
        },
        ErrorKind::AddrNotAvailable => {
            let what = format!("{address} is not an address of this host");
            Finding::fail(name, what, "listen on 0.0.0.0 or on an address that `ip address` shows")
        }
        _ => Finding::fail(name, format!("{address}: {error}"), "run this as root"),
    }
}

/// The program that listens on a port, as `name (process 123)`.
fn holder(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, port))?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds =
            |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|link| link == Path::new(&wanted));
        if files.flatten().any(holds) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {id})", name.trim()));
        }
    }
    None
}

/// The inode of the socket that listens on a port, from the text of `/proc/net/tcp`.
pub(super) fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let local_port = u16::from_str_radix(words.get(1)?.rsplit(':').next()?, 16).ok()?;
        let listens = local_port == port && *words.get(3)? == LISTEN;
        listens.then(|| words.get(9)?.parse().ok())?
    })
}
