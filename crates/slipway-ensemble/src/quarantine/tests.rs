use super::*;

const EMPTY_LOG: &str = "[main] INFO QuorumPeerConfig - Reading configuration from: zoo.cfg\n\
    [main] ERROR QuorumPeer - Unable to load database on disk\njava.io.EOFException\n\tat java.base\n";

fn others(voters: usize, serving: usize) -> Others {
    Others { voters, serving, has_leader: serving > 0 }
}

#[test]
fn f12_damaged_data_are_touched_only_while_a_quorum_of_the_others_serves() {
    let damage = || Some(Damage::Unloadable("CRC check failed".to_owned()));
    for (voters, serving, is_moved) in
        [(1, 0, false), (2, 1, false), (3, 1, false), (3, 2, true), (5, 2, false), (5, 3, true)]
    {
        let verdict = decide(damage(), others(voters, serving), 0);
        assert_eq!(matches!(verdict, Verdict::SetAside(_)), is_moved, "{serving} of {voters}");
    }
    let leaderless = Others { has_leader: false, ..others(3, 2) };
    assert!(matches!(decide(damage(), leaderless, 0), Verdict::NoQuorum(_)));
    assert!(matches!(decide(damage(), others(3, 2), KEPT_MAX), Verdict::TooOften(_)));
    assert_eq!(decide(None, others(3, 2), 0), Verdict::Sound);
}

#[test]
fn f12_a_log_is_damage_only_when_the_last_start_failed_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let version = dir.path().join(VERSION_DIR);
    fs::create_dir(&version).unwrap();
    fs::write(version.join("log.9"), "full").unwrap();
    fs::write(version.join("log.100000001"), "").unwrap();
    let newest = Damage::EmptyLog(version.join("log.100000001"));
    assert_eq!(damage(EMPTY_LOG, dir.path()).unwrap(), Some(newest));
    let later = format!("{EMPTY_LOG}[main] INFO - Reading configuration from: zoo.cfg\nbinding to port\n");
    assert_eq!(damage(&later, dir.path()).unwrap(), None);
    // Java has not said anything yet.
    let starting = format!("{EMPTY_LOG}{}\n", process::STARTED);
    assert_eq!(damage(&starting, dir.path()).unwrap(), None);
    let port = "Reading configuration from: zoo.cfg\nUnable to run quorum server\nBindException: in use\n";
    assert_eq!(damage(port, dir.path()).unwrap(), None);
}

#[test]
fn f12_nothing_is_deleted_and_the_number_of_sets_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let (data, logs) = (dir.path().join("data"), dir.path().join("logs"));
    for round in 0..KEPT_MAX {
        for dir in [&data, &logs] {
            fs::create_dir_all(dir.join(VERSION_DIR)).unwrap();
            fs::write(dir.join(VERSION_DIR).join("content"), round.to_string()).unwrap();
        }
        fs::write(data.join(VERSION_DIR).join(PROMISE_FILE), "7").unwrap();
        let aside = set_aside(&data, &logs).unwrap();
        assert_eq!(fs::read_to_string(aside.join("content")).unwrap(), round.to_string());
        assert_eq!(fs::read_to_string(data.join(VERSION_DIR).join(PROMISE_FILE)).unwrap(), "7");
        assert!(!data.join(VERSION_DIR).join("content").exists() && !logs.join(VERSION_DIR).exists());
        // Names are made of the time.
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(set_aside(&data, &logs).unwrap_err().to_string().contains("look at them first"));
    assert_eq!(kept(&logs).unwrap(), KEPT_MAX);
}
