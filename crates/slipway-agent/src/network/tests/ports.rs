use slipway_model::service::PortProtocol;

use super::world::open;
use super::*;

const PORT: u16 = 31_000;

fn port(host: u16, container: u16, protocol: PortProtocol) -> PublishedPort {
    PublishedPort { host, container, protocol }
}

fn tcp() -> Vec<PublishedPort> {
    vec![port(PORT, 8080, PortProtocol::Tcp)]
}

fn take(network: &Network, number: u8, name: &str, index: u32) -> Sandbox {
    network.take(&instance(number), &tenant(name), index, Egress::Internet).unwrap()
}

/// Asks by UDP and returns the answer, which every instance here begins with its own address.
fn answer_by_udp(from: &UdpSocket, to: (Ipv4Addr, u16), wait: Duration) -> Option<String> {
    from.send_to(b"who?", to).unwrap();
    from.set_read_timeout(Some(wait)).unwrap();
    let mut answer = [0; 64];
    let (length, sender) = from.recv_from(&mut answer).ok()?;
    assert_eq!(sender, SocketAddr::from(to), "the answer comes from where it was asked");
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Answers on UDP until the world ends; says whom the question was from.
fn echo(world: &World, sandbox: &Sandbox, port: u16) {
    let socket = world.udp(&open(sandbox), sandbox.address, port);
    let own = sandbox.address;
    std::thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
            let _ = socket.send_to(format!("{own} to {}", from.ip()).as_bytes(), from);
        }
    });
}

#[test]
fn ma_61_a_port_of_the_node_leads_to_its_instance_and_goes_with_it() {
    let world = World::new();
    let before = world.traces();
    let network = world.start(&world.options("p1", "10.114.1.0/24"));
    let a = take(&network, 1, "acme", 0);
    let listener = world.listen(&open(&a), a.address, 8080);
    let check = |from: &File, to: (Ipv4Addr, u16), wanted: Outcome| {
        assert_eq!(world.connect(from, to, &wanted), wanted, "to {to:?}");
    };
    check(&world.internet, (World::HOST, PORT), Outcome::Refused);
    network.publish(&instance(1), &tcp()).unwrap();
    check(&world.internet, (World::HOST, PORT), Outcome::Connected);
    assert_eq!(
        listener.accept().unwrap().1.ip(),
        Ipv4Addr::new(198, 51, 100, 1),
        "clients keep their address"
    );
    // The node itself asks at its own addresses, but not at its loopback.
    let uplink = network.keeper.layout.host_address();
    for address in [World::HOST, uplink] {
        check(&world.host, (address, PORT), Outcome::Connected);
        assert_eq!(listener.accept().unwrap().1.ip(), uplink);
    }
    world.ip(&world.host, "link set lo up");
    check(&world.host, (Ipv4Addr::LOCALHOST, PORT), Outcome::Refused);
    // Neither other ports nor other ways to the same one.
    check(&world.internet, (World::HOST, PORT + 1), Outcome::Refused);
    world.ip(&world.internet, "route add 10.114.1.0/24 via 198.51.100.2");
    check(&world.internet, (a.address, 8080), Outcome::Nothing);
    // An open connection ends with the instance, and so does the port.
    let client = world.inside(&world.internet, || TcpStream::connect((World::HOST, PORT)));
    let (mut served, _) = listener.accept().unwrap();
    network.release(&instance(1)).unwrap();
    io::Write::write_all(&mut &client, b"still there?").unwrap();
    served.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(io::Read::read(&mut served, &mut [0; 16]).is_err());
    check(&world.internet, (World::HOST, PORT), Outcome::Refused);
    assert!(!world.nft(&world.host, "list ruleset").contains(&PORT.to_string()));
    assert!(!world.nft(&network.keeper.switch, "list set inet slipway published").contains("8080"));
    network.stop().unwrap();
    assert_eq!(world.traces(), before);
    let left: Vec<_> = fs::read_dir(world.directory.path().join("p1/run")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn ma_61_instances_reach_no_port_of_the_node() {
    let world = World::new();
    let network = world.start(&NetworkOptions {
        egress_allow: vec!["0.0.0.0/0".parse().unwrap()],
        ..world.options("p2", "10.114.2.0/24")
    });
    let (a, same, other) =
        (take(&network, 1, "acme", 0), take(&network, 2, "acme", 0), take(&network, 3, "evil", 1));
    let _listener = world.listen(&open(&a), a.address, 8080);
    network.publish(&instance(1), &tcp()).unwrap();
    let uplink = network.keeper.layout.host_address();
    for from in [&a, &same, &other] {
        for address in [World::HOST, uplink, from.gateway] {
            let reached = world.connect(&open(from), (address, PORT), &Outcome::Nothing);
            assert_eq!(reached, Outcome::Nothing, "from {} to {address}", from.address);
        }
    }
    // What is published is no way around for others either.
    assert_eq!(world.connect(&open(&other), (a.address, 8080), &Outcome::Nothing), Outcome::Nothing);
    assert_eq!(world.connect(&open(&same), (a.address, 8080), &Outcome::Connected), Outcome::Connected);
    // A stranger who says to be an instance is not believed.
    world.ip(&world.internet, &format!("addr add {}/32 dev wan", other.address));
    let forged = world.udp(&world.internet, other.address, 0);
    let ear = world.udp(&open(&a), a.address, 8080);
    network.publish(&instance(1), &[port(PORT, 8080, PortProtocol::Udp)]).unwrap();
    forged.send_to(b"it is me", (World::HOST, PORT)).unwrap();
    ear.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(ear.recv(&mut [0; 16]).is_err());
    network.stop().unwrap();
}

#[test]
fn ma_61_a_port_that_is_used_again_leads_to_the_new_instance_at_once() {
    let world = World::new();
    let network = world.start(&world.options("p3", "10.114.3.0/24"));
    let both = [port(PORT, 9000, PortProtocol::Both)];
    // One client that never changes its own port, so that the kernel would remember.
    let client = world.udp(&world.internet, Ipv4Addr::new(198, 51, 100, 1), 40_000);
    assert_eq!(answer_by_udp(&client, (World::HOST, PORT), SILENCE), None, "nobody is there yet");
    for number in 1..4 {
        let sandbox = take(&network, number, "acme", number.into());
        echo(&world, &sandbox, 9000);
        let listener = world.listen(&open(&sandbox), sandbox.address, 9000);
        network.publish(&instance(number), &both).unwrap();
        let answer = answer_by_udp(&client, (World::HOST, PORT), PATIENCE);
        assert_eq!(answer, Some(format!("{} to 198.51.100.1", sandbox.address)));
        let here = world.udp(&world.host, World::HOST, 40_001);
        let answer = answer_by_udp(&here, (World::HOST, PORT), PATIENCE);
        assert_eq!(answer, Some(format!("{} to 10.114.3.2", sandbox.address)));
        assert_eq!(
            world.connect(&world.internet, (World::HOST, PORT), &Outcome::Connected),
            Outcome::Connected
        );
        listener.accept().unwrap();
        network.release(&instance(number)).unwrap();
        assert_eq!(answer_by_udp(&client, (World::HOST, PORT), SILENCE), None);
    }
    network.stop().unwrap();
}

#[test]
fn me_06_ma_61_ports_survive_the_agent_and_a_restarted_firewall() {
    let world = World::new();
    let options = world.options("p4", "10.114.4.0/24");
    let network = world.start(&options);
    let (a, gone) = (take(&network, 1, "acme", 0), take(&network, 2, "acme", 0));
    let listener = world.listen(&open(&a), a.address, 8080);
    network.publish(&instance(1), &tcp()).unwrap();
    network.publish(&instance(2), &[port(PORT + 1, 0, PortProtocol::Tcp)]).unwrap();
    let kept = world.inside(&world.internet, || TcpStream::connect((World::HOST, PORT)));
    let (mut served, _) = listener.accept().unwrap();
    drop(network);
    let reach = |wanted: Outcome| {
        assert_eq!(world.connect(&world.internet, (World::HOST, PORT), &wanted), wanted);
    };
    reach(Outcome::Connected);
    let network = world.start(&options);
    reach(Outcome::Connected);
    io::Write::write_all(&mut &kept, b"!").unwrap();
    io::Read::read_exact(&mut served, &mut [0]).unwrap();
    // Said again it changes nothing; the one that nobody adopts loses its port.
    network.publish(&instance(1), &tcp()).unwrap();
    assert_eq!(network.sweep(&BTreeSet::from([instance(1)])).unwrap(), [instance(2)]);
    let rules = world.nft(&world.host, "list ruleset");
    assert!(!rules.contains(&gone.address.to_string()), "{rules}");
    world.nft(&world.host, "flush ruleset");
    network.sweep(&BTreeSet::from([instance(1)])).unwrap();
    reach(Outcome::Connected);
    // Also somebody else's restart at the wrong moment keeps nobody from letting go.
    world.nft(&world.host, "flush ruleset");
    network.release(&instance(1)).unwrap();
    reach(Outcome::Refused);
    network.stop().unwrap();
}

#[test]
fn ma_61_a_port_that_is_taken_or_not_the_nodes_to_give_is_refused() {
    let world = World::new();
    let network = world.start(&world.options("p5", "10.114.5.0/24"));
    let (a, _) = (take(&network, 1, "acme", 0), take(&network, 2, "evil", 1));
    network.publish(&instance(1), &tcp()).unwrap();
    let refused = |ports: &[PublishedPort]| network.publish(&instance(2), ports).unwrap_err().to_string();
    assert!(refused(&tcp()).contains(instance(1).as_str()));
    assert!(refused(&[port(22, 22, PortProtocol::Tcp)]).contains("31000 to 31999"));
    let twice = [port(PORT + 5, 1, PortProtocol::Both), port(PORT + 5, 2, PortProtocol::Udp)];
    assert!(refused(&twice).contains("already"));
    let many: Vec<_> = (0..101).map(|n| port(PORT + 10 + n, 1, PortProtocol::Tcp)).collect();
    assert!(refused(&many).contains("more than 100"));
    // Of what was refused nothing is left, and the first owner has its port.
    let _listener = world.listen(&open(&a), a.address, 8080);
    assert_eq!(world.connect(&world.internet, (World::HOST, PORT), &Outcome::Connected), Outcome::Connected);
    // A port of the one protocol is not the same as of the other, and 0 is none.
    network
        .publish(&instance(2), &[port(PORT, 53, PortProtocol::Udp), port(0, 80, PortProtocol::Tcp)])
        .unwrap();
    assert!(network.publish(&instance(9), &tcp()).is_err(), "who has no network has no port");
    network.stop().unwrap();
}
