use slipway_model::unit::{Bytes, Cpus};

use super::*;

#[test]
fn me_03_what_is_not_named_stays() {
    let quota = Quota {
        tenant: "acme".parse().unwrap(),
        cpus: Some(Cpus(4000)),
        mem: Some(Bytes::gibi(8)),
        disk: None,
        gpus: None,
        instances: Some(10),
        ports: Some(20),
        weight: 2,
    };
    let wanted = SetQuota { cpus: Some(Cpus(1000)), ..SetQuota::default() };
    let merged = merge(&quota.tenant, Some(quota.clone()), &wanted);
    assert_eq!(merged, Quota { cpus: Some(Cpus(1000)), ..quota.clone() });
    let wanted_ports = SetQuota { ports: Some(30), ..SetQuota::default() };
    let merged = merge(&quota.tenant, Some(quota.clone()), &wanted_ports);
    assert_eq!(merged, Quota { ports: Some(30), ..quota.clone() });
    let merged = merge(&quota.tenant, None, &wanted);
    assert_eq!((merged.cpus, merged.mem, merged.ports, merged.weight), (Some(Cpus(1000)), None, None, 1));
}
