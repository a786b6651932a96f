//! Several nodes: hosts of their own, each behind a router of the internet's, with 1400 bytes for a packet.

use std::io::{Read, Write};

use slipway_model::cluster::Peer;

use super::world::open;
use super::*;

mod forgery;
mod life;
mod reach;
mod speed;

/// A node and its machine.
struct Node {
    host: File,
    options: NetworkOptions,
    network: Option<Network>,
}

impl Node {
    fn network(&self) -> &Network {
        self.network.as_ref().expect("it is started")
    }

    fn address(&self) -> Ipv4Addr {
        self.options.mesh.as_ref().expect("it has one").address
    }

    fn peer(&self, name: usize) -> Peer {
        let node = format!("n{name}").parse().unwrap();
        Peer { node, address: self.address(), subnet: self.options.subnet }
    }

    fn take(&self, number: u8, index: u32) -> Sandbox {
        self.take_with(number, index, Egress::Internet)
    }

    fn take_with(&self, number: u8, index: u32, egress: Egress) -> Sandbox {
        let name = format!("tenant-{index}");
        self.network().take(&instance(number), &tenant(&name), index, egress).unwrap()
    }

    /// Of its host, as other nodes' instances would see it.
    fn inner_host(&self) -> Ipv4Addr {
        self.network().keeper.layout.host_address()
    }

    fn gateway(&self) -> Ipv4Addr {
        self.network().keeper.layout.gateway()
    }
}

struct Nodes {
    world: World,
    nodes: Vec<Node>,
}

impl Nodes {
    /// Hosts with options, but nothing started.
    fn bare(count: usize) -> Self {
        let world = World::new();
        world.inside(&world.internet, || namespace::set_parameter("ipv4/ip_forward", "1"));
        let mut nodes = Vec::new();
        for number in 0..count {
            let host =
                if number == 0 { world.host.try_clone().unwrap() } else { another_host(&world, number) };
            let mut options = world.options(&format!("n{number}"), &format!("10.120.{number}.0/24"));
            options.mesh = Some(MeshOptions {
                address: Ipv4Addr::new(198, 51, 100 + number as u8, 2),
                port: MeshOptions::PORT_DEFAULT,
                vni: 77,
                pool: "10.120.0.0/16".parse().unwrap(),
            });
            nodes.push(Node { host, options, network: None });
        }
        Self { world, nodes }
    }

    /// Nodes that know one another.
    fn new(count: usize) -> Self {
        let mut nodes = Self::bare(count);
        (0..count).for_each(|number| nodes.start(number));
        nodes.tell(&(0..count).collect::<Vec<_>>());
        nodes
    }

    fn start(&mut self, number: usize) {
        let node = &self.nodes[number];
        let options = node.options.clone();
        let network = self.world.inside(&node.host, || Ok(Network::start(options).unwrap()));
        self.nodes[number].network = Some(network);
    }

    /// Tells every node that these are all there are.
    fn tell(&self, members: &[usize]) {
        for node in self.nodes.iter().filter(|node| node.network.is_some()) {
            self.tell_one(node, members);
        }
    }

    fn tell_one(&self, node: &Node, members: &[usize]) {
        let peers: Vec<_> = members.iter().map(|member| self.nodes[*member].peer(*member)).collect();
        node.network().set_peers(&peers).unwrap();
    }

    fn connect(&self, from: &File, to: (Ipv4Addr, u16), wanted: &Outcome) -> Outcome {
        let wait = if *wanted == Outcome::Nothing { SILENCE } else { PATIENCE };
        let to = SocketAddr::from(SocketAddrV4::new(to.0, to.1));
        self.world.inside(from, || match TcpStream::connect_timeout(&to, wait) {
            Ok(_) => Ok(Outcome::Connected),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Outcome::Refused),
            // Refused by a router on the way is as good as dropped.
            Err(_) => Ok(Outcome::Nothing),
        })
    }

    fn check(&self, from: &File, to: (Ipv4Addr, u16), wanted: Outcome) {
        assert_eq!(self.connect(from, to, &wanted), wanted, "to {to:?}");
    }

    /// A connection and its two ends.
    fn open_connection(&self, from: &File, at: &File, to: (Ipv4Addr, u16)) -> (TcpStream, TcpStream) {
        let listener = self.world.listen(at, to.0, to.1);
        let near = self.world.inside(from, || TcpStream::connect(to));
        let far = listener.accept().unwrap().0;
        near.set_nodelay(true).unwrap();
        (near, far)
    }

    fn stop(mut self) {
        for node in &mut self.nodes {
            if let Some(network) = node.network.take() {
                network.stop().unwrap();
            }
        }
    }
}

/// Joined to the internet by a link and a network of its own.
fn another_host(world: &World, number: usize) -> File {
    let path = world.directory.path().join(format!("host{number}"));
    namespace::create(&path, || Ok(())).unwrap();
    let host = namespace::open(&path).unwrap().unwrap();
    namespace::remove(&path).unwrap();
    let (wan, net, last) = (format!("wan{number}"), 100 + number, number as u8);
    let far = link::End { name: &wan, index: 50 + number as u32, mac: [2, 0, 0, 0, last, 1] };
    let near = link::End { name: "eth0", index: 50, mac: [2, 0, 0, 0, last, 2] };
    world.inside(&host, || {
        let mut links = Socket::open(SockProtocol::NetlinkRoute)?;
        links.run(vec![link::up(1), link::create_veth(&near, &far, world.internet.as_fd(), 1400)]).unwrap();
        Ok(())
    });
    world.ip(&world.internet, &format!("addr add 198.51.{net}.1/24 dev {wan}"));
    world.ip(&world.internet, &format!("link set {wan} up"));
    world.ip(&host, &format!("addr add 198.51.{net}.2/24 dev eth0"));
    world.ip(&host, "link set eth0 up");
    world.ip(&host, &format!("route add default via 198.51.{net}.1"));
    host
}

/// Whether what one end writes comes out of the other.
fn is_open(mut near: &TcpStream, mut far: &TcpStream) -> bool {
    far.set_read_timeout(Some(SILENCE)).unwrap();
    near.write_all(b"?").is_ok() && far.read_exact(&mut [0]).is_ok()
}
