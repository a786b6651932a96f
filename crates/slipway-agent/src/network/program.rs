//! The two programs that the network needs: `nft`, and `iptables` where Docker has rules.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

/// Where system programs are; what the daemon was started with does not matter.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Gives a ruleset to `nft`, in the network namespace of the calling thread.
pub(super) fn nft(ruleset: &str) -> io::Result<()> {
    let mut nft = command("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped());
    let mut child = nft.spawn().map_err(|error| io::Error::new(error.kind(), format!("nft: {error}")))?;
    // Dropping the pipe ends the input. If nft ends early, its own message says more than EPIPE.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(ruleset.as_bytes()));
    succeeded("nft", child.wait_with_output()?)?;
    written
}

/// Whether `nft` knows that chain, in the network namespace of the calling thread.
pub(super) fn has_chain(family: &str, table: &str, chain: &str) -> io::Result<bool> {
    Ok(command("nft").args(["list", "chain", family, table, chain]).output()?.status.success())
}

/// Runs `iptables`; true when it ended with status 0.
pub(super) fn iptables(arguments: &[&str]) -> io::Result<bool> {
    // `-w`: others use the same lock; five seconds are enough for every one of them.
    Ok(command("iptables").args(["-w", "5"]).args(arguments).output()?.status.success())
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn succeeded(program: &str, output: Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(2000).collect();
    Err(io::Error::other(format!("{program} ended with {}: {said}", output.status)))
}
