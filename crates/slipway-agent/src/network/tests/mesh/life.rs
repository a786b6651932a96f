use super::*;

#[test]
fn a_peer_that_is_gone_is_cut_off_at_once_and_comes_back() {
    let nodes = Nodes::new(3);
    let (a, b, c) = (&nodes.nodes[0], &nodes.nodes[1], &nodes.nodes[2]);
    let (a1, b1, c1) = (a.take(1, 0), b.take(2, 0), c.take(3, 0));
    let (near, far) = nodes.open_connection(&open(&a1), &open(&b1), (b1.address, 8080));
    let (host_near, host_far) = nodes.open_connection(&a.host, &open(&b1), (b1.address, 8081));
    let (near_c, far_c) = nodes.open_connection(&open(&a1), &open(&c1), (c1.address, 8080));
    // Somebody far away who has the same address as an instance.
    nodes.world.ip(&nodes.world.internet, &format!("addr add {}/32 dev lo", b1.address));
    let _trap = nodes.world.listen(&nodes.world.internet, b1.address, 8082);
    // B is not told: A must be enough.
    nodes.tell_one(a, &[0, 2]);
    assert!(!is_open(&near, &far) && !is_open(&far, &near));
    assert!(!is_open(&host_near, &host_far) && !is_open(&host_far, &host_near));
    assert!(is_open(&near_c, &far_c) && is_open(&far_c, &near_c));
    for from in [&open(&a1), &a.host] {
        nodes.check(from, (b1.address, 8082), Outcome::Nothing);
    }
    assert!(!nodes.world.ip(&a.network().keeper.switch, "neigh show").contains("10.120.1.1"));
    nodes.tell_one(a, &[0, 1, 2]);
    let _web = nodes.world.listen(&open(&b1), b1.address, 8083);
    nodes.check(&open(&a1), (b1.address, 8083), Outcome::Connected);
    // Told again, nothing changes.
    nodes.tell(&[0, 1, 2]);
    assert!(is_open(&near_c, &far_c));
    nodes.tell(&[]);
    nodes.check(&open(&a1), (b1.address, 8083), Outcome::Nothing);
    nodes.check(&open(&a1), (c1.address, 8080), Outcome::Nothing);
    nodes.stop();
}

#[test]
fn a_node_that_moves_to_another_machine_is_found_there() {
    let mut nodes = Nodes::new(2);
    let (a, b) = (&nodes.nodes[0], &nodes.nodes[1]);
    let (a1, b1) = (a.take(1, 0), b.take(2, 0));
    let (near, far) = nodes.open_connection(&open(&a1), &open(&b1), (b1.address, 8080));
    // Its machine gets another address; the agent is started anew with it.
    nodes.world.ip(&nodes.nodes[1].host, "addr add 198.51.101.9/24 dev eth0");
    nodes.nodes[1].options.mesh.as_mut().unwrap().address = Ipv4Addr::new(198, 51, 101, 9);
    nodes.nodes[1].network = None;
    nodes.start(1);
    nodes.tell(&[0, 1]);
    assert!(is_open(&near, &far) && is_open(&far, &near));
    // And another subnet, with which nothing of it is left.
    nodes.nodes[1].options.subnet = "10.120.200.0/24".parse().unwrap();
    nodes.nodes[1].network = None;
    nodes.start(1);
    nodes.tell(&[0, 1]);
    let b1 = nodes.nodes[1].take(2, 0);
    let _web = nodes.world.listen(&open(&b1), b1.address, 8080);
    nodes.check(&open(&a1), (b1.address, 8080), Outcome::Connected);
    let routes = nodes.world.ip(&nodes.nodes[0].network().keeper.switch, "route show");
    assert!(routes.contains("10.120.200.0/24") && !routes.contains("10.120.1.0/24"), "{routes}");
    nodes.stop();
}

#[test]
fn connections_between_nodes_outlive_the_agent_and_need_no_leader_after_it() {
    let mut nodes = Nodes::new(2);
    let (a1, b1) = (nodes.nodes[0].take(1, 0), nodes.nodes[1].take(2, 0));
    let (near, far) = nodes.open_connection(&open(&a1), &open(&b1), (b1.address, 8080));
    let (host_near, host_far) = nodes.open_connection(&nodes.nodes[0].host, &open(&b1), (b1.address, 8081));
    for number in [0, 1] {
        let link = |nodes: &Nodes| {
            let switch = &nodes.nodes[number].network().keeper.switch;
            nodes.world.ip(switch, "-o link show").lines().filter(|l| l.contains("slwm")).collect::<String>()
        };
        let before = link(&nodes);
        nodes.nodes[number].network = None;
        assert!(is_open(&near, &far) && is_open(&far, &near));
        nodes.start(number);
        assert_eq!(link(&nodes), before);
        assert!(is_open(&near, &far) && is_open(&far, &near));
        assert!(is_open(&host_near, &host_far) && is_open(&host_far, &host_near));
    }
    // As after a reboot while nobody leads: the list is still there.
    drop((near, far, host_near, host_far));
    for number in [0, 1] {
        let record = fs::read(crate::network::mesh::record(&nodes.nodes[number].options)).unwrap();
        nodes.nodes[number].network.take().unwrap().stop().unwrap();
        fs::write(crate::network::mesh::record(&nodes.nodes[number].options), record).unwrap();
        nodes.start(number);
    }
    let (a1, b1) = (nodes.nodes[0].take(1, 0), nodes.nodes[1].take(2, 0));
    let _web = nodes.world.listen(&open(&b1), b1.address, 8080);
    nodes.check(&open(&a1), (b1.address, 8080), Outcome::Connected);
    nodes.stop();
}

#[test]
fn what_others_remove_comes_back_with_the_next_sweep() {
    let nodes = Nodes::new(2);
    let (a1, b1) = (nodes.nodes[0].take(1, 0), nodes.nodes[1].take(2, 0));
    let _web = nodes.world.listen(&open(&b1), b1.address, 8080);
    let a = &nodes.nodes[0];
    let switch = &a.network().keeper.switch;
    let harms: [(&File, &str); 6] = [
        (switch, "link del slwm-n0"),
        (switch, "link set slwm-n0 down"),
        (switch, "route del 10.120.1.0/24"),
        (switch, "neigh del 10.120.1.1 dev slwm-n0"),
        (&a.host, "route del 10.120.0.0/16 dev slw-n0"),
        (&a.host, "link del slw-n0"),
    ];
    for (place, harm) in harms {
        nodes.world.ip(place, harm);
        a.network().sweep(&BTreeSet::from([instance(1)])).unwrap();
        nodes.check(&open(&a1), (b1.address, 8080), Outcome::Connected);
        nodes.check(&a.host, (b1.address, 8080), Outcome::Connected);
    }
    nodes.world.nft(&a.host, "flush ruleset");
    a.network().sweep(&BTreeSet::from([instance(1)])).unwrap();
    assert!(nodes.world.nft(&a.host, "list ruleset").contains("notrack"));
    nodes.stop();
}

#[test]
fn a_machine_that_was_alone_joins_and_leaves_without_its_instances_losing_anything() {
    let mut nodes = Nodes::bare(2);
    let alone = nodes.nodes[0].options.mesh.take();
    nodes.start(0);
    nodes.start(1);
    let a1 = nodes.nodes[0].take(1, 0);
    let b1 = nodes.nodes[1].take(2, 0);
    let (near, far) = nodes.open_connection(&nodes.nodes[0].host, &open(&a1), (a1.address, 8080));
    nodes.nodes[0].options.mesh = alone;
    nodes.nodes[0].network = None;
    nodes.start(0);
    nodes.tell(&[0, 1]);
    assert!(is_open(&near, &far) && is_open(&far, &near));
    // Its link was made for larger packets than those between nodes; the switch says so to who sends them.
    let listener = nodes.world.listen(&open(&b1), b1.address, 8080);
    let mut sender = nodes.world.inside(&open(&a1), || TcpStream::connect((b1.address, 8080)));
    let mut receiver = listener.accept().unwrap().0;
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.write_all(&vec![1; 1 << 20]).unwrap());
        receiver.read_exact(&mut vec![0; 1 << 20]).unwrap();
    });
    // And alone again: nothing of the others is left.
    nodes.nodes[0].options.mesh = None;
    nodes.nodes[0].network = None;
    nodes.start(0);
    assert!(is_open(&near, &far));
    nodes.check(&open(&a1), (b1.address, 8080), Outcome::Nothing);
    let switch = &nodes.nodes[0].network().keeper.switch;
    let left = nodes.world.ip(switch, "link show") + &nodes.world.ip(switch, "route show");
    let left = left + &nodes.world.ip(&nodes.nodes[0].host, "route show");
    assert!(!left.contains("slwm") && !left.contains("10.120.0.0/16"), "{left}");
    nodes.stop();
}

#[test]
fn nothing_of_the_way_to_other_nodes_is_left() {
    let mut nodes = Nodes::bare(2);
    let before = nodes.world.traces();
    let sockets =
        |world: &World| world.inside(&world.host, || fs::read_to_string("/proc/thread-self/net/udp"));
    let sockets_before = sockets(&nodes.world);
    for wiped in [false, true] {
        nodes.start(0);
        nodes.start(1);
        nodes.tell(&[0, 1]);
        nodes.nodes[0].take(1, 0);
        assert_ne!(nodes.world.traces(), before);
        let listening = sockets(&nodes.world);
        assert!(listening.contains(&format!(":{:04X}", MeshOptions::PORT_DEFAULT)), "{listening}");
        let mut network = nodes.nodes[0].network.take().unwrap();
        if wiped {
            // As somebody does who knows only the tag.
            drop(network);
            let tag = nodes.nodes[0].options.tag.clone();
            let subnet = nodes.world.inside(&nodes.world.host, || Ok(present_subnet(&tag).unwrap()));
            assert_eq!(subnet, Some(nodes.nodes[0].options.subnet));
            let options = NetworkOptions { mesh: None, ..nodes.nodes[0].options.clone() };
            network = nodes.world.start(&options);
        }
        network.stop().unwrap();
        nodes.nodes[1].network.take().unwrap().stop().unwrap();
        assert_eq!(nodes.world.traces(), before);
        assert_eq!(sockets(&nodes.world), sockets_before);
    }
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let mut nodes = Nodes::bare(1);
    let good = nodes.nodes[0].options.clone();
    let start = |change: &dyn Fn(&mut NetworkOptions, &mut MeshOptions)| {
        let (mut options, mut mesh) = (good.clone(), good.mesh.clone().unwrap());
        change(&mut options, &mut mesh);
        options.mesh = Some(mesh);
        let started = nodes.world.inside(&nodes.nodes[0].host, || Ok(Network::start(options).err()));
        started.map(|error| error.to_string()).unwrap_or_default()
    };
    let before = nodes.world.traces();
    for (said, wanted) in [
        (start(&|_, mesh| mesh.pool = "10.121.0.0/16".parse().unwrap()), "outside the pool"),
        (start(&|_, mesh| mesh.pool = "198.51.0.0/16".parse().unwrap()), "outside the pool"),
        (start(&|_, mesh| mesh.address = Ipv4Addr::new(10, 120, 3, 3)), "in the pool"),
        (start(&|_, mesh| mesh.port = 31_000), "lead to instances"),
        (start(&|_, mesh| mesh.vni = 1 << 24), "16777215"),
        (start(&|_, mesh| mesh.address = Ipv4Addr::new(198, 51, 100, 77)), "no link of this machine"),
    ] {
        assert!(said.contains(wanted), "{said} / {wanted}");
        assert_eq!(nodes.world.traces(), before);
    }
    // Somebody else has the port.
    let taken = nodes.world.udp(&nodes.world.host, nodes.nodes[0].address(), MeshOptions::PORT_DEFAULT);
    let said = start(&|_, _| {});
    assert!(said.contains("UDP port 4789 of 198.51.100.2"), "{said}");
    drop(taken);
    nodes.start(0);
    let network = nodes.nodes[0].network();
    let most = Group::TAGGED_MAX;
    network.take(&instance(1), &tenant("last"), most, Egress::Internet).unwrap();
    let error = network.take(&instance(2), &tenant("beyond"), most + 1, Egress::Internet).unwrap_err();
    assert!(error.to_string().contains("tenant beyond is number 65534"), "{error}");
    // A peer that cannot be does not keep the others from being reached.
    let peer = |name: &str, address: &str, subnet: &str| Peer {
        node: name.parse().unwrap(),
        address: address.parse().unwrap(),
        subnet: subnet.parse().unwrap(),
    };
    let told = [
        peer("itself", "198.51.100.2", "10.120.0.0/24"),
        peer("within", "198.51.101.2", "10.120.0.128/26"),
        peer("outside", "198.51.101.2", "10.119.0.0/24"),
        peer("wide", "198.51.101.2", "10.120.0.0/15"),
        peer("here", "198.51.100.2", "10.120.5.0/24"),
        peer("inside", "10.120.7.1", "10.120.6.0/24"),
        peer("nowhere", "0.0.0.0", "10.120.6.0/24"),
        peer("good", "198.51.101.2", "10.120.8.0/24"),
        peer("twice", "198.51.102.2", "10.120.8.0/25"),
    ];
    network.set_peers(&told).unwrap();
    assert_eq!(*network.keeper.peers(), [told[7].clone()]);
    nodes.stop();
}

#[test]
fn two_slipways_on_one_machine_have_a_port_each() {
    let mut nodes = Nodes::bare(2);
    nodes.start(0);
    let mut options = nodes.world.options("other", "10.121.0.0/24");
    let port = MeshOptions::PORT_DEFAULT + 1;
    let mesh = MeshOptions {
        port,
        pool: "10.121.0.0/16".parse().unwrap(),
        ..nodes.nodes[0].options.mesh.clone().unwrap()
    };
    options.mesh = Some(mesh);
    let before = nodes.world.traces();
    let other = nodes.world.start(&options);
    // A machine that is alone may have its subnet in what another cluster has for all its nodes.
    let third = nodes.world.start(&nodes.world.options("third", "10.121.9.0/24"));
    third.stop().unwrap();
    other.stop().unwrap();
    assert_eq!(nodes.world.traces(), before);
    nodes.stop();
}
