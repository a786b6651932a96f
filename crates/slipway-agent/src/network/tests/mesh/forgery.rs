use super::*;

/// As from a switch: VXLAN with a tag, Ethernet, IPv4, UDP.
fn frame(options: &MeshOptions, tag: u16, from: Ipv4Addr, to: &Node, at: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut frame = vec![0x88, 0, 0, 0];
    frame[2..4].copy_from_slice(&tag.to_be_bytes());
    frame.extend_from_slice(&(options.vni << 8).to_be_bytes());
    let [a, b, c, d] = to.gateway().octets();
    frame.extend_from_slice(&[0x0a, 0x5c, a, b, c, d, 2, 0, 0, 0, 0, 9, 8, 0]);
    let said = b"let me in";
    let total = (28 + said.len()) as u16;
    let mut head = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0];
    head[2..4].copy_from_slice(&total.to_be_bytes());
    head.extend_from_slice(&from.octets());
    head.extend_from_slice(&at.0.octets());
    let sum = head.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(&[0x13, 0x88]);
    frame.extend_from_slice(&at.1.to_be_bytes());
    frame.extend_from_slice(&(total - 20).to_be_bytes());
    // No checksum.
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(said);
    frame
}

#[test]
fn frames_of_machines_that_are_no_peers_are_dropped() {
    // The third machine is none of theirs.
    let mut nodes = Nodes::bare(3);
    nodes.start(0);
    nodes.start(1);
    nodes.tell(&[0, 1]);
    let (a, b, stranger) = (&nodes.nodes[0], &nodes.nodes[1], &nodes.nodes[2]);
    let (a1, b1, b_evil) = (a.take(1, 0), b.take(2, 0), b.take(3, 1));
    let ear = nodes.world.udp(&open(&a1), a1.address, 9000);
    let hears = |wait| {
        ear.set_read_timeout(Some(wait)).unwrap();
        ear.recv(&mut [0; 64]).is_ok()
    };
    let mesh = a.options.mesh.clone().unwrap();
    let tag = Group::of(0, Egress::Internet).tag().unwrap();
    let say = |host: &File, source: Ipv4Addr, tag, from, vni| {
        let mesh = MeshOptions { vni, ..mesh.clone() };
        let frame = frame(&mesh, tag, from, a, (a1.address, 9000));
        let mouth = nodes.world.udp(host, source, 0);
        mouth.send_to(&frame, (a.address(), mesh.port)).unwrap();
    };
    // From a peer's machine, as its switch would: the frame is a good one.
    say(&b.host, b.address(), tag, b1.address, 77);
    assert!(hears(PATIENCE));
    say(&b.host, b.address(), 1, b.inner_host(), 77);
    assert!(hears(PATIENCE));
    let forged = [
        (tag + 1, b1.address, 77, "another tenant's tag"),
        (0, b1.address, 77, "no tag"),
        (1, b1.address, 77, "the platform's tag, an instance's address"),
        (u16::MAX, b1.address, 77, "a tag of nobody's"),
        (tag, a1.address, 77, "an address of the node itself"),
        (1, a.inner_host(), 77, "the node's own host"),
        (tag, World::PUBLIC, 77, "an address of the internet"),
        (tag, Ipv4Addr::new(10, 120, 9, 9), 77, "an address of a node that is none"),
        (tag, b1.address, 78, "another cluster's number"),
    ];
    for (tag, from, vni, what) in forged {
        say(&b.host, b.address(), tag, from, vni);
        assert!(!hears(SILENCE), "{what}");
    }
    // From other machines, from instances, from this machine itself.
    say(&stranger.host, stranger.address(), tag, b1.address, 77);
    say(&nodes.world.internet, Ipv4Addr::UNSPECIFIED, tag, b1.address, 77);
    say(&open(&b_evil), b_evil.address, tag, b1.address, 77);
    say(&open(&a1), a1.address, tag, b1.address, 77);
    say(&a.host, a.address(), tag, b1.address, 77);
    say(&a.host, Ipv4Addr::LOCALHOST, tag, b1.address, 77);
    assert!(!hears(SILENCE));
    // Not by another address of the machine either, nor through a kernel that listens on all of them.
    nodes.world.ip(&a.host, "addr add 198.51.100.3/32 dev eth0");
    let frame = frame(&mesh, tag, b1.address, a, (a1.address, 9000));
    let mouth = nodes.world.udp(&b.host, b.address(), 0);
    mouth.send_to(&frame, ("198.51.100.3", mesh.port)).unwrap();
    assert!(!hears(SILENCE));
    nodes.stop();
}

#[test]
fn instances_do_not_speak_to_machines_of_nodes_whatever_is_allowed() {
    let mut nodes = Nodes::bare(2);
    for node in &mut nodes.nodes {
        node.options.egress_allow = vec!["198.51.0.0/16".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    }
    nodes.start(0);
    nodes.start(1);
    nodes.tell(&[0, 1]);
    let (a, b) = (&nodes.nodes[0], &nodes.nodes[1]);
    let a1 = a.take(1, 0);
    let _web = nodes.world.listen(&b.host, Ipv4Addr::UNSPECIFIED, 7000);
    let _far = nodes.world.listen(&nodes.world.internet, Ipv4Addr::UNSPECIFIED, 7000);
    nodes.check(&open(&a1), (Ipv4Addr::new(198, 51, 101, 1), 7000), Outcome::Connected);
    for to in [b.address(), b.gateway(), b.inner_host(), Ipv4Addr::new(10, 120, 77, 7)] {
        nodes.check(&open(&a1), (to, 7000), Outcome::Nothing);
    }
    // Nor to the port of one that it has not heard of yet.
    let ear = nodes.world.udp(&nodes.world.internet, World::PUBLIC, MeshOptions::PORT_DEFAULT);
    nodes
        .world
        .udp(&open(&a1), a1.address, 0)
        .send_to(b"x", (World::PUBLIC, MeshOptions::PORT_DEFAULT))
        .unwrap();
    ear.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(ear.recv(&mut [0; 8]).is_err());
    nodes.stop();
}

/// Such as the builds of a server on the same machine, which have a network of their own.
#[test]
fn nobody_behind_a_nodes_machine_speaks_to_other_nodes_in_its_name() {
    let nodes = Nodes::new(2);
    let (a, b) = (&nodes.nodes[0], &nodes.nodes[1]);
    let options = NetworkOptions { ports: (1, 0), ..nodes.world.options("builds", "10.121.0.0/24") };
    let builds = nodes.world.inside(&b.host, || Ok(Network::start(options).unwrap()));
    let build = builds.take(&instance(9), &tenant("evil"), 1, Egress::InternetAlone).unwrap();
    let (a1, b1) = (a.take(1, 0), b.take(2, 0));
    let ear = nodes.world.udp(&open(&a1), a1.address, 9000);
    let hears = |wait| {
        ear.set_read_timeout(Some(wait)).unwrap();
        ear.recv(&mut [0; 64]).is_ok()
    };
    let mesh = a.options.mesh.clone().unwrap();
    let frame = frame(&mesh, 1, b.inner_host(), a, (a1.address, 9000));
    let mouth = nodes.world.udp(&open(&build), build.address, 0);
    mouth.send_to(&frame, (a.address(), mesh.port)).unwrap();
    assert!(!hears(SILENCE), "a build was taken for the router of its machine");
    // While the node itself speaks, and the build reaches what else is there.
    nodes.world.udp(&open(&b1), b1.address, 0).send_to(b"hello", (a1.address, 9000)).unwrap();
    assert!(hears(PATIENCE));
    let _web = nodes.world.listen(&nodes.world.internet, World::PUBLIC, 7000);
    nodes.check(&open(&build), (World::PUBLIC, 7000), Outcome::Connected);
    builds.stop().unwrap();
    nodes.stop();
}

#[test]
fn a_forged_source_does_not_leave_the_node() {
    let nodes = Nodes::new(2);
    let (a, b) = (&nodes.nodes[0], &nodes.nodes[1]);
    let (a1, a_evil, b1, b_evil) = (a.take(1, 0), a.take(2, 1), b.take(3, 0), b.take(4, 1));
    let ear = nodes.world.udp(&open(&b1), b1.address, 9000);
    let hears = |wait| {
        ear.set_read_timeout(Some(wait)).unwrap();
        ear.recv_from(&mut [0; 16]).ok().map(|(_, from)| from.ip())
    };
    let say = |namespace: &File, source: Ipv4Addr| {
        // Some are refused by the sender's own kernel already.
        let _ = nodes.world.udp(namespace, source, 0).send_to(b"it is me", (b1.address, 9000));
    };
    say(&open(&a1), a1.address);
    assert_eq!(hears(PATIENCE), Some(a1.address.into()));
    let evil = open(&a_evil);
    for forged in [a1.address, a.inner_host(), a.gateway(), b.inner_host(), b_evil.address, b.gateway()] {
        nodes.world.ip(&evil, &format!("addr add {forged}/32 dev eth0"));
        say(&evil, forged);
        assert_eq!(hears(SILENCE), None, "from {forged}");
    }
    // A mark that somebody sets within their own namespace stays there.
    nodes.world.nft(&evil, "add table inet t");
    nodes.world.nft(&evil, "add chain inet t o { type filter hook output priority 0 ; }");
    nodes.world.nft(&evil, "add rule inet t o meta mark set 1");
    assert!(nodes.world.nft(&evil, "list ruleset").contains("mark set"));
    say(&evil, a_evil.address);
    assert_eq!(hears(SILENCE), None);
    nodes.stop();
}

#[test]
fn an_address_that_has_changed_hands_leads_nowhere() {
    let nodes = Nodes::new(2);
    let (a, b) = (&nodes.nodes[0], &nodes.nodes[1]);
    let (a1, b1) = (a.take(1, 0), b.take(2, 0));
    let (near, far) = nodes.open_connection(&open(&a1), &open(&b1), (b1.address, 8080));
    let (host_near, host_far) = nodes.open_connection(&a.host, &open(&b1), (b1.address, 8081));
    assert!(is_open(&near, &far) && is_open(&far, &near) && is_open(&host_near, &host_far));
    // The address is another tenant's now, and only the group of its link tells.
    let keeper = &b.network().keeper;
    keeper.admit(Group::of(1, Egress::Internet)).unwrap();
    let group = Group::of(1, Egress::Internet);
    keeper.switch_links().run(sandbox::assign(&keeper.layout, b1.address, group, "evil")).unwrap();
    assert!(!is_open(&near, &far), "the new owner is reached");
    assert!(!is_open(&far, &near), "the new owner reaches");
    nodes.stop();
}
