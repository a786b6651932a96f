use slipway_model::unit::{Bytes, Cpus};

use super::*;

fn quota() -> Quota {
    Quota {
        tenant: "acme".parse().expect("a name"),
        cpus: Some(Cpus(4000)),
        mem: Some(Bytes::gibi(1)),
        disk: None,
        gpus: Some(0),
        instances: Some(10),
        weight: 1,
    }
}

fn need(cpus: u32, mem_mebi: u64, gpus: u32) -> Resources {
    Resources { cpus: Cpus(cpus), mem: Bytes::mebi(mem_mebi), disk: Bytes::gibi(1), gpus }
}

#[track_caller]
fn check(used: Usage, need: Resources, count: u32, expected: u32, why: &str) {
    let (allowed, exceeded) = allows(Some(&quota()), used, need, count);
    let said = exceeded.map(|exceeded| exceeded.to_string()).unwrap_or_default();
    assert_eq!((allowed, said.as_str()), (expected, why));
}

#[test]
fn me_03_the_tightest_limit_decides_and_says_its_numbers() {
    let used = Usage::default().plus(3, need(500, 64, 0));
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
    assert_eq!(allows(None, Usage::default(), need(u32::MAX, 1 << 40, 9), 7), (7, None));
    let used = Usage::default().plus(11, need(1, 1, 0));
    check(used, need(1, 1, 0), 1, 0, "the tenant's quota of instances: 11 of 10 are used");
    assert_eq!(used.minus(20, need(1, 1, 0)), Usage::default());
}
