//! Ctrl-C as a question that is asked between steps, so that what was begun is also cleaned up.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static SEEN: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C does not end the process.
pub fn catch() -> anyhow::Result<()> {
    extern "C" fn see(_signal: i32) {
        SEEN.store(true, Ordering::SeqCst);
    }
    let action = SigAction::new(SigHandler::Handler(see), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing but store into an atomic.
    unsafe { sigaction(Signal::SIGINT, &action)? };
    Ok(())
}

/// Whether somebody has pressed it.
pub fn seen() -> bool {
    SEEN.load(Ordering::SeqCst)
}

/// From here on it has not been pressed: cleaning up is not broken off by what has brought it about.
pub fn forget() {
    SEEN.store(false, Ordering::SeqCst);
}

/// An error once somebody has.
pub fn check() -> anyhow::Result<()> {
    if seen() {
        bail!("interrupted");
    }
    Ok(())
}
