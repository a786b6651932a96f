use slipway_model::id::InstanceId;
use slipway_model::unit::{Bytes, Cpus, Timestamp};

use super::*;

fn amounts(cpus: u32, mem: u64, disk: u64) -> Amounts {
    Amounts { cpus: Cpus(cpus), mem: Bytes::mebi(mem), disk: Bytes::gibi(disk), gpus: 0 }
}

fn node() -> NodeInfo {
    NodeInfo {
        name: "one".parse().unwrap(),
        connected: true,
        standing: "draining".into(),
        revoked_at: None,
        trouble: None,
        order: None,
        instances: 2,
        has: amounts(2000, 4096, 50),
        given: amounts(1500, 768, 2),
        address: None,
        attributes: BTreeMap::from([("rack".into(), "r1".into())]),
        joined_at: Timestamp(0),
    }
}

#[test]
fn me_10_nodes_are_listed_with_units_and_states() {
    let text = nodes_text(&[node()]);
    let row = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(row, "one draining connected 2 1.5 of 2 768M of 4G 2G of 50G 0 of 0");
}

#[test]
fn me_10_a_drain_tells_what_still_runs_there() {
    let instance = |environment: &str, of: &str| NodeInstance {
        id: InstanceId::from_random([0; 10]),
        environment: environment.parse().unwrap(),
        of: of.into(),
        state: "healthy".into(),
        since: Timestamp(0),
        has_volumes: of == "db",
    };
    let instances =
        vec![instance("acme/shop/dev", "web"), instance("acme/shop/dev", "web"), instance("acme/a/b", "db")];
    assert_eq!(left_text(&instances), "3 still run there: acme/a/b db, acme/shop/dev web ×2");
    let text = detail_text(&NodeDetail { node: node(), instances });
    assert!(
        text.contains("  has    2 cpus, 4G memory, 50G disk\n") && text.contains("keeps a volume"),
        "{text}"
    );
}

#[test]
fn me_10_what_is_drained_is_not_to_be_drained() {
    let order = NodeOrderInfo {
        order: NodeWish::Drain,
        deadline: Some(Timestamp(0)),
        by: "ada".parse().unwrap(),
        created_at: Timestamp(0),
    };
    let text = |standing: &str| {
        let node = NodeInfo { standing: standing.into(), order: Some(order.clone()), ..node() };
        detail_text(&NodeDetail { node, instances: Vec::new() })
    };
    assert!(text("draining").contains("  to be drained, at the latest now: ada"), "{}", text("draining"));
    assert!(text("drained").contains("  drained: ada"), "{}", text("drained"));
}

#[test]
fn a_node_that_was_cut_off_says_so_and_what_to_do() {
    let node =
        NodeInfo { standing: "active".into(), connected: false, revoked_at: Some(Timestamp(0)), ..node() };
    let text = nodes_text(std::slice::from_ref(&node));
    let row = text.lines().nth(1).unwrap().split_whitespace().take(3).collect::<Vec<_>>();
    assert_eq!(row, ["one", "revoked", "away"]);
    let detail = detail_text(&NodeDetail { node: node.clone(), instances: Vec::new() });
    assert!(detail.starts_with("one: revoked, its agent is away"), "{detail}");
    for words in
        ["slipway nodes token --node one", "slipway nodes gone one --confirm one", "nodes forget one"]
    {
        assert!(text.contains(words) && detail.contains(words), "{text}{detail}");
    }
    // What was given up as well is gone, and nothing is to be done at once.
    let text = nodes_text(&[NodeInfo { standing: "gone".into(), ..node }]);
    assert!(text.contains("gone") && !text.contains("revoked") && text.lines().count() == 2, "{text}");
}

#[test]
fn me_10_a_node_that_is_gone_says_what_it_was_and_since_when() {
    let order = NodeOrderInfo {
        order: NodeWish::Gone,
        deadline: None,
        by: "ada".parse().unwrap(),
        created_at: Timestamp::from(std::time::SystemTime::now()),
    };
    let node =
        NodeInfo { standing: "gone".into(), connected: false, order: Some(order), instances: 0, ..node() };
    let text = detail_text(&NodeDetail { node, instances: Vec::new() });
    for words in
        ["one: gone, its agent is away, joined", "  given up: ada, 0s ago", "  had    2 cpus", "rack: r1"]
    {
        assert!(text.contains(words), "{text}");
    }
    assert!(text.ends_with("back: slipway nodes revoke one, and slipway nodes forget one\n"), "{text}");
}

#[test]
fn what_does_not_work_on_a_node_is_told_below_the_list() {
    let trouble = Some("its router does not run: the port is taken".to_owned());
    let text = nodes_text(&[NodeInfo { trouble, ..node() }]);
    assert!(text.ends_with("\none: its router does not run: the port is taken\n"), "{text}");
}

#[test]
fn me_03_a_quota_shows_what_is_used_of_it() {
    let quota = QuotaInfo {
        tenant: "acme".parse().unwrap(),
        limits: QuotaLimits {
            cpus: Some(Cpus(4000)),
            mem: None,
            disk: None,
            gpus: None,
            instances: Some(50),
            ports: None,
            weight: 2,
        },
        is_default: false,
        used: Some(amounts(500, 256, 1)),
        used_instances: Some(1),
        used_ports: Some(3),
    };
    let text = quota_text(&quota);
    let lines: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[0], "acme, weight 2");
    assert_eq!(lines[2..4], ["cpus 0.5 4", "memory 256M no limit"]);
    assert_eq!(lines[6..], ["instances 1 50", "ports 3 a share"]);
    let text = quota_text(&QuotaInfo {
        limits: QuotaLimits { ports: Some(40), ..quota.limits },
        is_default: true,
        ..quota
    });
    assert!(text.lines().any(|line| line.split_whitespace().eq(["ports", "3", "40"])), "{text}");
    assert!(text.starts_with("acme, weight 2, by the default quota\n"), "{text}");
}
