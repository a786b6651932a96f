use super::*;

/// A host and an internet, connected by `eth0` with a packet size of 1400.
pub(super) struct World {
    pub(super) directory: tempfile::TempDir,
    pub(super) host: File,
    pub(super) internet: File,
}

impl World {
    /// A public web server of the internet.
    pub(super) const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
    /// The host's resolver, private and far.
    pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 53);
    /// Another machine in a private range.
    pub(super) const PRIVATE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 7);
    /// What clouds keep their secrets on.
    pub(super) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
    /// The host's address on `eth0`.
    pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = directory.path().join(name);
            namespace::create(&path, || Ok(())).unwrap();
            let file = namespace::open(&path).unwrap().unwrap();
            // The open file keeps it; the mount is not needed.
            namespace::remove(&path).unwrap();
            file
        };
        let (host, internet) = (make("host"), make("internet"));
        let world = Self { directory, host, internet };
        let far = link::End { name: "wan", index: 50, mac: [2, 0, 0, 0, 0, 1] };
        let near = link::End { name: "eth0", index: 50, mac: [2, 0, 0, 0, 0, 2] };
        world.inside(&world.host, || {
            let mut links = Socket::open(SockProtocol::NetlinkRoute)?;
            links
                .run(vec![link::up(1), link::create_veth(&near, &far, world.internet.as_fd(), 1400)])
                .unwrap();
            Ok(())
        });
        world.ip(&world.internet, "link set lo up");
        for address in [Self::PUBLIC, Self::RESOLVER, Self::PRIVATE, Self::METADATA] {
            world.ip(&world.internet, &format!("addr add {address}/32 dev lo"));
        }
        world.ip(&world.internet, "addr add 198.51.100.1/24 dev wan");
        world.ip(&world.internet, "link set wan up");
        world.ip(&world.host, "addr add 198.51.100.2/24 dev eth0");
        world.ip(&world.host, "link set eth0 up");
        world.ip(&world.host, "route add default via 198.51.100.1");
        world
    }

    pub(super) fn options(&self, tag: &str, subnet: &str) -> NetworkOptions {
        NetworkOptions {
            tag: tag.parse().unwrap(),
            subnet: subnet.parse().unwrap(),
            run_dir: self.directory.path().join(tag).join("run"),
            state_dir: self.directory.path().join(tag).join("state"),
            mtu: None,
            dns: vec![Self::RESOLVER],
            egress_allow: vec![],
            pool: 0,
            ports: (31_000, 31_999),
            mesh: None,
        }
    }

    pub(super) fn start(&self, options: &NetworkOptions) -> Network {
        self.inside(&self.host, || Ok(Network::start(options.clone()).unwrap()))
    }

    pub(super) fn inside<T: Send>(&self, namespace: &File, work: impl FnOnce() -> io::Result<T> + Send) -> T {
        namespace::within(namespace.as_fd(), work).unwrap()
    }

    pub(super) fn ip(&self, namespace: &File, arguments: &str) -> String {
        let output = self.inside(namespace, || Command::new("ip").args(arguments.split(' ')).output());
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn nft(&self, namespace: &File, arguments: &str) -> String {
        let output = self.inside(namespace, || Command::new("nft").args(arguments.split(' ')).output());
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn listen(&self, namespace: &File, address: Ipv4Addr, port: u16) -> TcpListener {
        self.inside(namespace, || TcpListener::bind((address, port)))
    }

    /// Tries to connect; with `wanted` as the outcome that it is worth waiting for.
    pub(super) fn connect(&self, namespace: &File, to: (Ipv4Addr, u16), wanted: &Outcome) -> Outcome {
        let wait = if *wanted == Outcome::Nothing { SILENCE } else { PATIENCE };
        let to = SocketAddr::from(SocketAddrV4::new(to.0, to.1));
        self.inside(namespace, || match TcpStream::connect_timeout(&to, wait) {
            Ok(_) => Ok(Outcome::Connected),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Outcome::Refused),
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(Outcome::Nothing),
            Err(error) => Err(error),
        })
    }

    pub(super) fn udp(&self, namespace: &File, address: Ipv4Addr, port: u16) -> UdpSocket {
        self.inside(namespace, || UdpSocket::bind((address, port)))
    }

    /// Everything of the host's that a network could leave behind.
    pub(super) fn traces(&self) -> String {
        let links = self.ip(&self.host, "-o link show");
        let names: Vec<_> = links.lines().filter_map(|line| line.split(": ").nth(1)).collect();
        let routes = self.ip(&self.host, "route show");
        let tables = self.nft(&self.host, "list tables");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let directory = self.directory.path().to_str().unwrap();
        let mounts = mounts.lines().filter(|line| line.contains(directory)).count();
        format!("{names:?}\n{routes}\n{tables}\n{mounts} mounts")
    }
}

/// A test that fails leaves mounts, which would keep its directory and its namespaces alive.
impl Drop for World {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for place in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
            if std::path::Path::new(place).starts_with(self.directory.path()) {
                let _ = namespace::remove(place.as_ref());
            }
        }
    }
}

/// The namespace of a sandbox, as the runtime would open it.
pub(super) fn open(sandbox: &Sandbox) -> File {
    namespace::open(&sandbox.netns_path).unwrap().expect("it is a namespace")
}
