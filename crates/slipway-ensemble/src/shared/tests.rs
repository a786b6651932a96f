use std::process::{Command, Stdio};

use super::*;

mod follow;
mod lock;
mod trusted;

const RACE: &str = "SLIPWAY_TEST_RACE";

fn settings(dir: &std::path::Path) -> SharedSettings<u64> {
    SharedSettings::new(Arc::new(Place::directory(dir)), "settings", &keys(b'k'))
}

fn keys(byte: u8) -> Keys {
    Keys::new(vec![[byte; 32]])
}

/// Adds one, as often as somebody else was faster.
async fn add_one(settings: &SharedSettings<u64>) {
    loop {
        let (before, version) = settings.load().await.unwrap().map_or((0, None), |(n, v)| (n, Some(v)));
        match settings.replace(version, &(before + 1)).await {
            Ok(_) => return,
            Err(Error::Conflict(now)) => assert!(now > version),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn ex_08_only_the_version_in_force_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    assert_eq!(settings.load().await.unwrap(), None);
    let one = settings.replace(None, &1).await.unwrap();
    assert_eq!(one.number(), 1);
    assert!(matches!(settings.replace(None, &9).await, Err(Error::Conflict(Some(now))) if now == one));
    let two = settings.replace(Some(one), &2).await.unwrap();
    assert!(matches!(settings.replace(Some(one), &9).await, Err(Error::Conflict(Some(now))) if now == two));
    assert!(matches!(settings.replace(Some(Version(7)), &9).await, Err(Error::Conflict(_))));
    assert_eq!(settings.load().await.unwrap(), Some((2, two)));
    assert_eq!(settings.read(one).await.unwrap(), Some(1));
}

#[tokio::test]
async fn ex_08_settings_that_cannot_be_read_are_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let one = settings.replace(None, &1).await.unwrap();
    settings.trusted.put("settings", "000000000002.json", b"{").await.unwrap();
    std::fs::write(dir.path().join("settings/notes.txt"), "not ours").unwrap();
    assert!(matches!(settings.load().await, Err(Error::Unreadable(Version(2), _))));
    assert!(matches!(settings.replace(Some(one), &2).await, Err(Error::Conflict(Some(Version(2))))));
}

#[tokio::test]
async fn ex_08_history_is_pruned_and_a_sleeper_cannot_come_back_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    for _ in 0..VERSIONS_KEPT + 10 {
        add_one(&settings).await;
    }
    let versions = settings.numbers().await.unwrap();
    assert_eq!(versions.len() as u64, VERSIONS_KEPT + 1);
    assert!(matches!(settings.replace(Some(Version(3)), &9).await, Err(Error::Conflict(_))));
    // A sleeper who had looked long ago finds his number free.
    assert!(settings.place.create("settings", "000000000004.json", "9".into()).await.unwrap());
    let highest = settings.highest().await.unwrap();
    assert!(!was_new(Version(4), highest));
    assert!(was_new(highest.unwrap(), highest));
    assert_eq!(settings.load().await.unwrap().unwrap().0, VERSIONS_KEPT + 10);
}

/// Twenty writers in four processes; each addition has to be there in the end.
#[test]
fn ex_08_of_twenty_racing_writers_in_four_processes_none_overwrites_another() {
    let dir = tempfile::tempdir().unwrap();
    let spawn = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shared::tests::racer", "--ignored"])
            .env(RACE, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let racers = [(); 4].map(|()| spawn());
    for mut racer in racers {
        assert!(racer.wait().unwrap().success());
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (value, version) = runtime.block_on(settings(dir.path()).load()).unwrap().unwrap();
    assert_eq!((value, version.number()), (100, 100));
    let left: Vec<_> = std::fs::read_dir(dir.path().join("settings"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
#[ignore = "one process of the race, which the test above starts"]
fn racer() {
    let Some(dir) = std::env::var_os(RACE) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let writers: Vec<_> = (0..5)
            .map(|_| {
                let settings = settings(dir.as_ref());
                tokio::spawn(async move {
                    for _ in 0..5 {
                        add_one(&settings).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}
