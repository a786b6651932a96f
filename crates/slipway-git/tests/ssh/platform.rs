//! Stands in for builder and leader: obeys pushes as the records' contract says, and by what the
//! commit's subject asks for.

use std::collections::HashMap;
use std::time::Duration;

use slipway_model::deployment::{Deployment, DeploymentEvent, DeploymentState};
use slipway_model::id::{BuildNumber, CommitId, DeploymentNumber, ReleaseNumber};
use slipway_model::name::EnvironmentPath;
use slipway_model::project::EnvironmentStatus;
use slipway_model::push::{Build, BuildState, BuiltImage, ImageRef, Push};
use slipway_model::release::{Origin, Release};
use slipway_model::unit::Timestamp;
use slipway_store::journal::{self, Journal};
use slipway_store::{Batch, Store, WatchEvent};

/// Builds and deploys until it is ended.
pub async fn run(store: Store, journal: Journal) {
    let mut pushes = store.watch::<Push>("");
    let mut lanes: HashMap<EnvironmentPath, tokio::sync::mpsc::UnboundedSender<Push>> = HashMap::new();
    loop {
        let new = match pushes.next().await {
            WatchEvent::Whole(all) => all.into_iter().map(|push| push.record).collect(),
            WatchEvent::Put(push) => vec![push.record],
            _ => Vec::new(),
        };
        for push in new {
            let lane = lanes.entry(push.environment.clone()).or_insert_with(|| {
                let (sender, mut queue) = tokio::sync::mpsc::unbounded_channel::<Push>();
                let (store, journal) = (store.clone(), journal.clone());
                tokio::spawn(async move {
                    while let Some(push) = queue.recv().await {
                        build(&store, &journal, &push).await;
                    }
                });
                sender
            });
            let _ = lane.send(push);
        }
    }
}

async fn build(store: &Store, journal: &Journal, push: &Push) {
    let key = (push.environment.clone(), push.number);
    let known = store.get::<Build>(&key).await.unwrap();
    if known.is_some_and(|build| build.record.state.is_final()) {
        return finish(store, push).await;
    }
    let mut record = Build {
        environment: push.environment.clone(),
        number: push.number,
        state: BuildState::Running,
        attempt: 1,
        started_at: Timestamp(1),
        ended_at: None,
    };
    store.commit(Batch::new().put(&record)).await.unwrap();
    let says = |word: &str| push.subject.contains(word);
    let path = Build::log_path(&push.environment, push.number);
    // As the builder does: it was killed after the log's end and before the record's.
    let mut log = match journal.writer(path.as_ref()) {
        Err(journal::Error::Finished(_)) => {
            journal.remove(path.as_ref()).await.unwrap();
            journal.writer(path.as_ref()).unwrap()
        }
        opened => opened.unwrap(),
    };
    log.append(b"-----> Python app detected\n").unwrap();
    if says("slow") {
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    log.append(format!("       installing for {}\n\u{1b}[2Jhidden\n", push.commit.short()).as_bytes())
        .unwrap();
    log.finish().unwrap();
    record.state = if says("unbuildable") {
        BuildState::Failed {
            reason: "no builder fits: there is neither requirements.txt nor Procfile".into(),
        }
    } else {
        BuildState::Succeeded { image: image() }
    };
    store.commit(Batch::new().put(&record)).await.unwrap();
    finish(store, push).await;
}

/// What the leader does with a build that has ended.
async fn finish(store: &Store, push: &Push) {
    let status = store.get::<EnvironmentStatus>(&push.environment).await.unwrap();
    let mut status = status.map_or_else(|| new_status(&push.environment), |status| status.record);
    if status.last_build_seen >= push.number {
        return;
    }
    status.last_build_seen = push.number;
    let build = store.get::<Build>(&(push.environment.clone(), push.number)).await.unwrap().unwrap().record;
    if !matches!(build.state, BuildState::Succeeded { .. }) {
        return store.commit(Batch::new().put(&status)).await.unwrap();
    }
    let origin = Origin::Build { number: push.number };
    release(store, status, Some(push.commit.clone()), origin, push.subject.contains("crashing")).await;
}

/// Makes a release and its deployment, and lets it become live or not.
async fn release(
    store: &Store,
    mut status: EnvironmentStatus,
    commit: Option<CommitId>,
    origin: Origin,
    crashes: bool,
) {
    let by = "ada".parse().unwrap();
    status.last_release = status.last_release.next();
    status.last_deployment = status.last_deployment.next();
    let release = Release {
        environment: status.path.clone(),
        number: status.last_release,
        image: image().image,
        commit,
        services: Default::default(),
        release_command: None,
        config: Default::default(),
        origin,
        by,
        created_at: Timestamp(1),
    };
    let mut deployment = Deployment {
        environment: status.path.clone(),
        number: status.last_deployment,
        from: status.live,
        to: release.number,
        request: None,
        by: release.by.clone(),
        created_at: Timestamp(1),
        resume_generation: 0,
        state: DeploymentState::Rollout { deadline: Timestamp(u64::MAX) },
        events: vec![DeploymentEvent { at: Timestamp(1), text: format!("Starting {}", release.number) }],
    };
    store.commit(Batch::new().create(&release).create(&deployment).put(&status)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    deployment.state = if crashes {
        let tail = vec!["KeyError: 'DATABASE_URL'".into()];
        DeploymentState::Failed { reason: "web ended with status 1".into(), tail, at: Timestamp(2) }
    } else {
        status.live = Some(release.number);
        deployment.events.push(DeploymentEvent {
            at: Timestamp(2),
            text: "Live at http://shop-dev-acme.localhost".into(),
        });
        DeploymentState::Live { at: Timestamp(2) }
    };
    store.commit(Batch::new().put(&deployment).put(&status)).await.unwrap();
}

/// Makes a release of that commit live, as a rollback or promotion does.
pub async fn make_live(store: &Store, environment: &EnvironmentPath, commit: &CommitId, origin: Origin) {
    let status = store.get::<EnvironmentStatus>(environment).await.unwrap();
    let status = status.map_or_else(|| new_status(environment), |status| status.record);
    release(store, status, Some(commit.clone()), origin, false).await;
}

fn new_status(environment: &EnvironmentPath) -> EnvironmentStatus {
    EnvironmentStatus {
        path: environment.clone(),
        live: None,
        last_release: ReleaseNumber(0),
        last_deployment: DeploymentNumber(0),
        last_build_seen: BuildNumber(0),
        restart_generation: 0,
        config_generation: 0,
        app: None,
        scheduled: Default::default(),
    }
}

fn image() -> BuiltImage {
    let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    BuiltImage {
        image: ImageRef { repository: "acme/shop".into(), digest },
        builder: "python".into(),
        services: Default::default(),
        release_command: None,
        domains: Vec::new(),
    }
}
