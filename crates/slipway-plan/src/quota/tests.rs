use slipway_model::unit::{Bytes, Cpus};

use super::*;

fn quota() -> Limits {
    Limits {
        cpus: Some(Cpus(4000)),
        mem: Some(Bytes::gibi(1)),
        disk: None,
        gpus: Some(0),
        instances: Some(10),
        ports: None,
        weight: 1,
    }
}

fn need(cpus: u32, mem_mebi: u64, gpus: u32) -> Usage {
    let amount = Resources { cpus: Cpus(cpus), mem: Bytes::mebi(mem_mebi), disk: Bytes::gibi(1), gpus };
    Usage::held(amount, &[])
}

/// So many of the same.
fn times(count: u32, each: Usage) -> Usage {
    (0..count).fold(Usage::default(), |used, _| used.plus(each))
}

#[track_caller]
fn check(used: Usage, need: Usage, count: u32, expected: u32, why: &str) {
    let (allowed, exceeded) = allows(Some(&quota()), 0, used, need, count);
    let said = exceeded.map(|exceeded| exceeded.to_string()).unwrap_or_default();
    assert_eq!((allowed, said.as_str()), (expected, why));
}

#[test]
fn me_03_the_tightest_limit_decides_and_says_its_numbers() {
    let used = times(3, need(500, 64, 0));
    check(used, need(500, 64, 0), 5, 5, "");
    check(
        used,
        need(1000, 64, 0),
        5,
        2,
        "the tenant's quota of cpus: 1.5 of 4 are used, and one more takes 1",
    );
    check(
        used,
        need(1, 512, 0),
        2,
        1,
        "the tenant's quota of memory: 192M of 1G are used, and one more takes 512M",
    );
    check(used, need(1, 1, 0), 8, 7, "the tenant's quota of instances: 3 of 10 are used");
    check(used, need(1, 1, 1), 1, 0, "the tenant's quota of gpus: 0 of 0 are used, and one more takes 1");
}

#[test]
fn me_03_no_record_is_no_limit_and_a_lowered_one_allows_none() {
    assert_eq!(allows(None, 0, Usage::default(), need(u32::MAX, 1 << 40, 9), 7), (7, None));
    let used = times(11, need(1, 1, 0));
    check(used, need(1, 1, 0), 1, 0, "the tenant's quota of instances: 11 of 10 are used");
    assert_eq!(used.minus(times(20, need(1, 1, 0))), Usage::default());
}

#[test]
fn me_03_ports_by_default_are_a_quarter_and_grow_with_the_nodes() {
    assert_eq!([0, 16, 50].map(ports_by_default), [None; 3]);
    for (offered, limit) in [(51, 50), (100, 50), (200, 50), (204, 51), (1001, 250)] {
        assert_eq!(ports_by_default(offered), Some(limit), "of {offered}");
    }
    assert_eq!(ports_by_default(u32::MAX), Some(u32::MAX / 4));
    let most = |offered: u32| ports_by_default(offered).unwrap_or(offered);
    assert!((0..3000).all(|offered| most(offered) <= most(offered + 1)));
}

#[test]
fn me_03_ports_are_limited_with_and_without_a_record() {
    let each = Usage { ports: 3, ..need(1, 1, 0) };
    let check = |quota: Option<&Limits>, used: u32, expected: u32, why: &str| {
        let used = Usage { ports: used, ..Usage::default() };
        let (allowed, exceeded) = allows(quota, 400, used, each, 5);
        let said = exceeded.map(|exceeded| exceeded.to_string()).unwrap_or_default();
        assert_eq!((allowed, said.as_str()), (expected, why));
    };
    let of_100 = "the tenant's quota of ports: 90 of 100 are used, and one more takes 3";
    check(None, 85, 5, "");
    check(None, 90, 3, of_100);
    check(Some(&quota()), 90, 3, of_100);
    let own = |ports: u32| Limits { ports: Some(ports), ..quota() };
    check(Some(&own(400)), 90, 5, "");
    check(Some(&own(2)), 0, 0, "the tenant's quota of ports: 0 of 2 are used, and one more takes 3");
    // What asks for none is never in the way of it.
    let full = Usage { ports: 500, ..Usage::default() };
    assert_eq!(allows(Some(&own(0)), 0, full, need(1, 1, 0), 5), (5, None));
}
