use std::path::Path;

use slipway_model::limit::BUILD_LOG_BYTES_MAX;

use super::*;

fn journal() -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path().join("builds"));
    (dir, journal)
}

const LOG: &str = "acme/shop/dev/1.log";

async fn rest(mut follower: Follower) -> String {
    let mut text = Vec::new();
    while let Some(chunk) = follower.next().await.unwrap() {
        text.extend(chunk.bytes);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_follower_sees_everything_and_ends_when_it_is_finished() {
    let (_dir, journal) = journal();
    let early = tokio::spawn(rest(journal.follow(Path::new(LOG), 0).unwrap()));
    let mut writer = journal.writer(Path::new(LOG)).unwrap();
    let mut wanted = String::new();
    for number in 0..500 {
        writer.line(&format!("line {number}")).unwrap();
        wanted += &format!("line {number}\n");
        tokio::task::yield_now().await;
    }
    let middle = tokio::spawn(rest(journal.follow(Path::new(LOG), 7).unwrap()));
    // As another process would, without the wake-ups.
    let stranger = Journal::new(journal.root.clone());
    let other = tokio::spawn(rest(stranger.follow(Path::new(LOG), 0).unwrap()));
    writer.append(b"the end").unwrap();
    wanted += "the end";
    writer.finish().unwrap();
    assert_eq!(early.await.unwrap(), wanted);
    assert_eq!(middle.await.unwrap(), wanted[7..]);
    assert_eq!(other.await.unwrap(), wanted);
    assert_eq!(rest(journal.follow(Path::new(LOG), 0).unwrap()).await, wanted);
    assert_eq!(journal.read(Path::new(LOG)).await.unwrap(), wanted.as_bytes());
}

#[tokio::test]
async fn a_writer_goes_on_where_a_dead_one_stopped() {
    let (_dir, journal) = journal();
    let mut dead = journal.writer(Path::new(LOG)).unwrap();
    dead.append(b"broken off").unwrap();
    drop(dead);
    let mut writer = journal.writer(Path::new(LOG)).unwrap();
    assert_eq!(writer.offset(), 10);
    writer.append(b", and on\n").unwrap();
    writer.finish().unwrap();
    assert_eq!(rest(journal.follow(Path::new(LOG), 0).unwrap()).await, "broken off, and on\n");
    assert!(matches!(journal.writer(Path::new(LOG)), Err(Error::Finished(_))));
}

#[tokio::test]
async fn output_beyond_the_limit_is_counted_and_the_last_line_says_so() {
    let (_dir, journal) = journal();
    let mut writer = journal.writer(Path::new(LOG)).unwrap();
    let mebi = vec![b'x'; 1 << 20];
    for _ in 0..20 {
        writer.append(&mebi).unwrap();
    }
    writer.finish().unwrap();
    let text = journal.read(Path::new(LOG)).await.unwrap();
    assert!(text.len() as u64 <= BUILD_LOG_BYTES_MAX.0);
    let kept = text.iter().take_while(|byte| **byte == b'x').count();
    let last = format!("\n[{} more bytes of output were not kept]\n", (20 << 20) - kept);
    assert_eq!(&text[kept..], last.as_bytes());
}

#[tokio::test]
async fn a_path_stays_inside_and_a_tree_can_be_removed() {
    let (_dir, journal) = journal();
    for bad in ["", "/etc/passwd", "../x", "a/../../x", "."] {
        assert!(matches!(journal.writer(Path::new(bad)), Err(Error::BadPath(_))), "{bad}");
        assert!(matches!(journal.follow(Path::new(bad), 0), Err(Error::BadPath(_))), "{bad}");
    }
    journal.writer(Path::new(LOG)).unwrap().line("x").unwrap();
    let mut follower = journal.follow(Path::new(LOG), 0).unwrap();
    assert_eq!(follower.next().await.unwrap().unwrap().bytes, b"x\n");
    journal.remove(Path::new("acme/shop")).await.unwrap();
    journal.remove(Path::new("acme/shop")).await.unwrap();
    assert_eq!(follower.next().await.unwrap(), None, "whoever follows it is not left waiting");
    assert!(matches!(journal.read(Path::new(LOG)).await, Err(Error::Absent(_))));
}

#[tokio::test]
async fn a_full_disk_ends_the_text_and_not_the_build() {
    let disk = crate::tmpfs::Tmpfs::new("1m");
    let journal = Journal::new(disk.path().to_owned());
    let mut writer = journal.writer(Path::new(LOG)).unwrap();
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0; 600 << 10]).unwrap();
    let some = vec![b'x'; 200 << 10];
    let full = (0..5).filter(|_| matches!(writer.append(&some), Err(Error::Full(_)))).count();
    assert_eq!(full, 1, "it is said once, and what follows is counted");
    std::fs::remove_file(&filler).unwrap();
    writer.finish().unwrap();
    let text = rest(journal.follow(Path::new(LOG), 0).unwrap()).await;
    let kept = text.bytes().take_while(|byte| *byte == b'x').count();
    assert_eq!(text[kept..], format!("\n[{} more bytes of output were not kept]\n", 5 * some.len() - kept));
}
