use slipway_model::service::VolumeSpec;

use super::*;
use crate::cluster::tests::{assignment, cluster, spec, view};

fn resident() -> slipway_model::service::ServiceSpec {
    let volume = |path: &str, gibi| VolumeSpec { path: path.into(), size: Bytes::gibi(gibi) };
    slipway_model::service::ServiceSpec { volumes: vec![volume("data", 2), volume("log", 1)], ..spec(100) }
}

fn set(node: &str, number: u8) -> RestingVolumes {
    RestingVolumes {
        service: "web".parse().expect("a name"),
        node: node.parse().expect("a name"),
        volumes: vec![id_from(&InstanceId::from_random([number; 10]))],
        disk: Bytes::gibi(1),
    }
}

#[test]
fn ma_70_volumes_rest_with_their_size_where_they_are() {
    let mut view = view("acme/shop/dev", resident());
    let ids: Vec<_> = [1, 2].map(|number| id_from(&InstanceId::from_random([number; 10]))).into();
    let ended = Assignment { volumes: ids.clone(), ..assignment(1, "n0") };
    let resting = at_rest(&view, &ended).expect("it has volumes");
    assert_eq!((resting.volumes, resting.disk), (ids, Bytes::gibi(3)));
    assert_eq!(resting.node, ended.node);
    assert_eq!(at_rest(&view, &assignment(2, "n0")), None);

    // MA-09: nobody wants them.
    view.wiped.insert(ended.instance.clone());
    assert_eq!(at_rest(&view, &ended), None);
}

#[test]
fn ma_70_no_more_sets_are_made_than_are_asked_for() {
    assert_eq!(fresh(3, 0, &[]), 3);
    assert_eq!(fresh(3, 1, &[set("n0", 1)]), 1);
    assert_eq!(fresh(1, 2, &[set("n0", 1)]), 0);
}

#[test]
fn ma_70_volumes_are_freed_with_their_service_environment_or_node() {
    let mut cluster = cluster(&["n0", "n1"]);
    let mut view = view("acme/shop/dev", resident());
    view.wanted = Some(crate::cluster::tests::wanted(&view.path));
    let resting = [set("n0", 1), set("n1", 2)];
    assert_eq!(unneeded(&view, &cluster, &resting), Vec::new());

    let gone = Some(slipway_model::instance::NodeOrderKind::Gone);
    cluster.set_order(&resting[0].node, gone);
    assert_eq!(unneeded(&view, &cluster, &resting), resting[0].volumes);
    cluster.set_order(&resting[0].node, None);

    let wanted = view.wanted.take();
    assert_eq!(unneeded(&view, &cluster, &resting).len(), 2);
    view.wanted = wanted;
    let live = view.releases.values_mut().next().expect("a release");
    live.services.values_mut().for_each(|service| service.volumes.clear());
    assert_eq!(unneeded(&view, &cluster, &resting).len(), 2);
}
