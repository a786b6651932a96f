//! How long one look at every environment takes when nothing has changed, and how long placing takes.
//! Run by `cargo run -p slipway-plan --example reconcile`; prints figures, one a line.

use std::time::Instant;

use slipway_model::deployment::{Deployment, DeploymentState};
use slipway_model::id::{DeploymentNumber, InstanceId, ReleaseNumber};
use slipway_model::instance::{Assignment, Goal, InstanceReport, InstanceRole, InstanceState, Node};
use slipway_model::project::{Environment, EnvironmentStatus};
use slipway_model::push::ImageRef;
use slipway_model::release::{Origin, Release};
use slipway_model::service::ServiceSpec;
use slipway_model::unit::{Bytes, Cpus, Timestamp};
use slipway_plan::cluster::{Cluster, Contact, Resources};
use slipway_plan::environment::plan;
use slipway_plan::placement::{Ask, Need, Room};
use slipway_plan::policy::Policy;
use slipway_plan::view::{EnvironmentView, Traffic};

const ENVIRONMENTS: u32 = 10_000;
const INSTANCES: u8 = 2;
const NODES: u32 = 100;
/// The machine may do something else meanwhile.
const LOOKS: usize = 11;

fn main() {
    let mut cluster = cluster();
    let views: Vec<_> = (0..ENVIRONMENTS).map(environment).collect();
    let (policy, now) = (Policy::default(), Timestamp(1000));
    let mut ids = || InstanceId::from_random([0; 10]);

    let mut times = Vec::new();
    for _ in 0..LOOKS {
        let began = Instant::now();
        let actions: usize =
            views.iter().map(|view| plan(view, &mut cluster, &policy, now, &mut ids).actions.len()).sum();
        times.push(began.elapsed());
        assert_eq!(actions, 0, "nothing has changed");
    }
    times.sort();
    let (best, median) = (times[0].as_secs_f64() * 1e3, times[LOOKS / 2].as_secs_f64() * 1e3);
    println!("reconcile {ENVIRONMENTS} services, nothing changed: {median:.1} ms ({best:.1} ms at best)");

    let need = Need::from(Resources { cpus: Cpus(10), mem: Bytes::mebi(1), disk: Bytes(0), gpus: 0 });
    let count = 10_000;
    let path = &views[0].path;
    let ask = Ask { instances: count, ..Ask::of(None, &need, &[]) };
    let mut room = Room::of(&mut cluster, path);
    let began = Instant::now();
    let placed = room.place(&ask, count).places.len();
    let per_second = placed as f64 / began.elapsed().as_secs_f64();
    println!("place {placed} instances on {NODES} nodes: {per_second:.0} a second");
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    for number in 0..NODES {
        let node = Node {
            name: format!("n{number}").parse().expect("a name"),
            cpus: Cpus(1_000_000),
            mem: Bytes::gibi(1000),
            disk: Bytes::gibi(10_000),
            attributes: Default::default(),
            joined_at: Timestamp(0),
            gpus: 0,
            ports: (1, 0),
            address: None,
            trouble: None,
        };
        cluster.put(node, Contact::Reachable);
    }
    cluster
}

fn environment(number: u32) -> EnvironmentView {
    let mut view = EnvironmentView::new(format!("acme/p{number}/dev").parse().expect("a path"));
    let service = "web".parse().expect("a name");
    let spec = ServiceSpec { instances: INSTANCES.into(), listens: true, ..ServiceSpec::default() };
    let release = Release {
        environment: view.path.clone(),
        number: ReleaseNumber(1),
        image: ImageRef {
            repository: "acme/p".into(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest"),
        },
        commit: None,
        services: [(service, spec)].into(),
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
    let deployment = Deployment {
        environment: view.path.clone(),
        number: last_deployment,
        from: None,
        to: ReleaseNumber(1),
        request: None,
        by: "ann".parse().expect("a name"),
        created_at: Timestamp(0),
        resume_generation: 0,
        state: DeploymentState::Live { at: Timestamp(0) },
        events: Vec::new(),
    };
    view.deployments.insert(last_deployment, deployment);
    view.status = Some(EnvironmentStatus { live, last_deployment, ..status });
    for copy in 0..INSTANCES {
        let instance = InstanceId::from_random([copy + 1; 10]);
        let state = InstanceState::Healthy;
        let report = InstanceReport {
            instance: instance.clone(),
            state,
            address: None,
            at: Timestamp(0),
            ready: None,
            checks: Vec::new(),
            started_at: None,
        };
        view.reports.insert(instance.clone(), report);
        view.traffic.insert(instance.clone(), Traffic::In);
        view.assignments.push(Assignment {
            instance,
            role: InstanceRole::Service { service: "web".parse().expect("a name") },
            release: ReleaseNumber(1),
            restart_generation: 0,
            node: format!("n{}", number % NODES).parse().expect("a name"),
            goal: Goal::Run,
            created_at: Timestamp(0),
            ports: Vec::new(),
            volumes: Vec::new(),
        });
    }
    view
}
