//! Requests at fixed times to all servers that run, and how long each took from when it was due.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use slipway_api::client::{Client, Error};
use slipway_api::wire::{Items, Me, NodeDetail, NodeInfo, QuotaInfo, SetQuota};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::Failure;
use crate::apps::TENANTS;
use crate::servers::Servers as Cluster;

const INTERVAL: Duration = Duration::from_millis(10);

/// The requests that are under way.
pub struct Requests {
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<Asked>>,
}

struct Asked {
    due: Instant,
    took: Duration,
    is_write: bool,
    outcome: Outcome,
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Answered,
    /// In so many words: 503 while nobody leads.
    Refused,
    Broken,
}

/// What became of them.
pub struct Seen(Vec<Asked>);

/// Of those that were due in some time.
pub struct Summary {
    times: Vec<Duration>,
    refused: usize,
    broken: usize,
}

impl Requests {
    pub fn start(cluster: &Cluster) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(ask(cluster.clients(), stopped)) }
    }

    /// Ends when all have been answered.
    pub async fn stop(self) -> Result<Seen, Failure> {
        self.stop.send_replace(true);
        Ok(Seen(self.task.await?))
    }
}

async fn ask(clients: Arc<Mutex<Vec<Client>>>, stopped: watch::Receiver<bool>) -> Vec<Asked> {
    let mut asking = JoinSet::new();
    let mut due = tokio::time::Instant::now();
    for number in 0.. {
        if *stopped.borrow() {
            break;
        }
        tokio::time::sleep_until(due).await;
        let client = {
            let clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
            clients[number % clients.len()].clone()
        };
        let since = due.into_std();
        asking.spawn(async move {
            let (is_write, answer) = one(&client, number).await;
            let outcome = match answer {
                Ok(()) => Outcome::Answered,
                Err(Error::Refused(_)) => Outcome::Refused,
                Err(_) => Outcome::Broken,
            };
            Asked { due: since, took: since.elapsed(), is_write, outcome }
        });
        due += INTERVAL;
    }
    asking.join_all().await
}

/// Who am I, what runs on a node, all nodes, and each fifth time a change.
async fn one(client: &Client, number: usize) -> (bool, Result<(), Error>) {
    let turn = number / 3;
    match turn % 25 {
        0 => (false, client.get::<Items<NodeInfo>>("/v1/nodes").await.map(drop)),
        rest if rest % 5 == 4 => {
            let path = format!("/v1/quotas/tenant-{}", turn % TENANTS);
            let quota = SetQuota { instances: Some(1_000_000 + turn as u32), ..SetQuota::default() };
            (true, client.call::<QuotaInfo>(http::Method::PUT, &path, Some(&quota)).await.map(drop))
        }
        rest if rest % 2 == 0 => (false, client.get::<Me>("/v1/me").await.map(drop)),
        _ => {
            let path = format!("/v1/nodes/n{}", number % 100);
            (false, client.get::<NodeDetail>(&path).await.map(drop))
        }
    }
}

impl Seen {
    pub fn between(&self, from: Option<Instant>, until: Option<Instant>) -> Summary {
        let is_within = |asked: &&Asked| {
            from.is_none_or(|from| asked.due >= from) && until.is_none_or(|until| asked.due < until)
        };
        let within: Vec<_> = self.0.iter().filter(is_within).collect();
        let count = |outcome| within.iter().filter(|asked| asked.outcome == outcome).count();
        let mut times: Vec<_> = within.iter().map(|asked| asked.took).collect();
        times.sort();
        Summary { times, refused: count(Outcome::Refused), broken: count(Outcome::Broken) }
    }

    /// When the first change was acknowledged that was asked for after that.
    pub fn writes_again(&self, after: Instant) -> Option<Instant> {
        let written =
            |asked: &&Asked| asked.due >= after && asked.is_write && asked.outcome == Outcome::Answered;
        self.0.iter().filter(written).map(|asked| asked.due + asked.took).min()
    }
}

impl Summary {
    /// Answers that are refusals count like others.
    pub fn p99(&self) -> Duration {
        self.at(99)
    }

    fn at(&self, percent: usize) -> Duration {
        let last = self.times.len().saturating_sub(1);
        self.times.get((self.times.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{} requests, p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; {} refused, {} broken",
            self.times.len(),
            ms(self.at(50)),
            ms(self.p99()),
            ms(self.at(100)),
            self.refused,
            self.broken
        )
    }
}
