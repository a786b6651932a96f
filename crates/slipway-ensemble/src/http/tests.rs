use base64::Engine as _;

use super::*;

#[test]
fn ex_14_credentials_let_in_who_has_them() {
    let all =
        Credentials::parse("# operators\nalice:correct horse battery\n\nslwt_0123456789abcdef\n").unwrap();
    let basic = |text: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text));
    let table = [
        (basic("alice:correct horse battery"), true),
        ("Bearer slwt_0123456789abcdef".to_owned(), true),
        (basic("alice:wrong"), false),
        (basic("alice:"), false),
        (basic("slwt_0123456789abcdef"), false),
        ("Bearer alice:correct horse battery".to_owned(), false),
        ("Bearer ".to_owned(), false),
        ("Basic ###".to_owned(), false),
        (String::new(), false),
    ];
    for (header, allowed) in table {
        assert_eq!(all.allows(Some(&header)), allowed, "{header}");
    }
    assert!(!all.allows(None));
    assert!(Credentials::parse("# nobody\n").is_err());
    assert!(Credentials::parse("alice:short\n").is_err());
}

#[test]
fn ex_03_a_browser_is_not_led_here_by_another_site() {
    let check = |headers: &[(&'static str, &'static str)], expected: bool| {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(*name, value.parse().unwrap());
        }
        assert_eq!(is_led_here(&all), expected, "{headers:?}");
    };
    check(&[], false);
    check(&[("sec-fetch-site", "none")], false);
    check(&[("sec-fetch-site", "same-origin")], false);
    check(&[("sec-fetch-site", "cross-site")], true);
    check(&[("host", "a:8181"), ("origin", "http://a:8181")], false);
    check(&[("host", "a:8181"), ("origin", "http://evil")], true);
    check(&[("host", "a:8181"), ("origin", "null")], true);
}

#[test]
fn ex_03_a_browsers_get_changes_nothing() {
    for (path, changing) in [
        ("/cluster/stop", true),
        ("/cluster/stop/zk1", true),
        ("/cluster/set/restarts/false/zk1", true),
        ("/cluster/start", true),
        ("/config/force-commit-rolling", true),
        ("/cluster/state", false),
        ("/cluster/status", false),
        ("/cluster/log/zk1", false),
        ("/config/get-state", false),
    ] {
        assert_eq!(changes(path), changing, "{path}");
    }
    let of = |agent: &'static str| HeaderMap::from_iter([(header::USER_AGENT, agent.parse().unwrap())]);
    assert!(is_browser(&of("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")));
    assert!(!is_browser(&of("curl/8.5.0")) && !is_browser(&HeaderMap::new()));
}
