use super::*;

#[tokio::test]
async fn files_of_terms_reach_the_other_servers_and_old_ones_go() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other, shared] = ["one", "other", "shared"].map(|name| directory.path().join(name));
    fs::create_dir(&shared).unwrap();
    let place = Place::directory(&shared).below("ran").unwrap();
    level(&one, &place).await.unwrap();
    fs::write(one.join("00001-a"), "i1 n1 .\n").unwrap();
    level(&one, &place).await.unwrap();
    level(&other, &place).await.unwrap();
    assert_eq!(fs::read_to_string(other.join("00001-a")).unwrap(), "i1 n1 .\n");
    // It grows where it is written, and nowhere is it cut.
    fs::write(one.join("00001-a"), "i1 n1 .\ni2 n2 .\n").unwrap();
    level(&other, &place).await.unwrap();
    level(&one, &place).await.unwrap();
    level(&other, &place).await.unwrap();
    assert_eq!(fs::read_to_string(other.join("00001-a")).unwrap(), "i1 n1 .\ni2 n2 .\n");
    for number in 2..12 {
        fs::write(other.join(format!("{number:05}-b")), "x").unwrap();
    }
    level(&other, &place).await.unwrap();
    level(&one, &place).await.unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&one).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, (4..12).map(|number| format!("{number:05}-b")).collect::<Vec<_>>());
}
