//! `slipway`: everything a person does with Slipway besides `git push`.
//!
//! [`args`] is what was typed, [`session`] turns it into what is meant (which server, whose token,
//! which environment), [`command`] does it, [`printer`] says it: data to stdout, the rest to stderr.
//! A failure is one sentence on stderr and a status other than 0.

use std::process::ExitCode;

use clap::Parser;

mod args;

mod session;

mod printer;

mod command;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("slipway: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(command::run(args));
    // A thread may still wait for input that nobody will type.
    runtime.shutdown_background();
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // Causes follow the sentence, because "cannot reach the server" alone does not help. What a server
            // or a node refuses, it says in its own words.
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("slipway: {}", printer::plain(&causes.join(": ")));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// clap finds names that clash, defaults that do not parse and the like only when it is asked.
    #[test]
    fn the_command_line_is_well_formed() {
        crate::args::Args::command().debug_assert();
    }
}
