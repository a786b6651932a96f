use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;

use super::*;

fn parameters(uri: &str) -> Parameters {
    let (parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
    Parameters::of(&parts)
}

#[test]
fn ma_03_ma_13_flags_and_lists_are_written_in_several_ways() {
    let query = parameters("/x?force&scale=True&wipe=false&status[]=a&status=b&event_type=c%20d&dryRun=1");
    assert!(query.is_set("force") && query.is_set("scale") && query.is_set("dryRun"));
    assert_eq!(query.flag("wipe"), Some(false));
    assert_eq!(query.flag("partialUpdate"), None);
    assert_eq!(query.all("status").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(query.first("event_type"), Some("c d"));
    assert!(!parameters("/x").is_set("force"));
}

async fn body(chunks: Vec<Bytes>) -> String {
    let chunks = stream::iter(chunks.into_iter().map(Ok::<_, std::convert::Infallible>));
    match json(Body::from_stream(chunks)).await {
        Ok(Some(value)) => value.to_string(),
        Ok(None) => "nothing".to_owned(),
        Err(refusal) => refusal.into_response().status().as_u16().to_string(),
    }
}

#[tokio::test]
async fn ma_25_ma_28_bodies_come_in_pieces_and_are_bounded() {
    assert_eq!(body(vec![Bytes::from_static(b"{\"a\""), Bytes::from_static(b":1}")]).await, "{\"a\":1}");
    assert_eq!(body(Vec::new()).await, "nothing");
    assert_eq!(body(vec![Bytes::from_static(b" \n")]).await, "nothing");
    assert_eq!(body(vec![Bytes::from_static(b"{")]).await, "400");
    assert_eq!(body(vec![Bytes::from_static(&[b'['; 10_000])]).await, "400");
    assert_eq!(body(vec![Bytes::from_static(&[b' '; 1 << 20]); 10]).await, "413");
    assert_eq!(body(vec![Bytes::from_static(&[b' '; 1 << 20]); 100]).await, "413");
}
