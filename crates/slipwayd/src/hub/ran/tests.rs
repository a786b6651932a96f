use super::*;

fn id(number: u8) -> InstanceId {
    InstanceId::from_random([number; 10])
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_next_term_knows_where_instances_ran() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("ran");
    for term in 0..12u8 {
        let ran = Ran::new(Some(place.clone()));
        ran.read().await;
        for earlier in 0..term {
            assert_eq!(ran.node(&id(earlier)), Some(name("n1")), "of term {earlier}, in term {term}");
        }
        assert_eq!(ran.node(&id(term)), None);
        ran.note(&name("n1"), [id(term)].iter());
        // Nobody else can have had it later.
        ran.note(&name("n2"), [id(term)].iter());
        assert_eq!(ran.node(&id(term)), Some(name("n1")));
        let line = format!("{} n1 .\n", id(term));
        let is_written = || {
            let newest = files(&place).unwrap().pop();
            newest.is_some_and(|newest| fs::read_to_string(newest).is_ok_and(|text| text.ends_with(&line)))
        };
        while !is_written() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A crash in the middle of a line.
        let newest = files(&place).unwrap().pop().unwrap();
        // The clock of the next one is behind.
        let ahead = place.join(format!("{:020}-{term}", u64::MAX / 2 + u64::from(term) * 10));
        fs::rename(&newest, &ahead).unwrap();
        fs::OpenOptions::new().append(true).open(ahead).unwrap().write_all(b"i00000 n").unwrap();
    }
    assert!(files(&place).unwrap().len() <= FILES_MAX + 1);
}

#[tokio::test]
async fn who_stands_by_reads_when_it_leads_and_writes_nothing_before() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("ran");
    let standing_by = Ran::new(Some(place.clone()));
    let leading = Ran::new(Some(place.clone()));
    leading.note(&name("n1"), [id(1)].iter());
    leading.read().await;
    let is_written = || {
        files(&place)
            .is_ok_and(|files| files.iter().any(|file| fs::read_to_string(file).unwrap().ends_with(".\n")))
    };
    while !is_written() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(files(&place).unwrap().len(), 1);
    standing_by.read().await;
    assert_eq!(standing_by.node(&id(1)), Some(name("n1")));
}

#[test]
fn what_this_term_says_counts_and_the_oldest_is_forgotten() {
    let ran = Ran::new(None);
    ran.note(&name("n2"), [id(1)].iter());
    let all = merge(&ran.known, vec![(id(1), name("n1")), (id(2), name("n1"))]);
    assert_eq!(all, [(id(1), name("n2")), (id(2), name("n1"))]);
    let mut known = Known::default();
    for number in 0..=KNOWN_MAX as u128 {
        let bytes: [u8; 16] = number.to_be_bytes();
        known.note(&InstanceId::from_random(bytes[6..].try_into().unwrap()), &name("n1"));
    }
    assert_eq!((known.nodes.len(), known.order.len()), (KNOWN_MAX, KNOWN_MAX));
}

#[test]
fn a_file_that_is_full_is_followed_by_another_that_begins_with_all() {
    let directory = tempfile::tempdir().unwrap();
    let known = Mutex::new(Known::default());
    for number in 0..3 {
        lock(&known).note(&id(number), &name("n1"));
    }
    let all = lock(&known).all();
    let (lines, waiting) = sync_channel(9);
    std::thread::scope(|scope| {
        let (place, known) = (directory.path(), &known);
        scope.spawn(move || write_on(place, known, all, &waiting, 8).unwrap());
        for number in 3..8 {
            lock(known).note(&id(number), &name("n2"));
            lines.send((id(number), name("n2"))).unwrap();
            // One after the other, so that none is in the file before its turn.
            while !read_all(directory.path()).unwrap().contains(&(id(number), name("n2"))) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(lines);
    });
    let lengths: Vec<usize> = files(directory.path())
        .unwrap()
        .iter()
        .map(|file| fs::read_to_string(file).unwrap().lines().count())
        .collect();
    assert_eq!(lengths, [8, 8]);
    assert_eq!(read_all(directory.path()).unwrap().len(), 16);
}

#[test]
fn of_what_was_known_earlier_no_more_is_kept_than_is_remembered() {
    let many = |from: u32, to: u32| {
        let id = |number: u32| {
            let mut bytes = [0; 10];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            InstanceId::from_random(bytes)
        };
        (from..to).map(move |number| (id(number), name("n1")))
    };
    let known = Mutex::new(Known::default());
    let half = KNOWN_MAX as u32 / 2;
    for (instance, node) in many(2 * half, 3 * half) {
        lock(&known).note(&instance, &node);
    }
    let all = merge(&known, many(0, 2 * half).collect());
    assert_eq!(all.len(), KNOWN_MAX);
    assert_eq!(all.first(), many(half, half + 1).next().as_ref(), "the newest are kept");
}
