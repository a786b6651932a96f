//! Who drives a change of settings that needs restarts (EX-11): every instance, by the same looks.
//!
//! The change stands in the shared settings as a [`Rolling`]. Whose turn it is knows so by reading them,
//! and restarts its server; in the sign by which it is there it says the change that its server runs by.
//! Each instance looks at all servers and reckons how the change goes on; what it makes of that replaces
//! the version that it has read. So of many who see the same, one writes, and there is nothing that an
//! instance which dies could take with it. While the shared place is away, nobody's turn comes.

use std::time::{Duration, Instant};

use super::{Error, Looks, Members, ROUNDS_SILENT_MAX};
use crate::handle::Handle;
use crate::instance;
use crate::monitor::State;
use crate::settings::roll::{Progress, Roll, Seen};
use crate::settings::{Kind, Rolling, Settings};
use crate::shared;
use crate::supervisor::describe;

#[cfg(test)]
mod tests;

/// Between two looks while a change is on its way, at most.
pub(super) const PERIOD: Duration = Duration::from_secs(2);
/// Beside the rounds: a round takes that long when others do not answer.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a Java takes to start on a busy machine.
const START: Duration = Duration::from_secs(30);

/// Whose turn it is, and since when it was seen so here.
#[derive(Default)]
pub(super) struct TurnSeen(Option<(u64, Option<String>, Instant)>);

impl TurnSeen {
    fn age(&mut self, rolling: &Rolling) -> Duration {
        let current = rolling.roll.current();
        match &self.0 {
            Some((id, host, since)) if *id == rolling.id && host.as_deref() == current => since.elapsed(),
            _ => {
                self.0 = Some((rolling.id, current.map(str::to_owned), Instant::now()));
                Duration::ZERO
            }
        }
    }
}

/// The change that the server of this instance runs by; 0 for none.
pub(super) fn runs_by(handle: &Handle) -> u64 {
    let shared = handle.shared();
    shared.rolling.as_ref().filter(|rolling| handle.runs_by(&rolling.new)).map_or(0, |rolling| rolling.id)
}

impl Members {
    /// Reads how far the change is, looks, and writes down how it goes on.
    pub(super) async fn drive(&mut self) -> Result<(), Error> {
        // First the signs: whoever says there that it runs by the change, serves by it when seen after.
        self.meet().await?;
        let Some((settings, version)) = self.shared.load().await? else { return Ok(()) };
        instance::take(&self.handle, &settings, version);
        let Some(rolling) = &settings.rolling else { return Ok(()) };
        let looks = self.look(&rolling.new).await;
        let age = self.turn.age(rolling);
        let seen = self.seen(rolling, &looks, age, settings.check_ms);
        let Some((next, sentence)) = next(&settings, &seen, age) else { return Ok(()) };
        match self.shared.replace(Some(version), &next).await {
            Ok(version) => {
                self.handle.event(sentence);
                instance::take(&self.handle, &next, version);
                Ok(())
            }
            // Another instance has seen the same, or a person has decided.
            Err(shared::Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All servers of the new list, as they were at this look.
    fn seen(&self, rolling: &Rolling, looks: &Looks, age: Duration, check_ms: u64) -> Vec<Seen> {
        let silence = Duration::from_millis(check_ms) * ROUNDS_SILENT_MAX + SILENCE;
        let one = |server: &crate::settings::Server| {
            let presence = self.presence.get(&server.host);
            let is_silent = presence.map_or(age, |presence| presence.heard.elapsed()) > silence;
            let id = presence.and_then(|presence| says(&presence.sign));
            let looked = looks.instances.iter().find(|instance| instance.host == server.host);
            Seen {
                host: server.host.clone(),
                state: (!is_silent).then(|| looked.map_or(State::Down, |instance| instance.state)),
                has_new: id == Some(rolling.id),
                is_leader: looks.leader == Some(server.id),
                votes: server.kind == Kind::Standard,
            }
        };
        rolling.new.servers_spec.iter().map(one).collect()
    }
}

/// The shared settings after a look, and a sentence about them; nothing while there is nothing new. The
/// turn has lasted for `age`.
fn next(settings: &Settings, seen: &[Seen], age: Duration) -> Option<(Settings, String)> {
    let rolling = settings.rolling.as_ref()?;
    let mut roll = rolling.roll.clone();
    let rolling = match roll.advance(seen) {
        Progress::Finished => {
            let new = Settings { rolling: None, ..*rolling.new.clone() };
            return Some((new, format!("the new settings are in force: {}", roll.status())));
        }
        Progress::Changed => Rolling { roll, stands: None, ..rolling.clone() },
        Progress::Waits => {
            let is_late = age > rolling.new.ticks().patience() + START;
            let stands = stands(&roll, seen).filter(|_| is_late && rolling.stands.is_none())?;
            Rolling { stands: Some(stands), ..rolling.clone() }
        }
    };
    let sentence = format!("the servers are getting new settings: {}", rolling.status());
    Some((Settings { rolling: Some(rolling), ..settings.clone() }, sentence))
}

/// Why it does not go on.
fn stands(roll: &Roll, seen: &[Seen]) -> Option<String> {
    let host = roll.current()?;
    let state =
        seen.iter().find(|seen| seen.host == host).and_then(|seen| seen.state).map_or("silent", describe);
    Some(format!(
        "stopped at {host}, which does not serve by the new settings (it is {state}). The others keep the old \
         ones. Mend it and it goes on, or take the change back: config/rollback-rolling"
    ))
}

/// What a sign says its server runs by.
fn says(sign: &[u8]) -> Option<u64> {
    std::str::from_utf8(sign).ok()?.split(' ').nth(2)?.parse().ok()
}
