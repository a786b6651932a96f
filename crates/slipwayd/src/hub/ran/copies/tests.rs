use slipway_storage::Place;

use super::*;

async fn found(shared: &Path) -> Authenticated {
    let storage = Authenticated::found(Place::directory(shared), &[7; 32]).await.unwrap();
    storage.below("ran").unwrap()
}

#[tokio::test]
async fn files_of_terms_reach_the_other_servers_and_old_ones_go() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other, shared] = ["one", "other", "shared"].map(|name| directory.path().join(name));
    fs::create_dir(&shared).unwrap();
    let storage = found(&shared).await;
    level(&one, &storage).await.unwrap();
    fs::write(one.join("00001-a"), "i1 n1 .\n").unwrap();
    level(&one, &storage).await.unwrap();
    level(&other, &storage).await.unwrap();
    assert_eq!(fs::read_to_string(other.join("00001-a")).unwrap(), "i1 n1 .\n");
    // It grows where it is written, and nowhere is it cut.
    fs::write(one.join("00001-a"), "i1 n1 .\ni2 n2 .\n").unwrap();
    level(&other, &storage).await.unwrap();
    level(&one, &storage).await.unwrap();
    level(&other, &storage).await.unwrap();
    assert_eq!(fs::read_to_string(other.join("00001-a")).unwrap(), "i1 n1 .\ni2 n2 .\n");
    for number in 2..12 {
        fs::write(other.join(format!("{number:05}-b")), "x").unwrap();
    }
    level(&other, &storage).await.unwrap();
    level(&one, &storage).await.unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&one).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, (4..12).map(|number| format!("{number:05}-b")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_no_server_wrote_is_not_taken_over_and_a_shorter_one_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other, shared] = ["one", "other", "shared"].map(|name| directory.path().join(name));
    for directory in [&one, &shared] {
        fs::create_dir(directory).unwrap();
    }
    let storage = found(&shared).await;
    fs::write(one.join("00001-a"), "i1 n1 .\n").unwrap();
    level(&one, &storage).await.unwrap();
    let object = shared.join("ran/terms/00001-a");
    let earlier = fs::read(&object).unwrap();
    fs::write(one.join("00001-a"), "i1 n1 .\ni2 n2 .\n").unwrap();
    level(&one, &storage).await.unwrap();
    let whole = fs::read(&object).unwrap();
    let forged = String::from_utf8(whole.clone()).unwrap().replace("i2 n2", "i2 n9");
    fs::write(&object, forged).unwrap();
    let said = level(&other, &storage).await.unwrap_err().to_string();
    assert!(said.contains("ran/terms/00001-a"), "{said}");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    fs::write(&object, earlier).unwrap();
    level(&one, &storage).await.unwrap();
    assert_eq!(fs::read(&object).unwrap(), whole);
}

#[tokio::test]
async fn names_that_nobody_believes_push_nothing_out() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other, shared] = ["one", "other", "shared"].map(|name| directory.path().join(name));
    for directory in [&one, &shared] {
        fs::create_dir(directory).unwrap();
    }
    let storage = found(&shared).await;
    for name in ["00001-a", "00002-b"] {
        fs::write(one.join(name), "i1 n1 .\n").unwrap();
    }
    level(&one, &storage).await.unwrap();
    for number in 0..2 * FILES_MAX {
        fs::write(shared.join(format!("ran/terms/{:020}-abcdef01", u64::MAX - number as u64)), "forged")
            .unwrap();
        fs::write(shared.join(format!("ran/terms/zzz{number}")), "no term's").unwrap();
    }
    let said = level(&one, &storage).await.unwrap_err().to_string();
    assert!(said.contains("-abcdef01"), "{said}");
    level(&other, &storage).await.unwrap_err();
    for place in [&one, &other] {
        assert_eq!(fs::read_dir(place).unwrap().count(), 2);
    }
    // Those that are written meanwhile are copied all the same.
    fs::write(one.join("00003-c"), "i3 n1 .\n").unwrap();
    level(&one, &storage).await.unwrap_err();
    level(&other, &storage).await.unwrap_err();
    assert!(other.join("00003-c").exists());
}
