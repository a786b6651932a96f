use super::world::open;
use super::*;

/// Two instances of tenant acme, one of tenant evil, one of acme's that is isolated.
struct Scene {
    world: World,
    network: Network,
    a1: Sandbox,
    a2: Sandbox,
    b: Sandbox,
    closed: Sandbox,
}

fn scene() -> Scene {
    scene_with(|_| {})
}

fn scene_with(change: impl FnOnce(&mut NetworkOptions)) -> Scene {
    let world = World::new();
    let mut options = world.options("t1", "10.111.0.0/24");
    change(&mut options);
    let network = world.start(&options);
    let take = |number, name: &str, index, egress| {
        network.take(&instance(number), &tenant(name), index, egress).unwrap()
    };
    let a1 = take(1, "acme", 0, Egress::Internet);
    let a2 = take(2, "acme", 0, Egress::Internet);
    let b = take(3, "evil", 1, Egress::Internet);
    let closed = take(4, "acme", 0, Egress::None);
    Scene { world, network, a1, a2, b, closed }
}

impl Scene {
    fn check(&self, from: &File, to: (Ipv4Addr, u16), wanted: Outcome) {
        assert_eq!(self.world.connect(from, to, &wanted), wanted, "to {to:?}");
    }
}

#[test]
fn a_tenant_reaches_itself_and_no_other() {
    let scene = scene();
    let (a1, b) = (open(&scene.a1), open(&scene.b));
    let _own = scene.world.listen(&open(&scene.a2), scene.a2.address, 8080);
    let _other = scene.world.listen(&b, scene.b.address, 8080);
    let _closed = scene.world.listen(&open(&scene.closed), scene.closed.address, 8080);
    scene.check(&a1, (scene.a2.address, 8080), Outcome::Connected);
    scene.check(&a1, (scene.a2.address, 8081), Outcome::Refused);
    scene.check(&a1, (scene.b.address, 8080), Outcome::Nothing);
    scene.check(&b, (scene.a1.address, 8080), Outcome::Nothing);
    scene.check(&a1, (scene.closed.address, 8080), Outcome::Nothing);
    // Broadcast and multicast go nowhere.
    let socket = scene.world.udp(&a1, scene.a1.address, 0);
    socket.set_broadcast(true).unwrap();
    let ear = scene.world.udp(&b, Ipv4Addr::UNSPECIFIED, 9999);
    ear.set_read_timeout(Some(SILENCE)).unwrap();
    for to in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 111, 0, 255), Ipv4Addr::new(224, 0, 0, 1)] {
        let _ = socket.send_to(b"anybody?", (to, 9999));
    }
    assert!(ear.recv(&mut [0; 16]).is_err());
    scene.network.stop().unwrap();
}

#[test]
fn a_build_reaches_the_internet_and_nobody_of_its_tenant() {
    let scene = scene();
    let world = &scene.world;
    let build =
        |number| scene.network.take(&instance(number), &tenant("acme"), 0, Egress::InternetAlone).unwrap();
    let (one, other) = (build(10), build(11));
    let _web = world.listen(&open(&scene.a1), scene.a1.address, 8080);
    let _other = world.listen(&open(&other), other.address, 8080);
    let _server = world.listen(&world.internet, World::PUBLIC, 443);
    let _resolver = world.listen(&world.internet, World::RESOLVER, 53);
    scene.check(&open(&one), (scene.a1.address, 8080), Outcome::Nothing);
    scene.check(&open(&one), (other.address, 8080), Outcome::Nothing);
    scene.check(&open(&scene.a1), (other.address, 8080), Outcome::Nothing);
    scene.check(&open(&one), (World::PUBLIC, 443), Outcome::Connected);
    scene.check(&open(&one), (one.gateway, 53), Outcome::Connected);
    scene.check(&world.host, (other.address, 8080), Outcome::Connected);
    scene.network.stop().unwrap();
}

#[test]
fn a_connection_that_outlives_an_owner_does_not_reach_the_next() {
    let scene = scene();
    let (a1, a2) = (open(&scene.a1), open(&scene.a2));
    let listener = scene.world.listen(&a2, scene.a2.address, 8080);
    let mut sender = scene.world.inside(&a1, || TcpStream::connect((scene.a2.address, 8080)));
    let (mut receiver, _) = listener.accept().unwrap();
    // Were the address somebody else's now, only the group of its link would tell.
    let layout = &scene.network.keeper.layout;
    let group = Group::of(1, Egress::Internet);
    scene
        .network
        .keeper
        .switch_links()
        .run(sandbox::assign(layout, scene.a2.address, group, "evil"))
        .unwrap();
    io::Write::write_all(&mut sender, b"still there?").unwrap();
    receiver.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(io::Read::read(&mut receiver, &mut [0; 16]).is_err());
    scene.network.stop().unwrap();
}

#[test]
fn a_release_cuts_open_connections_at_once() {
    let scene = scene();
    let (a1, world) = (open(&scene.a1), &scene.world);
    let server = world.listen(&world.internet, World::PUBLIC, 443);
    let sender = world.inside(&a1, || TcpStream::connect((World::PUBLIC, 443)));
    let (mut receiver, _) = server.accept().unwrap();
    // As `release` does first, but the link stays.
    let keeper = &scene.network.keeper;
    let message = link::set_group(keeper.layout.index(scene.a1.address), Group::RELEASED.0);
    keeper.switch_links().run(vec![message]).unwrap();
    io::Write::write_all(&mut &sender, b"one more thing").unwrap();
    receiver.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(io::Read::read(&mut receiver, &mut [0; 16]).is_err());
    scene.network.stop().unwrap();
}

#[test]
fn nothing_of_the_host_is_reached_by_any_of_its_addresses() {
    let scene = scene();
    let world = &scene.world;
    let _everywhere = world.listen(&world.host, Ipv4Addr::UNSPECIFIED, 7000);
    let uplink = scene.network.keeper.layout.host_address();
    for from in [&scene.a1, &scene.closed] {
        let from = open(from);
        for address in [World::HOST, uplink, scene.a1.gateway] {
            scene.check(&from, (address, 7000), Outcome::Nothing);
        }
    }
    let ear = world.udp(&world.host, Ipv4Addr::UNSPECIFIED, 7000);
    ear.set_read_timeout(Some(SILENCE)).unwrap();
    world.udp(&open(&scene.a1), scene.a1.address, 0).send_to(b"psst", (World::HOST, 7000)).unwrap();
    assert!(ear.recv(&mut [0; 16]).is_err());
    scene.network.stop().unwrap();
}

#[test]
fn a_restarted_firewall_of_the_hosts_opens_nothing_and_is_repaired() {
    let scene = scene_with(|options| options.egress_allow = vec!["0.0.0.0/0".parse().unwrap()]);
    let world = &scene.world;
    let _host = world.listen(&world.host, Ipv4Addr::UNSPECIFIED, 7000);
    let _server = world.listen(&world.internet, World::PUBLIC, 443);
    world.ip(&world.host, "addr add 198.51.100.3/32 dev eth0");
    scene.network.sweep(&BTreeSet::new()).unwrap();
    world.nft(&world.host, "flush ruleset");
    for address in [World::HOST, Ipv4Addr::new(198, 51, 100, 3), scene.network.keeper.layout.host_address()] {
        scene.check(&open(&scene.a1), (address, 7000), Outcome::Nothing);
    }
    assert_eq!(scene.network.sweep(&BTreeSet::new()).unwrap(), [], "what is new is spared");
    scene.check(&open(&scene.a1), (World::PUBLIC, 443), Outcome::Connected);
    scene.network.stop().unwrap();
}

#[test]
fn the_host_reaches_every_instance_and_strangers_do_not() {
    let scene = scene();
    let world = &scene.world;
    for sandbox in [&scene.a1, &scene.b, &scene.closed] {
        let listener = world.listen(&open(sandbox), sandbox.address, 8080);
        scene.check(&world.host, (sandbox.address, 8080), Outcome::Connected);
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), scene.network.keeper.layout.host_address());
    }
    // Somebody in the host's neighbourhood who has guessed the route.
    world.ip(&world.internet, "route add 10.111.0.0/24 via 198.51.100.2");
    let _listener = world.listen(&open(&scene.a1), scene.a1.address, 8080);
    scene.check(&world.internet, (scene.a1.address, 8080), Outcome::Nothing);
    scene.network.stop().unwrap();
}

#[test]
fn the_internet_is_reached_but_nothing_private_and_no_mail() {
    let scene = scene();
    let world = &scene.world;
    let server = world.listen(&world.internet, Ipv4Addr::UNSPECIFIED, 443);
    let _mail = world.listen(&world.internet, Ipv4Addr::UNSPECIFIED, 25);
    let _dns = world.listen(&world.internet, Ipv4Addr::UNSPECIFIED, 53);
    let a1 = open(&scene.a1);
    scene.check(&a1, (World::PUBLIC, 443), Outcome::Connected);
    assert_eq!(server.accept().unwrap().1.ip(), World::HOST, "it comes from the host's address");
    scene.check(&a1, (World::PUBLIC, 444), Outcome::Refused);
    scene.check(&a1, (World::PUBLIC, 25), Outcome::Nothing);
    scene.check(&a1, (World::PUBLIC, 53), Outcome::Nothing);
    for address in [World::METADATA, World::PRIVATE, World::RESOLVER] {
        scene.check(&a1, (address, 443), Outcome::Nothing);
    }
    scene.check(&open(&scene.closed), (World::PUBLIC, 443), Outcome::Nothing);
    scene.network.stop().unwrap();
}

#[test]
fn the_networks_that_the_host_is_in_are_not_reached() {
    let neighbour = Ipv4Addr::new(198, 51, 100, 9);
    let learned = Ipv4Addr::new(192, 0, 2, 9);
    for (allow, wanted) in [(vec![], Outcome::Nothing), (vec!["198.51.100.9/32"], Outcome::Connected)] {
        let scene = scene_with(|options| {
            options.egress_allow = allow.iter().map(|block| block.parse().unwrap()).collect();
        });
        let world = &scene.world;
        world.ip(&world.internet, &format!("addr add {neighbour}/24 dev wan"));
        world.ip(&world.internet, &format!("addr add {learned}/24 dev wan"));
        let _database = world.listen(&world.internet, Ipv4Addr::UNSPECIFIED, 5432);
        let _resolver = world.listen(&world.internet, World::RESOLVER, 53);
        let a1 = open(&scene.a1);
        scene.check(&a1, (neighbour, 5432), wanted);
        scene.check(&a1, (learned, 5432), Outcome::Connected);
        // The host comes into another network, and two of its addresses there overlap.
        world.ip(&world.host, "addr add 192.0.2.2/24 dev eth0");
        world.ip(&world.host, "addr add 192.0.2.3/25 dev eth0");
        scene.network.sweep(&BTreeSet::new()).unwrap();
        scene.check(&a1, (learned, 5432), Outcome::Nothing);
        scene.check(&a1, (scene.a1.gateway, 53), Outcome::Connected);
        scene.check(&a1, (World::PUBLIC, 5432), Outcome::Connected);
        scene.network.stop().unwrap();
    }
}

#[test]
fn the_operator_can_allow_a_private_network() {
    let scene = scene_with(|options| options.egress_allow = vec!["192.168.7.0/24".parse().unwrap()]);
    let world = &scene.world;
    let _mirror = world.listen(&world.internet, Ipv4Addr::UNSPECIFIED, 3128);
    scene.check(&open(&scene.a1), (World::PRIVATE, 3128), Outcome::Connected);
    scene.check(&open(&scene.a1), (World::METADATA, 3128), Outcome::Nothing);
    scene.check(&open(&scene.closed), (World::PRIVATE, 3128), Outcome::Nothing);
    scene.network.stop().unwrap();
}

#[test]
fn questions_to_the_gateway_reach_the_hosts_resolver() {
    let scene = scene();
    let world = &scene.world;
    let resolver = world.udp(&world.internet, World::RESOLVER, 53);
    let _resolver_tcp = world.listen(&world.internet, World::RESOLVER, 53);
    let ask = |sandbox: &Sandbox, wait| {
        let socket = world.udp(&open(sandbox), sandbox.address, 0);
        socket.send_to(b"who?", (sandbox.dns[0], 53)).unwrap();
        resolver.set_read_timeout(Some(wait)).unwrap();
        let (length, from) = resolver.recv_from(&mut [0; 16]).ok()?;
        assert_eq!((length, from.ip()), (4, World::HOST.into()));
        resolver.send_to(b"them", from).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(socket.recv_from(&mut [0; 16]).unwrap())
    };
    let answer = ask(&scene.a1, PATIENCE);
    assert_eq!(answer, Some((4, SocketAddr::from((scene.a1.gateway, 53)))));
    scene.check(&open(&scene.b), (scene.b.gateway, 53), Outcome::Connected);
    assert_eq!(ask(&scene.closed, SILENCE), None);
    scene.check(&open(&scene.a1), (World::RESOLVER, 53), Outcome::Nothing);
    scene.network.stop().unwrap();
}

#[test]
fn a_forged_source_is_dropped_even_with_all_rights_in_the_sandbox() {
    let scene = scene();
    let world = &scene.world;
    let a1 = open(&scene.a1);
    let ear = world.udp(&open(&scene.a2), scene.a2.address, 9000);
    let hear = |wait| {
        ear.set_read_timeout(Some(wait)).unwrap();
        ear.recv_from(&mut [0; 16]).ok().map(|(_, from)| from.ip())
    };
    let say = |source: Ipv4Addr| {
        world.udp(&a1, source, 0).send_to(b"it is me", (scene.a2.address, 9000)).unwrap();
    };
    say(scene.a1.address);
    assert_eq!(hear(PATIENCE), Some(scene.a1.address.into()));
    let host = scene.network.keeper.layout.host_address();
    for forged in [scene.b.address, scene.a2.gateway, host, World::PUBLIC, Ipv4Addr::new(10, 111, 0, 77)] {
        world.ip(&a1, &format!("addr add {forged}/32 dev eth0"));
        say(forged);
        assert_eq!(hear(SILENCE), None, "from {forged}");
    }
    // Nor does another hardware address help.
    world.ip(&a1, "link set eth0 address 02:5c:0a:6f:00:05");
    say(scene.b.address);
    assert_eq!(hear(SILENCE), None);
    scene.network.stop().unwrap();
}

#[test]
fn there_is_no_ipv6_and_no_arp() {
    let scene = scene();
    let a1 = open(&scene.a1);
    assert_eq!(scene.world.ip(&a1, "-6 addr show"), "");
    assert!(scene.world.inside(&a1, || Ok(std::net::TcpListener::bind("[::1]:0").is_err())));
    let link = scene.world.ip(&a1, "link show eth0");
    assert!(link.contains("NOARP") && link.contains("mtu 1400"), "{link}");
    assert!(scene.world.ip(&a1, "neigh show").contains("PERMANENT"));
    assert_eq!(scene.world.ip(&scene.network.keeper.switch, "-6 addr show"), "");
    scene.network.stop().unwrap();
}

#[test]
fn a_flood_of_connections_stops_at_its_own_limit() {
    let scene = scene();
    let world = &scene.world;
    let _server = world.listen(&world.internet, Ipv4Addr::UNSPECIFIED, 443);
    // Questions are limited most tightly, so they are the quickest to exceed.
    let resolver = world.udp(&world.internet, World::RESOLVER, 53);
    let a1 = open(&scene.a1);
    for _ in 0..600 {
        world.udp(&a1, scene.a1.address, 0).send_to(b"who?", (scene.a1.gateway, 53)).unwrap();
    }
    resolver.set_nonblocking(true).unwrap();
    let mut arrived = 0;
    while resolver.recv(&mut [0; 16]).is_ok() {
        arrived += 1;
    }
    assert!((100..590).contains(&arrived), "{arrived} of 600 questions arrived");
    // Another instance notices nothing.
    let other = world.udp(&open(&scene.b), scene.b.address, 0);
    other.send_to(b"who?", (scene.b.gateway, 53)).unwrap();
    resolver.set_nonblocking(false).unwrap();
    resolver.set_read_timeout(Some(PATIENCE)).unwrap();
    resolver.recv(&mut [0; 16]).unwrap();
    scene.network.stop().unwrap();
}
