//! Tenants and their apps, written to the store as the API writes them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use slipway_model::account::Tenant;
use slipway_model::app::{App, PathId};
use slipway_model::name::TenantName;
use slipway_model::project::Environment;
use slipway_model::push::ImageRef;
use slipway_model::service::{HealthCheck, PortSpec, ServiceSpec};
use slipway_model::unit::{Bytes, Cpus, Timestamp};
use slipway_store::{Batch, Store};

type Failure = Box<dyn std::error::Error + Send + Sync>;

pub const TENANTS: usize = 10;
/// Writes under way at once, as from so many clients.
const WRITERS: usize = 256;

/// The tenants that all apps are spread over.
pub async fn write_tenants(store: &Store) -> Result<(), Failure> {
    for number in 0..TENANTS {
        let name = tenant(number)?;
        let (created_by, created_at) = ("ann".parse()?, now());
        let tenant = Tenant { name, index: number as u32, created_at, created_by };
        store.commit(Batch::new().create(&tenant)).await?;
    }
    Ok(())
}

pub async fn write_apps(store: Store, services: usize, instances: u32) -> Result<(), Failure> {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for number in (writer..services).step_by(WRITERS) {
                let app = app(number, instances)?;
                let environment = environment(&app);
                store.commit(Batch::new().create(&app).create(&environment)).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(())
}

fn app(number: usize, instances: u32) -> Result<App, Failure> {
    let version = now();
    let id: PathId = format!("/prod/group-{}/service-{number}", number / 100).parse()?;
    let port = PortSpec {
        name: Some("http".into()),
        container: 8080,
        host: Some(0),
        protocol: Default::default(),
        service: 10_000 + (number % 10_000) as u16,
        labels: BTreeMap::new(),
    };
    let spec = ServiceSpec {
        command: Some("serve --port $PORT0".into()),
        env: [("COLOUR".to_owned(), "blue".to_owned())].into(),
        labels: [("HAPROXY_GROUP".to_owned(), "external".to_owned())].into(),
        instances,
        cpus: Cpus(100),
        mem: Bytes::mebi(64),
        disk: Bytes::mebi(64),
        ports: vec![port],
        health: Some(HealthCheck::tcp()),
        ..ServiceSpec::default()
    };
    let definition = format!(
        r#"{{"id":"{id}","cmd":"serve --port $PORT0","cpus":0.1,"mem":64,"disk":64,"instances":{instances},"container":{{"type":"DOCKER","docker":{{"image":"shop/web:7"}},"portMappings":[{{"containerPort":8080,"hostPort":0,"name":"http"}}]}},"networks":[{{"mode":"container/bridge"}}],"healthChecks":[{{"protocol":"MESOS_TCP","portIndex":0}}],"labels":{{"HAPROXY_GROUP":"external"}},"env":{{"COLOUR":"blue"}}}}"#
    );
    Ok(App {
        tenant: tenant(number % TENANTS)?,
        id,
        version,
        config_version: version,
        scaled_version: version,
        restart_generation: 0,
        definition,
        spec,
        image: ImageRef {
            repository: "shop/web".into(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse()?,
        },
        secrets: BTreeMap::new(),
        config: BTreeMap::new(),
        by: "ann".parse()?,
    })
}

fn environment(app: &App) -> Environment {
    Environment {
        path: app.environment(),
        deploy_branch: "main".into(),
        config: BTreeMap::new(),
        scale: BTreeMap::new(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        app: Some(app.id.clone()),
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
        created_at: app.version,
    }
}

fn tenant(number: usize) -> Result<TenantName, Failure> {
    Ok(format!("tenant-{number}").parse()?)
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
