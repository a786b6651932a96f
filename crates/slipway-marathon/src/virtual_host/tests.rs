use super::*;

#[track_caller]
fn check(labels: &[(&str, &str)], hosts: &[(&str, usize)]) {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let found = of(&labels);
    let found: Vec<_> = found.iter().map(|(host, port)| (host.as_str(), *port)).collect();
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
    assert_eq!(of(&labels.into()).len(), HOSTS_MAX);
}
