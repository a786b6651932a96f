use super::*;

#[track_caller]
fn check(hosts: &[&str], keys: &[&str], expected: &[&str]) {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(answering(hosts.iter().copied(), &keys).into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn ma_80_urls_have_the_paths_that_labels_ask_for() {
    check(&["a.example", "b.example"], &["a.example"], &["a.example", "b.example"]);
    check(&["a.example"], &["a.example/api"], &["a.example/api"]);
    check(&["a.example"], &["a.example", "a.example/api"], &["a.example", "a.example/api"]);
    // Another app of the tenant has the host name.
    check(&["own.example"], &["own.example", "shop.example/api"], &["own.example", "shop.example/api"]);
    check(&["a.example"], &[], &["a.example"]);
}
