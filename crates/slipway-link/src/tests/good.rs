use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn a_node_and_a_server_meet_and_know_each_other() {
    let world = World::new();
    let node = world.node("n1", now());
    let serial = node.identity().serial.clone();
    let (address, accepting) = accept_one(world.acceptor()).await;
    let dialler = dialler(node);
    let dialling = tokio::spawn(async move { dial(&dialler, address, Service::Node).await });
    let incoming = accepting.await.unwrap().unwrap();
    assert_eq!(incoming.hello, Hello::new(Service::Node));
    let who = incoming.identity().unwrap().clone();
    assert_eq!(
        (who.cluster.as_str(), who.role, who.name.as_str(), who.serial),
        ("cluster-aaaaaaaaaaaaaaaa", Role::Node, "n1", serial)
    );
    let mut taken = incoming.take().await.unwrap();
    // What the service says at once is not taken for a part of the answer.
    taken.write_all(b"first words").await.unwrap();
    taken.flush().await.unwrap();
    let mut link = dialling.await.unwrap().unwrap();
    let server = link.identity().unwrap();
    assert_eq!((server.role, server.name.as_str()), (Role::Server, "s1"));
    assert_eq!(link.far_end(), address);
    let mut words = [0; 11];
    link.read_exact(&mut words).await.unwrap();
    assert_eq!(&words, b"first words");
    // More than any buffer on the way, both ways at once.
    let much = vec![7; 3 << 20];
    let (mut from_server, mut to_server) = tokio::io::split(taken);
    let sent = much.clone();
    let there = tokio::spawn(async move {
        to_server.write_all(&sent).await.unwrap();
        to_server.shutdown().await.unwrap();
    });
    let back = tokio::spawn(async move {
        let mut heard = Vec::new();
        from_server.read_to_end(&mut heard).await.unwrap();
        heard.len()
    });
    let (mut read, mut write) = tokio::io::split(link);
    let ours = much.clone();
    tokio::spawn(async move {
        write.write_all(&ours).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut heard = Vec::new();
    read.read_to_end(&mut heard).await.unwrap();
    assert!(heard == much);
    there.await.unwrap();
    assert_eq!(back.await.unwrap(), much.len());
}

#[tokio::test]
async fn a_server_passes_a_caller_on_with_the_callers_address() {
    let world = World::new();
    let caller: SocketAddr = "203.0.113.9:4711".parse().unwrap();
    let (address, accepting) = accept_one(world.acceptor()).await;
    let dialler = world.server_dialler();
    let dialling = tokio::spawn(async move {
        dialler.dial(&[address.to_string()], Hello::passing_on(Service::Ssh, caller)).await
    });
    let incoming = accepting.await.unwrap().unwrap();
    assert_eq!(incoming.hello, Hello { service: Service::Ssh, caller: Some(caller) });
    assert_eq!(incoming.identity().unwrap().role, Role::Server);
    incoming.take().await.unwrap();
    dialling.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dialler_goes_where_it_is_sent_and_past_servers_that_are_away() {
    let world = World::new();
    let leader = world.echo().await;
    let standing_by =
        world.serve(move |incoming| async move { incoming.go_to(&leader.to_string()).await }).await;
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let without_leader =
        world.serve(|incoming| async move { incoming.refuse("no leader is known").await }).await;
    let addresses = [away, without_leader, standing_by].map(|address| address.to_string());
    let link = world.dialler("n1").dial(&addresses, Hello::new(Service::Node)).await.unwrap();
    assert_eq!(link.far_end(), leader);
    // If nobody takes it, the refusal is told rather than the last failure.
    let error = world
        .dialler("n1")
        .dial(&[without_leader.to_string(), away.to_string()], Hello::new(Service::Node))
        .await
        .unwrap_err();
    says(&error, &["refused: no leader is known"]);
    says(&world.dialler("n1").dial(&[], Hello::new(Service::Node)).await.unwrap_err(), &["no address"]);
    says(&world.dialler("n1").dial(&["".into()], Hello::new(Service::Node)).await.unwrap_err(), &["reach"]);
}

#[tokio::test]
async fn fresh_credentials_are_used_from_the_next_link_on() {
    let world = World::new();
    let address = world.echo().await;
    let sender = watch::Sender::new(Arc::new(world.node("n1", now())));
    let dialler = Dialler::new(sender.subscribe());
    let mut old = dial(&dialler, address, Service::Node).await.unwrap();
    sender.send_replace(Arc::new(world.node("n1", now())));
    world.server.send_replace(Arc::new(world.authority.server_credentials("s1", now()).unwrap()));
    let before = old.identity().unwrap().serial.clone();
    let new = dial(&dialler, address, Service::Node).await.unwrap();
    assert_ne!(new.identity().unwrap().serial, before, "the server shows its new certificate");
    // The link that exists goes on.
    old.write_all(b"x").await.unwrap();
    old.flush().await.unwrap();
    assert_eq!(old.read_u8().await.unwrap(), b'x');
}
