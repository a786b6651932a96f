//! All nodes, from their join tokens on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_api::wire::{CreateJoinToken, NewJoinToken};
use slipway_link::{Credentials, Dialler, join};
use slipway_model::instance::Node;
use slipway_model::name::NodeName;
use slipway_model::unit::{Bytes, Cpus, Span, Timestamp};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Failure;
use crate::peers::Peers;
use crate::serve::{Here, Listed};
use crate::servers::Servers as Cluster;
use crate::services::Servers;

/// Machines that join at once.
const JOINING: usize = 16;
/// Reports that wait for one link.
const REPORTS: usize = 1024;

pub struct Nodes {
    all: Vec<Simulated>,
    dialling: JoinSet<()>,
}

struct Simulated {
    servers: Servers,
    here: Here,
    told: watch::Receiver<Listed>,
}

/// When nodes had heard of a leader.
pub struct Back {
    pub half: Instant,
    pub all: Instant,
}

impl Nodes {
    /// Each with a token of its own.
    pub async fn join(cluster: &Cluster, count: usize) -> Result<Self, Failure> {
        let mut joining = JoinSet::new();
        let mut all = Vec::with_capacity(count);
        for number in 0..count {
            if joining.len() >= JOINING {
                all.extend(joining.join_next().await.transpose()?.transpose()?);
            }
            let client = cluster.client(number);
            let addresses = cluster.addresses();
            joining.spawn(async move { Simulated::join(number, &client, addresses).await });
        }
        while let Some(joined) = joining.join_next().await {
            all.push(joined??);
        }
        Ok(Self { all, dialling: JoinSet::new() })
    }

    /// Begins to keep a link of each.
    pub fn dial(&mut self) {
        for Simulated { servers, here, .. } in &self.all {
            let (servers, here) = (servers.clone(), here.clone());
            self.dialling.spawn(crate::dial::keep(servers, here, watch::Sender::new(false)));
        }
    }

    /// Waits until every node has a list of a newer leader than that.
    pub async fn registered(&self, epoch: u64, patience: Duration) -> Result<Back, Failure> {
        let since = Instant::now();
        let mut times = Vec::with_capacity(self.all.len());
        for node in &self.all {
            let mut told = node.told.clone();
            let left = patience.saturating_sub(since.elapsed());
            let heard = tokio::time::timeout(left, told.wait_for(|told| told.epoch > epoch)).await;
            let heard =
                heard.map_err(|_| format!("{} has not heard of the new leader", node.here.node.name))?;
            times.extend(heard?.at);
        }
        times.sort();
        let (half, all) = times.get(times.len() / 2).zip(times.last()).ok_or("there are no nodes")?;
        Ok(Back { half: *half, all: *all })
    }

    /// Waits until so many instances run.
    pub async fn running(&self, count: usize, patience: Duration) -> Result<(), Failure> {
        let since = Instant::now();
        loop {
            let running: usize = self.all.iter().map(|node| node.told.borrow().instances).sum();
            if running == count {
                return Ok(());
            }
            if since.elapsed() > patience {
                return Err(format!("{running} instances run, not {count}").into());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn stop(mut self) {
        self.dialling.shutdown().await;
    }
}

impl Simulated {
    async fn join(
        number: usize,
        client: &slipway_api::client::Client,
        addresses: Vec<String>,
    ) -> Result<Self, Failure> {
        let name: NodeName = format!("n{number}").parse()?;
        let (node, life) = (Some(name.clone()), Some(Span::from_secs(3600)));
        let wish = CreateJoinToken { node, life, ..CreateJoinToken::default() };
        let given: NewJoinToken = client.post("/v1/join-tokens", &wish).await?;
        let address = address_of(number);
        let here = join::Whereabouts { typed: Some(address), usual: None };
        let joined = join::join(&addresses, &given.token.parse()?, &name, &here).await?;
        Ok(Self::new(number, name, joined.credentials, joined.servers))
    }

    fn new(number: usize, name: NodeName, own: Credentials, addresses: Vec<String>) -> Self {
        let node = Node {
            name,
            cpus: Cpus(64_000),
            mem: Bytes::gibi(256),
            disk: Bytes::gibi(4000),
            gpus: 0,
            ports: (31_000, 32_000),
            address: Some(address_of(number)),
            attributes: BTreeMap::from([("rack".to_owned(), format!("r{}", number % 20))]),
            joined_at: Timestamp(1),
            trouble: None,
        };
        let (servers, addresses_seen) = watch::channel(addresses.clone());
        let (told, told_seen) = watch::channel(Listed::default());
        let (running, peers, reports) = (Arc::default(), Peers::default(), broadcast::channel(REPORTS).0);
        let here = Here { node, servers, peers, told, running, reports };
        let dialler = Dialler::new(watch::channel(Arc::new(own)).1);
        let servers = Servers { dialler, addresses: addresses_seen, typed: addresses.into() };
        Self { servers, here, told: told_seen }
    }
}

/// Where others would find it; nobody looks.
fn address_of(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 20, 0, 1)) + number as u32)
}
