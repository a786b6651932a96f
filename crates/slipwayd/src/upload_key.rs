//! `cat key.pub | ssh host slipwayd upload-key <user>`: an operator on the machine gives somebody a
//! key (BP-01). Speaks to the running server over its own socket, which only root can open.

use std::io::Read;

use anyhow::{Context, bail};
use slipway_api::client::Client;
use slipway_api::error::ErrorCode;
use slipway_api::wire::{AddKey, CreateUser, KeyInfo, UserInfo};
use slipway_model::name::UserName;

use crate::args;

/// Reads a public key from stdin and gives it to the user, who is made if there is none.
pub fn upload_key(user: UserName, directories: &args::Directories) -> anyhow::Result<()> {
    let mut public_key = String::new();
    std::io::stdin()
        .take(1 << 16)
        .read_to_string(&mut public_key)
        .context("cannot read the key from stdin")?;
    if public_key.trim().is_empty() {
        bail!("give the public key on stdin: cat key.pub | ssh HOST slipwayd upload-key {user}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::new(&format!("unix:{}", directories.run_dir.join("api.sock").display()))?;
        let path = format!("/v1/users/{user}/keys");
        let body = AddKey { public_key };
        let added: KeyInfo = match client.post(&path, &body).await {
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                let new = CreateUser { name: user.clone(), password: None, operator: false };
                let _made: UserInfo = client.post("/v1/users", &new).await?;
                println!("Created user {user}");
                client.post(&path, &body).await?
            }
            other => other?,
        };
        println!("{} can push with {} ({})", user, added.fingerprint, added.label);
        Ok(())
    })
}
