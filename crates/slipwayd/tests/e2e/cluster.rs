//! Two servers, one ZooKeeper and a shared directory: what people notice when one of them ends, stands
//! still, or cannot reach the records. No nodes here; nothing that is pushed runs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use slipway_testing::free_port;

use crate::http::{self, Answer};
use crate::person::{PASSWORD, Person};
use crate::server::{Server, built, wait_for};
use crate::{Case, app, cases};

pub mod abdication;
pub mod agents;
pub mod bucket;
mod door;
pub mod ensemble;
mod zookeeper;

use zookeeper::ZooKeeper;

/// Longer than any takeover here takes, on a machine that does other things too.
const TAKEOVER_MAX: Duration = Duration::from_secs(20);
/// What a server says in its log when it is elected, and when its term has ended.
const LEADS: &str = "this server leads leader.epoch";
const LEADS_NO_MORE: &str = "this server leads no more";

pub fn cases() -> Vec<Case> {
    cases![
        another_leads_when_the_leader_is_killed,
        without_zookeeper_reads_answer_and_writes_are_refused,
        a_leader_that_stood_still_stands_by,
        a_push_to_a_server_that_stands_by_is_built,
        a_leader_that_stands_still_keeps_no_build_or_pull_waiting,
        a_server_that_does_not_belong_is_refused_in_words,
    ]
}

/// Both servers run, and the first leads.
struct Cluster {
    folder: PathBuf,
    storage: Storage,
    zookeeper: ZooKeeper,
    one: Server,
    two: Server,
    ports: [u16; 2],
}

impl Cluster {
    fn wait_until_two_leads(&self) {
        wait_for("the second server to lead", TAKEOVER_MAX, || self.two.log().contains(LEADS).then_some(()));
    }

    fn start(name: &str, has_stack: bool) -> Self {
        Self::start_on(name, has_stack, None)
    }

    /// On a storage of one's own, or else a directory.
    fn start_on(name: &str, has_stack: bool, storage: Option<Storage>) -> Self {
        let folder = std::env::temp_dir().join(format!("slipway-cluster-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let storage = storage.unwrap_or_else(|| directory_in(&folder));
        let zookeeper = ZooKeeper::start(folder.join("zookeeper"));
        let one = Server::prepare(&format!("cluster-{name}-one"));
        let two = Server::prepare(&format!("cluster-{name}-two"));
        let cluster = Self { folder, storage, zookeeper, one, two, ports: [free_port(), free_port()] };
        if has_stack {
            cluster.one.import_stack_into(&cluster.storage, &cluster.folder.join("master.key"));
        }
        cluster.run_one();
        wait_for("the first server to lead", TAKEOVER_MAX, || {
            cluster.one.log().contains(LEADS).then_some(())
        });
        cluster.run_two();
        cluster
    }

    fn run_one(&self) {
        self.one.run_as(self.command(&self.one, "one", self.ports[0]));
    }

    fn run_two(&self) {
        self.two.run_as(self.command(&self.two, "two", self.ports[1]));
    }

    /// As an upgrade does it, which replaces the program of all servers before it starts them again.
    fn run_two_from_a_program_that_is_replaced(&self) {
        self.two.stop();
        let programs = ["slipwayd", "slipway-shim"].map(|name| (built(name), self.folder.join(name)));
        for (built, own) in &programs {
            fs::hard_link(built, own).or_else(|_| fs::copy(built, own).map(drop)).unwrap();
        }
        let mut command = Command::new(&programs[0].1);
        command.args(self.command(&self.two, "two", self.ports[1]).get_args());
        self.two.run_as(command);
        fs::remove_file(&programs[0].1).unwrap();
    }

    fn command(&self, server: &Server, name: &str, port: u16) -> Command {
        server_command(server, name, port, self.zookeeper.port, &self.folder, &self.storage)
    }

    /// Somebody who owns the cluster and a tenant of that name, all of it through the second server.
    fn owner(&self) -> Person<'_> {
        let claim = fs::read_to_string(self.one.folder.join("run/claim-token")).unwrap();
        let owner = Person::new(&self.two, "ada");
        owner.slipway_with_input(&["claim", claim.trim(), "--user", "ada"], &format!("{PASSWORD}\n")).ok();
        owner.slipway(&["keys", "add"]).ok();
        owner.slipway(&["tenants", "create", "ada"]).ok();
        owner
    }

    /// Makes a project through a server, as soon as one can.
    fn create(&self, owner: &Person, project: &str) -> Duration {
        let since = Instant::now();
        wait_for(&format!("project {project} to be made"), TAKEOVER_MAX, || {
            let said = owner.slipway(&["projects", "create", &format!("ada/{project}")]);
            // It may have been made when the answer was lost.
            (said.status == 0 || said.text.contains("exists already")).then_some(())
        });
        since.elapsed()
    }
}

/// The option that names the shared storage, and its value.
type Storage = [OsString; 2];

/// A shared directory in that folder.
fn directory_in(folder: &Path) -> Storage {
    let shared = folder.join("shared");
    fs::create_dir_all(&shared).unwrap();
    ["--shared-dir".into(), shared.into()]
}

/// `slipwayd server`, which has the master key in `folder` together with others of its cluster.
fn server_command(
    server: &Server,
    name: &str,
    port: u16,
    zookeeper: u16,
    folder: &Path,
    storage: &Storage,
) -> Command {
    let mut command = Command::new(built("slipwayd"));
    let address = format!("127.0.0.1:{port}");
    command
        .args(["server", "--name", name, "--base-domain", "localhost", "--session", "2s"])
        .args(["--zookeeper", &format!("127.0.0.1:{zookeeper}")])
        .args(["--cluster", &address, "--cluster-address", &address])
        .args(["--api", &format!("127.0.0.1:{}", server.ports.api)])
        .args(["--registry", &format!("127.0.0.1:{}", server.ports.registry)])
        .args(["--ssh", &format!("127.0.0.1:{}", server.ports.ssh)])
        .args(["--subnet", &server.subnet])
        .args(storage)
        .arg("--data-dir")
        .arg(server.folder.join("data"))
        .arg("--run-dir")
        .arg(server.folder.join("run"))
        .arg("--master-key")
        .arg(folder.join("master.key"))
        .stdin(Stdio::null());
    command
}

/// Nothing stays on the machine, however a case ends.
impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("one:\n{}\ntwo:\n{}", self.one.log(), self.two.log());
        }
        self.zookeeper.kill();
        for server in [&self.one, &self.two] {
            server.kill();
            let wiped = server.wipe_quietly();
            if !std::thread::panicking() {
                assert!(wiped, "slipwayd wipe failed");
            }
            server.remove();
        }
        let _ignored = fs::remove_dir_all(&self.folder);
    }
}

/// The same person, at the other server.
fn at<'a>(person: &Person, server: &'a Server) -> Person<'a> {
    let there = Person { server, name: person.name.clone(), home: person.home.clone() };
    there.slipway_with_input(&["login", "--user", &person.name], &format!("{PASSWORD}\n")).ok();
    there
}

/// One request with the person's own token.
fn ask(person: &Person, method: &str, path: &str, body: &str) -> Answer {
    let logins = fs::read_to_string(person.home.join(".config/slipway/logins.json")).unwrap();
    let logins: serde_json::Value = serde_json::from_str(&logins).unwrap();
    let server = format!("http://localhost:{}", person.server.ports.api);
    let token = logins["tokens"][&server].as_str().unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    http::send(person.server.ports.api, &request).unwrap()
}

fn another_leads_when_the_leader_is_killed(_: &Server) {
    let cluster = Cluster::start("kill", false);
    cluster.run_two_from_a_program_that_is_replaced();
    let owner = cluster.owner();
    cluster.create(&owner, "before");
    let is_old = |answer: &Answer| answer.head.contains("slipway-as-of");
    let answer = ask(&owner, "GET", "/v1/tenants", "");
    assert!(answer.status == 200 && !is_old(&answer), "the leader answers through the other: {answer:?}");

    cluster.one.kill();
    let took = cluster.create(&owner, "after");
    println!("writes were back {} ms after kill -9 of the leader", took.as_millis());
    if !cluster.two.log().contains(LEADS) {
        // That nobody knows what runs is not told as if nothing ran.
        for path in ["/v1/nodes", "/v2/apps"] {
            let answer = ask(&owner, "GET", path, "");
            let is_refused = answer.status == 503 && answer.body.contains("none leads");
            assert!(is_refused || cluster.two.log().contains(LEADS), "{answer:?}");
        }
    }
    cluster.wait_until_two_leads();
    assert_eq!(ask(&owner, "GET", "/v1/nodes", "").status, 200);

    cluster.run_one();
    let owner = at(&owner, &cluster.one);
    let projects = owner.slipway(&["projects", "list", "ada"]).ok();
    projects.says("before").says("after");
    assert_eq!(cluster.one.log().matches(LEADS).count(), 1, "it stands by since it was started again");

    // One that is told to end makes room at once.
    cluster.two.stop();
    let took = cluster.create(&owner, "later");
    println!("writes were back {} ms after the leader was stopped in order", took.as_millis());
}

fn without_zookeeper_reads_answer_and_writes_are_refused(_: &Server) {
    let mut cluster = Cluster::start("outage", false);
    let owner = cluster.owner();
    cluster.create(&owner, "shop");
    let owners = [at(&owner, &cluster.one), at(&owner, &cluster.two)].map(|owner| (owner.name, owner.home));

    cluster.zookeeper.kill();
    for server in [&cluster.one, &cluster.two] {
        let [(name, home), _] = owners.clone();
        let owner = Person { server, name, home };
        wait_for("reads to be said to be old", TAKEOVER_MAX, || {
            let answer = ask(&owner, "GET", "/v1/tenants/ada/projects", "");
            let is_old = answer.head.contains("slipway-as-of");
            if is_old {
                assert!(answer.status == 200 && answer.body.contains("shop"), "{answer:?}");
            }
            is_old.then_some(())
        });
        let answer = ask(&owner, "POST", "/v1/tenants", r#"{"name":"other"}"#);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.head.to_lowercase().contains("retry-after"), "{answer:?}");
        owner.slipway(&["projects", "list", "ada"]).ok().says("shop").says("may be old");
        let words = owner.home.join("nowhere");
        fs::create_dir_all(&words).unwrap();
        let url = format!("ssh://git@localhost:{}/ada/shop/dev.git", server.ports.ssh);
        owner.run_in(&words, "git", &["ls-remote", &url], "").refused("no server leads at this moment");
        let registry = http::get(server.ports.registry, "localhost", "/v2/").unwrap();
        assert!(
            registry.status == 503 && registry.head.to_lowercase().contains("retry-after"),
            "{registry:?}"
        );
    }
    assert!(cluster.one.is_running() && cluster.two.is_running());

    cluster.zookeeper.run();
    let [(name, home), _] = owners;
    let owner = Person { server: &cluster.two, name, home };
    cluster.create(&owner, "again");
}

fn a_leader_that_stood_still_stands_by(_: &Server) {
    let cluster = Cluster::start("pause", false);
    let owner = cluster.owner();
    cluster.create(&owner, "before");
    cluster.one.signal(Signal::SIGSTOP);
    let took = cluster.create(&owner, "meanwhile");
    println!("writes were back {} ms after the leader was stopped", took.as_millis());
    // Records are written by whoever can; the other leads once the session is over.
    cluster.wait_until_two_leads();
    cluster.one.signal(Signal::SIGCONT);
    wait_for("the old leader to notice", TAKEOVER_MAX, || {
        cluster.one.log().contains(LEADS_NO_MORE).then_some(())
    });

    let owner = wait_for("the old leader to pass on", TAKEOVER_MAX, || {
        let answer = http::get(cluster.one.ports.api, "localhost", "/v1/health").ok()?;
        (answer.status == 200 && !answer.head.contains("slipway-as-of")).then(|| at(&owner, &cluster.one))
    });
    owner.slipway(&["projects", "list", "ada"]).ok().says("before").says("meanwhile");
    cluster.create(&owner, "after");
    assert_eq!(cluster.one.log().matches(LEADS).count(), 1, "it led once");
    assert_eq!(cluster.two.log().matches(LEADS).count(), 1, "the other leads since");
}

fn a_push_to_a_server_that_stands_by_is_built(_: &Server) {
    let cluster = Cluster::start("push", true);
    let owner = cluster.owner();
    let files = app::web("hello");
    let work = owner.project("shop", &app::files(&files));
    let url = format!("ssh://git@localhost:{}/ada/shop/dev.git", cluster.two.ports.ssh);
    let push = ["push", "-o", "detach", &url, "main"];
    work.git(&push).ok();
    wait_for("the build to succeed", Duration::from_secs(60), || {
        let said = work.slipway(&["builds", "list", "-r", "paas-dev"]).ok();
        assert!(!said.text.contains("failed"), "{}", said.text);
        said.text.contains("succeeded").then_some(())
    });
    // What was pushed and built is the next leader's too.
    cluster.one.kill();
    cluster.wait_until_two_leads();
    wait_for("the log of the build", TAKEOVER_MAX, || {
        let said = work.slipway(&["builds", "logs", "1", "-r", "paas-dev"]);
        (said.status == 0 && !said.text.trim().is_empty()).then_some(())
    });
    // The one that is gone had it in a directory of its own.
    wait_for("a fetch from the new leader", TAKEOVER_MAX, || {
        (work.git(&["fetch", &url, "main"]).status == 0).then_some(())
    });
    assert!(cluster.two.folder.join("data/git/ada/shop.git").exists());
    work.commit(&[("more.txt", "more")], "Second");
    wait_for("a push to the new leader", TAKEOVER_MAX, || (work.git(&push).status == 0).then_some(()));
    wait_for("the second build to succeed", Duration::from_secs(60), || {
        let said = work.slipway(&["builds", "list", "-r", "paas-dev"]).ok();
        (said.text.matches("succeeded").count() == 2).then_some(())
    });
}

fn a_leader_that_stands_still_keeps_no_build_or_pull_waiting(_: &Server) {
    let cluster = Cluster::start("registry", true);
    let owner = cluster.owner();
    let work = owner.project("shop", &app::files(&app::web("hello")));
    let url = format!("ssh://git@localhost:{}/ada/shop/dev.git", cluster.two.ports.ssh);
    let push = ["push", "-o", "detach", &url, "main"];
    let built = |count: usize| {
        wait_for("a build to succeed", Duration::from_secs(60), || {
            let said = work.slipway(&["builds", "list", "-r", "paas-dev"]);
            assert!(!said.text.contains("failed"), "{}", said.text);
            (said.status == 0 && said.text.matches("succeeded").count() == count).then_some(())
        });
    };
    work.git(&push).ok();
    built(1);
    let token = owner.slipway(&["tokens", "create", "registry"]).ok().out.trim().to_owned();
    let image = format!("docker://127.0.0.1:{}/ada/tool:1", cluster.two.ports.registry);
    let copy = |from: &str, to: &str, side: &str| {
        let (tls, creds) = (format!("--{side}-tls-verify=false"), format!("--{side}-creds"));
        let copy = ["copy", &tls, &creds, &format!("ada:{token}"), from, to];
        wait_for("an image to be copied", TAKEOVER_MAX, || {
            (owner.run_in(&owner.home, "skopeo", &copy, "").status == 0).then_some(())
        });
    };
    small_image(&owner.home.join("image"));
    copy("dir:image", &image, "dest");
    // Everything that the other server needs is in the shared storage, and nothing waits for this one.
    cluster.one.signal(Signal::SIGSTOP);
    cluster.wait_until_two_leads();
    let pull = || copy(&image, "dir:pulled", "src");
    pull();
    work.commit(&[("more.txt", "more")], "Second");
    wait_for("a push to the new leader", TAKEOVER_MAX, || (work.git(&push).status == 0).then_some(()));
    built(2);
    // It wakes, and does no harm.
    cluster.one.signal(Signal::SIGCONT);
    wait_for("the old leader to notice", TAKEOVER_MAX, || {
        cluster.one.log().contains(LEADS_NO_MORE).then_some(())
    });
    pull();
    work.commit(&[("more.txt", "even more")], "Third");
    wait_for("a third push", TAKEOVER_MAX, || (work.git(&push).status == 0).then_some(()));
    built(3);
}

/// An image of which no program could run, as skopeo keeps one in a directory.
fn small_image(folder: &Path) {
    const EMPTY: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let part = |kind: &str| {
        let media_type = format!("application/vnd.oci.image.{kind}");
        serde_json::json!({ "mediaType": media_type, "digest": format!("sha256:{EMPTY}"), "size": 2 })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": part("config.v1+json"),
        "layers": [part("layer.v1.tar")],
    });
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    fs::write(folder.join(EMPTY), "{}").unwrap();
}

fn a_server_that_does_not_belong_is_refused_in_words(_: &Server) {
    let mut cluster = Cluster::start("strangers", false);
    cluster.two.stop();
    let refused = |cluster: &Cluster, words: &str| {
        let mut command = cluster.command(&cluster.two, "two", cluster.ports[1]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "not {words:?} but:\n{said}");
    };
    let folder = cluster.folder.clone();
    // Another key, and none where the cluster has one.
    let key = folder.join("master.key");
    fs::rename(&key, folder.join("aside.key")).unwrap();
    refused(&cluster, "copy it from another server");
    assert!(!key.exists(), "no key was made that could open nothing");
    let own = fs::read_to_string(folder.join("aside.key")).unwrap();
    let (label, rest) = own.split_at(own.trim_end().rfind(' ').unwrap() + 1);
    let first = if rest.starts_with('A') { "B" } else { "A" };
    fs::write(&key, format!("{label}{first}{}", &rest[1..])).unwrap();
    fs::set_permissions(&key, fs::metadata(folder.join("aside.key")).unwrap().permissions()).unwrap();
    refused(&cluster, "give --master-key a copy of the key that the other servers have");
    fs::rename(folder.join("aside.key"), &key).unwrap();
    // What somebody else has written there, and a storage of which nobody says whose it is.
    let id = folder.join("shared/cluster/id");
    let claimed = fs::read(&id).unwrap();
    fs::write(&id, "another\n").unwrap();
    refused(&cluster, "cluster/id in");
    fs::write(&id, claimed).unwrap();
    fs::rename(folder.join("shared/storage"), folder.join("aside.storage")).unwrap();
    refused(&cluster, "nothing that says whose they are");
    fs::rename(folder.join("aside.storage"), folder.join("shared/storage")).unwrap();
    // A mount point whose file server is not mounted.
    fs::rename(folder.join("shared"), folder.join("aside.shared")).unwrap();
    fs::create_dir(folder.join("shared")).unwrap();
    refused(&cluster, "is it mounted?");
    fs::remove_dir_all(folder.join("shared")).unwrap();
    fs::rename(folder.join("aside.shared"), folder.join("shared")).unwrap();
    // It could have been put back from a backup; whoever starts next takes it as it is.
    cluster.one.stop();
    let accepted = Command::new(built("slipwayd"))
        .arg("accept-storage")
        .args(&cluster.storage)
        .arg("--master-key")
        .arg(&key)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&accepted.stdout);
    assert!(accepted.status.success() && said.contains("counts from now on"), "{accepted:?}");

    // Without ZooKeeper it waits, and says so to everybody who asks.
    cluster.zookeeper.kill();
    let log = fs::OpenOptions::new().create(true).append(true).open(cluster.two.log_path()).unwrap();
    let mut command = cluster.command(&cluster.two, "two", cluster.ports[1]);
    let mut waiting = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    wait_for("the server to say that it waits", TAKEOVER_MAX, || {
        cluster.two.log().contains("ZooKeeper cannot be reached; trying on").then_some(())
    });
    let answer = http::get(cluster.two.ports.api, "localhost", "/v1/health").unwrap();
    assert!(answer.status == 503 && answer.head.to_lowercase().contains("retry-after"), "{answer:?}");
    cluster.zookeeper.run();
    wait_for("the server to lead", TAKEOVER_MAX, || {
        let answer = http::get(cluster.two.ports.api, "localhost", "/v1/health").ok()?;
        (answer.status == 200 && cluster.two.log().contains(LEADS)).then_some(())
    });
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}
