//! The main job: push, answer, push again, promote, scale, roll back.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::app::{files, web};
use crate::person::Person;
use crate::server::{Server, wait_for};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        a_push_ends_when_the_program_answers,
        a_second_push_fails_no_request,
        a_release_is_promoted_without_a_build,
        scaling_restarts_nothing,
        a_rollback_moves_the_branch_too,
        config_makes_a_release_and_secrets_stay_secret,
        a_dropped_connection_does_not_stop_the_build,
        two_pushes_queue,
        a_build_can_be_cancelled,
        another_branch_does_not_deploy,
        a_shallow_clone_can_push,
        a_one_off_command_has_the_environment,
        logs_outlive_the_instance,
        an_image_from_outside_runs,
        static_files_are_served,
        an_operator_uploads_a_key_over_ssh,
    ]
}

fn a_push_ends_when_the_program_answers(server: &Server) {
    let person = Person::with_tenant(server, "push-first");
    let work = person.project("shop", &files(&web("one")));
    let said = work.push().ok();
    let said = said.says("-----> ").says("Live at http://shop-dev-push-first.localhost");
    assert!(said.text.contains("remote:"), "{}", said.text);
    assert!(work.page("dev").starts_with("one"));
    assert_eq!(work.remote_head("dev"), Some(work.head()));
    work.slipway(&["ps", "-e", "dev"]).ok().says("web 1/1 healthy");
    let state: serde_json::Value =
        serde_json::from_str(&work.slipway(&["ps", "-e", "dev", "--json"]).ok().out).unwrap();
    assert_eq!(state["live"], 1);
    // The same commit again has nothing to do.
    work.push().ok().says("Everything up-to-date");
}

fn a_second_push_fails_no_request(server: &Server) {
    let person = Person::with_tenant(server, "push-again");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let stop = AtomicBool::new(false);
    let asked = AtomicU32::new(0);
    let label = work.label("dev");
    std::thread::scope(|scope| {
        let prober = scope.spawn(|| {
            let mut failed = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                asked.fetch_add(1, Ordering::SeqCst);
                match server.get(&label) {
                    Ok(answer) if answer.status == 200 => {}
                    other => failed.push(format!("{other:?}")),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            failed
        });
        work.commit(&files(&web("two")), "Second");
        work.push().ok();
        assert!(work.page("dev").starts_with("two"));
        work.slipway(&["restart", "-e", "dev"]).ok();
        wait_for("enough requests to say something", Duration::from_secs(20), || {
            (asked.load(Ordering::SeqCst) > 50).then_some(())
        });
        stop.store(true, Ordering::SeqCst);
        let failed = prober.join().unwrap();
        assert!(failed.is_empty(), "of {asked:?} requests failed: {failed:?}");
    });
    assert!(asked.into_inner() > 50);
}

fn a_release_is_promoted_without_a_build(server: &Server) {
    let person = Person::with_tenant(server, "promoter");
    let work = person.project("shop", &files(&web("one")));
    work.slipway(&["promote", "dev", "-e", "prod"]).refused("dev");
    work.push().ok();
    work.slipway(&["promote", "dev", "-e", "prod"]).ok();
    assert!(work.page("prod").starts_with("one"));
    work.slipway(&["releases", "-e", "prod"]).ok().says("v1 of dev");
    work.slipway(&["builds", "list", "-e", "prod", "--json"]).ok().says("\"items\": []");
    wait_for("the branch to name what runs", Duration::from_secs(5), || {
        (work.remote_head("prod") == Some(work.head())).then_some(())
    });
}

fn scaling_restarts_nothing(server: &Server) {
    let person = Person::with_tenant(server, "scaler");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let before = instances(&work.slipway(&["ps", "-e", "dev", "--json"]).ok().out);
    work.slipway(&["scale", "web=3", "-e", "dev"]).ok().says("web 3/3");
    let after = instances(&work.slipway(&["ps", "-e", "dev", "--json"]).ok().out);
    assert!(after.len() == 3 && after.contains(&before[0]), "{before:?} {after:?}");
    let mut seen = std::collections::BTreeSet::new();
    wait_for("all three to answer", Duration::from_secs(10), || {
        seen.insert(work.page("dev"));
        (seen.len() == 3).then_some(())
    });
    work.slipway(&["scale", "web=0", "-e", "dev"]).ok();
    let answer = server.get(&work.label("dev")).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.body);
    work.slipway(&["scale", "web=1", "-e", "dev"]).ok();
    work.page("dev");
    work.slipway(&["scale", "nothing=1", "-e", "dev"]).refused("nothing");
}

fn instances(json: &str) -> Vec<String> {
    let state: serde_json::Value = serde_json::from_str(json).unwrap();
    let of_web = state["services"][0]["instances"].as_array().unwrap();
    of_web.iter().map(|i| i["id"].as_str().unwrap().to_owned()).collect()
}

fn a_rollback_moves_the_branch_too(server: &Server) {
    let person = Person::with_tenant(server, "roller");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let first = work.head();
    work.commit(&files(&web("two")), "Second");
    work.push().ok();
    assert!(work.page("dev").starts_with("two"));
    work.slipway(&["rollback", "v1", "-e", "dev"]).ok();
    assert!(work.page("dev").starts_with("one"));
    work.slipway(&["releases", "-e", "dev"]).ok().says("rollback to v1");
    wait_for("the branch to follow", Duration::from_secs(5), || {
        (work.remote_head("dev") == Some(first.clone())).then_some(())
    });
    work.slipway(&["rollback", "v99", "-e", "dev"]).refused("v99");
    // The newer commit can be pushed again from there.
    work.push().ok();
    assert!(work.page("dev").starts_with("two"));
}

fn config_makes_a_release_and_secrets_stay_secret(server: &Server) {
    let person = Person::with_tenant(server, "config-er");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    work.slipway(&["config", "set", "GREETING=hi", "-e", "dev"]).ok();
    assert!(work.page("dev").starts_with("one hi"), "{}", work.page("dev"));
    let secret = "very-secret-value-4711";
    let words = ["secrets", "set", "API_KEY", "-e", "dev"];
    person.run_in(&work.path, &crate::server::built("slipway").to_string_lossy(), &words, secret).ok();
    let shown = work.slipway(&["config", "list", "-e", "dev"]).ok().says("(secret)");
    assert!(!shown.text.contains(secret));
    work.slipway(&["config", "get", "API_KEY", "-e", "dev"]).refused("secret");
    let run = work.slipway(&["run", "-T", "-e", "dev", "--", "printenv", "API_KEY"]).ok();
    assert_eq!(run.out.trim(), secret);
    assert!(!server.log().contains(secret), "the server's log has the secret");
    let found = std::process::Command::new("grep")
        .args(["-rl", "--binary-files=text", secret])
        .arg(server.folder.join("data/store"))
        .arg(server.folder.join("data/builds"))
        .arg(server.folder.join("data/registry"))
        .output()
        .unwrap();
    assert!(found.stdout.is_empty(), "found in {}", String::from_utf8_lossy(&found.stdout));
    work.slipway(&["config", "set", "not a key=1", "-e", "dev"]).refused("config key");
    work.slipway(&["config", "set", "API_KEY=plain", "-e", "dev"]).refused("is a secret");
    work.slipway(&["config", "set", "PORT=1", "-e", "dev"]).refused("set by the platform");
}

/// A build that takes as long as the test wants: a buildpack in the repository that waits.
fn slow_pack(seconds: u32) -> Vec<(&'static str, String)> {
    let mut all = web("slow");
    all.push((".buildpacks", "./pack\n".to_owned()));
    all.push(("pack/bin/detect", "#!/bin/sh\necho Slow\n".to_owned()));
    all.push((
        "pack/bin/compile",
        format!(
            "#!/bin/sh\nfor i in $(seq {seconds}); do echo waiting $i; sleep 1; done\necho built slowly\n"
        ),
    ));
    all
}

fn slow_project<'p, 's>(person: &'p Person<'s>, seconds: u32) -> crate::person::Work<'p, 's> {
    let work = person.project("shop", &[]);
    for (name, text) in slow_pack(seconds) {
        work.write(name, &text);
        if name.starts_with("pack/bin") {
            std::process::Command::new("chmod").arg("755").arg(work.path.join(name)).status().unwrap();
        }
    }
    work.commit(&[], "Slow");
    work
}

/// Until the newest build runs.
fn wait_for_build(work: &crate::person::Work) {
    wait_for("the build to run", Duration::from_secs(30), || {
        work.slipway(&["builds", "list", "-e", "dev"]).text.contains("running").then_some(())
    });
}

fn a_dropped_connection_does_not_stop_the_build(server: &Server) {
    let person = Person::with_tenant(server, "dropper");
    let work = slow_project(&person, 4);
    let mut push = person
        .command(&work.path, "git", &["push", "paas-dev", "main"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_build(&work);
    push.kill().unwrap();
    push.wait().unwrap();
    work.slipway(&["builds", "logs", "-f", "-e", "dev"]).ok().says("built slowly");
    wait_for("the release to be live", Duration::from_secs(30), || {
        server.get(&work.label("dev")).is_ok_and(|answer| answer.status == 200).then_some(())
    });
    wait_for("the branch to say so", Duration::from_secs(5), || {
        (work.remote_head("dev") == Some(work.head())).then_some(())
    });
}

fn two_pushes_queue(server: &Server) {
    let person = Person::with_tenant(server, "queuer");
    let work = slow_project(&person, 4);
    let first = work.begin_push();
    wait_for_build(&work);
    work.commit(&files(&web("second")), "Second");
    work.push().ok().says("ahead");
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(work.page("dev").starts_with("second"));
}

fn a_build_can_be_cancelled(server: &Server) {
    let person = Person::with_tenant(server, "canceller");
    let work = slow_project(&person, 60);
    let push = work.begin_push();
    wait_for_build(&work);
    work.slipway(&["builds", "cancel", "1", "-e", "dev"]).ok();
    let push = push.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&push.stderr);
    assert!(!push.status.success() && text.contains("cancelled"), "{text}");
    assert_eq!(work.remote_head("dev"), None, "nothing runs, so there is no branch");
    work.slipway(&["builds", "cancel", "9", "-e", "dev"]).refused("9");
}

fn another_branch_does_not_deploy(server: &Server) {
    let person = Person::with_tenant(server, "brancher");
    let work = person.project("shop", &files(&web("one")));
    work.git(&["push", "paas-dev", "main:topic"]).ok().says("main");
    work.slipway(&["builds", "list", "-e", "dev", "--json"]).ok().says("\"items\": []");
    work.push().ok();
    work.git(&["push", "paas-dev", "--delete", "main"]).refused("main");
    work.git(&["tag", "v1.0"]).ok();
    work.git(&["push", "paas-dev", "v1.0"]);
    work.page("dev");
}

fn a_shallow_clone_can_push(server: &Server) {
    let person = Person::with_tenant(server, "shallow");
    let work = person.project("shop", &files(&web("one")));
    work.commit(&files(&web("two")), "Second");
    let source = format!("file://{}", work.path.display());
    person.run_in(&person.home, "git", &["clone", "--quiet", "--depth=1", &source, "thin"], "").ok();
    let remote = work.git(&["remote", "get-url", "paas-dev"]).ok().out;
    let thin = person.home.join("thin");
    person.run_in(&thin, "git", &["push", remote.trim(), "main"], "").ok();
    assert!(work.page("dev").starts_with("two"));
    assert_eq!(work.remote_head("dev"), Some(work.head()));
}

fn a_one_off_command_has_the_environment(server: &Server) {
    let person = Person::with_tenant(server, "runner");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let said =
        work.slipway(&["run", "-T", "-e", "dev", "--", "sh", "-c", "pwd; id -u; echo $SLIPWAY_RELEASE"]).ok();
    assert_eq!(said.out.split_whitespace().take(2).collect::<Vec<_>>(), ["/app", "1000"]);
    let said = work.slipway(&["run", "-T", "-e", "dev", "--", "exit 7"]);
    assert_eq!(said.status, 7, "{}", said.text);
    // Whoever leaves takes the command along.
    let mut left = person
        .command(
            &work.path,
            &crate::server::built("slipway").to_string_lossy(),
            &["run", "-T", "-e", "dev", "--", "sleep 4711"],
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sleeps = || {
        let found = std::process::Command::new("pgrep").args(["-f", "^sleep 4711"]).output().unwrap();
        !found.stdout.is_empty()
    };
    wait_for("the command to run", Duration::from_secs(20), || sleeps().then_some(()));
    left.kill().unwrap();
    left.wait().unwrap();
    wait_for("the command to end", Duration::from_secs(30), || (!sleeps()).then_some(()));
    let words = ["run", "-T", "-e", "dev", "--", "cat"];
    let said =
        person.run_in(&work.path, &crate::server::built("slipway").to_string_lossy(), &words, "typed in\n");
    assert_eq!(said.ok().out, "typed in\n");
}

fn logs_outlive_the_instance(server: &Server) {
    let person = Person::with_tenant(server, "logger");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    server.get_path(&work.label("dev"), "/remember-me").unwrap();
    wait_for("the log line", Duration::from_secs(5), || {
        work.slipway(&["logs", "-e", "dev"]).ok().text.contains("/remember-me").then_some(())
    });
    work.commit(&files(&web("two")), "Second");
    work.push().ok();
    work.slipway(&["logs", "-n", "500", "-e", "dev"]).ok().says("/remember-me");
    let one = work.slipway(&["logs", "-n", "1", "-e", "dev", "--json"]).ok();
    let line: serde_json::Value = serde_json::from_str(one.out.lines().next().unwrap()).unwrap();
    assert_eq!(line["source"], "web");
}

fn an_image_from_outside_runs(server: &Server) {
    let person = Person::with_tenant(server, "imager");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let token = person.slipway(&["tokens", "create", "registry"]).ok().out.trim().to_owned();
    let credentials = format!("imager:{token}");
    let registry = format!("docker://127.0.0.1:{}", server.ports.registry);
    let releases: serde_json::Value =
        serde_json::from_str(&work.slipway(&["releases", "-e", "dev", "--json"]).ok().out).unwrap();
    let built = releases["items"][0]["image"].as_str().unwrap().to_owned();
    let local = format!("dir:{}", person.home.join("image").display());
    // Out with skopeo, in under another name, and run.
    let out = [
        "copy",
        "--src-tls-verify=false",
        "--src-creds",
        &credentials,
        &format!("{registry}/{built}"),
        &local,
    ];
    person.run_in(&person.home, "skopeo", &out, "").ok();
    let into = format!("{registry}/imager/tool:1.0");
    let back = ["copy", "--dest-tls-verify=false", "--dest-creds", &credentials, &local, &into];
    person.run_in(&person.home, "skopeo", &back, "").ok();
    work.slipway(&["deploy", "imager/tool:1.0", "--command", "python3 -u web.py", "-e", "prod"]).ok();
    assert!(work.page("prod").starts_with("one"));
    work.slipway(&["deploy", "imager/absent:1.0", "-e", "prod"]).refused("absent");
    work.slipway(&["deploy", "push-first/shop:1", "-e", "prod"]).refused("");
    let wrong = [
        "copy",
        "--src-tls-verify=false",
        "--src-creds",
        "imager:wrong",
        &format!("{registry}/{built}"),
        &local,
    ];
    person.run_in(&person.home, "skopeo", &wrong, "").refused("");
}

fn static_files_are_served(server: &Server) {
    let person = Person::with_tenant(server, "static-one");
    let work =
        person.project("site", &[("index.html", "<h1>plain</h1>\n"), ("style.css", "h1 { color: red }\n")]);
    work.push().ok().says("tatic");
    assert!(work.page("dev").contains("plain"));
    let css = server.get_path(&work.label("dev"), "/style.css").unwrap();
    assert!(css.status == 200 && css.body.contains("red"), "{css:?}");
}

fn an_operator_uploads_a_key_over_ssh(server: &Server) {
    let newcomer = Person::new(server, "key-only");
    let key = std::fs::read_to_string(newcomer.home.join(".ssh/id_ed25519.pub")).unwrap();
    // What `cat key.pub | ssh host slipwayd upload-key key-only` runs on the machine.
    let data = server.folder.join("data");
    let run = server.folder.join("run");
    let words = [
        "upload-key",
        "key-only",
        "--data-dir",
        &data.to_string_lossy(),
        "--run-dir",
        &run.to_string_lossy(),
    ];
    let program = crate::server::built("slipwayd");
    newcomer.run_in(&newcomer.home, &program.to_string_lossy(), &words, &key).ok().says("SHA256:");
    newcomer.run_in(&newcomer.home, &program.to_string_lossy(), &words, "not a key").refused("key");
    let ssh = format!("{} -p {} git@127.0.0.1", newcomer.ssh_command(), server.ports.ssh);
    let mut ssh = ssh.split(' ');
    let words: Vec<&str> = ssh.by_ref().skip(1).collect();
    newcomer.run_in(&newcomer.home, "ssh", &words, "").refused("key-only");
}
