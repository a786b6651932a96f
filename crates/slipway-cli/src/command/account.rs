//! Who you are: claim, login, keys, tokens; and for operators, users.

use std::fs;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::{Context, bail};
use slipway_api::wire::*;
use slipway_model::name::UserName;

use crate::args::{Keys, Tokens, Users};
use crate::printer::{ago, table};
use crate::session::Session;

pub async fn claim(session: &mut Session, claim_token: String, user: UserName) -> anyhow::Result<()> {
    let password = new_password(&format!("New password for {user}: "))?;
    let request = ClaimRequest { claim_token, user: user.clone(), password };
    let answer: NewToken = session.anonymous()?.post("/v1/claim", &request).await?;
    session.remember(answer.token)?;
    session
        .printer
        .note(&format!("This server is yours. You are logged in at {} as {user}.", session.server));
    session
        .printer
        .note("Next: slipway keys add, slipway tenants create NAME, slipway projects create NAME/PROJECT");
    session.printer.result(&answer.about, String::new)
}

pub async fn login(session: &mut Session, user: Option<UserName>) -> anyhow::Result<()> {
    let Some(user) = user else { bail!("say who you are: slipway login --user NAME") };
    let password = old_password(&format!("Password of {user} at {}: ", session.server))?;
    let request = LoginRequest { user: user.clone(), password, label: "slipway login".into() };
    let answer: NewToken = session.anonymous()?.post("/v1/login", &request).await?;
    session.remember(answer.token)?;
    session.printer.note(&format!("You are logged in at {} as {user}.", session.server));
    session.printer.result(&answer.about, String::new)
}

pub async fn logout(session: &mut Session) -> anyhow::Result<()> {
    let answer: Done = session.client()?.post("/v1/logout", &Done {}).await?;
    session.forget()?;
    session.printer.result(&answer, || format!("Logged out of {}", session.server))
}

pub async fn whoami(session: &Session) -> anyhow::Result<()> {
    let me: Me = session.client()?.get("/v1/me").await?;
    session.printer.result(&me, || {
        let operator = if me.operator { ", an operator" } else { "" };
        let mut text =
            format!("{}{operator}, at {} (version {})\n", me.user, session.server, me.server.version);
        for tenant in &me.tenants {
            let role = tenant.role.map_or("-".to_owned(), |role| role.to_string());
            text += &format!("{role:9}  {}\n", tenant.name);
        }
        text + &format!(
            "git       ssh://git@{}  host key {}\napps      {}\nregistry  {}\n",
            me.server.git, me.server.git_host_key, me.server.apps, me.server.registry
        )
    })
}

pub async fn password(session: &Session) -> anyhow::Result<()> {
    let old = old_password("Old password: ")?;
    let new = new_password("New password: ")?;
    let answer: Done = session.client()?.post("/v1/me/password", &ChangePassword { old, new }).await?;
    session.printer.result(&answer, || "Changed".into())
}

pub async fn keys(session: &Session, verb: Keys) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Keys::List => {
            let keys: Items<KeyInfo> = client.get("/v1/keys").await?;
            session.printer.result(&keys, || {
                let rows = keys.items.iter();
                table(
                    ["FINGERPRINT", "LABEL", "ADDED"],
                    rows.map(|k| [k.fingerprint.to_string(), k.label.clone(), ago(k.created_at)]),
                )
            })
        }
        Keys::Add { file } => {
            let public_key = read_public_key(session, file)?;
            let key: KeyInfo = client.post("/v1/keys", &AddKey { public_key }).await?;
            session.printer.result(&key, || format!("Added {} ({})", key.fingerprint, key.label))
        }
        Keys::Remove { fingerprint } => {
            let name = fingerprint.as_str().replace('/', "_");
            let answer: Done =
                client.delete(&format!("/v1/keys/{}", slipway_api::client::query(&name))).await?;
            session.printer.result(&answer, || format!("Removed {fingerprint}"))
        }
    }
}

pub async fn tokens(session: &Session, verb: Tokens) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Tokens::List => {
            let tokens: Items<TokenInfo> = client.get("/v1/tokens").await?;
            session.printer.result(&tokens, || {
                let row = |token: &TokenInfo| {
                    let tenant = token.tenant.as_ref().map_or("all".to_owned(), ToString::to_string);
                    [
                        token.id.to_string(),
                        token.label.clone(),
                        tenant,
                        token.role_max.to_string(),
                        token.expires_at.to_string(),
                    ]
                };
                table(["TOKEN", "LABEL", "TENANT", "AT MOST", "EXPIRES"], tokens.items.iter().map(row))
            })
        }
        Tokens::Create { label, tenant, role, life } => {
            let request = CreateToken { label, tenant, role_max: role, life };
            let answer: NewToken = client.post("/v1/tokens", &request).await?;
            session.printer.note("This is shown once:");
            session.printer.result(&answer, || answer.token.clone())
        }
        Tokens::Revoke { id } => {
            let answer: Done = client.delete(&format!("/v1/tokens/{id}")).await?;
            session.printer.result(&answer, || format!("Revoked {id}"))
        }
    }
}

pub async fn users(session: &Session, verb: Users) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Users::List => {
            let users: Items<UserInfo> = client.get("/v1/users").await?;
            session.printer.result(&users, || {
                let row = |user: &UserInfo| {
                    let kind = match (user.disabled, user.operator) {
                        (true, _) => "disabled",
                        (false, true) => "operator",
                        (false, false) => "user",
                    };
                    [user.name.to_string(), kind.into(), ago(user.created_at)]
                };
                table(["NAME", "KIND", "CREATED"], users.items.iter().map(row))
            })
        }
        Users::Create { name, operator, no_password } => {
            let password =
                if no_password { None } else { Some(new_password(&format!("New password for {name}: "))?) };
            let user: UserInfo =
                client.post("/v1/users", &CreateUser { name: name.clone(), password, operator }).await?;
            session.printer.result(&user, || format!("Created {name}"))
        }
        Users::Disable { name } => {
            let answer: Done = client.delete(&format!("/v1/users/{name}")).await?;
            session.printer.result(&answer, || format!("Switched off {name}, with all keys and tokens"))
        }
        Users::Enable { name } => {
            let answer: Done = client.post(&format!("/v1/users/{name}/enable"), &Done {}).await?;
            session.printer.result(&answer, || format!("Switched {name} on again"))
        }
        Users::ResetPassword { name } => {
            let password = new_password(&format!("New password for {name}: "))?;
            let request = ResetPassword { password };
            let answer: Done = client.post(&format!("/v1/users/{name}/password"), &request).await?;
            session.printer.result(&answer, || format!("{name} has a new password"))
        }
    }
}

/// The key files that OpenSSH makes by default, best first.
const KEY_FILES: [&str; 3] = [".ssh/id_ed25519.pub", ".ssh/id_ecdsa.pub", ".ssh/id_rsa.pub"];

fn read_public_key(session: &Session, file: Option<PathBuf>) -> anyhow::Result<String> {
    let file = match file {
        Some(file) if file.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().take(1 << 16).read_to_string(&mut text)?;
            return Ok(text);
        }
        Some(file) => file,
        None => {
            let candidates = KEY_FILES.map(|name| session.home.join(name));
            let found = candidates.into_iter().find(|path| path.exists());
            found.context("there is no key in ~/.ssh; make one with: ssh-keygen -t ed25519")?
        }
    };
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    if text.contains("PRIVATE KEY") {
        bail!("{} is a private key; give the .pub file beside it", file.display());
    }
    Ok(text)
}

/// A password that exists, from the terminal or the first line of stdin.
pub fn old_password(prompt: &str) -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        return Ok(rpassword::prompt_password(prompt)?);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A password that is being made: typed twice at a terminal.
pub fn new_password(prompt: &str) -> anyhow::Result<String> {
    let password = old_password(prompt)?;
    if std::io::stdin().is_terminal() && rpassword::prompt_password("Once more: ")? != password {
        bail!("the two passwords differ");
    }
    Ok(password)
}
