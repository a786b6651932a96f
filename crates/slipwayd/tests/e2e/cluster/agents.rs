//! A node that runs what is pushed, and a machine that only has a router, both of which joined by a token;
//! what people notice when the leader ends or the agent does. Several nodes on machines of their own are
//! `cargo xtask cluster`'s.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use slipway_testing::free_port;

use super::{Cluster, LEADS, TAKEOVER_MAX, at};
use crate::person::Person;
use crate::server::{Server, built, wait_for};
use crate::{Case, app, cases, http};

pub fn cases() -> Vec<Case> {
    cases![what_is_pushed_runs_on_a_node_and_outlives_leader_and_agent, who_may_not_join_is_told_why]
}

/// A machine of the cluster, as far as one can be on a machine with others.
pub(super) struct Machine {
    folder: PathBuf,
    options: Vec<String>,
    process: Option<Child>,
}

impl Machine {
    pub(super) fn new(name: &str, options: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("slipway-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, options: options.iter().map(|word| (*word).to_owned()).collect(), process: None }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(built("slipwayd"));
        command.arg(verb).arg("--data-dir").arg(self.folder.join("data"));
        command.arg("--run-dir").arg(self.folder.join("run")).stdin(Stdio::null());
        command
    }

    /// Whether it worked, and what it said.
    pub(super) fn join(&self, name: &str, address: &str, token: &str) -> (bool, String) {
        let joined = self.command("join").args(["--name", name, "--token", token, address]).output().unwrap();
        let said =
            String::from_utf8_lossy(&joined.stdout).into_owned() + &String::from_utf8_lossy(&joined.stderr);
        (joined.status.success(), said)
    }

    pub(super) fn run(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = self.command("agent");
        command.args(&self.options).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// Also after a panic: the next cluster on this machine gives its first node the same addresses.
impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
        let wiped = self.command("wipe").arg("--yes").output().unwrap();
        let said = String::from_utf8_lossy(&wiped.stderr);
        assert!(wiped.status.success() || std::thread::panicking(), "{said}");
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.folder.display(), self.log());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(super) fn token(owner: &Person) -> String {
    token_with(owner, &[])
}

pub(super) fn token_with(owner: &Person, options: &[&str]) -> String {
    let said = owner.slipway(&[&["nodes", "token"], options].concat()).ok();
    let word = said.text.split_whitespace().find(|word| word.starts_with("slwj_"));
    word.unwrap_or_else(|| panic!("no token in {}", said.text)).to_owned()
}

fn what_is_pushed_runs_on_a_node_and_outlives_leader_and_agent(_: &Server) {
    let cluster = Cluster::start("agents", true);
    let owner = cluster.owner();
    let address = format!("127.0.0.1:{}", cluster.ports[1]);
    let router_port = free_port();
    let mut node = Machine::new("node", &["--attribute", "rack:r1", "--mesh-port", "4799"]);
    let router = format!("127.0.0.1:{router_port}");
    let mut edge = Machine::new("edge", &["--no-instances", "--router", &router]);
    for (machine, name, options) in [(&mut node, "n1", &[][..]), (&mut edge, "edge", &["--router"])] {
        let (joined, said) = machine.join(name, &address, &token_with(&owner, options));
        assert!(joined && said.contains(&format!("is the node {name} now")), "{said}");
        machine.run();
    }
    wait_for("both to be there", Duration::from_secs(40), || {
        for machine in [&mut node, &mut edge] {
            let ended = machine.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{}", machine.log());
        }
        let said = owner.slipway(&["nodes"]);
        (said.text.contains("n1") && said.text.contains("edge")).then_some(())
    });

    let work = owner.project("shop", &app::files(&app::web("one")));
    let url = format!("ssh://git@localhost:{}/ada/shop/dev.git", cluster.two.ports.ssh);
    work.git(&["push", &url, "main"]).ok().says("Live at");
    let page = || http::get(router_port, &format!("shop-dev-ada.localhost:{router_port}"), "/");
    let answers = || page().is_ok_and(|answer| answer.status == 200 && answer.body.starts_with("one"));
    wait_for("the page", Duration::from_secs(10), || answers().then_some(()));
    let instances = |person: &Person| {
        let said = person.slipway(&["ps", "-e", "ada/shop/dev", "--json"]).ok();
        let state: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let all = state["services"][0]["instances"].as_array().unwrap().clone();
        all.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = instances(&owner);
    assert_eq!(before.len(), 1);
    owner
        .slipway(&["run", "-e", "ada/shop/dev", "--", "echo over $((40 + 2)) nodes"])
        .ok()
        .says("over 42 nodes");
    owner.slipway(&["logs", "-e", "ada/shop/dev"]).ok();

    // The leader is killed, then the agent: nobody who asks for the page notices, and nothing is restarted.
    let (stop, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let prober = scope.spawn(|| {
            let mut failed = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                asked.fetch_add(1, Ordering::SeqCst);
                match page() {
                    Ok(answer) if answer.status == 200 => {}
                    other => failed.push(format!("{other:?}")),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            failed
        });
        cluster.one.kill();
        let since = Instant::now();
        wait_for("the second server to lead", TAKEOVER_MAX, || {
            cluster.two.log().contains(LEADS).then_some(())
        });
        wait_for("the node to be back", TAKEOVER_MAX, || {
            (node.log().matches("connected to the leader").count() >= 2).then_some(())
        });
        println!(
            "the node was at the new leader {} ms after kill -9 of the old",
            since.elapsed().as_millis()
        );
        node.kill();
        node.run();
        wait_for("the agent to be back", TAKEOVER_MAX, || {
            (node.log().matches("connected to the leader").count() >= 3).then_some(())
        });
        let there = at(&owner, &cluster.two);
        wait_for("the leader to know what runs", TAKEOVER_MAX, || {
            let said = there.slipway(&["ps", "-e", "ada/shop/dev"]);
            said.text.contains("web 1/1 healthy").then_some(())
        });
        assert_eq!(instances(&there), before, "the same instance, not another");
        stop.store(true, Ordering::SeqCst);
        let failed = prober.join().unwrap();
        assert!(failed.is_empty(), "of {asked:?} requests failed: {failed:?}");
    });

    // Cut off: it is gone at once, and is told why.
    let there = at(&owner, &cluster.two);
    there.slipway(&["nodes", "revoke", "n1"]).ok();
    wait_for("the node to be refused", TAKEOVER_MAX, || node.log().contains("was revoked").then_some(()));
    drop(work);
}

fn who_may_not_join_is_told_why(_: &Server) {
    let cluster = Cluster::start("joining", false);
    let owner = cluster.owner();
    let address = format!("127.0.0.1:{}", cluster.ports[0]);
    // What an old router would do.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let router = taken.local_addr().unwrap();
    let first = Machine::new("first", &[]);
    let mut second = Machine::new("second", &["--no-instances", "--router", &router.to_string()]);
    let used = token(&owner);
    assert!(first.join("n1", &address, &used).0);
    let refused = |machine: &Machine, name: &str, token: &str, words: &str| {
        let (joined, said) = machine.join(name, &address, token);
        assert!(!joined && said.contains(words), "{said}");
    };
    refused(&second, "n2", &used, "has been used");
    refused(&second, "n2", "slwj_x", "token");
    refused(&second, "n1", &token(&owner), "there is a node n1 already");
    refused(&first, "n3", &token(&owner), "has joined this cluster already");
    let nowhere = format!("127.0.0.1:{}", free_port());
    assert!(!second.join("n2", &nowhere, &token(&owner)).0);
    for port in [cluster.one.ports.api, cluster.one.ports.ssh] {
        let (joined, said) = second.join("n2", &format!("127.0.0.1:{port}"), &token(&owner));
        assert!(!joined && said.contains("is no cluster port"), "{said}");
    }
    let mut in_the_servers_directory = Command::new(built("slipwayd"));
    in_the_servers_directory.args(["join", &address, "--token", &token(&owner), "--run-dir"]);
    in_the_servers_directory
        .arg(second.folder.join("run"))
        .arg("--data-dir")
        .arg(cluster.one.folder.join("data"));
    let said = in_the_servers_directory.output().unwrap();
    let said = (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned());
    assert!(!said.0 && said.1.contains("is that of a slipwayd server"), "{said:?}");
    assert!(second.join("n2", &address, &token(&owner)).0);

    // An agent needs no router, and says that it has none.
    second.run();
    let trouble = |is_there: bool| {
        let listed = owner.slipway(&["nodes", "list"]).ok().text;
        let is_told = listed.contains("n2: its router does not run");
        (listed.contains("connected") && is_told == is_there).then_some(())
    };
    wait_for("the node to say that its router does not run", TAKEOVER_MAX, || trouble(true));
    drop(taken);
    wait_for("the router to run", TAKEOVER_MAX, || TcpStream::connect(router).ok());
    wait_for("the node to say so", TAKEOVER_MAX, || trouble(false));

    // What is gone is shown as it was, and what never ran with what to do.
    owner.slipway(&["nodes", "show", "n1"]).refused("start slipwayd agent there");
    second.kill();
    owner.slipway(&["nodes", "gone", "n2", "--confirm", "n2"]).ok();
    wait_for("the node to be forgotten", TAKEOVER_MAX, || {
        (!owner.slipway(&["nodes", "list"]).ok().text.contains("n2")).then_some(())
    });
    let shown = owner.slipway(&["nodes", "show", "n2"]).ok().text;
    assert!(shown.contains("n2: gone") && shown.contains("given up: ada"), "{shown}");
    owner.slipway(&["nodes", "forget", "n2"]).refused("slipway nodes revoke n2");
    owner.slipway(&["nodes", "revoke", "n2"]).ok();
    owner.slipway(&["nodes", "forget", "n2"]).ok();
    owner.slipway(&["nodes", "show", "n2"]).refused("slipway nodes list");
}
