use super::*;

const PERIOD: Duration = Duration::from_millis(20);

async fn until(follower: &mut Follower<u64>, is_met: impl Fn(&Known<u64>) -> bool) -> Arc<Known<u64>> {
    let wait = async {
        loop {
            let known = follower.next().await.unwrap();
            if is_met(&known) {
                return known;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap()
}

#[tokio::test]
async fn ex_08_settings_stay_in_force_while_their_place_is_away() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, aside) = (parent.path().join("nfs"), parent.path().join("aside"));
    std::fs::create_dir(&dir).unwrap();
    let settings = Arc::new(settings(&dir));
    let (poll, mut follower) = Poll::new(Arc::clone(&settings), PERIOD);
    assert!(follower.known().is_none());
    let poll = tokio::spawn(poll.run());
    let is_fresh = |known: &Known<u64>| matches!(known.seen, Seen::Fresh);
    let value = |known: &Known<u64>| known.current.as_ref().map(|(value, _)| **value);
    until(&mut follower, |known| is_fresh(known) && value(known).is_none()).await;

    let one = settings.replace(None, &1).await.unwrap();
    until(&mut follower, |known| value(known) == Some(1)).await;

    std::fs::rename(&dir, &aside).unwrap();
    let old = until(&mut follower, |known| !is_fresh(known)).await;
    assert_eq!(value(&old), Some(1));
    let Seen::Old { since, .. } = old.seen else { unreachable!() };

    // A mount point without its mount is no reason to forget either.
    std::fs::create_dir(&dir).unwrap();
    let old = until(&mut follower, |known| match &known.seen {
        Seen::Old { reason, .. } => reason.contains("no settings where some were"),
        Seen::Fresh => panic!("an empty directory is taken for the settings' place"),
    })
    .await;
    assert!(matches!(old.seen, Seen::Old { since: still, .. } if still == since));

    std::fs::remove_dir(&dir).unwrap();
    std::fs::rename(&aside, &dir).unwrap();
    until(&mut follower, is_fresh).await;
    settings.replace(Some(one), &2).await.unwrap();
    follower.look_now();
    until(&mut follower, |known| is_fresh(known) && value(known) == Some(2)).await;
    poll.abort();
}
