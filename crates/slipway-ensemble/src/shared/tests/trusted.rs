use super::*;

fn of_keys(dir: &std::path::Path, bytes: &[u8]) -> SharedSettings<u64> {
    let keys = Keys::new(bytes.iter().map(|byte| [*byte; 32]).collect());
    SharedSettings::new(Arc::new(Place::directory(dir)), "settings", &keys)
}

#[tokio::test]
async fn ex_08_settings_that_none_of_the_instances_wrote_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let file = |number: u64| dir.path().join("settings").join(object(Version(number)));
    let settings = settings(dir.path());
    let one = settings.replace(None, &1).await.unwrap();
    // Without a code, with another's, of another version, and another text.
    let text = String::from_utf8(std::fs::read(file(1)).unwrap()).unwrap();
    let anothers = of_keys(dir.path(), b"x").trusted.close("settings", &object(Version(2)), b"2").unwrap();
    let forgeries = ["2".into(), anothers, text.clone().into(), text.replacen('1', "2", 1).into()];
    for forged in forgeries {
        let forged: Bytes = forged;
        std::fs::write(file(2), &forged).unwrap();
        let refused = settings.load().await.unwrap_err();
        assert!(matches!(refused, Error::Forged(Version(2), _)), "{refused}");
        assert!(matches!(settings.replace(Some(one), &3).await, Err(Error::Conflict(_))));
    }
    // A person has the last ones written anew, whatever number the forgers took.
    std::fs::write(dir.path().join(format!("settings/{}.json", u64::MAX)), "9").unwrap();
    let anew = settings.write_anew(&1).await.unwrap();
    assert_eq!(settings.load().await.unwrap(), Some((1, anew)));
    assert_eq!(settings.numbers().await.unwrap().len(), 2);
    settings.replace(Some(anew), &5).await.unwrap();
}

#[tokio::test]
async fn ex_08_settings_that_were_put_back_are_not_believed_even_after_a_restart() {
    let (dir, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |number: u64| dir.path().join("settings").join(object(Version(number)));
    let start = || settings(dir.path()).with_memory(own.path().join("seen")).unwrap();
    let settings = start();
    let one = settings.replace(None, &1).await.unwrap();
    let two = settings.replace(Some(one), &2).await.unwrap();
    assert_eq!(settings.load().await.unwrap(), Some((2, two)));
    std::fs::remove_file(file(2)).unwrap();
    for there in [Some(one), None] {
        for settings in [&settings, &start()] {
            let refused = settings.load().await.unwrap_err();
            let is_named =
                matches!(&refused, Error::PutBack { there: now, seen } if *now == there && *seen == two);
            assert!(is_named, "{refused}");
        }
        let _again = std::fs::remove_file(file(1));
    }
    let anew = start().write_anew(&2).await.unwrap();
    assert!(anew > two);
    assert_eq!(settings.load().await.unwrap(), Some((2, anew)));
}

#[tokio::test]
async fn ex_08_a_line_of_the_credentials_is_replaced_while_instances_run() {
    let dir = tempfile::tempdir().unwrap();
    let old = of_keys(dir.path(), b"o");
    let one = old.replace(None, &1).await.unwrap();
    let both = of_keys(dir.path(), b"no");
    assert_eq!(both.load().await.unwrap(), Some((1, one)));
    let two = both.write_anew(&1).await.unwrap();
    assert_eq!(of_keys(dir.path(), b"n").load().await.unwrap(), Some((1, two)));
    assert!(matches!(old.load().await, Err(Error::Forged(..))));
}
