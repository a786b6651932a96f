//! One instance's namespace and its link to the switch: how it is named, made, given to somebody
//! and found again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::SockProtocol;
use slipway_model::id::InstanceId;

use super::keeper::Live;
use super::netlink::{Message, Socket};
use super::rules::Group;
use super::{Error, Result, Sandbox, Tag, absent_is_done, link, mesh, namespace};
use slipway_model::cidr::Cidr;

/// `lo`, in every namespace.
pub(super) const LOOPBACK_INDEX: u32 = 1;
/// The switch's link to the host, as it is named inside the switch.
pub(super) const SWITCH_UPLINK: &str = "uplink";
/// Its index there. A new namespace has a few links of the kernel's own below.
pub(super) const SWITCH_UPLINK_INDEX: u32 = 100;
/// The index of `eth0` in an instance's namespace.
const INSIDE_INDEX: u32 = 100;
/// The kernel needs a millisecond to take a link into service, and more when many links are changed.
const SERVICE_PATIENCE: Duration = Duration::from_secs(1);
const SERVICE_INTERVAL: Duration = Duration::from_micros(500);
/// Indices of the links to instances, in the switch, follow this one by address.
const INDEX_BASE: u32 = 1000;

/// Where things are and how they are called: all computed from the tag and the address.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    tag: Tag,
    pub(super) subnet: Cidr,
    /// What the subnets of all nodes are cut from; `None` on a machine that is alone.
    pub(super) pool: Option<Cidr>,
    /// Namespace files.
    pub(super) directory: PathBuf,
    pub(super) mtu: u32,
}

impl Layout {
    pub(super) fn new(tag: &Tag, subnet: Cidr, run_dir: &Path, mtu: u32) -> Self {
        Self { tag: tag.clone(), subnet, pool: None, directory: run_dir.join("netns"), mtu }
    }

    /// The switch's address on every link.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        mesh::gateway_of(self.subnet)
    }

    /// The host's address towards the switch.
    pub(super) fn host_address(&self) -> Ipv4Addr {
        mesh::host_of(self.subnet)
    }

    /// At most 10 bytes of the kernel's 15.
    pub(super) fn host_uplink(&self) -> String {
        uplink_of(&self.tag)
    }

    /// The link to other nodes, in the switch. At most 11 bytes, and none of the instances' names.
    pub(super) fn mesh_link(&self) -> String {
        format!("slwm-{}", self.tag)
    }

    pub(super) fn switch_path(&self) -> PathBuf {
        self.directory.join(format!("slw-{}", self.tag))
    }

    /// The switch's end of an instance's link: at most 15 bytes, since an offset has at most four
    /// digits.
    fn link_name(&self, address: Ipv4Addr) -> String {
        format!("slw-{}-{:04x}", self.tag, self.offset(address))
    }

    /// Whether a link or file has a name as those of this tag's instances have.
    fn is_ours(&self, name: &str) -> bool {
        self.digits_of(name).is_some()
    }

    fn digits_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.host_uplink())?.strip_prefix('-')
    }

    fn address_of_link(&self, name: &str) -> Option<Ipv4Addr> {
        let digits = self.digits_of(name)?;
        let offset = u32::from_str_radix(digits, 16).ok()?;
        (u64::from(offset) < self.subnet.size()).then(|| self.subnet.at(offset))
    }

    pub(super) fn netns_path(&self, address: Ipv4Addr) -> PathBuf {
        self.directory.join(self.link_name(address))
    }

    /// The index, in the switch, of the link to the instance with that address.
    pub(super) fn index(&self, address: Ipv4Addr) -> u32 {
        INDEX_BASE + self.offset(address)
    }

    pub(super) fn sandbox(&self, address: Ipv4Addr) -> Sandbox {
        Sandbox {
            netns_path: self.netns_path(address),
            address,
            gateway: self.gateway(),
            dns: vec![self.gateway()],
            ifname: self.link_name(address),
        }
    }

    fn offset(&self, address: Ipv4Addr) -> u32 {
        self.subnet.offset(address).expect("addresses come from the subnet")
    }
}

/// The host's end of the link to the switch of that tag.
pub(super) fn uplink_of(tag: &Tag) -> String {
    format!("slw-{tag}")
}

/// The hardware address of the end that *has* this address. Locally administered, made from it.
pub(super) fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x5c, a, b, c, d]
}

/// The hardware address of the switch's end of the link to that address.
fn switch_mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x06, 0x5c, a, b, c, d]
}

/// Makes the namespace and its link, all that is done from inside it.
pub(super) fn prepare(layout: &Layout, address: Ipv4Addr, switch: &File) -> Result<()> {
    let path = layout.netns_path(address);
    let furnished = namespace::create(&path, || {
        for family in ["all", "default"] {
            namespace::set_parameter(&format!("ipv6/conf/{family}/disable_ipv6"), "1")?;
        }
        // There is nobody to protect the low ports from, and images expect to use them.
        namespace::set_parameter("ipv4/ip_unprivileged_port_start", "0")?;
        let name = layout.link_name(address);
        let inside = link::End { name: "eth0", index: INSIDE_INDEX, mac: mac(address) };
        let outside = link::End { name: &name, index: layout.index(address), mac: switch_mac(address) };
        let gateway = layout.gateway();
        let messages = vec![
            link::up(LOOPBACK_INDEX),
            link::create_veth(&inside, &outside, switch.as_fd(), layout.mtu),
            link::add_address(INSIDE_INDEX, address),
            link::up_without_arp(INSIDE_INDEX),
            link::add_neighbour(INSIDE_INDEX, gateway, switch_mac(address)),
            link::add_route(Cidr::EVERYTHING, Some(gateway), INSIDE_INDEX, Some(address)),
        ];
        Ok(Socket::open(SockProtocol::NetlinkRoute)?.run(messages))
    });
    furnished.map_err(|source| Error::Namespace { step: "make the network namespace", path, source })??;
    Ok(())
}

/// The messages that connect a prepared namespace in the switch. The group comes last: a link
/// without it is unfinished.
pub(super) fn connect(layout: &Layout, address: Ipv4Addr) -> Vec<Message> {
    let index = layout.index(address);
    vec![
        link::up_without_arp(index),
        link::add_neighbour(index, address, mac(address)),
        link::add_route(Cidr::containing(address, 32), None, index, None),
        link::set_group(index, Group::POOL.0),
    ]
}

/// Waits until the instance's end of its link is in service: what it sent before would be lost without
/// anybody's notice, and a question by UDP is not asked again. Late is no failure.
pub(super) fn wait_until_in_service(layout: &Layout, address: Ipv4Addr) {
    let deadline = Instant::now() + SERVICE_PATIENCE;
    let waited = namespace::open(&layout.netns_path(address)).and_then(|found| {
        let Some(inside) = found else { return Ok(()) };
        namespace::within(inside.as_fd(), || {
            let mut links = Socket::open(SockProtocol::NetlinkRoute)?;
            loop {
                let all = link::list(&mut links).map_err(|error| error.source)?;
                let in_service = all.iter().any(|link| link.index == INSIDE_INDEX && link.in_service);
                if in_service || Instant::now() > deadline {
                    return Ok(());
                }
                std::thread::sleep(SERVICE_INTERVAL);
            }
        })
    });
    if let Err(error) = waited {
        tracing::debug!(%address, %error, "whether a link is in service cannot be seen");
    }
}

/// The messages that give a prepared sandbox to an instance. The note comes first, so that a link
/// through which packets pass always says whose it is.
pub(super) fn assign(layout: &Layout, address: Ipv4Addr, group: Group, note: &str) -> Vec<Message> {
    let index = layout.index(address);
    vec![link::set_alias(index, note), link::set_group(index, group.0)]
}

/// What an earlier life left in the switch.
pub(super) struct Found {
    pub(super) pool: Vec<Ipv4Addr>,
    pub(super) live: BTreeMap<InstanceId, Live>,
}

/// Reads the sandboxes back from the switch's links and removes what is not whole.
pub(super) fn recover(layout: &Layout, switch_links: &mut Socket) -> Result<Found> {
    let mut found = Found { pool: Vec::new(), live: BTreeMap::new() };
    let mut files = files_in(layout)?;
    for link in link::list(switch_links)?.into_iter().filter(|link| layout.is_ours(&link.name)) {
        let owner = link.alias.as_deref().and_then(|note| note.split(' ').next()?.parse::<InstanceId>().ok());
        let group = Group(link.group);
        let whole = layout.address_of_link(&link.name).map(|address| (address, layout.netns_path(address)));
        let whole = whole.filter(|(_, path)| files.contains(path));
        match (whole, owner) {
            (Some((address, path)), _) if group == Group::POOL && is_namespace(&path)? => {
                found.pool.push(address);
                files.retain(|file| *file != path);
            }
            (Some((address, path)), Some(owner)) if group.is_instance() && is_namespace(&path)? => {
                found.live.insert(owner, Live { address, group, taken_at: None });
                files.retain(|file| *file != path);
            }
            _ => absent_is_done(switch_links.run(vec![link::delete(link.index)]))?,
        }
    }
    for path in files {
        namespace::remove(&path).map_err(|source| Error::Namespace { step: "remove", path, source })?;
    }
    Ok(found)
}

/// Removes the switch with everything in it.
pub(super) fn remove_switch(layout: &Layout, switch: &File) -> Result<()> {
    let mut links = socket_in(switch, layout)?;
    for link in link::list(&mut links)?.into_iter().filter(|link| link.index != LOOPBACK_INDEX) {
        absent_is_done(links.run(vec![link::delete(link.index)]))?;
    }
    for path in files_in(layout)?.into_iter().chain([layout.switch_path()]) {
        namespace::remove(&path).map_err(|source| Error::Namespace { step: "remove", path, source })?;
    }
    Ok(())
}

/// The namespace files of this tag's instances.
fn files_in(layout: &Layout) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Namespace { step: "list", path: layout.directory.clone(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(&layout.directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if layout.is_ours(name) {
            files.push(path);
        }
    }
    Ok(files)
}

fn is_namespace(path: &Path) -> Result<bool> {
    let opened = namespace::open(path);
    Ok(opened.map_err(|source| Error::Namespace { step: "open", path: path.to_owned(), source })?.is_some())
}

/// A netlink socket that stays in the switch namespace.
pub(super) fn socket_in(switch: &File, layout: &Layout) -> Result<Socket> {
    let opened: io::Result<Socket> =
        namespace::within(switch.as_fd(), || Socket::open(SockProtocol::NetlinkRoute));
    opened.map_err(|source| Error::Namespace { step: "enter", path: layout.switch_path(), source })
}
