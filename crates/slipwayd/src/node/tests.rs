//! A machine that joins a server over real links: what it says and takes, how it comes back, how its router
//! is fed, and what it may pull.

use std::time::{Duration, Instant, SystemTime};

use slipway_control::leader::{NodeMessage, Nodes, RouterMessage};
use slipway_link::authority::{Authority, NODE_LIFETIME};
use slipway_link::join::{self, JoinAnswer, JoinRequest, JoinText};
use slipway_link::{Acceptor, Listener, Role, Service};
use slipway_model::id::Epoch;
use slipway_model::instance::Desired;
use slipway_model::route::RouteTable;
use slipway_model::unit::Timestamp;
use slipway_registry::server::pulls::{PullLimits, Pulls};
use slipway_registry::{Registry, Repository};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::glue::routers;
use crate::hub::{self, Hub};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that leads, as far as nodes see it.
struct Leader {
    address: String,
    hub: Hub,
    messages: mpsc::Receiver<NodeMessage>,
    router_messages: mpsc::Receiver<RouterMessage>,
    table: watch::Sender<Arc<RouteTable>>,
    registry: Registry,
    token: JoinText,
    directory: tempfile::TempDir,
}

impl Leader {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = slipway_registry::Options { reserve_bytes: 0, ..Default::default() };
        let registry = Registry::open(&directory.path().join("registry"), options).unwrap();
        let now = Timestamp::from(SystemTime::now());
        let (authority, _key) = Authority::create("c1").unwrap();
        let credentials = Arc::new(authority.server_credentials("one", now).unwrap());
        let id = format!("j{}", "0".repeat(16)).parse().unwrap();
        let token = JoinText::new(id, &authority.fingerprint(), [7; 32]);
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap().to_string();
        let (send, messages) = mpsc::channel(64);
        let (router_send, router_messages) = mpsc::channel(64);
        let (table, table_seen) = watch::channel(Arc::new(RouteTable::default()));
        let hub = Hub::new(send, None);
        let pulls = Pulls::new(registry.clone(), PullLimits::default());
        let (accepting, servers) = (hub.clone(), vec![address.clone()]);
        tokio::spawn(async move {
            let credentials = watch::Sender::new(credentials);
            let mut listener = Listener::new(tcp, Acceptor::new(credentials.subscribe()));
            let authority = Arc::new(authority);
            loop {
                let incoming = listener.next().await;
                let service = incoming.hello.service;
                let mut link = incoming.take().await.unwrap();
                let (hub, pulls, authority) = (accepting.clone(), pulls.clone(), Arc::clone(&authority));
                let (table, routers, servers) = (table_seen.clone(), router_send.clone(), servers.clone());
                tokio::spawn(async move {
                    if service == Service::Join {
                        let asked: JoinRequest = join::request(&mut link).await.unwrap();
                        let name = asked.node.as_str();
                        let issued =
                            authority.issue(&asked.request, Role::Node, name, NODE_LIFETIME, now).unwrap();
                        let (subnet, pool) =
                            ("10.70.3.0/24".parse().unwrap(), "10.70.0.0/16".parse().unwrap());
                        let answer =
                            JoinAnswer::Joined { chain: issued.chain, subnet, pool, address: None, servers };
                        return join::answer(&mut link, &answer).await.unwrap();
                    }
                    let node = hub::node_of(&link).unwrap();
                    match service {
                        Service::Node => hub.take(link, std::future::pending()).await,
                        Service::Routes => {
                            hub.beside(&node, routers::feed_node(node.clone(), link, table, routers)).await;
                        }
                        _ => {
                            let may_pull = |repository: &Repository| hub.may_pull(&node, repository);
                            hub.beside(&node, pulls.serve(link, may_pull)).await;
                        }
                    }
                });
            }
        });
        Self { address, hub, messages, router_messages, table, registry, token, directory }
    }

    async fn hears(&mut self) -> NodeMessage {
        timeout(PATIENCE, self.messages.recv()).await.expect("the node says something").unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_joins_comes_back_pulls_and_feeds_its_router() {
    let mut leader = Leader::start().await;
    let name: NodeName = "n1".parse().unwrap();
    let joined = join::join(
        std::slice::from_ref(&leader.address),
        &leader.token,
        &name,
        &join::Whereabouts::default(),
    )
    .await
    .unwrap();
    let place = leader.directory.path().join("cluster");
    joined.credentials.save(&place).unwrap();
    assert_eq!(joined.servers, [leader.address.as_str()]);
    let told = Membership {
        address: None,
        subnet: joined.subnet,
        pool: joined.pool,
        servers: vec!["127.0.0.1:1".into()],
        typed: vec![leader.address.clone()],
    };
    told.write(&place).unwrap();
    assert_eq!(Membership::read(&place).unwrap().unwrap(), told);

    let credentials = Credentials::load(&place).unwrap().unwrap();
    let credentials = watch::Sender::new(Arc::new(credentials));
    let dialler = Dialler::new(credentials.subscribe());
    let addresses = watch::Sender::new(told.servers.clone());
    // What was typed counts when nobody answers where servers are told to be.
    let typed = [leader.address.clone()].into();
    let servers = Servers { dialler, addresses: addresses.subscribe(), typed };
    let paths = Paths { data: leader.directory.path().into(), run: leader.directory.path().into() };
    let node = capacity::node(&Offer { ports: (31_000, 32_000), ..Offer::default() }, &name, &paths).unwrap();
    let (up, is_up) = watch::channel(false);
    // It runs no instances: those are shown with the hub.
    let trouble = watch::Sender::new(Some("its router does not run\u{1b}".to_owned()));
    let peers = Default::default();
    let address = watch::Sender::default();
    let here = Here { node, address, agent: None, servers: addresses, peers, trouble: trouble.subscribe() };
    tokio::spawn(dial::keep(servers.clone(), here, up));
    let NodeMessage::Whole { node, .. } = leader.hears().await else { panic!() };
    assert_eq!((&node.name, node.trouble.as_deref()), (&name, Some("its router does not run")));
    // Told without a new link when that changes.
    trouble.send_replace(None);
    assert!(matches!(leader.hears().await, NodeMessage::Whole { node, .. } if node.trouble.is_none()));

    // A router of this machine, before and after the link was lost.
    let socket = leader.directory.path().join("router.sock");
    tokio::spawn(services::routes(UnixListener::bind(&socket).unwrap(), servers.clone(), is_up.clone()));
    leader.table.send_replace(Arc::new(RouteTable { generation: 4, ..RouteTable::default() }));
    let mut router = Router::connect(&socket).await;
    assert!(router.line().await.unwrap().contains("\"whole\""));

    let since = Instant::now();
    leader.hub.cut(&name);
    assert!(matches!(leader.hears().await, NodeMessage::Gone { .. }));
    assert!(router.line().await.is_none(), "the router is let go with the node");
    assert!(matches!(leader.hears().await, NodeMessage::Whole { .. }));
    println!("a node was back {} ms after its link was cut", since.elapsed().as_millis());
    let mut connected = is_up.clone();
    timeout(PATIENCE, connected.wait_for(|up| *up)).await.unwrap().unwrap();
    let mut router = Router::connect(&socket).await;
    assert!(router.line().await.unwrap().contains("\"whole\""));
    router.write.write_all(REPORT).await.unwrap();
    let said = timeout(PATIENCE, leader.router_messages.recv()).await.unwrap().unwrap();
    let RouterMessage::Report { router: told, report } = said else { panic!("{said:?}") };
    assert_eq!((told.as_str(), report.generation), ("n1/7", 4), "a name of that machine's");
    drop(router);
    let said = timeout(PATIENCE, leader.router_messages.recv()).await.unwrap().unwrap();
    assert!(matches!(said, RouterMessage::Gone { router } if router == "n1/7"));

    // Images: what its list names and nothing else.
    let repository: Repository = "acme/shop".parse().unwrap();
    let blob = leader.registry.put_blob(&repository, b"{}").unwrap().digest;
    let puller = Puller::new(Arc::new(servers)).with_patience(Duration::from_millis(100));
    let refused = puller.config(&repository, &blob).await.unwrap_err();
    assert!(refused.to_string().contains("404"), "{refused}");
    let wish = crate::hub::tests::spec("acme/shop/dev", "acme/shop");
    let wish =
        slipway_model::instance::DesiredInstance { spec: wish, goal: slipway_model::instance::Goal::Run };
    let instance = wish.spec.id.clone();
    let (epoch, generation) = (Epoch(1), 1);
    leader.hub.send(&name, Desired { epoch, generation, instances: vec![wish], volumes: None, peers: None });
    assert_eq!(puller.config(&repository, &blob).await.unwrap().as_ref(), b"{}");
    // A machine without instances says at once that it will not run this.
    match leader.hears().await {
        NodeMessage::Report { report, .. } => {
            assert!(report.instance == instance && !report.state.is_alive())
        }
        other => panic!("{other:?}"),
    }
}

const REPORT: &[u8] = b"{\"say\":\"report\",\"report\":{\"generation\":4,\"draining\":{}}}\n";

struct Router {
    lines: tokio::io::Lines<BufReader<tokio::net::unix::OwnedReadHalf>>,
    write: tokio::net::unix::OwnedWriteHalf,
}

impl Router {
    async fn connect(socket: &std::path::Path) -> Self {
        let (read, mut write) = UnixStream::connect(socket).await.unwrap().into_split();
        write.write_all(b"{\"say\":\"hello\",\"router\":7}\n").await.unwrap();
        Self { lines: BufReader::new(read).lines(), write }
    }

    async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.lines.next_line()).await.expect("a line or the end").ok().flatten()
    }
}
