use super::*;

fn check(names: &[&str], kept: u32, gone: &[&str]) {
    let files: Vec<File> = names
        .iter()
        .map(|name| File { name: name.trim_end_matches('!').to_owned(), is_whole: !name.ends_with('!') })
        .collect();
    assert_eq!(purgeable(&files, kept), gone, "{names:?}");
}

#[test]
fn ex_13_old_snapshots_go_and_the_logs_that_only_they_needed() {
    let files = [
        "snapshot.0",
        "snapshot.64",
        "snapshot.c8",
        "snapshot.12c",
        "snapshot.190",
        "log.1",
        "log.65",
        "log.c9",
        "log.12d",
        "acceptedEpoch",
        "snapshot.zz",
        "log.1.swp",
    ];
    // Of the three that stay the oldest is c8, and what follows it begins in the log 65.
    check(&files, 3, &["snapshot.0", "snapshot.64", "log.1"]);
    check(&files, 0, &["snapshot.0", "snapshot.64", "log.1"]);
    check(&files, 4, &["snapshot.0"]);
    check(&files, 5, &[]);
    check(&files, u32::MAX, &[]);
}

#[test]
fn ex_13_a_damaged_snapshot_does_not_count_as_kept() {
    let files = ["snapshot.1", "snapshot.2", "snapshot.3", "snapshot.4!", "snapshot.5!", "log.1", "log.3"];
    check(&files, 3, &[]);
    check(&["log.1", "log.2"], 3, &[]);
}
