use super::*;
use crate::tests::World;

#[test]
fn f18_the_own_dates_count_by_the_own_clock() {
    let at = Timestamp(1_800_000_000_000);
    let node = World::new().node("n1", at);
    check_dates(&node, at).unwrap();
    check_dates(&node, node.valid_from()).unwrap();
    let check = |now: Timestamp, words: &str| {
        let error = check_dates(&node, now).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(node.expires_at(), "certificate of node n1 expired on 2027-02-14T07:00:00Z");
    check(Timestamp(node.valid_from().0 - 1), "valid from 2027-01-15T07:00:00Z");
    check(Timestamp(at.0 + 63_072_000_000), "by this machine's clock it is 2029-01-14T08:00:00Z");
}

/// The API's port, that of SSH, and a web server's are typed by mistake now and then.
#[tokio::test]
async fn what_answers_and_is_no_cluster_port_is_called_so() {
    let world = World::new();
    let hello = Hello::new(crate::hello::Service::Join);
    for answer in ["SSH-2.0-OpenSSH_9.2p1\r\n", "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
            // Until the other end has read it and goes: a reset could overtake it.
            _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
        });
        let error = dial_pinned(&world.authority.fingerprint(), &[address], hello.clone()).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("is no cluster port") && said.contains("7072 unless it was set"), "{said}");
    }
}
