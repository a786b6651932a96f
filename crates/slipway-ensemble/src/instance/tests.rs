use super::*;

fn options(dir: &Path) -> Options {
    Options {
        hostname: "a".to_owned(),
        dir: dir.to_owned(),
        java: "/usr/bin/java".into(),
        class_path: String::new(),
        oom_score_adj: 0,
        user: None,
        tls: None,
        super_password: None,
        http_port: 1,
        heading: String::new(),
    }
}

fn with_check(check_ms: u64) -> Settings {
    Settings { check_ms, ..Settings::default() }
}

#[tokio::test]
async fn ex_08_an_instance_with_new_credentials_goes_on_with_what_it_knew_until_that_is_written_anew() {
    let (place, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = |byte: u8| {
        let place = Arc::new(Place::directory(place.path()));
        shared_settings(place, &Keys::new(vec![[byte; 32]]), dir.path()).unwrap()
    };
    let options = options(dir.path());
    let nothing = write_anew(&start(1), dir.path()).await.unwrap_err();
    assert!(matches!(nothing, SignError::Nothing), "{nothing}");
    start(1).replace(None, &with_check(1111)).await.unwrap();
    let first = first_settings(&start(1), &options, with_check(9)).await.unwrap();
    keep(dir.path(), &first).unwrap();

    // Others' settings are neither taken nor written anew.
    let others = start(2);
    let theirs = others.write_anew(&with_check(6666)).await.unwrap();
    assert!(matches!(start(1).load().await, Err(shared::Error::Forged(version, _)) if version == theirs));
    assert_eq!(first_settings(&start(1), &options, with_check(9)).await.unwrap().check_ms, 1111);
    let empty = tempfile::tempdir().unwrap();
    let stranger = Options { dir: empty.path().to_owned(), ..options };
    let refused = first_settings(&start(1), &stranger, with_check(9)).await.unwrap_err().to_string();
    assert!(refused.contains("is not believed"), "{refused}");
    let (settings, version) = write_anew(&start(1), dir.path()).await.unwrap();
    assert_eq!(settings.check_ms, 1111);
    assert_eq!(start(1).load().await.unwrap(), Some((settings, version)));
}
