//! The quorum is lost for good (F15).

use std::time::SystemTime;

use serde_json::json;
use slipway_ensemble::backup::{Backups, Dirs};
use slipway_ensemble::handle::What;
use slipway_ensemble::instance;
use slipway_ensemble::monitor::State;
use slipway_ensemble::recover::{Error, From, Plan};
use tempfile::TempDir;

use super::lab::{Instance, Lab, eventually, pid_of, runs};
use super::{runtime, writer};

const CLUSTER: &str = "test";

async fn plan(lab: &Lab, at: usize, dir: &TempDir, from: From) -> Result<Plan, Error> {
    let (place, shared) = lab.shared();
    Plan::make(lab.options(at, dir.path()), &shared, &place, CLUSTER, from).await
}

async fn carry_out(lab: &Lab, plan: Plan) {
    let (place, shared) = lab.shared();
    plan.carry_out(&shared, &place).await.unwrap();
}

/// Three that serve, with settings at the shared place, and with nodes.
async fn three(lab: &Lab) -> Vec<Instance> {
    let mut all = Vec::new();
    for at in 0..3 {
        all.push(Instance::start(lab, at).await);
    }
    for instance in &all {
        instance.serves().await;
    }
    assert_eq!(all[0].post("config/set", &json!({ "cleanupMaxFiles": 5 }), &[]).await.0, 200);
    write(lab, &[0, 1, 2]);
    all
}

fn write(lab: &Lab, at: &[usize]) {
    let addresses = at.iter().map(|at| format!("{}:{}", lab.hosts[*at], lab.client_port)).collect();
    let writes = writer::Writes::start(addresses);
    writes.some(20);
    writes.end();
}

/// One line of what a server says of itself.
async fn srvr(instance: &Instance, line: &str) -> String {
    let text = instance.json("cluster/4ltr/srvr").await;
    let lines = text.as_str().unwrap().lines().map(str::to_owned);
    lines.into_iter().find_map(|all| all.strip_prefix(line).map(str::to_owned)).unwrap_or_default()
}

#[test]
fn f15_the_last_server_founds_the_ensemble_anew_and_the_others_join_it() {
    runtime().block_on(async {
        let lab = Lab::new(3, json!({}));
        let mut all = three(&lab).await;
        let last = all.pop().unwrap();
        let count = srvr(&last, "Node count: ").await;
        let dir = last.end().await;

        // Its server runs, and so do the others.
        let refused = plan(&lab, 2, &dir, From::Own).await.err().unwrap();
        assert!(matches!(refused, Error::Quorum { running: 3, voters: 3, .. }), "{refused}");
        // One is gone: the other and this one are enough.
        drop(all.pop().unwrap());
        let refused = plan(&lab, 2, &dir, From::Own).await.err().unwrap();
        assert!(matches!(refused, Error::Quorum { running: 2, voters: 3, .. }), "{refused}");

        let other = all.pop().unwrap();
        other.handle.order(What::Stop).await.unwrap();
        let old = other.end().await;
        let made = plan(&lab, 2, &dir, From::Own).await.unwrap();
        let told = made.to_string();
        let given_up = format!("Given up: {}, {}.", lab.hosts[0], lab.hosts[1]);
        assert!(told.contains("its own data, last written at 20") && told.contains(&given_up), "{told}");
        carry_out(&lab, made).await;

        let alone = Instance::start_in(&lab, 2, dir).await;
        alone.serves().await;
        assert_eq!(srvr(&alone, "Node count: ").await, count);
        // Far above all that the others know.
        let zxid = srvr(&alone, "Zxid: 0x").await;
        assert!(u64::from_str_radix(&zxid, 16).unwrap() >> 32 > 1 << 16, "{zxid}");
        write(&lab, &[2]);
        assert_eq!(
            alone.handle.settings().borrow().servers_spec.to_string(),
            format!("S:3:{}", lab.hosts[2])
        );

        // One that was given up comes back with all that it knew: nobody counts on it until it is asked.
        let back = Instance::start_in(&lab, 0, old).await;
        back.reaches(State::Latent).await;
        assert_eq!(pid_of(&back), None);
        let servers = format!("S:3:{},S:4:{}", lab.hosts[2], lab.hosts[0]);
        assert_eq!(alone.post("config/set", &json!({ "serversSpec": servers }), &[]).await.0, 200);
        let is_listed = || back.handle.settings().borrow().server(&lab.hosts[0]).is_some();
        eventually("it is listed", is_listed).await;
        back.handle.order(What::Start).await.unwrap();
        back.serves().await;
        let same = || back.handle.look().borrow().mode.as_deref() == Some("follower");
        eventually("it follows", same).await;
        assert_eq!(srvr(&back, "Node count: ").await, srvr(&alone, "Node count: ").await);
        write(&lab, &[0, 2]);
    });
}

#[test]
fn f15_a_backup_founds_the_ensemble_anew_on_an_empty_machine() {
    runtime().block_on(async {
        let lab = Lab::new(3, json!({}));
        let all = three(&lab).await;
        let count = srvr(&all[1], "Node count: ").await;
        let pid = pid_of(&all[1]).unwrap();
        let dir = all.into_iter().nth(1).unwrap().end().await;
        let data = dir.path().join("data");
        let (place, _) = lab.shared();
        let folder = instance::backups_of(place, &lab.hosts[1], CLUSTER);
        let dirs = Dirs { data: data.clone(), log: data };
        Backups::open(folder, None).await.unwrap().store(&dirs, SystemTime::now()).await.unwrap();
        super::lab::kill(pid);
        eventually("it is gone", || !runs(pid)).await;
        drop(dir);

        let empty = tempfile::tempdir().unwrap();
        let refused = plan(&lab, 0, &empty, From::Own).await.err().unwrap();
        assert!(matches!(refused, Error::NoData(_)), "{refused}");
        let refused = plan(&lab, 0, &empty, From::Backup(lab.hosts[0].clone(), None)).await.err().unwrap();
        assert!(matches!(refused, Error::Backup(_)), "{refused}");
        let made = plan(&lab, 0, &empty, From::Backup(lab.hosts[1].clone(), None)).await.unwrap();
        assert!(made.to_string().contains("Lost: everything written since."), "{made}");
        carry_out(&lab, made).await;

        let anew = Instance::start_in(&lab, 0, empty).await;
        anew.serves().await;
        assert_eq!(srvr(&anew, "Node count: ").await, count);
        write(&lab, &[0]);
    });
}
