//! What each command does. One module per subject; each function is one call or two and the words
//! for its answer.

mod account;
mod attach;
mod cluster;
mod deploy;
mod deployment;
mod environment;
mod files;
mod log;
mod project;
mod ps;
mod tenant;
mod watch;

use clap::CommandFactory;

use crate::args::{Args, Command, Deployments, Files, Nodes};
use crate::session::Session;

/// Runs what was typed; the status is that of a one-off program for `run`, else 0.
pub async fn run(args: Args) -> anyhow::Result<u8> {
    let mut session = Session::open(&args.global)?;
    let session = &mut session;
    match args.command {
        Command::Claim { claim_token, user } => account::claim(session, claim_token, user).await?,
        Command::Login { user } => account::login(session, user).await?,
        Command::Logout => account::logout(session).await?,
        Command::Whoami => account::whoami(session).await?,
        Command::Password => account::password(session).await?,
        Command::Keys(verb) => account::keys(session, verb).await?,
        Command::Tokens(verb) => account::tokens(session, verb).await?,
        Command::Users(verb) => account::users(session, verb).await?,
        Command::Tenants(verb) => tenant::tenants(session, verb).await?,
        Command::Members(verb) => tenant::members(session, verb).await?,
        Command::Invitations(verb) => tenant::invitations(session, verb).await?,
        Command::Projects(verb) => project::projects(session, verb).await?,
        Command::Environments(verb) => project::environments(session, verb).await?,
        Command::Domains(verb) => project::domains(session, verb).await?,
        Command::Config(verb) => environment::config(session, verb).await?,
        Command::Secrets(verb) => environment::secrets(session, verb).await?,
        Command::Builds(verb) => environment::builds(session, verb).await?,
        Command::Ps { why, at } => ps::ps(session, &at, why).await?,
        Command::Cron { at } => ps::cron(session, &at).await?,
        Command::Retry { at } => ps::retry(session, &at).await?,
        Command::Stop { instance, at } => ps::stop(session, &at, instance).await?,
        Command::Logs { follow, lines, service, instance, at } => {
            log::logs(session, &at, follow, lines, service, instance).await?;
        }
        Command::Files { verb: Some(Files::Get { instance, path, output, at }), .. } => {
            files::get(session, &at, &instance, &path, output.as_deref()).await?;
        }
        Command::Files { instance: Some(instance), path, at, .. } => {
            files::browse(session, &at, &instance, &path).await?;
        }
        Command::Files { at, .. } => files::sandboxes(session, &at).await?,
        Command::Nodes { verb } => cluster::nodes(session, verb.unwrap_or(Nodes::List)).await?,
        Command::Quota(verb) => cluster::quota(session, verb).await?,
        Command::Releases { at } => deploy::releases(session, &at).await?,
        Command::Deployments { verb, number, at } => {
            let verb = verb.unwrap_or(match number {
                Some(_) => Deployments::Show { number, at },
                None => Deployments::List { at },
            });
            deployment::deployments(session, verb).await?;
        }
        Command::Rollback { to, at, wait } => deploy::rollback(session, &at, to, wait).await?,
        Command::Promote { from, release, at, wait } => {
            deploy::promote(session, &at, from, release, wait).await?
        }
        Command::Deploy { image, command, no_port, at, wait } => {
            deploy::image(session, &at, image, command, !no_port, wait).await?;
        }
        Command::Scale { services, force, at, wait } => {
            deploy::scale(session, &at, services, force, wait).await?
        }
        Command::Restart { force, at, wait } => deploy::restart(session, &at, force, wait).await?,
        Command::Run { command, no_tty, at } => return attach::run(session, &at, command, no_tty).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "slipway", &mut std::io::stdout());
        }
    }
    Ok(0)
}
