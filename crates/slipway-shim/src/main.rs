//! The shim as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    slipway_shim::main()
}
