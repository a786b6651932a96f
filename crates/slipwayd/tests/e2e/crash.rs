//! The server is killed at the worst moments; what runs goes on, and what was begun ends.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::app::{files, web};
use crate::person::Person;
use crate::server::{Server, wait_for};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        instances_and_router_outlive_the_server,
        a_killed_router_is_started_again,
        a_push_survives_a_kill_at_any_moment,
        a_wipe_of_the_run_directory_is_mended,
    ]
}

fn start_times(server: &Server) -> Vec<String> {
    // A container's first process: its pid and start time do not change unless it is another one.
    let output = Command::new("pgrep").args(["-f", "python3 -u web.py"]).output().unwrap();
    let mut times = Vec::new();
    for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let start =
            stat.rsplit(')').next().unwrap_or_default().split(' ').nth(20).unwrap_or_default().to_owned();
        times.push(format!("{pid}:{start}"));
    }
    times.sort();
    let _ = server;
    times
}

fn instances_and_router_outlive_the_server(server: &Server) {
    let person = Person::with_tenant(server, "survivor");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let page = work.page("dev");
    let before = start_times(server);
    server.kill();
    for _ in 0..20 {
        assert_eq!(work.page("dev"), page, "without a server");
    }
    server.run();
    assert_eq!(work.page("dev"), page);
    work.slipway(&["ps", "-e", "dev"]).ok();
    wait_for("the instance to be known as healthy again", Duration::from_secs(15), || {
        work.slipway(&["ps", "-e", "dev"]).text.contains("web 1/1 healthy").then_some(())
    });
    assert_eq!(start_times(server), before, "instances were restarted");
    server.stop();
    assert_eq!(work.page("dev"), page, "after a stop by TERM");
    server.run();
    work.slipway(&["scale", "web=2", "-e", "dev"]).ok().says("web 2/2");
}

fn a_killed_router_is_started_again(server: &Server) {
    let person = Person::with_tenant(server, "rerouted");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let page = work.page("dev");
    let marks = server.folder.join("run");
    let killed = Command::new("pkill")
        .args(["-KILL", "-f", &format!("slipwayd router.*{}", marks.display())])
        .status()
        .unwrap();
    assert!(killed.success());
    wait_for("a new router to serve", Duration::from_secs(10), || {
        server.get(&work.label("dev")).is_ok_and(|answer| answer.body == page).then_some(())
    });
}

fn a_push_survives_a_kill_at_any_moment(server: &Server) {
    let person = Person::with_tenant(server, "unlucky");
    let work = person.project("shop", &files(&web("v0")));
    work.push().ok();
    for round in 1..=8u64 {
        let text = format!("v{round}");
        work.commit(&files(&web(&text)), &text);
        let mut push = person
            .command(&work.path, "git", &["push", "paas-dev", "main"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(150 * round));
        server.kill();
        let _ignored = push.wait();
        assert!(work.page("dev").starts_with('v'), "something serves");
        server.run();
        // Either it was recorded and goes live by itself, or it was not and can be pushed again.
        let pushed = wait_for("the push to end one way or the other", Duration::from_secs(60), || {
            let builds = work.slipway(&["builds", "list", "-e", "dev", "--json"]).ok().out;
            let builds: serde_json::Value = serde_json::from_str(&builds).unwrap();
            let newest = builds["items"][0].clone();
            if newest["commit"] != work.head().as_str() {
                return Some(false);
            }
            match newest["state"].as_str() {
                Some("queued" | "running") => None,
                Some("succeeded") => server
                    .get(&work.label("dev"))
                    .is_ok_and(|answer| answer.body.starts_with(&text))
                    .then_some(true),
                other => panic!("build ended as {other:?}"),
            }
        });
        let again = if pushed { "not pushed again".to_owned() } else { work.push().ok().text };
        // While one instance takes over from the other, both answer; the branch moves when that is over.
        wait_for("the branch to say what runs", Duration::from_secs(30), || {
            (work.remote_head("dev") == Some(work.head())).then_some(())
        });
        let page = work.page("dev");
        assert!(page.starts_with(&text), "round {round} answers {page:?}; {again}");
    }
}

fn a_wipe_of_the_run_directory_is_mended(server: &Server) {
    let person = Person::with_tenant(server, "rebooted");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    // What a reboot does: no process is left, and the run directory is empty.
    server.kill();
    let run = server.folder.join("run");
    let marks = run.to_string_lossy().into_owned();
    for _ in 0..5 {
        for name in ["slipway-shim", "slipwayd router"] {
            let _ignored = Command::new("pkill").args(["-KILL", "-f", &format!("{name}.*{marks}")]).status();
        }
        let _ignored = Command::new("pkill").args(["-KILL", "-f", "python3 -u web.py"]).status();
        std::thread::sleep(Duration::from_millis(100));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut points: Vec<&str> =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|p| p.starts_with(&marks)).collect();
    points.reverse();
    for point in points {
        let _ignored = Command::new("umount").args(["-l", point]).status();
    }
    std::fs::remove_dir_all(&run).unwrap();
    server.run();
    wait_for("everything to come back", Duration::from_secs(60), || {
        server.get(&work.label("dev")).is_ok_and(|answer| answer.body.starts_with("one")).then_some(())
    });
    work.commit(&files(&web("two")), "After");
    work.push().ok();
    assert!(work.page("dev").starts_with("two"));
}
