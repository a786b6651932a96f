use super::*;

fn read(path: &Path) -> String {
    String::from_utf8(std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn lines_are_stamped_however_they_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::open(&path, 1 << 20, 10);
    log.take(Stream::Out, b"one\ntw", 1000);
    log.take(Stream::Err, b"oops\r\n", 1001);
    log.take(Stream::Out, b"o\n0123456789abc\nlast", 1002);
    log.finish(1003);
    assert_eq!(
        read(&path),
        "1000 o one\n1001 e oops\n1002 o two\n1002 o 0123456789 [3 more bytes cut]\n1003 o last\n"
    );
}

#[test]
fn a_flood_stays_within_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::open(&path, 1 << 20, 16 << 10);
    let piece = b"all work and no play makes jack a dull boy\n".repeat(1500);
    for _ in 0..200 {
        log.take(Stream::Out, &piece, 1);
    }
    // One endless line, and bytes that are no text.
    for _ in 0..100 {
        log.take(Stream::Err, &[0xff; 64 << 10], 2);
    }
    log.take(Stream::Out, b"the end\n", 3);
    log.finish(4);
    let size = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len();
    assert!(size("log") + size("log.1") <= 1 << 20);
    let tail = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
    assert!(tail.contains("3 o the end\n"));
    assert!(tail.ends_with("more bytes cut]\n"));
}

#[test]
fn a_log_that_cannot_be_written_counts_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later/log");
    let mut log = Log::open(&path, 1 << 20, 100);
    log.take(Stream::Out, b"a\nb\n", 1);
    assert_eq!(log.lines_lost(), 2);
    std::fs::create_dir(dir.path().join("later")).unwrap();
    log.take(Stream::Out, b"c\n", 2);
    let text = read(&path);
    assert!(text.contains("e slipway: 2 lines lost here\n2 o c\n"), "{text}");
}
