use std::net::{IpAddr, Ipv4Addr};

use slipway_access::{Access, MasterKey};
use slipway_model::name::UserName;
use slipway_store::Store;

use super::*;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn who_follows_is_cut_off_when_the_right_is_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let access =
        Access::open(store, MasterKey::load_or_create(&dir.path().join("key")).unwrap()).await.unwrap();
    let root = access.operator(&access.local_operator()).await.unwrap();
    let (ann, password): (UserName, _) = ("ann".parse().unwrap(), "a long pass phrase");
    root.create_user(&ann, Some(password), false).await.unwrap();
    let caller = access.password(&ann, password, IpAddr::V4(Ipv4Addr::LOCALHOST)).await.unwrap();
    access.account(&caller).await.unwrap().create_tenant(&"acme".parse().unwrap()).await.unwrap();
    let acme = access.tenant(&caller, &"acme".parse().unwrap(), Right::Own).await.unwrap();
    acme.create_project(&"shop".parse().unwrap(), &["dev".parse().unwrap()]).await.unwrap();
    let dev = access.environment(&caller, &"acme/shop/dev".parse().unwrap(), Right::View).await.unwrap();

    let mut lines = Box::pin(stream::repeat("line").take_until(Box::pin(revoked(
        dev,
        Right::View,
        Duration::from_millis(1),
    ))));
    assert_eq!(lines.next().await, Some("line"));
    root.disable_user(&ann).await.unwrap();
    let cut_off = async {
        while lines.next().await.is_some() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(SOON, cut_off).await.expect("the lines end");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_not_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path().to_owned());
    assert_eq!(length(&journal, "1.log".as_ref()).await.ok(), Some(0), "a build that has not begun");
    std::fs::create_dir(dir.path().join("2.log")).unwrap();
    let refusal = length(&journal, "2.log".as_ref()).await.expect_err("a directory is no log");
    assert_eq!(refusal.0.code, ErrorCode::Internal);
}
