use super::*;

#[test]
fn a_tenant_reaches_itself_on_other_nodes_and_no_other_tenant() {
    let nodes = Nodes::new(3);
    let [a, b, c] = [0, 1, 2].map(|number| &nodes.nodes[number]);
    let (a1, b1, c1) = (a.take(1, 0), b.take(2, 0), c.take(3, 0));
    let (evil_a, evil_b) = (a.take(4, 1), b.take(5, 1));
    let all = [&a1, &b1, &c1, &evil_a, &evil_b];
    let _listeners = all.map(|sandbox| nodes.world.listen(&open(sandbox), sandbox.address, 8080));
    for (from, to) in [(&a1, &b1), (&b1, &a1), (&a1, &c1), (&c1, &b1), (&evil_a, &evil_b), (&evil_b, &evil_a)]
    {
        nodes.check(&open(from), (to.address, 8080), Outcome::Connected);
        nodes.check(&open(from), (to.address, 8081), Outcome::Refused);
    }
    for (from, to) in [(&a1, &evil_b), (&evil_b, &a1), (&evil_a, &b1), (&b1, &evil_a), (&c1, &evil_a)] {
        nodes.check(&open(from), (to.address, 8080), Outcome::Nothing);
    }
    nodes.stop();
}

#[test]
fn packets_as_large_as_any_get_through_whole() {
    let nodes = Nodes::new(2);
    let (a1, b1) = (nodes.nodes[0].take(1, 0), nodes.nodes[1].take(2, 0));
    let (a, b) = (open(&a1), open(&b1));
    let largest = nodes.world.ip(&a, "link show eth0");
    assert!(largest.contains("mtu 1350"), "{largest}");
    let (near, far) = (nodes.world.udp(&a, a1.address, 5000), nodes.world.udp(&b, b1.address, 5000));
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    // The last is more than one packet.
    for length in [1, 1300, 1322, 4000] {
        let sent = vec![7; length];
        let mut buffer = [0; 8192];
        near.send_to(&sent, (b1.address, 5000)).unwrap();
        assert_eq!(far.recv_from(&mut buffer).unwrap(), (length, SocketAddr::from((a1.address, 5000))));
        far.send_to(&sent, (a1.address, 5000)).unwrap();
        assert_eq!(near.recv_from(&mut buffer).unwrap(), (length, SocketAddr::from((b1.address, 5000))));
    }
    for (from, at, to) in [(&a, &b, b1.address), (&b, &a, a1.address)] {
        let (mut near, mut far) = nodes.open_connection(from, at, (to, 8080));
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent: Vec<u8> = (0..16 << 20).map(|byte: u32| (byte % 251) as u8).collect();
        let received = std::thread::scope(|scope| {
            let received = scope.spawn(|| {
                let mut received = vec![0; sent.len()];
                far.read_exact(&mut received).map(|()| received)
            });
            near.write_all(&sent).unwrap();
            received.join().unwrap().unwrap()
        });
        assert!(received == sent);
    }
    nodes.stop();
}

#[test]
fn a_host_reaches_every_instance_of_other_nodes_and_none_of_them_the_host() {
    let nodes = Nodes::new(2);
    let (a, b) = (&nodes.nodes[0], &nodes.nodes[1]);
    let sandboxes = [
        b.take(1, 0),
        b.take(2, 1),
        b.take_with(3, 0, Egress::None),
        b.take_with(4, 0, Egress::InternetAlone),
    ];
    for sandbox in &sandboxes {
        let listener = nodes.world.listen(&open(sandbox), sandbox.address, 8080);
        nodes.check(&a.host, (sandbox.address, 8080), Outcome::Connected);
        assert_eq!(listener.accept().unwrap().1.ip(), a.inner_host());
    }
    let _everywhere = nodes.world.listen(&a.host, Ipv4Addr::UNSPECIFIED, 7000);
    let _own = nodes.world.listen(&a.network().keeper.switch, Ipv4Addr::UNSPECIFIED, 7000);
    let a1 = a.take(5, 0);
    let (gateway, host) = (a.gateway(), a.inner_host());
    for from in &sandboxes {
        for to in [gateway, host, a.address()] {
            nodes.check(&open(from), (to, 7000), Outcome::Nothing);
        }
        // Nor by the resolver's port.
        nodes.check(&open(from), (gateway, 53), Outcome::Nothing);
    }
    // Nor do hosts and switches of nodes reach one another that way.
    for to in [gateway, host] {
        nodes.check(&b.host, (to, 7000), Outcome::Nothing);
    }
    // What was asked to answer only, and what builds, is nobody's elsewhere.
    let _web = nodes.world.listen(&open(&a1), a1.address, 8080);
    let _web_3 = nodes.world.listen(&open(&sandboxes[2]), sandboxes[2].address, 8081);
    nodes.check(&open(&sandboxes[0]), (a1.address, 8080), Outcome::Connected);
    for closed in &sandboxes[2..] {
        nodes.check(&open(closed), (a1.address, 8080), Outcome::Nothing);
        nodes.check(&open(&a1), (closed.address, 8081), Outcome::Nothing);
    }
    nodes.stop();
}

#[test]
fn a_machine_without_instances_reaches_those_of_others() {
    let nodes = Nodes::new(2);
    let b1 = nodes.nodes[1].take(1, 3);
    let _web = nodes.world.listen(&open(&b1), b1.address, 8080);
    nodes.check(&nodes.nodes[0].host, (b1.address, 8080), Outcome::Connected);
    // An address that is nobody's is said to be so, and at once.
    let since = Instant::now();
    let to = SocketAddr::from((Ipv4Addr::new(10, 120, 1, 99), 8080));
    let refused =
        nodes.world.inside(&nodes.nodes[0].host, || Ok(TcpStream::connect_timeout(&to, PATIENCE).is_err()));
    assert!(refused && since.elapsed() < PATIENCE);
    nodes.stop();
}

#[test]
fn the_internet_is_reached_as_before_and_nothing_private() {
    let nodes = Nodes::new(2);
    let world = &nodes.world;
    let server = world.listen(&world.internet, Ipv4Addr::UNSPECIFIED, 443);
    for (number, node) in nodes.nodes.iter().enumerate() {
        let sandbox = node.take(number as u8, 0);
        nodes.check(&open(&sandbox), (World::PUBLIC, 443), Outcome::Connected);
        assert_eq!(server.accept().unwrap().1.ip(), node.address());
        nodes.check(&open(&sandbox), (World::PRIVATE, 443), Outcome::Nothing);
    }
    nodes.stop();
}

#[test]
fn dockers_refusal_to_forward_is_in_nobodys_way() {
    let nodes = Nodes::new(2);
    for node in &nodes.nodes {
        nodes.world.inside(&node.host, || {
            assert!(program::iptables(&["-P", "FORWARD", "DROP"])?);
            Ok(())
        });
    }
    let (a1, b1) = (nodes.nodes[0].take(1, 0), nodes.nodes[1].take(2, 0));
    let _web = nodes.world.listen(&open(&b1), b1.address, 8080);
    nodes.check(&open(&a1), (b1.address, 8080), Outcome::Connected);
    nodes.check(&nodes.nodes[0].host, (b1.address, 8080), Outcome::Connected);
    nodes.stop();
}
