//! The other nodes, as lists of leaders tell of them.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use slipway_agent::Agent;
use slipway_agent::network::MeshOptions;
use slipway_model::cluster::Peer;
use slipway_model::id::Epoch;

use crate::world::{World, options, trial};

pub fn trials() -> Vec<Trial> {
    vec![trial("other_nodes_are_those_of_the_newest_list", newest_list)]
}

async fn newest_list(mut world: World) {
    let number = world.number;
    world.leave().await;
    let start = async |world: &mut World| {
        let mut options = options(world.directory.path(), number);
        options.network.as_mut().unwrap().mesh = Some(MeshOptions {
            address: Ipv4Addr::LOCALHOST,
            port: 20_000 + number as u16,
            vni: 1 + number,
            pool: format!("10.{}.0.0/16", 100 + number).parse().unwrap(),
        });
        world.agent = Some(Agent::start(options).await.unwrap());
    };
    start(&mut world).await;
    let peer = |last: u8| Peer {
        node: format!("n{last}").parse().unwrap(),
        address: Ipv4Addr::new(192, 0, 2, last),
        subnet: format!("10.{}.{}.0/20", 100 + number, u16::from(last) * 16).parse().unwrap(),
    };
    let tell = |world: &mut World, epoch, peers: Option<&[u8]>| {
        let mut list = world.desired();
        list.epoch = Epoch(epoch);
        list.peers = peers.map(|peers| peers.iter().map(|last| peer(*last)).collect());
        world.agent().apply(list.clone()).unwrap();
        list
    };
    let older = tell(&mut world, 1, Some(&[1, 2]));
    until(number, &["192.0.2.1", "192.0.2.2"]).await;
    // Many at once: the last counts. One that says nothing changes nothing, an older one neither.
    for last in 3..9 {
        tell(&mut world, 2, Some(&[1, last]));
    }
    tell(&mut world, 2, None);
    assert!(world.agent().apply(older).is_err());
    until(number, &["192.0.2.1", "192.0.2.8"]).await;
    // Nor does a restart, with no leader to ask.
    world.leave().await;
    start(&mut world).await;
    assert_eq!(present(number), ["192.0.2.1", "192.0.2.8"]);
    tell(&mut world, 2, Some(&[]));
    until(number, &[]).await;
    world.finish().await;
}

/// Whose frames the host takes.
fn present(number: u32) -> Vec<String> {
    let words = ["list", "set", "inet", &format!("slipway_t{number}"), "peers"];
    let output = Command::new("nft").args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found: Vec<_> = text
        .split([' ', ',', '\n', '\t'])
        .filter(|word| word.starts_with("192.0.2."))
        .map(str::to_owned)
        .collect();
    found.sort();
    found
}

async fn until(number: u32, wanted: &[&str]) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while present(number) != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{:?} and not {wanted:?}", present(number));
}
