//! `slipway files`: what instances have written. Names and contents are a program's, so nothing of them
//! reaches a terminal as a control sequence (N98).

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use slipway_api::client::query;
use slipway_api::wire::*;
use slipway_model::id::InstanceId;
use slipway_model::unit::Timestamp;

use crate::args;
use crate::printer::{ago, plain, table};
use crate::session::{Session, at};

pub async fn sandboxes(session: &Session, place: &args::Environment) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let sandboxes: Items<SandboxInfo> = session.client()?.get(&at(&path, "/sandboxes")).await?;
    session.printer.result(&sandboxes, || {
        if sandboxes.items.is_empty() {
            return format!("{path} has no instance whose files are kept");
        }
        let row = |sandbox: &SandboxInfo| {
            let state = match (sandbox.ended_at, sandbox.partial) {
                (None, _) => "lives".to_owned(),
                (Some(then), false) => format!("ended {}", ago(then)),
                (Some(then), true) => format!("ended {}; not all of its files were kept", ago(then)),
            };
            [sandbox.instance.to_string(), sandbox.source.clone(), state]
        };
        table(["INSTANCE", "SOURCE", "STATE"], sandboxes.items.iter().map(row))
    })
}

pub async fn browse(
    session: &Session,
    place: &args::Environment,
    instance: &InstanceId,
    folder: &str,
) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let url = at(&path, &format!("/instances/{instance}/files?path={}", query(folder)));
    let directory: DirectoryInfo = session.client()?.get(&url).await?;
    session.printer.result(&directory, || directory_text(&directory))?;
    if directory.truncated && !session.printer.is_json() {
        session.printer.note("There are more names than these");
    }
    Ok(())
}

pub async fn get(
    session: &Session,
    place: &args::Environment,
    instance: &InstanceId,
    file: &str,
    output: Option<&Path>,
) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let url = at(&path, &format!("/instances/{instance}/files/download?path={}", query(file)));
    let mut stream = session.client()?.stream(&url).await?;
    let Some(output) = output else {
        let mut shown = Shown::default();
        let at_terminal = std::io::stdout().is_terminal();
        while let Some(piece) = stream.next().await? {
            match at_terminal {
                true => session.printer.data(shown.next(&piece).as_bytes())?,
                false => session.printer.data(&piece)?,
            }
        }
        return Ok(());
    };
    let context = || format!("cannot write {}", output.display());
    let mut written = File::create(output).with_context(context)?;
    while let Some(piece) =
        stream.next().await.with_context(|| format!("{} is not complete", output.display()))?
    {
        written.write_all(&piece).with_context(context)?;
    }
    Ok(())
}

fn directory_text(directory: &DirectoryInfo) -> String {
    if directory.items.is_empty() {
        return "Nothing is there".to_owned();
    }
    let row = |file: &FileInfo| {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let slash = if file.mode.starts_with('d') { "/" } else { "" };
        let changed = Timestamp((file.mtime * 1000.0) as u64);
        [file.mode.clone(), file.size.to_string(), changed.to_string(), format!("{}{slash}", visible(name))]
    };
    table(["MODE", "BYTES", "CHANGED", "NAME"], directory.items.iter().map(row))
}

/// A name on one line, as it is: what would move the cursor, or turn the reading direction, is written out.
fn visible(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                text.extend(c.escape_unicode());
            }
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

/// A file's contents for a terminal, piece by piece.
#[derive(Default)]
struct Shown {
    /// The begin of a character whose end is in the next piece.
    begun: Vec<u8>,
}

impl Shown {
    fn next(&mut self, piece: &[u8]) -> String {
        self.begun.extend_from_slice(piece);
        let whole = match std::str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.begun.len(),
        };
        let rest = self.begun.split_off(whole);
        plain(&String::from_utf8_lossy(&std::mem::replace(&mut self.begun, rest)))
    }
}

#[cfg(test)]
mod tests;
