//! S1: what was acknowledged survives `kill -9`, of the store and of a journal's writer.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use slipway_model::account::User;
use slipway_model::cluster::Candidate;
use slipway_model::id::Epoch;
use slipway_model::unit::Timestamp;
use slipway_store::journal::Journal;
use slipway_store::{Batch, Error, Store};

const DIR: &str = "SLIPWAY_STORE_TEST_DIR";
const WRITERS: u64 = 8;

fn made(name: &str, number: u64) -> User {
    let name = name.parse().unwrap();
    User { name, password_hash: None, operator: false, disabled: false, created_at: Timestamp(number) }
}

/// Not a test of its own: what the killed process does.
#[test]
#[ignore = "run by the tests below in a process of its own"]
fn child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(dir).unwrap();
        let epoch = store.elect(&Candidate::alone("child".parse().unwrap())).await.unwrap().epoch;
        let mut log = Journal::new(dir.join("journal")).writer(Path::new("child.log")).unwrap();
        println!("elected {}", epoch.0);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 1.. {
                        // Two records in one batch, so that half a batch would show.
                        let (a, b) = (format!("a{writer}"), format!("b{writer}"));
                        let batch = Batch::new().put(&made(&a, number)).put(&made(&b, number)).fenced(epoch);
                        store.commit(batch).await.unwrap();
                        // One write each, so that no line is cut.
                        std::io::stdout().write_all(format!("acked {writer} {number}\n").as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for number in 0.. {
            log.line(&format!("line {number}")).unwrap();
            std::io::stdout().write_all(format!("logged {number}\n").as_bytes()).unwrap();
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        drop(writers);
    });
}

/// Dies with the test, also with one that fails.
struct Mortal(Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn child(dir: &Path) -> Mortal {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child_writes_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Mortal(child)
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut acked = [0u64; WRITERS as usize];
    let mut logged = 0u64;
    for round in 1..=12u64 {
        let mut child = child(dir.path());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut seen = 0;
        let mut kill_at = u64::MAX;
        let mut this_round = acked;
        while let Some(Ok(line)) = lines.next() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                // Each round dies at another point of the traffic.
                [.., "elected", epoch] => {
                    assert_eq!(epoch, round.to_string());
                    this_round = [0; WRITERS as usize];
                    kill_at = 20 + round * 37;
                }
                ["acked", writer, number] => {
                    this_round[writer.parse::<usize>().unwrap()] = number.parse().unwrap();
                }
                ["logged", number] => logged = logged.max(number.parse().unwrap()),
                _ => {}
            }
            seen += 1;
            if seen == kill_at {
                child.0.kill().unwrap();
            }
        }
        child.0.wait().unwrap();
        acked = this_round;

        let store = Store::open(dir.path()).unwrap();
        runtime.block_on(async {
            for (writer, acked) in acked.iter().enumerate() {
                let number = async |name: String| {
                    let found = store.get::<User>(&name.parse().unwrap()).await.unwrap();
                    found.map_or(0, |found| found.record.created_at.0)
                };
                let (a, b) = (number(format!("a{writer}")).await, number(format!("b{writer}")).await);
                assert!(a >= *acked, "round {round}: writer {writer} was told {acked}, found {a}");
                assert_eq!(a, b, "round {round}: half a batch");
            }
            let newest = store.commit(Batch::new().put(&made("x", 0)).fenced(Epoch(0))).await.unwrap_err();
            assert!(matches!(newest, Error::Fenced { newest, .. } if newest == Epoch(round)), "{newest}");
            let text = Journal::new(dir.path().join("journal")).read(Path::new("child.log")).await.unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(&format!("line {logged}\n")), "round {round}: line {logged} was lost");
            store.close().await;
        });
    }
}

#[test]
fn a_second_process_is_told_who_has_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child(dir.path());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("elected") {}
    let error = Store::open(dir.path()).unwrap_err().to_string();
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
    assert!(error.contains(&format!("pid {}", child.0.id())), "{error}");
    let begun = Instant::now();
    Store::open(dir.path()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
}
