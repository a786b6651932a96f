use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::*;
use crate::Service;
use crate::tests::{World, dial};

async fn port(world: &World) -> (SocketAddr, Listener) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (tcp.local_addr().unwrap(), Listener::new(tcp, world.acceptor()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_silent_connections_are_bounded_and_a_node_still_gets_in() {
    let world = World::new();
    let (address, mut listener) = port(&world).await;
    listener.unmet_max = 64;
    listener.grace = Duration::from_millis(200);
    let serving = tokio::spawn(async move {
        let mut unmet_max = 0;
        loop {
            let next = tokio::time::timeout(Duration::from_millis(5), listener.next()).await;
            unmet_max = unmet_max.max(listener.unmet.len());
            if let Ok(incoming) = next {
                incoming.take().await.unwrap();
                return unmet_max;
            }
        }
    });
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    dial(&world.dialler("n1"), address, Service::Node).await.unwrap();
    assert_eq!(serving.await.unwrap(), 64);
    // Those who had to go for it have been told by the end of their connection.
    assert_eq!(silent[0].read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_machine_that_floods_the_port_keeps_no_other_out() {
    let world = World::new();
    let (address, mut listener) = port(&world).await;
    listener.unmet_max = 64;
    // None goes for its age.
    listener.grace = Duration::from_secs(3600);
    let serving = tokio::spawn(async move { listener.next().await.take().await.map(drop) });
    let flood = tokio::spawn(async move {
        let mut silent = VecDeque::new();
        loop {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            silent.extend(socket.connect(address).await.ok());
            silent.drain(..silent.len().saturating_sub(256));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    dial(&world.dialler("n1"), address, Service::Node).await.unwrap();
    serving.await.unwrap().unwrap();
    flood.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_nodes_all_get_in_through_few_places() {
    let world = World::new();
    let (address, mut listener) = port(&world).await;
    listener.unmet_max = 8;
    tokio::spawn(async move {
        loop {
            let incoming = listener.next().await;
            tokio::spawn(async move { incoming.take().await.map(drop) });
        }
    });
    let dialler = world.dialler("n1");
    let mut crowd = JoinSet::new();
    for _ in 0..200 {
        let dialler = dialler.clone();
        crowd.spawn(async move { dial(&dialler, address, Service::Node).await.map(drop) });
    }
    while let Some(dialled) = crowd.join_next().await {
        dialled.unwrap().unwrap();
    }
}
