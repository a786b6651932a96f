use super::*;

use std::io::Write;

fn write(path: &Path, lines: std::ops::Range<u32>) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    for n in lines {
        writeln!(file, "{n} o line {n}").unwrap();
    }
}

#[test]
fn a_tail_crosses_the_rotation_and_skips_what_is_torn() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    write(&rotated(&log), 0..20_000);
    write(&log, 20_000..20_003);
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"torn").unwrap();
    assert_eq!(tail(&log, 6).last().unwrap(), "line 20002");
    assert_eq!(tail(&log, 6)[0], "line 19998");
    assert_eq!(tail(&log, 100_000).len(), 20_003);
    assert!(tail(&directory.path().join("none"), 5).is_empty());
}

#[test]
fn following_goes_on_in_the_next_file() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    write(&log, 0..3);
    let mut position = Position::end_of(&log);
    write(&log, 3..5);
    fs::rename(&log, rotated(&log)).unwrap();
    write(&log, 5..7);
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"7 o half").unwrap();
    let text = String::from_utf8(position.read_on(&log).unwrap()).unwrap();
    assert_eq!(text, "3 o line 3\n4 o line 4\n5 o line 5\n6 o line 6\n");
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b" a line\n").unwrap();
    assert_eq!(position.read_on(&log).unwrap(), b"7 o half a line\n");
}

#[test]
fn an_environments_logs_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let ids: Vec<InstanceId> =
        (0..60u8).map(|n| InstanceId::from_random([0, 0, 0, 0, 0, 0, 0, 0, 0, n])).collect();
    for (age, id) in ids.iter().enumerate() {
        let path = directory.path().join(format!("web.{id}.log"));
        write(&path, 0..3);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + age as u64);
        File::open(&path).unwrap().set_modified(at).unwrap();
    }
    // The oldest still runs.
    let known = BTreeSet::from([ids[0].clone()]);
    collect_environment(directory.path(), &known);
    let left: BTreeSet<InstanceId> = logs_in(directory.path()).into_iter().map(|log| log.instance).collect();
    assert_eq!(left.len(), 1 + ENDED_LOGS_MAX);
    assert!(left.contains(&ids[0]) && left.contains(&ids[59]) && !left.contains(&ids[1]));
}
