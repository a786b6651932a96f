//! Election: candidates queue up, and the first one writes the next epoch into the leader's node.
//!
//! A candidate's node lives as long as its session and carries a number that says when it came; each
//! candidate watches only the one before it (F9), and finds its node by a random name if the answer
//! to its making was lost (F10, ZK-13). Being the first gives no right to write: the epoch does, and
//! each fenced batch demands that the leader's node is as it was with that epoch.
//!
//! A leader asks the servers several times in a session's time whether it still is one. When two
//! thirds of that time have passed since the last question that was answered, it stops by its own
//! clock: the servers cannot have given up the session yet (ZK-03, F6).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_model::cluster::Candidate;
use slipway_model::id::Epoch;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::layout::Layout;
use super::seal::Written;
use super::session::{Client, Failure};
use super::wire::{Life, NodeChange, Reader, Request, multi_verdict};
use crate::election::{Leader, Leadership};
use crate::error::Error;
use crate::watch::Watcher;

const ASK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// What the leader's node is sealed as; records' keys begin with a slash.
const LEADER: &str = "leader";

/// What the leader's node says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeaderNode {
    pub(super) epoch: Epoch,
    /// `None` before the first election here.
    #[serde(default)]
    candidate: Option<Candidate>,
    /// What servers wrote in place of the candidate before it had fields; see [`former`].
    #[serde(default, skip_serializing)]
    name: String,
    /// Random; tells the winner of an election whose answer was lost. Empty when there was none.
    election: String,
}

impl LeaderNode {
    /// After this epoch, before the first election here.
    pub(super) fn after(epoch: Epoch) -> Self {
        Self { epoch, candidate: None, name: String::new(), election: String::new() }
    }

    /// For the node's content of this version.
    pub(super) fn encode(&self, layout: &Layout, version: i32) -> Vec<u8> {
        let json = serde_json::json!(self).to_string();
        // An election that comes late is one all the same.
        layout.seal().close(LEADER, json.as_bytes(), Written::version(version))
    }

    /// From the answer of [`Request::data`]; with the node's content version.
    pub(super) fn decode(layout: &Layout, body: &[u8]) -> Result<(Self, i32), Error> {
        let unreadable = |why: String| Error::Unreadable { key: LEADER.to_owned(), why };
        let mut reader = Reader(body);
        let found = reader.buffer().and_then(|payload| Ok((payload, reader.stat()?)));
        let (payload, stat) = found.map_err(|error| unreadable(error.to_string()))?;
        let json = layout.seal().open(LEADER, payload, &stat).map_err(|why| unreadable(why.to_owned()))?;
        let leader = serde_json::from_slice(json).map_err(|error| unreadable(error.to_string()))?;
        Ok((leader, stat.version))
    }

    fn elected(self) -> Option<Leader> {
        let Self { epoch, candidate, name, election } = self;
        let candidate = candidate.or_else(|| former(&name)).filter(|_| !election.is_empty())?;
        Some(Leader { epoch, candidate })
    }
}

/// A candidate in one text: its name, and after a space where it takes links.
fn former(text: &str) -> Option<Candidate> {
    let (name, address) = text.split_once(' ').map_or((text, None), |(name, rest)| (name, Some(rest)));
    Some(Candidate { name: name.parse().ok()?, cluster_address: address.map(str::to_owned) })
}

/// Who leads now.
pub(super) async fn read(client: &Client, layout: &Layout) -> Result<Option<Leader>, Error> {
    let answer = client.ask(Request::data_watched(&layout.leader())).await?;
    Ok(LeaderNode::decode(layout, &client.accept(answer)?)?.0.elected())
}

/// Tells who leads whenever that changes, until the store is closed.
pub(super) async fn follow(client: Client, layout: Layout, tell: watch::Sender<Option<Leader>>) {
    let watcher = Arc::new(Watcher::new(layout.leader()));
    client.listen(&watcher);
    loop {
        if watcher.take().is_none() {
            watcher.changed().await;
            continue;
        }
        match read(&client, &layout).await {
            Ok(found) => drop(tell.send_if_modified(|known| {
                let changed = *known != found;
                *known = found;
                changed
            })),
            Err(Error::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot tell who leads");
                watcher.note_whole();
                tokio::time::sleep(ASK_AGAIN_MAX).await;
            }
        }
    }
}

/// The elections of one session; it is one candidate.
#[derive(Debug)]
pub(super) struct Elections {
    client: Client,
    layout: Layout,
    /// The name of our candidate's node, if there may be one.
    candidate: Mutex<Option<String>>,
}

/// An epoch that was won.
struct Office {
    epoch: Epoch,
    /// The content version that the leader's node has with it.
    version: i32,
    candidate: String,
    /// When the servers were last asked with success.
    asked_at: Instant,
}

impl Elections {
    pub(super) fn new(client: Client, layout: Layout) -> Self {
        Self { client, layout, candidate: Mutex::default() }
    }

    /// Waits until this candidate leads. If it leads already, that leadership ends.
    pub(super) async fn elect(&self, own: &Candidate) -> Result<Leadership, Error> {
        let mut candidate = self.candidate.lock().await;
        loop {
            let known = candidate.take();
            let node = match known {
                Some(node) => node,
                None => self.stand(own).await?,
            };
            // Before waiting, which may be cancelled.
            *candidate = Some(node.clone());
            let first = self.wait_until_first(&node).await?;
            let office = if first { self.take_office(own, &node).await? } else { None };
            let Some(office) = office else {
                // The node went with its session.
                *candidate = None;
                continue;
            };
            tracing::info!(leader.epoch = office.epoch.0, leader.name = %own.name, "elected");
            let (epochs, newest) = watch::channel(office.epoch);
            let leadership = Leadership::new(office.epoch, newest);
            tokio::spawn(hold(self.client.clone(), self.layout.clone(), office, epochs));
            return Ok(leadership);
        }
    }

    fn path(&self, node: &str) -> String {
        format!("{}/{node}", self.layout.candidates())
    }

    /// Makes our candidate's node.
    async fn stand(&self, own: &Candidate) -> Result<String, Error> {
        let random = format!("{:032x}", rand::random::<u128>());
        let path = self.path(&format!("{random}-"));
        let create =
            self.layout.create_living(Life::EphemeralNumbered, path, own.name.as_str().as_bytes().to_vec());
        let create = Request::change(&create);
        let deadline = Instant::now() + self.client.patience();
        loop {
            match tokio::time::timeout_at(deadline, self.client.call(create.clone())).await {
                Ok(Ok(body)) => {
                    let path = Reader(&body).text().map_err(|error| self.client.error(&error.into()))?;
                    let node = path.rsplit_once('/').map_or(path, |(_, node)| node);
                    return Ok(node.to_owned());
                }
                Ok(Err(Failure::NotSent)) => {}
                Ok(Err(Failure::Lost { .. })) => {
                    let nodes = self.queue().await?;
                    if let Some(node) = nodes.into_iter().find(|node| node.starts_with(&random)) {
                        return Ok(node);
                    }
                }
                Ok(Err(failure)) => return Err(self.client.error(&failure)),
                Err(_) => return Err(self.client.unavailable()),
            }
        }
    }

    /// All candidates, the first one first.
    async fn queue(&self) -> Result<Vec<String>, Error> {
        let path = self.layout.candidates();
        let mut answers = self.client.ask_all(&[Request::sync(&path), Request::children(&path)]).await?;
        let body = self.client.accept(answers.swap_remove(1))?;
        let mut nodes = Reader(&body).texts().map_err(|error| self.client.error(&error.into()))?;
        nodes.sort_by(|a, b| number(a).cmp(number(b)));
        Ok(nodes)
    }

    /// False when our node is gone.
    async fn wait_until_first(&self, node: &str) -> Result<bool, Error> {
        loop {
            let nodes = self.queue().await?;
            let Some(at) = nodes.iter().position(|other| other == node) else { return Ok(false) };
            let Some(before) = at.checked_sub(1) else { return Ok(true) };
            let before = self.path(&nodes[before]);
            let watcher = Arc::new(Watcher::new(before.clone()));
            self.client.listen(&watcher);
            if self.client.stat(self.client.ask(Request::exists(&before, true)).await?)?.is_some() {
                watcher.changed().await;
            }
        }
    }

    /// `None` when our node is gone.
    async fn take_office(&self, own: &Candidate, node: &str) -> Result<Option<Office>, Error> {
        let election = format!("{:032x}", rand::random::<u128>());
        let path = self.layout.leader();
        let candidate = self.path(node);
        loop {
            let asked_at = Instant::now();
            let looks = [Request::sync(&path), Request::data(&path), Request::exists(&candidate, false)];
            let mut answers = self.client.ask_all(&looks).await?;
            let there = self.client.stat(answers.swap_remove(2))?.is_some();
            let body = self.client.accept(answers.swap_remove(1))?;
            let (leader, version) = LeaderNode::decode(&self.layout, &body)?;
            if !there {
                return Ok(None);
            }
            if leader.election == election {
                return Ok(Some(Office { epoch: leader.epoch, version, candidate, asked_at }));
            }
            let next = LeaderNode {
                epoch: leader.epoch.next(),
                candidate: Some(own.clone()),
                name: String::new(),
                election: election.clone(),
            };
            let request = Request::multi(&[
                NodeChange::Check { path: candidate.clone(), version: -1 },
                NodeChange::Set { path: path.clone(), data: next.encode(&self.layout, version + 1), version },
            ]);
            match self.client.call(request).await {
                Ok(body) => match multi_verdict(&body).map_err(|error| self.client.error(&error.into()))? {
                    Err(code) if !code.is_outdated() => {
                        return Err(self.client.error(&Failure::Refused(code)));
                    }
                    // Whatever became of it, the next look tells.
                    _ => {}
                },
                Err(Failure::NotSent | Failure::Lost { .. }) => {}
                Err(Failure::Refused(code)) if code.is_outdated() => {}
                Err(failure) => return Err(self.client.error(&failure)),
            }
        }
    }
}

/// The digits that the server has put at the end, always ten.
fn number(node: &str) -> &str {
    node.rsplit_once('-').map_or("", |(_, number)| number)
}

/// Watches over an office until it ends, or nobody wants it any more. Dropping `epochs` ends the
/// leadership.
async fn hold(client: Client, layout: Layout, mut office: Office, epochs: watch::Sender<Epoch>) {
    let timeout = client.session_timeout();
    let pause = (timeout / 10).min(ASK_AGAIN_MAX);
    loop {
        let deadline = office.asked_at + timeout * 2 / 3;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = epochs.closed() => break,
        }
        let asked_at = Instant::now();
        if asked_at >= deadline {
            tracing::warn!(leader.epoch = office.epoch.0, "stopped leading: this process stood still");
            break;
        }
        let looks = [Request::exists(&office.candidate, false), Request::data(&layout.leader())];
        let Ok(answers) = tokio::time::timeout_at(deadline, client.ask_all(&looks)).await else {
            tracing::warn!(leader.epoch = office.epoch.0, "stopped leading: the servers do not answer");
            break;
        };
        let mut answers = match answers {
            Ok(answers) => answers,
            Err(Error::Closed) => return,
            Err(_) => continue,
        };
        let leader =
            client.accept(answers.swap_remove(1)).and_then(|body| LeaderNode::decode(&layout, &body));
        let there = client.stat(answers.swap_remove(0));
        match (there, leader) {
            (Ok(Some(_)), Ok((leader, _))) if leader.epoch == office.epoch => office.asked_at = asked_at,
            (Ok(_), Ok((leader, _))) => {
                tracing::warn!(
                    leader.epoch = office.epoch.0,
                    leader.newest = leader.epoch.0,
                    "stopped leading: the session has expired or there is a newer leader"
                );
                epochs.send_replace(leader.epoch);
                return;
            }
            // Then the clock decides.
            (Err(_), _) | (_, Err(_)) => {}
        }
    }
    drop(epochs);
    // Leave the queue, unless this session has won another election in the meantime.
    let resign = Request::multi(&[
        NodeChange::Check { path: layout.leader(), version: office.version },
        NodeChange::Delete { path: office.candidate, version: -1 },
    ]);
    // If that fails, the node goes with the session.
    let _ = client.ask(resign).await;
}

#[cfg(test)]
mod tests;
