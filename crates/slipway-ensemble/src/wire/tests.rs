use tokio::net::TcpListener;

use super::*;

fn options() -> Options {
    Options { timeout: Duration::from_millis(300), digest: None, tls: None }
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_no_more_than_the_time_given() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let failed = Client::connect(&address, &options()).await.err().unwrap();
    assert!(matches!(failed, Error::Timeout(_)), "{failed}");
}

#[tokio::test]
async fn an_answer_that_claims_two_gigabytes_is_not_waited_for() {
    let liar = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = liar.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = liar.accept().await.unwrap();
        stream.write_all(&i32::MAX.to_be_bytes()).await.unwrap();
        stream
    });
    let failed = Client::connect(&address, &options()).await.err().unwrap();
    assert!(matches!(failed, Error::Malformed), "{failed}");
    drop(serving.await.unwrap());
}

#[test]
fn no_password_is_printed() {
    let options = Options { digest: Some("super:secret".to_owned()), ..options() };
    assert!(!format!("{options:?}").contains("secret"));
}
