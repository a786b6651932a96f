use slipway_model::unit::{Bytes, Cpus};

use super::*;

#[test]
fn me_03_what_is_not_named_stays() {
    let limits = Limits {
        cpus: Some(Cpus(4000)),
        mem: Some(Bytes::gibi(8)),
        instances: Some(10),
        ports: Some(20),
        weight: 2,
        ..Limits::default()
    };
    let wanted = SetQuota { cpus: Some(Cpus(1000)), ..SetQuota::default() };
    let merged = merge(limits.clone(), &wanted);
    assert_eq!(merged, Limits { cpus: Some(Cpus(1000)), ..limits.clone() });
    let wanted_ports = SetQuota { ports: Some(30), ..SetQuota::default() };
    let merged = merge(limits.clone(), &wanted_ports);
    assert_eq!(merged, Limits { ports: Some(30), ..limits.clone() });
    let merged = merge(Limits::default(), &wanted);
    assert_eq!((merged.cpus, merged.mem, merged.ports, merged.weight), (Some(Cpus(1000)), None, None, 1));
    let free = SetQuota { no_limit: vec![Limited::Mem, Limited::Disk], ..SetQuota::default() };
    assert_eq!(merge(limits.clone(), &free), Limits { mem: None, ..limits });
}
