//! The whole way that the leader takes: `plan` for each environment, and its actions applied.

use std::time::Instant;

use slipway_model::id::{DeploymentNumber, InstanceId, ReleaseNumber};
use slipway_model::instance::{InstanceReport, InstanceState};
use slipway_model::project::{Environment, EnvironmentStatus};
use slipway_model::push::ImageRef;
use slipway_model::release::{Origin, Release};
use slipway_model::service::ServiceSpec;
use slipway_model::unit::Timestamp;
use slipway_plan::action::Action;
use slipway_plan::cluster::{Cluster, Contact};
use slipway_plan::environment::plan;
use slipway_plan::policy::Policy;
use slipway_plan::view::EnvironmentView;

use super::verify::Ledger;
use super::{Case, Service, node_name, number_of};

const NOW: Timestamp = Timestamp(1_000_000);

/// Environments and the cluster that they are in.
pub struct Placed {
    cluster: Cluster,
    views: Vec<EnvironmentView>,
}

/// Places every service by a plan of its own.
pub fn place(case: &Case) -> Placed {
    let constraints = case.constraints_of_all();
    let view = |(number, service): (usize, &Service)| {
        let constraints = constraints[service.like].clone();
        environment(
            number,
            ServiceSpec {
                instances: service.instances as u32,
                cpus: service.need.cpus,
                mem: service.need.mem,
                disk: service.need.disk,
                constraints,
                ..ServiceSpec::default()
            },
        )
    };
    let mut views: Vec<_> = case.services.iter().enumerate().map(view).collect();
    let mut cluster = case.cluster();
    let mut ids = ids();
    let policy = Policy::default();
    let began = Instant::now();
    let mut count = 0;
    for view in &mut views {
        let plan = plan(view, &mut cluster, &policy, NOW, &mut ids);
        count += plan.actions.len();
        plan.actions.iter().for_each(|action| action.apply(view, &mut cluster));
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut ledger = Ledger::new(case);
    for (service, view) in case.services.iter().zip(&views) {
        let machines: Vec<_> = view.assignments.iter().map(|a| number_of(&a.node)).collect();
        ledger.take(service, &machines);
    }
    println!(
        "{}, planned and applied: {count} assignments verified, {:.0} a second",
        case.name,
        count as f64 / seconds
    );
    Placed { cluster, views }
}

/// A tenth of the nodes that are in use goes away; all replacements are decided.
pub fn lose_nodes(case: &Case, Placed { mut cluster, mut views }: Placed) {
    for view in &mut views {
        let healthy = |instance: InstanceId| InstanceReport {
            instance,
            state: InstanceState::Healthy,
            address: None,
            at: NOW,
            ready: None,
            checks: Vec::new(),
            started_at: None,
        };
        view.reports =
            view.assignments.iter().map(|a| (a.instance.clone(), healthy(a.instance.clone()))).collect();
    }
    let lost = case.machines.len() / 10;
    for number in 0..lost {
        cluster.set_contact(&node_name(number * 10), Contact::Unreachable { since: Timestamp(0) });
    }
    let mut ids = ids();
    let policy = Policy::default();
    let began = Instant::now();
    let (mut moved, mut stopped, mut waiting) = (0, 0, 0);
    for view in &mut views {
        let plan = plan(view, &mut cluster, &policy, NOW, &mut ids);
        moved += plan.actions.iter().filter(|action| matches!(action, Action::Assign(_))).count();
        stopped += plan.actions.iter().filter(|action| matches!(action, Action::Stop { .. })).count();
        waiting += plan.waiting.iter().map(|waiting| waiting.count).sum::<u32>();
        plan.actions.iter().for_each(|action| action.apply(view, &mut cluster));
    }
    println!(
        "{lost} nodes lost with {stopped} instances: {moved} replacements planned and applied in {:.1} ms, \
         {waiting} wait for room",
        began.elapsed().as_secs_f64() * 1e3
    );
}

fn ids() -> impl FnMut() -> InstanceId {
    let mut number = 0_u128;
    move || {
        number += 1;
        let bytes = number.to_be_bytes();
        InstanceId::from_random(bytes[6..].try_into().expect("ten of sixteen"))
    }
}

fn environment(number: usize, spec: ServiceSpec) -> EnvironmentView {
    let mut view = EnvironmentView::new(format!("acme/p{number}/dev").parse().expect("a path"));
    let release = Release {
        environment: view.path.clone(),
        number: ReleaseNumber(1),
        image: ImageRef {
            repository: "acme/p".into(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest"),
        },
        commit: None,
        services: [("web".parse().expect("a name"), spec)].into(),
        release_command: None,
        config: Default::default(),
        origin: Origin::Image,
        by: "ann".parse().expect("a name"),
        created_at: Timestamp(0),
    };
    view.releases.insert(release.number, release);
    view.wanted = Some(Environment {
        path: view.path.clone(),
        deploy_branch: "main".into(),
        config: Default::default(),
        scale: Default::default(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        created_at: Timestamp(0),
        app: None,
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
    });
    let status = view.status_or_new();
    let (live, last_deployment) = (Some(ReleaseNumber(1)), DeploymentNumber(1));
    view.status = Some(EnvironmentStatus { live, last_deployment, ..status });
    view
}
