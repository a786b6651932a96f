//! What a program listens on, from the kernel's own list of its network namespace.

use std::fs;

/// A sentence about where the program listens, when that is not where it should.
pub(super) fn elsewhere(init_pid: i32, port: u16) -> Option<String> {
    let table = |name: &str| fs::read_to_string(format!("/proc/{init_pid}/net/{name}")).unwrap_or_default();
    sentence(&sockets(&table("tcp")), &sockets(&table("tcp6")), port)
}

/// A listening socket: whether only the instance itself can reach it, and its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listening {
    loopback: bool,
    port: u16,
}

fn sentence(v4: &[Listening], v6: &[Listening], port: u16) -> Option<String> {
    let all: Vec<Listening> = v4.iter().chain(v6).copied().collect();
    if all.is_empty() {
        return Some("it does not listen on any port; it should listen on $PORT".into());
    }
    if all.iter().any(|socket| socket.port == port && !socket.loopback) {
        return None;
    }
    if all.iter().any(|socket| socket.port == port) {
        return Some(format!("it listens on 127.0.0.1:{port} only; it should listen on 0.0.0.0:{port}"));
    }
    let mut ports: Vec<u16> = all.iter().map(|socket| socket.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let shown: Vec<String> = ports.iter().take(5).map(u16::to_string).collect();
    let word = if ports.len() == 1 { "port" } else { "ports" };
    Some(format!("it listens on {word} {} instead; it should listen on $PORT ({port})", shown.join(", ")))
}

/// The listening sockets in a table such as `/proc/net/tcp`.
fn sockets(table: &str) -> Vec<Listening> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (address, port) = words.nth(1)?.split_once(':')?;
            words.nth(1).filter(|state| *state == LISTEN)?;
            // Each group of four bytes in the machine's own order; these are little-endian machines.
            let loopback = match address.len() {
                8 => address.ends_with("7F"),
                _ => address == "00000000000000000000000001000000" || address.ends_with("0000FFFF0100007F"),
            };
            Some(Listening { loopback, port: u16::from_str_radix(port, 16).ok()? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

    #[track_caller]
    fn check(v4: &str, v6: &str, expected: Option<&str>) {
        let (v4, v6) = (sockets(&format!("{HEADER}{v4}")), sockets(&format!("{HEADER}{v6}")));
        assert_eq!(sentence(&v4, &v6, 8080).as_deref(), expected);
    }

    #[test]
    fn the_sentence_says_what_to_change() {
        check("", "", Some("it does not listen on any port; it should listen on $PORT"));
        check("   0: 00000000:1F90 00000000:0000 0A 00000000:00000000\n", "", None);
        check(
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n",
            "",
            Some("it listens on 127.0.0.1:8080 only; it should listen on 0.0.0.0:8080"),
        );
        check(
            "   0: 00000000:1388 00000000:0000 0A 00000000:00000000\n",
            "   0: 00000000000000000000000000000000:0050 0:0 0A 0:0\n",
            Some("it listens on ports 80, 5000 instead; it should listen on $PORT (8080)"),
        );
        // An established connection is no listener.
        check(
            "   0: 00000000:1F90 00000000:0000 01 00000000:00000000\n",
            "",
            Some("it does not listen on any port; it should listen on $PORT"),
        );
    }
}
