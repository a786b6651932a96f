//! Servers that lead, are paused and wake in any order: whatever was acknowledged is there in the end, and
//! nothing else.

use std::collections::BTreeMap;

use slipway_registry::{Error, Registry};

use crate::cluster::{Cluster, at_once, pull, push, repository, tag};

/// Takes the next of a row of numbers that a seed makes.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_is_there_and_nothing_else() {
    for seed in 0..4 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut cluster = Cluster::new();
    cluster.options.log_entries_max = 4;
    let mut dice = Dice(seed);
    // The last one leads; the others were paused when they were asked last.
    let mut servers: Vec<(u64, Registry)> = vec![(0, cluster.lead("0"))];
    let mut tags: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for step in 0..60_u64 {
        let leader = servers.len() - 1;
        let chosen = if dice.below(4) == 0 { dice.below(servers.len() as u64) as usize } else { leader };
        let registry = servers[chosen].1.clone();
        let name = dice.below(4);
        let said = format!("seed {seed}, step {step}, server {chosen} of {leader}");
        match dice.below(8) {
            0 => {
                // Somebody else leads; a server that led before has to be started again first.
                let number = dice.below(4);
                servers.retain(|(other, _)| *other != number);
                drop(registry);
                servers.push((number, cluster.lead(&number.to_string())));
            }
            1 | 2 => match registry.delete_tag(&repository(), &tag(&format!("v{name}"))) {
                Ok(()) => {
                    assert_eq!(chosen, leader, "{said}");
                    assert!(tags.remove(&name).is_some(), "{said}");
                }
                Err(Error::ManifestUnknown { .. } | Error::Deposed) => {}
                Err(error) => panic!("{said}: {error:?}"),
            },
            3 => match registry.collect(&at_once()) {
                Ok(_) | Err(Error::Deposed) => {}
                Err(error) => panic!("{said}: {error:?}"),
            },
            _ => {
                // Few layers, so that the same come, go and come again.
                let layer = vec![dice.below(5) as u8; 40];
                match push(&registry, &format!("v{name}"), &layer) {
                    Ok(_) => {
                        assert_eq!(chosen, leader, "{said}");
                        tags.insert(name, layer);
                    }
                    Err(Error::Deposed) => assert_ne!(chosen, leader, "{said}"),
                    Err(error) => panic!("{said}: {error:?}"),
                }
            }
        }
    }
    let fresh = cluster.lead("fresh");
    for name in 0..4 {
        assert_eq!(pull(&fresh, &format!("v{name}")), tags.get(&name).cloned(), "seed {seed}, v{name}");
    }
    // Deleted and collected, nothing remains, here or there.
    for name in tags.keys() {
        fresh.delete_tag(&repository(), &tag(&format!("v{name}"))).unwrap();
    }
    fresh.collect(&at_once()).unwrap();
    assert_eq!(fresh.blob_digests().unwrap(), [], "seed {seed}");
    assert_eq!(cluster.objects(), Vec::<std::path::PathBuf>::new(), "seed {seed}");
}
