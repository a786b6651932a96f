use std::time::Duration;

use slipway_store::Store;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

#[track_caller]
fn refused<T>(result: anyhow::Result<T>, words: &[&str]) {
    let said = format!("{:#}", result.err().expect("it should be refused"));
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

#[tokio::test]
async fn who_names_a_wrong_directory_is_told_which_one_is_meant() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    refused(store_in(&data), &["there is no such directory", "/var/lib/slipway unless"]);
    std::fs::create_dir_all(data.join("store")).unwrap();
    refused(store_in(&data), &["there are no records in it", "which one slipwayd up has"]);
    let store = Store::open(&data.join("store")).unwrap();
    store.close().await;
    assert_eq!(store_in(&data).unwrap(), data.join("store"));
    refused(
        store_in(&data.join("store")),
        &["is the store itself", &format!("--data-dir {}", data.display())],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_and_is_no_zookeeper_is_told_with_the_port_that_is_meant() {
    let directory = tempfile::tempdir().unwrap();
    Store::open(directory.path()).unwrap().close().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _gone = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").await;
        }
    });
    let mut to = ZooKeeperOptions::new(vec![address.clone()], "/slipway");
    to.patience = Duration::from_millis(200);
    let moved = move_store(directory.path(), to).await;
    refused(moved, &["nothing is lost", "mostly 2181", "run the same command again", &address]);
}
