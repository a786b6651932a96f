//! As whom the server runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::json;
use slipway_ensemble::handle::What;

use super::lab::{Instance, Lab, pid_of};
use super::runtime;

#[test]
fn ex_09_the_server_has_its_own_user_and_no_rights_also_over_data_that_were_roots() {
    runtime().block_on(async {
        let mut lab = Lab::new(1, json!({}));
        let Some(user) = lab.user.take() else {
            return println!("only root can run a server as another");
        };
        let one = Instance::start(&lab, 0).await;
        one.serves().await;
        one.handle.order(What::Stop).await.unwrap();
        let dir = one.end().await;
        let found = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap();
        assert_eq!(found("data/version-2").uid(), 0);
        // Where earlier versions had the list of servers.
        let name = "zoo.cfg.dynamic.100000000";
        std::fs::write(dir.path().join(name), format!("server.1={}:1:2", lab.hosts[0])).unwrap();

        lab.user = Some(user);
        let path = dir.path().to_owned();
        let one = Instance::start_in(&lab, 0, dir).await;
        one.handle.order(What::Start).await.unwrap();
        one.serves().await;
        let found = |name: &str| std::fs::metadata(path.join(name)).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid_of(&one).unwrap())).unwrap();
        let says = |field: &str| -> Vec<String> {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        let uid = found("data").uid();
        assert_ne!(uid, 0);
        assert_eq!(says("Uid:"), vec![uid.to_string(); 4]);
        assert_eq!(says("Groups:"), Vec::<String>::new());
        assert_eq!(says("NoNewPrivs:"), ["1"]);
        for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(says(set), ["0000000000000000"], "{set}");
        }
        for entry in std::fs::read_dir(path.join("data/version-2")).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().uid(), uid);
        }
        // It alone reads what its secrets are in, and writes nothing by which it is looked after.
        for name in ["conf", "conf/zoo.cfg", "data"] {
            assert_eq!((found(name).uid(), found(name).mode() & 0o077), (uid, 0), "{name}");
        }
        for name in ["", "zookeeper.pid", "zookeeper.log", "started-with.json"] {
            assert_eq!((found(name).uid(), found(name).mode() & 0o022), (0, 0), "{name}");
        }
        assert!(!Path::new(&path).join("zoo.cfg").exists());
    });
}
