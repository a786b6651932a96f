use super::*;

#[test]
fn ma_62_only_http_is_fetched() {
    for bad in
        ["ftp://h/x", "file:///etc/passwd", "/etc/passwd", "http://", "hdfs://x/y", "gopher://h", "http:/x"]
    {
        assert!(Target::parse(bad).is_err(), "{bad}");
    }
    let target = Target::parse("https://me:p%40ss@files.example/a/b.tgz?sig=1#part").unwrap();
    assert_eq!((target.is_tls, target.port, target.host.as_str()), (true, 443, "files.example"));
    assert_eq!(target.path, "/a/b.tgz?sig=1");
    assert_eq!(target.credentials.as_deref(), Some(&b"me:p@ss"[..]));
    assert_eq!(Target::parse("http://h:8081").unwrap().authority(), "h:8081");
}

#[test]
fn me_15_a_redirect_takes_no_credentials_elsewhere() {
    let from = Target::parse("https://me:pw@h/a/b?x=1").unwrap();
    let to = |location: &str| from.redirected(location).unwrap();
    assert_eq!(to("/c"), Target::parse("https://me:pw@h/c").unwrap());
    assert_eq!(to("c?y"), Target::parse("https://me:pw@h/a/c?y").unwrap());
    assert_eq!(to("//other/c"), Target::parse("https://other/c").unwrap());
    assert_eq!(to("https://h:444/c").credentials, None);
    for bad in ["http://h/c", "ftp://h/c", "file:///etc/passwd", ""] {
        let refused = from.redirected(bad);
        assert!(bad.is_empty() || refused.is_err(), "{bad}: {refused:?}");
    }
}

#[test]
fn ma_62_a_uri_is_shown_without_its_credentials() {
    assert_eq!(shown("https://me:pw@h:1/a/b?token=x#y"), "https://h:1/a/b");
    assert_eq!(shown("https://me:p@w@h"), "https://h");
    assert_eq!(shown("me:pw@nonsense"), "nonsense");
    assert_eq!(shown("http://h/a@b/c"), "http://h/a@b/c");
}

#[test]
fn ma_62_a_file_is_called_as_the_uris_last_part() {
    assert_eq!(base_name("http://h/a/b.tar.gz?x=/y"), "b.tar.gz");
    assert_eq!(base_name("http://h/a%20b"), "a b");
    assert_eq!(base_name("http://h/%2e%2e"), "..");
    assert_eq!(base_name("http://h"), "");
    assert_eq!(base_name("http://h/a/"), "");
}
