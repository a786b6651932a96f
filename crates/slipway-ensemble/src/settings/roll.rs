//! A change of settings that needs restarts, one server after the other (EX-11).
//!
//! Its state stands in the shared settings, so that any instance can go on with it. Each one asks
//! [`Roll::uses_new`] whether it is to work by the new settings already, looks at the one whose turn it
//! is, and calls [`Roll::advance`]; of several who write down what that made, one wins. New servers come
//! first, then those that were there, the leader last, because each restart of a leader stops writes
//! for a moment. The next one's turn comes only when the one before serves again and the others could
//! bear to lose one more.

use serde::{Deserialize, Serialize};

use super::servers::Servers;
use crate::configuration::majority;
use crate::monitor::State;

#[cfg(test)]
mod tests;

/// After so many looks without an answer a server is left out (EX-11).
pub const SILENT_MAX: u8 = 4;

/// How far a change is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Roll {
    /// Those whose turn is still to come.
    waiting: Vec<Turn>,
    /// The one whose turn it is.
    current: Option<Current>,
    /// Those that serve by the new settings.
    done: Vec<String>,
    /// Those that did not answer.
    skipped: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Turn {
    host: String,
    is_new: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Current {
    host: String,
    /// Looks in a row that had no answer.
    silent: u8,
}

/// A server at a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name in the list.
    pub host: String,
    /// How its server is; nothing when the instance did not answer.
    pub state: Option<State>,
    /// Whether it works by the new settings.
    pub has_new: bool,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether it votes.
    pub votes: bool,
}

/// What became of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to write down.
    Waits,
    /// Write the changed state down; only then the next server's turn has come.
    Changed,
    /// All had their turn: the new settings are the settings now, and the roll is over.
    Finished,
}

impl Roll {
    /// A change for all servers of the new list.
    pub fn new(old: &Servers, new: &Servers) -> Self {
        let was_there = |host: &str| old.iter().any(|server| server.host == host);
        let turn = |host: &String| Turn { host: host.clone(), is_new: !was_there(host) };
        let waiting = new.iter().map(|server| turn(&server.host)).collect();
        Self { waiting, current: None, done: Vec::new(), skipped: Vec::new() }
    }

    /// Whether that instance works by the new settings. One that was skipped does too: it was given
    /// them, and shall not start by the old when it returns.
    pub fn uses_new(&self, host: &str) -> bool {
        let is_current = self.current.as_ref().is_some_and(|current| current.host == host);
        is_current || self.done.iter().chain(&self.skipped).any(|other| other == host)
    }

    /// The way back: those that had their turn, or have it, have it again; the others had none.
    #[must_use]
    pub fn back(self) -> Self {
        let again = self.current.map(|current| current.host).into_iter().chain(self.done).chain(self.skipped);
        let waiting = again.map(|host| Turn { host, is_new: false }).collect();
        let done = self.waiting.into_iter().map(|turn| turn.host).collect();
        Self { waiting, current: None, done, skipped: Vec::new() }
    }

    /// Whose turn it is.
    pub fn current(&self) -> Option<&str> {
        self.current.as_ref().map(|current| current.host.as_str())
    }

    /// Goes on by what was seen of all servers of the new list.
    pub fn advance(&mut self, seen: &[Seen]) -> Progress {
        let had_current = self.current.is_some();
        if let Some(current) = &mut self.current {
            let seen = seen.iter().find(|seen| seen.host == current.host);
            match seen.and_then(|seen| Some((seen.state?, seen.has_new))) {
                Some((State::Serving, true)) => self.done.push(current.host.clone()),
                Some(_) if current.silent == 0 => return Progress::Waits,
                Some(_) => {
                    current.silent = 0;
                    return Progress::Changed;
                }
                None => {
                    current.silent += 1;
                    if current.silent < SILENT_MAX {
                        return Progress::Changed;
                    }
                    self.skipped.push(current.host.clone());
                }
            }
            self.current = None;
        }
        let Some(at) = self.next(seen) else {
            return match (self.waiting.is_empty(), had_current) {
                (true, _) => Progress::Finished,
                (false, true) => Progress::Changed,
                (false, false) => Progress::Waits,
            };
        };
        let host = self.waiting.remove(at).host;
        self.current = Some(Current { host, silent: 0 });
        Progress::Changed
    }

    /// Whose turn is next; nobody's while the others could not bear it.
    fn next(&self, seen: &[Seen]) -> Option<usize> {
        let find = |host: &str| seen.iter().find(|seen| seen.host == host);
        let serves = |seen: &&Seen| seen.votes && seen.state == Some(State::Serving);
        let voters = seen.iter().filter(|seen| seen.votes).count();
        let serving = seen.iter().filter(serves).count();
        // Of one or two servers none can be started anew without a pause.
        let bears_one = voters < 3 || serving > majority(voters);
        let is_safe = |turn: &Turn| bears_one || !find(&turn.host).as_ref().is_some_and(serves);
        let rank = |turn: &Turn| (find(&turn.host).is_some_and(|seen| seen.is_leader), !turn.is_new);
        let turns = self.waiting.iter().enumerate().filter(|(_, turn)| is_safe(turn));
        turns.min_by_key(|(at, turn)| (rank(turn), *at)).map(|(at, _)| at)
    }

    /// How much of it is done.
    pub fn percent(&self) -> u8 {
        let over = self.done.len() + self.skipped.len();
        let all = over + self.waiting.len() + usize::from(self.current.is_some());
        u8::try_from((over * 100).checked_div(all).unwrap_or(100)).unwrap_or(100)
    }

    /// A sentence for the operator.
    pub fn status(&self) -> String {
        let skipped = match self.skipped.as_slice() {
            [] => String::new(),
            hosts => format!("; without an answer: {}", hosts.join(", ")),
        };
        match &self.current {
            Some(current) => format!("{} gets the new settings{skipped}", current.host),
            None if self.waiting.is_empty() => format!("all servers had their turn{skipped}"),
            None => format!("waiting until the ensemble can bear the next restart{skipped}"),
        }
    }

    /// Those that did not answer, for the log.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }
}
