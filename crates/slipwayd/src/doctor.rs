//! `slipwayd doctor`: what the machine lacks, and what to do about it.

use std::process::ExitCode;

use slipway_agent::host_check::{self, HostOptions, Status};
use slipway_agent::network::Tag;

use crate::args;
use crate::paths::Paths;

/// Prints the findings; fails when one of them would keep Slipway from running.
pub fn doctor(options: &args::Doctor) -> ExitCode {
    let (tag, host) = match host_options(options) {
        Ok(host) => host,
        Err(error) => {
            eprintln!("slipwayd: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let findings = host_check::run_as(&tag, &host);
    let failed = findings.iter().any(|finding| finding.status == Status::Fail);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
    } else {
        for finding in &findings {
            let mark = match finding.status {
                Status::Ok => "ok  ",
                Status::Warn => "WARN",
                Status::Fail => "FAIL",
            };
            println!("{mark}  {}: {}", finding.name, finding.what);
            if !finding.advice.is_empty() {
                println!("      {}", finding.advice);
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn host_options(options: &args::Doctor) -> anyhow::Result<(Tag, HostOptions)> {
    let data_dir = std::path::absolute(&options.directories.data_dir)?;
    let paths = Paths { data: data_dir.clone(), run: options.directories.run_dir.clone() };
    let listens = [("router", 8080), ("API", 7070), ("registry", 7071), ("git over SSH", 2222)];
    let tag = paths.tag()?;
    let options = HostOptions {
        data_dir,
        listens: listens.map(|(name, port)| (name, ([0, 0, 0, 0], port).into())).into(),
        subnet: paths.subnet_default()?,
        dns: Vec::new(),
    };
    Ok((tag, options))
}
