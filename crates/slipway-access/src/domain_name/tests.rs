use super::*;

#[test]
fn a_domain_has_one_form() {
    for (given, wanted) in [
        ("shop.example.com", "shop.example.com"),
        ("Shop.Example.COM.", "shop.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("notapps.example.com", "notapps.example.com"),
    ] {
        assert_eq!(parse(given, "apps.example.com").unwrap(), wanted);
    }
}

#[test]
fn what_is_no_domain_of_a_tenant_is_refused() {
    let long = format!("{}.com", "a.".repeat(130));
    for bad in [
        "",
        ".",
        "com",
        "localhost",
        "a..b",
        "-a.com",
        "a-.com",
        "a_b.com",
        "bücher.example",
        "*.example.com",
        "10.0.0.1",
        "127.1",
        "1.2.3.4.5",
        "[::1]",
        "a.com:80",
        "http://a.com",
        "a.com/",
        "a b.com",
        "a.com\n",
        "a\0.com",
        "..",
        "../x.com",
        "apps.example.com",
        "x.apps.example.com",
        "X.APPS.example.com.",
        &long,
        &format!("{}.com", "a".repeat(64)),
    ] {
        assert!(parse(bad, "apps.example.com").is_err(), "{bad:?}");
    }
}
