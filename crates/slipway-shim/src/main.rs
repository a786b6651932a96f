//! The shim as a program of its own: `slipway-shim <spec file>`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(spec) if std::env::args_os().len() == 2 => slipway_shim::run(Path::new(&spec)),
        _ => {
            eprintln!("slipway-shim is started by slipwayd; it takes one argument, a spec file");
            ExitCode::from(2)
        }
    }
}
