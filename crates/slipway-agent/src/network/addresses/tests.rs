use super::*;

fn moment(boot: &str, seconds: u64) -> Moment {
    Moment { boot: boot.into(), seconds }
}

fn open(directory: &Path, subnet: &str, alive: &[Ipv4Addr], now: &Moment) -> Addresses {
    Addresses::open(directory, subnet.parse().unwrap(), &alive.iter().copied().collect(), now).unwrap()
}

fn give(addresses: &mut Addresses, now: u64) -> Ipv4Addr {
    addresses.give(now).unwrap().expect("an address is free")
}

#[test]
fn five_thousand_come_and_go_and_none_is_given_twice_or_too_early() {
    let directory = tempfile::tempdir().unwrap();
    let mut addresses = open(directory.path(), "10.1.0.0/20", &[], &moment("a", 0));
    let mut alive = std::collections::VecDeque::new();
    let mut released = BTreeMap::new();
    for second in 0..5000 {
        let address = give(&mut addresses, second);
        assert!(!alive.contains(&address), "{address} is alive");
        if let Some(since) = released.get(&address) {
            assert!(second - since >= REST_SECONDS, "{address} was released {} s ago", second - since);
        }
        alive.push_back(address);
        if alive.len() > 40 {
            let oldest = alive.pop_front().unwrap();
            addresses.take_back(oldest, second).unwrap();
            released.insert(oldest, second);
        }
        // The agent is killed now and then.
        if second % 700 == 699 {
            let alive: Vec<_> = alive.iter().copied().collect();
            addresses = open(directory.path(), "10.1.0.0/20", &alive, &moment("a", second));
        }
    }
    for address in alive {
        addresses.take_back(address, 5000).unwrap();
    }
    assert!(addresses.given.is_empty());
}

#[test]
fn a_small_subnet_says_that_it_is_exhausted_and_recovers_after_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let mut addresses = open(directory.path(), "10.1.2.0/28", &[], &moment("a", 0));
    let all: Vec<_> = (0..12).map(|_| give(&mut addresses, 1)).collect();
    assert_eq!(all.first().unwrap().to_string(), "10.1.2.3");
    assert_eq!(all.last().unwrap().to_string(), "10.1.2.14");
    addresses.take_back(all[4], 10).unwrap();
    let exhausted = addresses.give(10 + REST_SECONDS - 1).unwrap().unwrap_err();
    assert_eq!(exhausted, Exhausted { in_use: 11, resting: 1 });
    assert_eq!(give(&mut addresses, 10 + REST_SECONDS), all[4]);
}

#[test]
fn after_a_reboot_nothing_that_was_in_use_or_resting_is_given_early() {
    let directory = tempfile::tempdir().unwrap();
    let mut addresses = open(directory.path(), "10.1.2.0/27", &[], &moment("a", 5000));
    let used: Vec<_> = (0..10).map(|_| give(&mut addresses, 5000)).collect();
    addresses.take_back(used[0], 5001).unwrap();

    let mut addresses = open(directory.path(), "10.1.2.0/27", &[], &moment("b", 3));
    let others: Vec<_> = (0..18).map(|_| give(&mut addresses, 3)).collect();
    assert!(used.iter().all(|address| !others.contains(address)));
    assert_eq!(addresses.give(4).unwrap(), Err(Exhausted { in_use: 18, resting: 10 }));
    assert!(used.contains(&give(&mut addresses, 3 + REST_SECONDS)));
}

#[test]
fn a_power_loss_that_eats_the_unsynced_lines_does_not_repeat_an_address() {
    let directory = tempfile::tempdir().unwrap();
    let mut addresses = open(directory.path(), "10.1.0.0/20", &[], &moment("a", 0));
    let mut used = Vec::new();
    for round in 0..200 {
        used.push(give(&mut addresses, round));
        let journal = directory.path().join("addresses");
        let text = fs::read_to_string(&journal).unwrap();
        // All that a sync had reached, and half a line more.
        let synced = text.rfind("mark ").unwrap();
        let end = synced + text[synced..].find('\n').unwrap() + 1;
        let lost = tempfile::tempdir().unwrap();
        fs::write(lost.path().join("addresses"), &text[..(end + 5).min(text.len())]).unwrap();
        let mut after = open(lost.path(), "10.1.0.0/20", &[], &moment("b", 0));
        let next = give(&mut after, 0);
        assert!(!used.contains(&next), "{next} again after {} addresses", used.len());
    }
}

#[test]
fn the_journal_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let mut addresses = open(directory.path(), "10.1.2.0/26", &[], &moment("a", 0));
    for second in 0..3000 {
        let address = give(&mut addresses, second * 100);
        addresses.take_back(address, second * 100).unwrap();
    }
    assert!(fs::metadata(directory.path().join("addresses")).unwrap().len() < 10_000);
}
