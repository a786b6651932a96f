use super::*;

/// Figures, not a test: `cargo test -p slipway-agent measure_mesh -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn measure_mesh() {
    let nodes = Nodes::new(2);
    let (a, b) = (&nodes.nodes[0], &nodes.nodes[1]);
    let (a1, a2, b1) = (a.take(1, 0), a.take(2, 0), b.take(3, 0));
    let (near, here, far) = (open(&a1), open(&a2), open(&b1));
    let ways: [(&str, &File, &File, Ipv4Addr); 4] = [
        ("machine to machine, without a mesh", &a.host, &b.host, b.address()),
        ("instance to instance, one node", &near, &here, a2.address),
        ("instance to instance, two nodes", &near, &far, b1.address),
        ("host to instance, two nodes", &a.host, &far, b1.address),
    ];
    for round in 1..=3 {
        for (title, from, at, to) in &ways {
            let (stream, served) = nodes.open_connection(from, at, (*to, 8080 + round));
            let asked = latency(&stream, &served);
            println!("{round}: {title}: {:.2} Gbit/s, {asked:?} there and back", throughput(stream, served));
        }
    }
    let since = Instant::now();
    let many: Vec<Peer> = (1..250u8)
        .map(|number| Peer {
            node: format!("m{number}").parse().unwrap(),
            address: Ipv4Addr::new(198, 51, 101, number),
            subnet: Cidr::containing(Ipv4Addr::new(10, 120, number, 0), 24),
        })
        .collect();
    a.network().set_peers(&many).unwrap();
    println!("249 peers told in {:?}", since.elapsed());
    let since = Instant::now();
    a.network().set_peers(&[]).unwrap();
    println!("and removed in {:?}", since.elapsed());
    nodes.stop();
}

fn throughput(mut near: TcpStream, mut far: TcpStream) -> f64 {
    const BYTES: usize = 1 << 30;
    let since = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let chunk = vec![0; 128 << 10];
            (0..BYTES / chunk.len()).for_each(|_| near.write_all(&chunk).unwrap());
        });
        let mut chunk = vec![0; 128 << 10];
        while far.read(&mut chunk).unwrap() > 0 {}
    });
    BYTES as f64 * 8.0 / since.elapsed().as_secs_f64() / 1e9
}

/// The median.
fn latency(mut near: &TcpStream, mut far: &TcpStream) -> Duration {
    far.set_nodelay(true).unwrap();
    let mut times: Vec<_> = (0..500)
        .map(|_| {
            let since = Instant::now();
            near.write_all(b"?").unwrap();
            far.read_exact(&mut [0]).unwrap();
            far.write_all(b"!").unwrap();
            near.read_exact(&mut [0]).unwrap();
            since.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}
