use super::world::open;
use super::*;

#[test]
fn nothing_is_left_after_stop() {
    let world = World::new();
    let before = world.traces();
    let network = world.start(&NetworkOptions { pool: 3, ..world.options("t2", "10.112.0.0/24") });
    for number in 0..5 {
        network.take(&instance(number), &tenant("acme"), 7, Egress::Internet).unwrap();
    }
    network.release(&instance(2)).unwrap();
    assert_ne!(world.traces(), before);
    network.stop().unwrap();
    assert_eq!(world.traces(), before);
    let left: Vec<_> = fs::read_dir(world.directory.path().join("t2/run")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_release_takes_link_route_namespace_and_connections() {
    let world = World::new();
    let network = world.start(&world.options("t3", "10.112.1.0/24"));
    let switch = &network.keeper.switch;
    let empty = (world.ip(switch, "-o link show"), world.ip(switch, "route show"));
    let a = network.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    let b = network.take(&instance(2), &tenant("acme"), 0, Egress::Internet).unwrap();
    let resolver = world.udp(&world.internet, World::RESOLVER, 53);
    resolver.set_read_timeout(Some(PATIENCE)).unwrap();
    for sandbox in [&a, &b] {
        world.udp(&open(sandbox), sandbox.address, 0).send_to(b"who?", (sandbox.gateway, 53)).unwrap();
        resolver.recv(&mut [0; 16]).unwrap();
    }
    let connections = |namespace: &File| {
        world.inside(namespace, || {
            fs::read_to_string("/proc/thread-self/net/nf_conntrack").or(Ok(String::new()))
        })
    };
    let tracked = !connections(switch).is_empty();
    network.release(&instance(1)).unwrap();
    eventually(|| network.keeper.state().released.is_empty());
    if tracked {
        for namespace in [switch, &world.host] {
            let left = connections(namespace);
            assert!(!left.contains(&format!("src={} ", a.address)), "{left}");
            assert!(left.contains(&format!("src={} ", b.address)), "of others nothing goes: {left}");
        }
    }
    assert!(!a.netns_path.exists());
    network.release(&instance(2)).unwrap();
    network.release(&instance(2)).unwrap();
    eventually(|| (world.ip(switch, "-o link show"), world.ip(switch, "route show")) == empty);
    network.stop().unwrap();
}

#[test]
fn a_second_life_finds_what_the_first_had() {
    let world = World::new();
    let options = NetworkOptions { pool: 2, ..world.options("t4", "10.112.2.0/24") };
    let network = world.start(&options);
    let a = network.take(&instance(1), &tenant("acme"), 3, Egress::Internet).unwrap();
    let lost = network.take(&instance(2), &tenant("acme"), 3, Egress::None).unwrap();
    let listener = world.listen(&open(&a), a.address, 8080);
    let kept = world.inside(&world.host, || TcpStream::connect((a.address, 8080)));
    let (mut served, _) = listener.accept().unwrap();
    drop(network);

    // While nobody watches, a half-made sandbox and a stray file appear.
    let switch = namespace::open(&options.run_dir.join("netns/slw-t4")).unwrap().unwrap();
    world.ip(&switch, "link add slw-t4-00c8 type veth peer name stray");
    let stray = options.run_dir.join("netns/slw-t4-00c9");
    namespace::create(&stray, || Ok(())).unwrap();

    let network = world.start(&options);
    io::Write::write_all(&mut &kept, b"!").unwrap();
    io::Read::read_exact(&mut served, &mut [0]).unwrap();
    assert_eq!(network.adopt(&instance(1)), Some(a.clone()));
    assert_eq!(network.take(&instance(1), &tenant("acme"), 3, Egress::Internet).unwrap(), a);
    assert!(network.take(&instance(1), &tenant("evil"), 4, Egress::Internet).is_err());
    assert_eq!(network.adopt(&instance(9)), None);
    let more = network.take(&instance(5), &tenant("acme"), 3, Egress::Internet).unwrap();
    assert!(more.address != a.address && more.address != lost.address);
    assert_eq!(world.connect(&open(&more), (a.address, 8080), &Outcome::Connected), Outcome::Connected);
    assert!(!stray.exists());
    assert!(!world.ip(&switch, "-o link show").contains("slw-t4-00c8"));

    let known = BTreeSet::from([instance(1), instance(5)]);
    assert_eq!(network.sweep(&known).unwrap(), [instance(2)]);
    assert_eq!(network.adopt(&instance(2)), None);
    assert!(!lost.netns_path.exists());
    network.stop().unwrap();
}

#[test]
fn after_a_reboot_it_starts_from_nothing_and_spares_the_old_addresses() {
    let world = World::new();
    let options = world.options("t5", "10.112.3.0/24");
    let network = world.start(&options);
    let old = network.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    network.stop().unwrap();
    fs::remove_dir_all(&options.run_dir).unwrap();
    // What a reboot would leave where a namespace was.
    fs::create_dir_all(options.run_dir.join("netns")).unwrap();
    fs::write(options.run_dir.join("netns/slw-t5"), "").unwrap();
    fs::write(options.run_dir.join("netns/slw-t5-0003"), "").unwrap();
    let network = world.start(&options);
    assert_eq!(network.adopt(&instance(1)), None);
    let new = network.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    assert_ne!(new.address, old.address);
    network.stop().unwrap();
}

#[test]
fn another_subnet_begins_anew() {
    let world = World::new();
    let before = world.traces();
    let options = NetworkOptions { pool: 1, ..world.options("tb", "10.112.20.0/24") };
    let network = world.start(&options);
    network.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    drop(network);
    let network = world.start(&NetworkOptions { subnet: "10.112.21.0/24".parse().unwrap(), ..options });
    assert_eq!(network.adopt(&instance(1)), None);
    assert!(!world.traces().contains("10.112.20."));
    let new = network.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    assert!(new.address.to_string().starts_with("10.112.21."), "{}", new.address);
    let _listener = world.listen(&open(&new), new.address, 8080);
    assert_eq!(world.connect(&world.host, (new.address, 8080), &Outcome::Connected), Outcome::Connected);
    network.stop().unwrap();
    assert_eq!(world.traces(), before);
}

#[test]
fn two_of_them_live_side_by_side() {
    let world = World::new();
    let before = world.traces();
    let one = world.start(&world.options("one", "10.112.4.0/24"));
    let two = world.start(&world.options("two", "10.112.5.0/24"));
    let a = one.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    let b = two.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    let _server = world.listen(&world.internet, World::PUBLIC, 443);
    let _a = world.listen(&open(&a), a.address, 8080);
    let _b = world.listen(&open(&b), b.address, 8080);
    let check = |from: &File, to, wanted| assert_eq!(world.connect(from, to, &wanted), wanted, "{to:?}");
    check(&open(&a), (World::PUBLIC, 443), Outcome::Connected);
    check(&open(&b), (World::PUBLIC, 443), Outcome::Connected);
    check(&open(&a), (b.address, 8080), Outcome::Nothing);
    check(&open(&b), (a.address, 8080), Outcome::Nothing);
    one.stop().unwrap();
    check(&open(&b), (World::PUBLIC, 443), Outcome::Connected);
    check(&world.host, (b.address, 8080), Outcome::Connected);
    two.stop().unwrap();
    assert_eq!(world.traces(), before);
}

#[test]
fn a_subnet_that_another_has_is_refused_and_left_alone() {
    let world = World::new();
    let one = world.start(&world.options("one", "10.112.9.0/24"));
    let a = one.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    let _a = world.listen(&open(&a), a.address, 8080);
    let before = world.traces();
    for (subnet, taken) in [
        ("10.112.9.0/24", "10.112.9.0/24 of the instance subnet 10.112.9.0/24 over slw-one"),
        ("10.112.0.0/20", "10.112.9.0/24 of the instance subnet 10.112.0.0/20 over slw-one"),
        ("10.112.9.128/26", "10.112.9.0/24 of the instance subnet 10.112.9.128/26 over slw-one"),
        ("198.51.100.0/24", "over eth0"),
    ] {
        let options = world.options("two", subnet);
        let error = world.inside(&world.host, || Ok(Network::start(options.clone()).err().unwrap()));
        assert!(error.to_string().contains(taken) && error.to_string().contains("--subnet"), "{error}");
        assert_eq!(world.traces(), before, "{subnet}");
    }
    assert_eq!(world.connect(&world.host, (a.address, 8080), &Outcome::Connected), Outcome::Connected);
    let present = |tag: &str| {
        let tag = tag.parse().unwrap();
        world.inside(&world.host, || Ok(present_subnet(&tag).unwrap().map(|subnet| subnet.to_string())))
    };
    assert_eq!((present("one"), present("two")), (Some("10.112.9.0/24".into()), None));
    // A network that is wider, such as a VPN's, is in nobody's way.
    world.ip(&world.host, "route add 10.0.0.0/8 via 198.51.100.1");
    world.start(&world.options("two", "10.113.9.0/24")).stop().unwrap();
    one.stop().unwrap();
}

#[test]
fn nothing_for_instances_leaves_by_the_default_route_and_the_uplink_is_mended() {
    let world = World::new();
    let before = world.traces();
    let network = world.start(&world.options("one", "10.112.10.0/24"));
    let a = network.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    let _a = world.listen(&open(&a), a.address, 8080);
    let known = BTreeSet::from([instance(1)]);
    let way = || {
        let words = ["route", "get", "10.112.10.77"];
        world.inside(&world.host, || Ok(Command::new("ip").args(words).output()?.stdout))
    };
    for harm in ["route del 10.112.10.0/24 dev slw-one", "link set slw-one down", "link del slw-one"] {
        world.ip(&world.host, harm);
        assert!(!String::from_utf8(way()).unwrap().contains("eth0"), "after {harm}");
        network.sweep(&known).unwrap();
        let reached = world.connect(&world.host, (a.address, 8080), &Outcome::Connected);
        assert_eq!(reached, Outcome::Connected, "after {harm}");
    }
    // Somebody who takes it meanwhile is named and not overruled.
    world.ip(&world.host, "route replace 10.112.10.0/24 via 198.51.100.1 dev eth0");
    assert!(network.sweep(&known).unwrap_err().to_string().contains("over eth0"));
    assert!(world.ip(&world.host, "route show 10.112.10.0/24").contains("eth0"));
    world.ip(&world.host, "route del 10.112.10.0/24 dev eth0");
    network.stop().unwrap();
    assert_eq!(world.traces(), before);
}

#[test]
fn a_full_subnet_is_said_and_does_no_harm() {
    let world = World::new();
    let network = world.start(&world.options("t6", "10.112.6.0/26"));
    let mut taken = BTreeSet::new();
    let error = loop {
        match network.take(&instance(taken.len() as u8), &tenant("acme"), 0, Egress::Internet) {
            Ok(sandbox) => assert!(taken.insert(sandbox.address), "{} twice", sandbox.address),
            Err(error) => break error,
        }
    };
    assert_eq!(taken.len(), 60);
    assert!(error.to_string().contains("60 are in use"), "{error}");
    network.release(&instance(0)).unwrap();
    eventually(|| network.keeper.state().released.is_empty());
    let error = network.take(&instance(200), &tenant("evil"), 1, Egress::Internet).unwrap_err();
    assert!(error.to_string().contains("59 are in use and 1 rest"), "{error}");
    network.stop().unwrap();
}

#[test]
fn many_at_once_get_addresses_of_their_own() {
    let world = World::new();
    let network = world.start(&NetworkOptions { pool: 4, ..world.options("t7", "10.112.8.0/21") });
    let all = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (network, all) = (&network, &all);
            scope.spawn(move || {
                for round in 0..15 {
                    let id = instance(worker * 15 + round);
                    let sandbox =
                        network.take(&id, &tenant("acme"), worker.into(), Egress::Internet).unwrap();
                    assert!(all.lock().unwrap().insert(sandbox.address));
                    if round % 2 == 0 {
                        network.release(&id).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(all.lock().unwrap().len(), 120);
    network.stop().unwrap();
}

/// F29 on the real kernel. The agent is killed now and then, here by forgetting what it knows.
#[test]
#[ignore = "takes half a minute; the allocator alone does the same in every run"]
fn five_thousand_come_and_go_in_the_kernel() {
    let world = World::new();
    let before = world.traces();
    let options = NetworkOptions { pool: 4, ..world.options("tc", "10.113.0.0/16") };
    let mut network = world.start(&options);
    let mut alive: VecDeque<(InstanceId, Ipv4Addr)> = VecDeque::new();
    let mut seen = BTreeSet::new();
    for number in 0..5000u16 {
        let [high, low] = number.to_be_bytes();
        let id = InstanceId::from_random([high, low, 0, 0, 0, 0, 0, 0, 0, 2]);
        let tenant_index = u32::from(number % 7);
        let taken = network.take(&id, &tenant("acme"), tenant_index, Egress::Internet).unwrap();
        assert!(seen.insert(taken.address), "{} twice within ten minutes", taken.address);
        alive.push_back((id, taken.address));
        if alive.len() > 20 {
            network.release(&alive.pop_front().unwrap().0).unwrap();
        }
        if number % 1000 == 999 {
            drop(network);
            network = world.start(&options);
            for (id, address) in &alive {
                assert_eq!(network.adopt(id).unwrap().address, *address);
            }
        }
    }
    let links = world.ip(&network.keeper.switch, "-o link show").lines().count();
    assert!(links < 100, "{links} links");
    network.stop().unwrap();
    assert_eq!(world.traces(), before);
}

#[test]
fn docker_is_told_and_told_off_again() {
    let world = World::new();
    world.inside(&world.host, || {
        for rule in
            ["-P FORWARD DROP", "-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-A DOCKER-USER -j RETURN"]
        {
            assert!(program::iptables(&rule.split(' ').collect::<Vec<_>>())?, "{rule}");
        }
        Ok(())
    });
    let rules = || world.nft(&world.host, "list chain ip filter DOCKER-USER");
    let before = rules();
    let network = world.start(&world.options("t8", "10.112.16.0/24"));
    let a = network.take(&instance(1), &tenant("acme"), 0, Egress::Internet).unwrap();
    let _server = world.listen(&world.internet, World::PUBLIC, 443);
    assert_eq!(world.connect(&open(&a), (World::PUBLIC, 443), &Outcome::Connected), Outcome::Connected);
    network.sweep(&BTreeSet::from([instance(1)])).unwrap();
    assert_eq!(rules().matches("slw-t8").count(), 2);
    network.stop().unwrap();
    assert_eq!(rules(), before);
}

#[test]
fn names_fit_into_the_kernels_fifteen_bytes() {
    let layout =
        Layout::new(&"abcdef".parse().unwrap(), "10.0.0.0/16".parse().unwrap(), "/run/x".as_ref(), 1500);
    let last = layout.sandbox("10.0.255.254".parse().unwrap());
    assert_eq!(last.ifname, "slw-abcdef-fffe");
    assert_eq!(last.ifname.len(), 15);
    for bad in ["", "abcdefg", "a-b", "A", "../x", "a b"] {
        assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
    }
}

/// Figures, not a test: `cargo test -p slipway-agent measure_network -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn measure_network() {
    let world = World::new();
    let since = Instant::now();
    let network = world.start(&NetworkOptions { pool: 20, ..world.options("t9", "10.112.32.0/20") });
    println!("start {:?}", since.elapsed());
    while network.keeper.state().pool.len() < 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut number = 0;
    let mut run = |title: &str, count: usize, tenant_index: &dyn Fn(usize) -> u32| {
        let take = |index| {
            number += 1;
            let tenant_index = tenant_index(index);
            timed(|| {
                drop(
                    network.take(&instance(number), &tenant("acme"), tenant_index, Egress::Internet).unwrap(),
                )
            })
        };
        print_times(title, (0..count).map(take).collect());
    };
    run("take, warm, known tenant but the first", 10, &|_| 1);
    run("take, warm, new tenant each", 8, &|index| 10 + index as u32);
    run("take, pool empty, beside the preparer", 80, &|_| 1);
    let (releases, takes) = std::thread::scope(|scope| {
        let releases = scope.spawn(|| {
            let one = |number| timed(|| network.release(&instance(number)).unwrap());
            (0..60).map(one).collect::<Vec<_>>()
        });
        let takes = (100..130).map(|number| {
            std::thread::sleep(Duration::from_millis(10));
            timed(|| drop(network.take(&instance(number), &tenant("acme"), 1, Egress::Internet).unwrap()))
        });
        let takes = takes.collect();
        (releases.join().unwrap(), takes)
    });
    print_times("release", releases);
    print_times("take, beside releases", takes);
    let bare = world.start(&world.options("ta", "10.112.48.0/24"));
    let cold = (0..20).map(|number| {
        timed(|| drop(bare.take(&instance(number), &tenant("acme"), 1, Egress::Internet).unwrap()))
    });
    print_times("take, without a pool", cold.collect());
    bare.stop().unwrap();
    let since = Instant::now();
    network.stop().unwrap();
    println!("stop {:?}", since.elapsed());
}

fn timed(work: impl FnOnce()) -> Duration {
    let since = Instant::now();
    work();
    since.elapsed()
}

fn print_times(title: &str, mut times: Vec<Duration>) {
    times.sort();
    println!("{title}: p50 {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
}

fn eventually(happened: impl Fn() -> bool) {
    let since = Instant::now();
    while !happened() {
        assert!(since.elapsed() < PATIENCE, "it did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}
