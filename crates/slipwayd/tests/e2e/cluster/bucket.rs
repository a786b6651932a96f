//! A whole cluster whose servers share a bucket: on a real S3 server, with a node that runs what is pushed.
//! Leaders end, copies are lost, and the bucket is away for a while.

use std::fs;
use std::time::Duration;

use slipway_testing::free_port;

use super::agents::{Machine, token_with};
use super::door::Door;
use super::{Cluster, TAKEOVER_MAX, at};
use crate::person::{Person, Said};
use crate::s3_server::{BUCKET, S3Server};
use crate::server::{Server, wait_for};
use crate::{Case, app, cases, http};

pub fn cases() -> Vec<Case> {
    cases![a_cluster_on_a_bucket_outlives_leaders_copies_and_the_bucket]
}

fn a_cluster_on_a_bucket_outlives_leaders_copies_and_the_bucket(_: &Server) {
    let Some(bucket) = S3Server::start() else { return };
    let door = Door::before(bucket.port);
    let folder = tempfile::tempdir().unwrap();
    let description = folder.path().join("bucket");
    let text = format!(
        "endpoint http://127.0.0.1:{}\nbucket {BUCKET}\nprefix cluster\naccess-key {}\nsecret-key {}\n",
        door.port, bucket.keys.access, bucket.keys.secret
    );
    fs::write(&description, text).unwrap();
    let storage = ["--shared-s3".into(), description.into()];
    let cluster = Cluster::start_on("bucket", true, Some(storage));
    let owner = cluster.owner();
    let router_port = free_port();
    let router = format!("127.0.0.1:{router_port}");
    let mut node = Machine::new("bucket-node", &["--mesh-port", "4799", "--router", &router]);
    let address = format!("127.0.0.1:{}", cluster.ports[1]);
    let (joined, said) = node.join("n1", &address, &token_with(&owner, &["--router"]));
    assert!(joined, "{said}");
    node.run();

    let work = owner.project("shop", &app::files(&app::web("first")));
    let push_to = |server: &Server| {
        let url = format!("ssh://git@localhost:{}/ada/shop/dev.git", server.ports.ssh);
        work.git(&["push", &url, "main"])
    };
    let page = |begins: &str| {
        let answer = http::get(router_port, &format!("shop-dev-ada.localhost:{router_port}"), "/");
        answer.is_ok_and(|answer| answer.status == 200 && answer.body.starts_with(begins)).then_some(())
    };
    let in_time = |what: &str, ask: &dyn Fn() -> Said| {
        wait_for(what, TAKEOVER_MAX, || Some(ask()).filter(|said| said.status == 0))
    };
    let commit = |text: &str| work.commit(&app::files(&app::web(text)), text);
    let healthy = |person: &Person, copies: usize| {
        wait_for("the copies to be healthy", TAKEOVER_MAX, || {
            let said = person.slipway(&["ps", "-e", "ada/shop/dev"]);
            said.text.contains(&format!("web {copies}/{copies} healthy")).then_some(())
        });
    };
    push_to(&cluster.two).ok().says("Live at");
    wait_for("the first page", TAKEOVER_MAX, || page("first"));

    // The other server has none of it in its own directory.
    cluster.one.kill();
    cluster.wait_until_two_leads();
    commit("second");
    in_time("a push to the new leader", &|| push_to(&cluster.two)).says("Live at");
    wait_for("the second page", TAKEOVER_MAX, || page("second"));
    let log =
        in_time("the log of the first build", &|| work.slipway(&["builds", "logs", "1", "-r", "paas-dev"]));
    log.says("Procfile app detected");
    in_time("a roll back", &|| owner.slipway(&["rollback", "v1", "-e", "ada/shop/dev"]));
    wait_for("the first page again", TAKEOVER_MAX, || page("first"));
    in_time("a scale", &|| owner.slipway(&["scale", "web=2", "-e", "ada/shop/dev"]));
    healthy(&owner, 2);

    // And the first comes back with an empty directory, and leads.
    assert!(cluster.one.wipe_quietly());
    cluster.run_one();
    let there = at(&owner, &cluster.one);
    in_time("to hand over", &|| there.slipway(&["nodes", "hand-over"])).says("one leads now");
    healthy(&there, 2);
    let releases = there.slipway(&["releases", "-e", "ada/shop/dev", "--json"]).ok();
    let releases: serde_json::Value = serde_json::from_str(&releases.out).unwrap();
    let image = releases["items"][0]["image"].as_str().unwrap();
    let token = owner.slipway(&["tokens", "create", "registry"]).ok().out.trim().to_owned();
    let from = format!("docker://127.0.0.1:{}/{image}", cluster.two.ports.registry);
    let pull =
        ["copy", "--src-tls-verify=false", "--src-creds", &format!("ada:{token}"), &from, "dir:pulled"];
    in_time("an image", &|| owner.run_in(&owner.home, "skopeo", &pull, ""));
    in_time("the log of the second build", &|| work.slipway(&["builds", "logs", "2", "-r", "paas-dev"]));

    // Away: what runs goes on and can be changed, whoever pushes is told, and who leads may change.
    door.shut();
    commit("third");
    push_to(&cluster.two).refused("storage of the repositories cannot be reached");
    page("first").unwrap();
    there.slipway(&["scale", "web=3", "-e", "ada/shop/dev"]).ok();
    healthy(&there, 3);
    cluster.one.kill();
    wait_for("the second server to lead again", TAKEOVER_MAX, || {
        (cluster.two.log().matches(super::LEADS).count() == 2).then_some(())
    });
    in_time("to scale meanwhile", &|| owner.slipway(&["scale", "web=2", "-e", "ada/shop/dev"]));
    healthy(&owner, 2);
    page("first").unwrap();
    let said = push_to(&cluster.two);
    println!("a push to a new leader without a bucket: {}", said.text);
    assert!(said.status != 0);

    // Back: nothing has to be started again.
    door.open();
    wait_for("a push to get through", Duration::from_secs(60), || {
        (push_to(&cluster.two).status == 0).then_some(())
    });
    wait_for("the third page", TAKEOVER_MAX, || page("third"));
    healthy(&owner, 2);
}
