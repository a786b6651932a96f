use super::*;

#[track_caller]
fn check(labels: &[(&str, &str)], hosts: &[(&str, usize)]) {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let found = of(&labels);
    let found: Vec<_> = found.iter().map(|(host, asked)| (host.as_str(), asked.port)).collect();
    assert_eq!(found, hosts, "{labels:?}");
}

#[test]
fn ma_80_labels_of_marathon_lb_ask_for_host_names() {
    let group = ("HAPROXY_GROUP", "external");
    check(&[group, ("HAPROXY_0_VHOST", "Shop.Example.com")], &[("shop.example.com", 0)]);
    check(&[("HAPROXY_0_VHOST", "shop.example.com")], &[]);
    check(&[("HAPROXY_GROUP", " "), ("HAPROXY_0_VHOST", "shop.example.com")], &[]);
    check(
        &[
            ("HAPROXY_1_GROUP", "internal"),
            ("HAPROXY_0_VHOST", "a.example"),
            ("HAPROXY_1_VHOST", "b.example"),
        ],
        &[("b.example", 1)],
    );
    let several = ("HAPROXY_0_VHOST", "b.example, a.example.,,");
    check(
        &[group, several, ("HAPROXY_1_VHOST", "b.example,c.example")],
        &[("a.example", 0), ("b.example", 0), ("c.example", 1)],
    );
    check(&[group, ("HAPROXY_0_VHOST", "a.example"), ("HAPROXY_0_ENABLED", "false")], &[]);
    check(&[group, ("HAPROXY_VHOST", "a.example"), ("HAPROXY_x_VHOST", "a.example")], &[]);
    let many = (0..1000).map(|n| format!("h{n}.example")).collect::<Vec<_>>().join(",");
    let labels = [group, ("HAPROXY_0_VHOST", &many)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(of(&labels.into()).len(), KEYS_MAX);
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn ma_80_labels_ask_for_stickiness_and_tls_port_by_port() {
    let found = of(&labels(&[
        ("HAPROXY_GROUP", "external"),
        ("HAPROXY_0_VHOST", "a.example"),
        ("HAPROXY_0_STICKY", "true"),
        ("HAPROXY_0_REDIRECT_TO_HTTPS", "no"),
        ("HAPROXY_1_VHOST", "b.example"),
        ("HAPROXY_1_STICKY", "maybe"),
        ("HAPROXY_1_REDIRECT_TO_HTTPS", " Yes "),
        ("HAPROXY_2_STICKY", "true"),
    ]));
    assert_eq!(found["a.example"], Asked { port: 0, is_sticky: true, to_https: false });
    assert_eq!(found["b.example"], Asked { port: 1, is_sticky: false, to_https: true });
    assert_eq!(found.len(), 2);
}

#[test]
fn ma_80_a_path_asks_for_a_part_of_a_host_name() {
    let group = ("HAPROXY_GROUP", "external");
    let name = ("HAPROXY_0_VHOST", "A.example,b.example");
    let check_paths = |paths: &str, keys: &[&str]| {
        let found = of(&labels(&[group, name, ("HAPROXY_0_PATH", paths)]));
        assert_eq!(found.into_keys().collect::<Vec<_>>(), keys, "{paths}");
    };
    check_paths("/api", &["a.example/api", "b.example/api"]);
    check_paths(" /Api  /v2/ ", &["a.example/Api", "a.example/v2/", "b.example/Api", "b.example/v2/"]);
    check_paths(" ", &["a.example", "b.example"]);
    check_paths("/", &["a.example", "b.example"]);
    check_paths("/ /x", &["a.example", "a.example/x", "b.example", "b.example/x"]);
    // A path without a host name says nothing, and a host name has no path in it.
    check(&[group, ("HAPROXY_0_PATH", "/api")], &[]);
    check(&[group, ("HAPROXY_0_VHOST", "a.example/api,/b.example")], &[]);
    // Another port may have the rest.
    let rest = ("HAPROXY_1_VHOST", "a.example");
    check(
        &[group, name, ("HAPROXY_0_PATH", "/api"), rest],
        &[("a.example", 1), ("a.example/api", 0), ("b.example/api", 0)],
    );
    let keys = of(&labels(&[group, name, ("HAPROXY_0_PATH", "/api"), rest]));
    assert_eq!(hosts(&keys), BTreeMap::from([("a.example", false), ("b.example", true)]));
}

#[test]
fn ma_80_a_path_that_cannot_be_is_told_and_never_taken_for_the_host() {
    let of_path = |path: &str| {
        labels(&[("HAPROXY_GROUP", "x"), ("HAPROXY_0_VHOST", "a.example"), ("HAPROXY_0_PATH", path)])
    };
    let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
    for odd in [
        "api",
        "-i",
        "//",
        "/a//b",
        "/a//",
        "/..",
        "/a/../b",
        "/a/.",
        "./a",
        "/a?b",
        "/a#b",
        "/a%20b",
        "/a\\b",
        "/a;Domain=b",
        "/a,b",
        "/a\u{0}b",
        "/ä",
        "\u{7f}",
        "*",
        "http://a.example/",
        &long,
    ] {
        let told = problems(&of_path(odd));
        assert_eq!(told.len(), 1, "{odd}: {told:?}");
        assert_eq!(told[0].0, "HAPROXY_0_PATH", "{odd}");
        assert!(of(&of_path(odd)).is_empty(), "{odd}");
        // What stands beside it still counts.
        assert_eq!(
            of(&of_path(&format!("{odd} /b"))).into_keys().collect::<Vec<_>>(),
            ["a.example/b"],
            "{odd}"
        );
    }
    for fine in
        ["", "/", "/a", "/a/", "/A/b.c/~d", "/...", "/a\t/b\n", "/:@!$&'()*+=-_", &long[..PATH_BYTES_MAX]]
    {
        assert_eq!(problems(&of_path(fine)), [], "{fine}");
        assert!(!of(&of_path(fine)).is_empty(), "{fine}");
    }
    // It may be meant for a load balancer that this is no matter of.
    assert_eq!(problems(&labels(&[("HAPROXY_0_VHOST", "a.example"), ("HAPROXY_0_PATH", "-i /a")])), []);
}

#[test]
fn ma_80_host_names_and_paths_are_bounded_together() {
    let paths = |count: usize| (0..count).map(|n| format!("/p{n}")).collect::<Vec<_>>().join(" ");
    let of_paths = |count: usize| {
        let paths = paths(count);
        labels(&[("HAPROXY_GROUP", "x"), ("HAPROXY_0_VHOST", "a.b,c.d"), ("HAPROXY_0_PATH", &paths)])
    };
    assert_eq!(of(&of_paths(25)).len(), 50);
    assert_eq!(problems(&of_paths(25)), []);
    assert_eq!(of(&of_paths(1000)).len(), 50);
    let told = problems(&of_paths(26));
    assert!(told.len() == 1 && told[0].1.contains("at most 50"), "{told:?}");
}
