//! `slipway logs`. Following survives a restart of the server: it asks again, and leaves out what it has
//! shown already.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use slipway_api::client::{Error, Stream, query};
use slipway_api::error::ErrorCode;
use slipway_api::wire::LogLine;
use slipway_model::id::InstanceId;
use slipway_model::name::ServiceName;
use slipway_model::unit::Timestamp;

use crate::args;
use crate::printer::plain;
use crate::session::{Session, at};

/// Between two tries to reach a server that went away.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// A server that stays away longer is not being restarted.
const AWAY_MAX: Duration = Duration::from_secs(600);
/// What could have been said while the connection was gone.
const LINES_AGAIN: u32 = 10_000;

pub async fn logs(
    session: &Session,
    place: &args::Environment,
    follow: bool,
    lines: u32,
    service: Option<ServiceName>,
    instance: Option<InstanceId>,
) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let client = session.client()?;
    let url = |lines: u32| {
        let mut url = at(&path, &format!("/logs?lines={lines}&follow={follow}"));
        if let Some(service) = &service {
            url += &format!("&service={}", query(service.as_str()));
        }
        if let Some(instance) = &instance {
            url += &format!("&instance={}", query(instance.as_str()));
        }
        url
    };
    let mut shown = Shown::default();
    let mut stream = client.stream(&url(lines)).await?;
    loop {
        let ended = show(session, &mut stream, &mut shown).await;
        if !follow {
            return ended;
        }
        session.printer.note("The server is gone; waiting for it to come back");
        let since = Instant::now();
        stream = loop {
            tokio::time::sleep(RETRY_PAUSE).await;
            match client.stream(&url(LINES_AGAIN)).await {
                Ok(stream) => break stream,
                Err(error) if is_away(&error) && since.elapsed() < AWAY_MAX => {}
                Err(error) => return Err(error.into()),
            }
        };
        shown.again();
    }
}

/// True when the same question may well be answered later.
fn is_away(error: &Error) -> bool {
    match error {
        Error::Connect { .. } | Error::Http { .. } => true,
        error => error.code() == Some(ErrorCode::Unavailable),
    }
}

async fn show(session: &Session, stream: &mut Stream, shown: &mut Shown) -> anyhow::Result<()> {
    let mut pending = Vec::new();
    while let Some(bytes) = stream.next().await? {
        pending.extend_from_slice(&bytes);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let json: Vec<u8> = pending.drain(..=end).collect();
            let Ok(line) = serde_json::from_slice::<LogLine>(&json) else { continue };
            if !shown.is_new(&line) {
                continue;
            }
            if session.printer.is_json() {
                session.printer.data(&json)?;
                continue;
            }
            session.printer.data(words(&line).as_bytes())?;
        }
    }
    Ok(())
}

/// A line for people. Node and program wrote what is in it.
fn words(line: &LogLine) -> String {
    let short = &line.instance.as_str()[..6];
    format!("{} {}.{short}: {}\n", line.at, plain(&line.source), plain(&line.text))
}

/// How far each instance's lines have been shown: the time of the last one, and how many had that time.
#[derive(Default)]
struct Shown {
    until: HashMap<InstanceId, (Timestamp, u32)>,
    /// The same while lines come a second time; an entry goes once its lines are past it.
    skip: HashMap<InstanceId, (Timestamp, u32)>,
}

impl Shown {
    /// From now on lines may come that were shown.
    fn again(&mut self) {
        self.skip.clone_from(&self.until);
    }

    fn is_new(&mut self, line: &LogLine) -> bool {
        if let Some((until, count)) = self.skip.get_mut(&line.instance) {
            if line.at < *until {
                return false;
            }
            if line.at == *until && *count > 0 {
                *count -= 1;
                return false;
            }
            self.skip.remove(&line.instance);
        }
        let (last, count) = self.until.entry(line.instance.clone()).or_insert((line.at, 0));
        if line.at != *last {
            (*last, *count) = (line.at, 0);
        }
        *count += 1;
        true
    }
}

#[cfg(test)]
mod tests;
