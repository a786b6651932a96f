//! Machines that join, over real links, and what they hear when they may not.

use slipway_link::join::{self, JoinText, Joined, Whereabouts};
use slipway_link::{Acceptor, Admissions, Credentials, Dialler, Hello, LinkStream, Listener, Service};
use slipway_model::attribute::{self, Attributes};
use slipway_model::cluster::{NodeIdentity, Server};
use slipway_model::instance::NodeOrderKind;
use slipway_model::name::NodeName;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;
use crate::{NewJoinToken, NodeChange, Operator};

mod nodes;

const HOUR: Span = Span::from_secs(3600);

/// A server of a cluster, with the time that the machine's clock says, since certificates are looked at
/// by that.
struct Cluster {
    world: World,
    address: String,
    admissions: Admissions,
    desk: Operator,
}

impl Cluster {
    async fn new() -> Self {
        let world = World::new().await;
        let now = Timestamp::from(std::time::SystemTime::now());
        world.clock.store(now.0, Ordering::Relaxed);
        let access = world.access.clone();
        let authority = access.cluster_authority().await.unwrap();
        let own = authority.server_credentials("s1", now).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap().to_string();
        let acceptor = Acceptor::new(watch::Sender::new(Arc::new(own)).subscribe());
        let mut listener = Listener::new(tcp, acceptor);
        let admissions = Admissions::default();
        let (feeding, fed) = (access.clone(), admissions.clone());
        tokio::spawn(async move { feeding.keep_admissions(&fed).await });
        let (serving, admitted) = (access.clone(), admissions.clone());
        tokio::spawn(async move {
            loop {
                let incoming = listener.next().await;
                let (access, admissions) = (serving.clone(), admitted.clone());
                tokio::spawn(async move {
                    match incoming.hello.service {
                        Service::Join => access.serve_join(incoming).await,
                        Service::Renew => access.serve_renew(incoming).await,
                        _ => {
                            let who = incoming.identity().unwrap().clone();
                            let service = incoming.hello.service;
                            if let Err(why) = admissions.check(&who, service) {
                                return incoming.refuse(&why.to_string()).await;
                            }
                            let link = incoming.take().await.unwrap();
                            admissions.revoked(&who, service).await;
                            drop(link);
                        }
                    }
                });
            }
        });
        let server = |address: &str| Server {
            name: name("s1"),
            cluster_address: address.to_owned(),
            version: "1".to_owned(),
            seen_at: Timestamp(0),
        };
        access.tell_server(server(&address)).await.unwrap();
        let desk = access.operator(&access.local_operator()).await.unwrap();
        Self { world, address, admissions, desk }
    }

    async fn token(&self, node: Option<&str>) -> NewJoinToken {
        let node: Option<NodeName> = node.map(name);
        self.desk.create_join_token(node.as_ref(), HOUR, false, None).await.unwrap()
    }

    async fn join(&self, token: &JoinText, node: &str) -> Result<Joined, slipway_link::Error> {
        join::join(std::slice::from_ref(&self.address), token, &name(node), &Whereabouts::default()).await
    }

    async fn joined(&self, node: &str) -> Joined {
        let token = self.token(None).await;
        self.join(&token.text, node).await.unwrap()
    }

    async fn dial(
        &self,
        own: &Arc<Credentials>,
        service: Service,
    ) -> Result<LinkStream, slipway_link::Error> {
        let dialler = Dialler::new(watch::Sender::new(own.clone()).subscribe());
        dialler.dial(std::slice::from_ref(&self.address), Hello::new(service)).await
    }

    /// Once the list of who is let in holds what is stored.
    async fn linked(&self, own: &Arc<Credentials>) -> LinkStream {
        while self.admissions.check(own.identity(), Service::Node).is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        self.dial(own, Service::Node).await.unwrap()
    }

    async fn identity(&self, node: &str) -> NodeIdentity {
        self.world.access.get::<NodeIdentity>(&name(node)).await.unwrap().unwrap().record
    }
}

#[track_caller]
fn hears<T>(result: Result<T, slipway_link::Error>, words: &str) {
    let error = result.err().expect("it should have been refused");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_machine_joins_once_with_a_token_and_is_a_node() {
    let cluster = Cluster::new().await;
    let token = cluster.token(None).await;
    let n1 = cluster.join(&token.text, "n1").await.unwrap();
    assert_eq!(n1.servers, std::slice::from_ref(&cluster.address));
    assert_eq!(
        (n1.subnet.to_string().as_str(), n1.pool.to_string().as_str()),
        ("10.64.0.0/20", "10.64.0.0/10")
    );
    let identity = n1.credentials.identity().clone();
    assert_eq!(identity.cluster, cluster.world.access.store.cluster_id().as_str());
    let stored = cluster.identity("n1").await;
    assert_eq!((stored.subnet, stored.revoked_at), (n1.subnet, None));
    assert_eq!(stored.certificates.len(), 1);
    assert_eq!(stored.certificates[0].serial, identity.serial);
    assert_eq!(stored.certificates[0].expires_at, n1.credentials.expires_at());
    assert_eq!(cluster.desk.join_tokens().await.unwrap()[0].used_by, Some(name("n1")));
    hears(cluster.join(&token.text, "n2").await, "has been used, by n1");
    hears(cluster.join(&token.text, "n1").await, "has been used, by n1");
    let n2 = cluster.joined("n2").await;
    assert_eq!(n2.subnet.to_string(), "10.64.16.0/20");
    cluster.linked(&Arc::new(n2.credentials)).await;
}

#[tokio::test]
async fn a_token_that_does_not_count_is_refused_with_the_reason() {
    let cluster = Cluster::new().await;
    let fingerprint = cluster.token(None).await.text.fingerprint().to_owned();
    let unknown = JoinText::new(slipway_model::id::JoinTokenId::from_random([9; 10]), &fingerprint, [1; 32]);
    hears(cluster.join(&unknown, "n1").await, "the join token is not right");
    // The id of one that counts, and another secret.
    let token = cluster.token(None).await;
    let guessed = JoinText::new(token.token.id.clone(), &fingerprint, [1; 32]);
    hears(cluster.join(&guessed, "n1").await, "the join token is not right");

    let bound = cluster.token(Some("n7")).await;
    hears(cluster.join(&bound.text, "n1").await, "for the node n7, not for n1");

    let taken_back = cluster.token(None).await;
    cluster.desk.revoke_join_token(&taken_back.token.id).await.unwrap();
    hears(cluster.join(&taken_back.text, "n1").await, "was taken back");
    refused(cluster.desk.revoke_join_token(&taken_back.token.id).await, Kind::NotFound, "join token");

    cluster.world.later(HOUR);
    hears(cluster.join(&token.text, "n1").await, "expired at");
    assert_eq!(cluster.desk.join_tokens().await.unwrap(), []);
    assert!(cluster.desk.node_identities().await.unwrap().is_empty(), "nobody has joined");
    // Making another sweeps up.
    cluster.token(None).await;
    assert_eq!(cluster.world.access.list::<slipway_model::cluster::JoinToken>("").await.unwrap().len(), 1);

    for life in [Span::ZERO, Span::from_secs(3601)] {
        refused(
            cluster.desk.create_join_token(None, life, false, None).await.map(drop),
            Kind::Invalid,
            "up to 1h",
        );
    }
}

#[tokio::test]
async fn a_token_of_another_cluster_is_refused_though_it_was_sent() {
    // As by a machine that does not look at the fingerprint.
    let (cluster, other) = (Cluster::new().await, Cluster::new().await);
    let request = join::JoinRequest {
        token: other.token(None).await.text.reveal().to_owned(),
        node: name("n1"),
        request: String::new(),
        here: Whereabouts::default(),
    };
    refused(cluster.world.access.join_cluster(&request, SOURCE).await, Kind::Conflict, "is not right");
    hears(cluster.join(&other.token(None).await.text, "n1").await, "nothing was sent to it");
}

/// A node cannot choose where the others think that it is, and is told which addresses no machine has.
#[tokio::test]
async fn a_machine_is_where_its_connection_comes_from_or_an_operator_says() {
    let cluster = Cluster::new().await;
    let (_, request) = join::key_and_request().unwrap();
    let ask = async |node: &str, source: &str, typed: Option<&str>| {
        let usual = Some("192.0.2.99".parse().unwrap());
        let asked = join::JoinRequest {
            token: cluster.token(None).await.text.reveal().to_owned(),
            node: name(node),
            request: request.clone(),
            here: Whereabouts { typed: typed.map(|typed| typed.parse().unwrap()), usual },
        };
        match cluster.world.access.join_cluster(&asked, source.parse().unwrap()).await {
            Ok(join::JoinAnswer::Joined { address, .. }) => Ok(address.unwrap().to_string()),
            Ok(refused) => panic!("{refused:?}"),
            Err(error) => Err(error),
        }
    };
    for (node, source, typed, at) in [
        ("n1", "192.0.2.1", None, "192.0.2.1"),
        ("n2", "::ffff:192.0.2.2", None, "192.0.2.2"),
        ("n3", "192.0.2.254", Some("192.0.2.3"), "192.0.2.3"),
        ("n4", "127.0.0.1", None, "192.0.2.99"),
    ] {
        assert_eq!(ask(node, source, typed).await.unwrap(), at);
        assert_eq!(cluster.identity(node).await.address.unwrap().to_string(), at);
    }
    for (source, typed, why) in [
        ("192.0.2.5", Some("192.0.2.1"), "192.0.2.1 is the address of the node n1"),
        ("2001:db8::5", None, "192.0.2.99 is the address of the node n4"),
        ("192.0.2.5", Some("10.64.7.1"), "10.64.7.1 is one of 10.64.0.0/10"),
        ("10.127.255.254", None, "10.127.255.254 is one of 10.64.0.0/10"),
        ("192.0.2.5", Some("127.0.0.1"), "no address at which other machines"),
    ] {
        let error = ask("n5", source, typed).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }

    let set = async |node: &str, at: &str| {
        cluster
            .desk
            .set_node(&name(node), NodeChange { address: Some(at.parse().unwrap()), ..NodeChange::default() })
            .await
            .map(drop)
    };
    refused(set("n1", "192.0.2.3").await, Kind::Conflict, "is the address of the node n3");
    refused(set("n1", "10.64.0.1").await, Kind::Conflict, "is one of 10.64.0.0/10");
    refused(set("n9", "192.0.2.9").await, Kind::NotFound, "n9");
    set("n1", "192.0.2.7").await.unwrap();
    assert_eq!(cluster.identity("n1").await.address.unwrap().to_string(), "192.0.2.7");
    // A revoked node's address is free.
    cluster.desk.revoke_node(&name("n3")).await.unwrap();
    set("n1", "192.0.2.3").await.unwrap();
}

/// The table names every tenant's hosts and instances.
#[tokio::test]
async fn routes_are_for_nodes_that_were_let_in_with_a_router() {
    let cluster = Cluster::new().await;
    let inner = Arc::new(cluster.joined("inner").await.credentials);
    let token = cluster.desk.create_join_token(None, HOUR, true, None).await.unwrap();
    let edge = Arc::new(cluster.join(&token.text, "edge").await.unwrap().credentials);
    let mut links = [cluster.linked(&inner).await, cluster.linked(&edge).await];
    hears(cluster.dial(&inner, Service::Routes).await, "'slipway nodes set inner --router yes'");
    let mut routes = cluster.dial(&edge, Service::Routes).await.unwrap();

    let set = async |node: &str, router| {
        cluster
            .desk
            .set_node(&name(node), NodeChange { router: Some(router), ..NodeChange::default() })
            .await
            .unwrap();
        let who = if node == "edge" { &edge } else { &inner };
        while cluster.admissions.check(who.identity(), Service::Routes).is_ok() != router {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    set("inner", true).await;
    cluster.dial(&inner, Service::Routes).await.unwrap();
    set("edge", false).await;
    assert!(matches!(routes.read(&mut [0]).await, Ok(0) | Err(_)), "it is cut off");
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(50), links[1].read(&mut [0])).await;
    assert!(quiet.is_err(), "as a node it stays: {quiet:?}");
    drop(links);
}

#[tokio::test]
async fn guesses_are_slowed_down() {
    let cluster = Cluster::new().await;
    let token = cluster.token(None).await;
    let guess = |text: &str| join::JoinRequest {
        token: text.to_owned(),
        node: name("n1"),
        request: String::new(),
        here: Whereabouts::default(),
    };
    for text in [token.text.reveal(), "garbage", ""] {
        // A token that is right costs nothing, whatever else is wrong.
        let expected = if text == token.text.reveal() { Kind::Invalid } else { Kind::Conflict };
        for _ in 0..20 {
            let answer = cluster.world.access.join_cluster(&guess(text), SOURCE).await;
            assert_eq!(answer.unwrap_err().kind(), expected);
        }
    }
    for _ in 0..10 {
        _ = cluster.world.access.join_cluster(&guess("garbage"), SOURCE).await;
    }
    let answer = cluster.world.access.join_cluster(&guess(token.text.reveal()), SOURCE).await;
    refused(answer, Kind::Throttled, "try again");
    let elsewhere = "192.0.2.1".parse().unwrap();
    refused(
        cluster.world.access.join_cluster(&guess(token.text.reveal()), elsewhere).await,
        Kind::Invalid,
        "request",
    );
}

#[tokio::test]
async fn f61_old_and_new_certificates_count_together_after_a_renewal() {
    let cluster = Cluster::new().await;
    let old = Arc::new(cluster.joined("n1").await.credentials);
    let dialler = Dialler::new(watch::Sender::new(old.clone()).subscribe());
    let mut link = cluster.linked(&old).await;
    let renewed = join::renew(&dialler, std::slice::from_ref(&cluster.address)).await.unwrap();
    assert_eq!(renewed.servers, std::slice::from_ref(&cluster.address));
    let new = Arc::new(renewed.credentials);
    cluster.linked(&new).await;
    cluster.linked(&old).await;
    let listed: Vec<_> =
        cluster.identity("n1").await.certificates.into_iter().map(|one| one.serial).collect();
    assert_eq!(listed, [old.identity().serial.clone(), new.identity().serial.clone()]);
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(50), link.read(&mut [0])).await;
    assert!(quiet.is_err(), "the link of before goes on");
    // A certificate of n1 does nothing for another name.
    let mut posing = old.identity().clone();
    posing.name = "n2".to_owned();
    let (access, (_, request)) = (&cluster.world.access, join::key_and_request().unwrap());
    let request = join::RenewRequest { request };
    refused(access.renew_node(&posing, &request).await, Kind::Conflict, "there is no node n2");
    cluster.joined("n2").await;
    refused(access.renew_node(&posing, &request).await, Kind::Conflict, "does not count");
    access.renew_node(old.identity(), &request).await.unwrap();
}

#[tokio::test]
async fn many_machines_at_once_through_two_servers_get_subnets_of_their_own() {
    let cluster = Cluster::new().await;
    let store = cluster.world.access.store.clone();
    let master = MasterKey::load_or_create(&cluster.world.dir.path().join("key")).unwrap();
    let other = Access::open(store, master).await.unwrap();
    assert_eq!(
        other.cluster_authority().await.unwrap().fingerprint(),
        cluster.world.access.cluster_authority().await.unwrap().fingerprint()
    );
    let mut joining = tokio::task::JoinSet::new();
    let (_, request) = slipway_link::join::key_and_request().unwrap();
    for number in 0..40u8 {
        let access = if number % 2 == 0 { cluster.world.access.clone() } else { other.clone() };
        let token = cluster.token(None).await.text.reveal().to_owned();
        let asked = join::JoinRequest {
            token,
            node: name(&format!("n{number}")),
            request: request.clone(),
            here: Whereabouts::default(),
        };
        joining.spawn(async move { access.join_cluster(&asked, [192, 0, 2, number].into()).await });
    }
    let mut subnets = std::collections::BTreeSet::new();
    while let Some(joined) = joining.join_next().await {
        let join::JoinAnswer::Joined { subnet, .. } = joined.unwrap().unwrap() else { panic!() };
        assert!(subnets.insert(subnet), "{subnet} was given twice");
    }
    // One token, many machines: one of them.
    let token = cluster.token(None).await.text.reveal().to_owned();
    let mut joining = tokio::task::JoinSet::new();
    for number in 0..10u8 {
        let access = if number % 2 == 0 { cluster.world.access.clone() } else { other.clone() };
        let node = name(&format!("m{number}"));
        let asked = join::JoinRequest {
            token: token.clone(),
            node,
            request: request.clone(),
            here: Whereabouts::default(),
        };
        joining.spawn(async move { access.join_cluster(&asked, [192, 0, 2, number].into()).await.is_ok() });
    }
    assert_eq!(joining.join_all().await.into_iter().filter(|joined| *joined).count(), 1);
}
