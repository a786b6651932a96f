//! The server: every role of Slipway in one binary.
//!
//! This crate decides nothing. It reads the command line and the environment, starts the components
//! in the right order ([`up`], [`server`], [`node`]), connects those that may not know each other ([`glue`],
//! and over links [`hub`]), and ends them again. Git starts the same binary as its hooks, and the agent as the process that
//! fetches files; then the name it is called by says what to do.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

mod args;

mod paths;

mod claim;

mod capacity;

mod outside;

mod life;

mod said;

mod up;

mod server;

mod move_images;

mod move_repositories;
mod move_store;

mod term;

mod front;

mod hub;

mod glue;

mod node;

mod ensemble;

mod router;

mod doctor;

mod bucket;

mod shared;

mod accept_storage;

mod stack;

mod upload_key;

mod wipe;

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().unwrap_or_default();
    let called_as = Path::new(&called_as).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if slipway_git::hook::NAMES.contains(&called_as.as_str()) {
        return slipway_git::hook::main(&called_as);
    }
    if called_as == slipway_agent::fetch::ARGV0 {
        return slipway_agent::fetch::main();
    }
    let args = args::Args::parse();
    let result = match args.command {
        args::Command::Up(options) => up::up(options),
        args::Command::Server(options) => server::server(options),
        args::Command::MoveStore { directories, master_key, zookeeper } => {
            move_store::run(&directories, &master_key, &zookeeper)
        }
        args::Command::MoveImages { directories, to } => move_images::run(&directories, &to),
        args::Command::Join(options) => node::join::join(&options),
        args::Command::Agent(options) => node::agent(&options),
        args::Command::Ensemble(options) => ensemble::run(*options),
        args::Command::Router(options) => router::run(options),
        args::Command::Doctor(options) => return doctor::doctor(&options),
        args::Command::Stack(verb) => stack::stack(verb),
        args::Command::UploadKey { user, directories } => upload_key::upload_key(user, &directories),
        args::Command::MoveRepositories { directories, to } => move_repositories::run(&directories, &to),
        args::Command::AcceptStorage { storage } => accept_storage::run(&storage),
        args::Command::Wipe { directories, yes } => wipe::wipe(&directories, yes),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Causes follow the sentence: "failed to bind" alone helps nobody.
            eprintln!("slipwayd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
