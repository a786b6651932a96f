//! What people do beside pushing: watch and steer deployments, look why something waits, run things at
//! times, and what operators do with nodes, quotas and users.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::app::{files, web};
use crate::manual::type_page;
use crate::person::{PASSWORD, Person, Work};
use crate::server::{Server, built, wait_for};
use crate::{Case, cases};

/// Those that share a server with others.
pub fn cases() -> Vec<Case> {
    cases![
        ma_17_why_a_service_waits_is_told_in_numbers,
        ma_18_ma_56_a_wait_after_failures_ends_on_request,
        au_05_a_deployment_is_paused_resumed_and_taken_back,
        au_08_a_scheduled_service_runs_and_its_run_can_be_ended,
        a_one_off_run_is_shown_and_ended_from_elsewhere,
        an_operator_switches_users_on_and_resets_passwords,
        small_things_are_said_as_they_are,
    ]
}

/// Those that need a server of their own.
pub fn alone() -> Vec<Case> {
    cases![me_03_me_10_me_20_au_07_the_operators_pages_are_true, following_logs_survives_a_restart]
}

fn json(work: &Work<'_, '_>, words: &[&str]) -> Value {
    let said = work.slipway(&[words, &["--json"]].concat()).ok();
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

/// The program of a test, with a manifest that says this of its services.
fn project<'p, 's>(person: &'p Person<'s>, services: &str) -> Work<'p, 's> {
    let work = person.project("shop", &files(&web("one")));
    say_services(&work, services);
    work
}

fn say_services(work: &Work<'_, '_>, services: &str) {
    let before = std::fs::read_to_string(work.path.join("slipway.yaml")).unwrap();
    let kept: Vec<&str> = before.lines().take_while(|line| *line != "services:").collect();
    work.commit(&[("slipway.yaml", &format!("{}\nservices:\n{services}\n", kept.join("\n")))], "Services");
}

fn ma_17_why_a_service_waits_is_told_in_numbers(server: &Server) {
    let person = Person::with_tenant(server, "why");
    let work = project(&person, "  web: {}\n  huge: { command: sleep 1000, instances: 0, mem: 900G }");
    work.push().ok();
    work.slipway(&["ps", "--why", "-e", "dev"]).ok().says("nothing waits");
    work.slipway(&["scale", "huge=2", "--detach", "-e", "dev"]).ok();
    wait_for("the reason to be known", Duration::from_secs(20), || {
        let state = json(&work, &["ps", "-e", "dev"]);
        let huge = state["services"].as_array()?.iter().find(|service| service["name"] == "huge")?;
        let why = huge.get("why").filter(|why| !why.is_null())?;
        assert_eq!(why["asks"]["mem"], "900G", "{why}");
        assert!(why["count"] == 2 && why["nodes"] == 1 && why["freest"]["mem"].is_string(), "{why}");
        assert!(why["refusals"].as_object().unwrap().keys().any(|reason| reason.contains("memory")), "{why}");
        Some(())
    });
    let said = work.slipway(&["ps", "--why", "-e", "dev"]).ok();
    said.says("huge: 2 copies wait").says("one asks for 0.5 cpus, 900G memory").says("1 node was asked");
    work.slipway(&["scale", "hug=2", "-e", "dev"]).refused("has huge, web");
}

fn ma_18_ma_56_a_wait_after_failures_ends_on_request(server: &Server) {
    let person = Person::with_tenant(server, "retry");
    let services =
        "  web: {}\n  flaky: { command: exit 3, instances: 0, backoff: { initial: 10m, max: 1h } }";
    let work = project(&person, services);
    work.push().ok();
    work.slipway(&["scale", "flaky=1", "--detach", "-e", "dev"]).ok();
    // The wait begins anew with each failure, so its end tells tries apart.
    let held_back = || {
        let state = json(&work, &["ps", "-e", "dev"]);
        let flaky = state["services"].as_array()?.iter().find(|service| service["name"] == "flaky")?.clone();
        assert_eq!(flaky["why"]["last_end"].as_str()?, "exited with status 3", "{flaky}");
        flaky["why"]["held_back_until"].as_u64()
    };
    let first = wait_for("the first failure to be held back", Duration::from_secs(30), held_back);
    work.slipway(&["ps", "--why", "-e", "dev"]).ok().says("held back in").says("slipway retry");
    work.slipway(&["retry", "-e", "dev"]).ok();
    wait_for("another try", Duration::from_secs(30), || held_back().filter(|until| *until > first));
}

fn au_05_a_deployment_is_paused_resumed_and_taken_back(server: &Server) {
    let person = Person::with_tenant(server, "steer");
    let work = project(&person, "  web: { instances: 2, rollout: { canary: 1 } }");
    work.push().ok();
    work.commit(&files(&web("two")), "Second");
    work.git(&["push", "-o", "detach", "paas-dev", "main"]).ok();
    let said = work.slipway(&["builds", "logs", "-f", "-e", "dev"]).ok();
    said.says("Paused after 1 of 2 web").says("slipway deployments resume");
    let state = json(&work, &["ps", "-e", "dev"]);
    assert_eq!(state["deployment"]["paused"], "Paused after 1 of 2 web", "{state}");
    work.slipway(&["deployments", "list", "-e", "dev"]).ok().says("paused after 1 of 2 web");
    work.slipway(&["deployments", "show", "-e", "dev"]).ok().says("web: 1 of 2 new ones healthy");
    work.slipway(&["deployments", "resume", "-e", "dev"]).ok().says("Live at");
    assert!(work.page("dev").starts_with("two"));
    work.slipway(&["deployments", "rollback", "-e", "dev"]).ok().says("Going back to v1").says("Live at");
    assert!(work.page("dev").starts_with("one"));

    work.slipway(&["deployments", "pause", "-e", "dev"]).ok();
    work.slipway(&["restart", "-e", "dev"]).ok().says("Paused");
    work.slipway(&["ps", "-e", "dev"]).ok().says("paused; go on with");
    work.slipway(&["deployments", "rollback", "-e", "dev"]).refused("nothing has moved");
    work.slipway(&["deployments", "resume", "-e", "dev"]).ok().says("Live at");
}

fn au_08_a_scheduled_service_runs_and_its_run_can_be_ended(server: &Server) {
    let person = Person::with_tenant(server, "cron");
    let services = "  web: {}\n  tick: { command: sleep 1000, schedule: \"* * * * *\", stop_grace: 1s }";
    let work = project(&person, services);
    work.push().ok();
    let listed = json(&work, &["cron", "-e", "dev"]);
    assert_eq!(listed["items"][0]["schedule"], "* * * * *", "{listed}");
    assert!(listed["items"][0]["next"].as_u64().unwrap() % 60_000 == 0, "{listed}");
    let run = wait_for("the next minute's run", Duration::from_secs(90), || {
        let listed = json(&work, &["cron", "-e", "dev"]);
        listed["items"][0]["running"][0].as_str().map(str::to_owned)
    });
    let said = work.slipway(&["ps", "-e", "dev"]).ok();
    said.says("tick at * * * * * (UTC)").says("runs once:").says("scheduled").says(&run);
    work.slipway(&["stop", &run, "-e", "dev"]).ok();
    wait_for("the run to be gone", Duration::from_secs(30), || {
        let listed = json(&work, &["cron", "-e", "dev"]);
        let running = listed["items"][0]["running"].as_array()?.clone();
        (!running.iter().any(|one| *one == *run)).then_some(())
    });
}

fn a_one_off_run_is_shown_and_ended_from_elsewhere(server: &Server) {
    let person = Person::with_tenant(server, "one-off");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let program = built("slipway");
    let mut command =
        person.command(&work.path, &program.to_string_lossy(), &["run", "-e", "dev", "--", "sleep", "1000"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let run = wait_for("the run to be shown", Duration::from_secs(30), || {
        let state = json(&work, &["ps", "-e", "dev"]);
        let run = state["runs"].as_array()?.first()?.clone();
        assert_eq!((run["kind"].as_str(), run["what"].as_str()), (Some("one-off"), Some("sleep 1000")));
        run["instance"]["id"].as_str().map(str::to_owned)
    });
    let web = json(&work, &["ps", "-e", "dev"])["services"][0]["instances"][0]["id"].clone();
    work.slipway(&["stop", web.as_str().unwrap(), "-e", "dev"]).refused("a copy of web");
    work.slipway(&["stop", &run, "-e", "dev"]).ok();
    wait_for("the command to end", Duration::from_secs(30), || child.try_wait().unwrap());
}

fn an_operator_switches_users_on_and_resets_passwords(server: &Server) {
    let person = Person::user(server, "forgetful");
    let operator = Person::new(server, "operator");
    person.slipway(&["users", "enable", "forgetful"]).refused("operator");
    operator.slipway(&["users", "disable", "forgetful"]).ok();
    person.slipway(&["whoami"]).refused("");
    operator.slipway(&["users", "enable", "forgetful"]).ok();
    let other = "another good password\n";
    operator.slipway_with_input(&["users", "reset-password", "forgetful"], other).ok();
    let old = format!("{PASSWORD}\n");
    person.slipway_with_input(&["login", "--user", "forgetful"], &old).refused("");
    person.slipway_with_input(&["login", "--user", "forgetful"], other).ok();
}

fn small_things_are_said_as_they_are(server: &Server) {
    let person = Person::with_tenant(server, "detail");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    work.slipway(&["config", "set", "A=1", "-e", "dev"]).ok().says("Changed the config");
    let said = work.slipway(&["config", "set", "A=1", "-e", "dev"]).ok().says("Nothing to change");
    assert!(!said.text.contains("Changed"), "{}", said.text);
    work.slipway(&["environments", "create", "detail/shop/stage"]).ok().says("Created detail/shop/stage");
    work.slipway(&["environments", "delete", "detail/shop/stage", "--confirm", "prod"]).refused("stage");
    work.slipway(&["environments", "delete", "detail/shop/stage", "--confirm", "stage"]).ok();
    work.slipway(&["environments", "create", "detail/shop", "stage"]).ok();
    work.slipway(&["environments", "delete", "detail/shop", "stage", "--confirm", "detail/shop/stage"]).ok();
    work.slipway(&["scale", "web=0", "-e", "dev"]).ok();
    let said = work.slipway(&["config", "set", "A=2", "-e", "dev"]).ok();
    assert!(!said.text.contains("Live at"), "nothing answers there: {}", said.text);
    work.slipway(&["scale", "web=1", "-e", "dev"]).ok();
    let manifest = std::fs::read_to_string(work.path.join("slipway.yaml")).unwrap();
    let misspelt = format!("{manifest}\nenvironments: {{ prdo: {{}} }}\n");
    work.commit(&[("slipway.yaml", &misspelt)], "Misspelt");
    work.push().ok().says("the environment prdo, but detail/shop has only dev, prod");
    person.slipway(&["nodes", "list"]).refused("operator");
    person.slipway(&["quota", "set", "detail", "--cpus", "1"]).refused("operator");
    person.slipway(&["quota", "show", "detail"]).ok().says("no limit");
}

/// A server with one node, where draining disturbs nobody.
fn own_server(name: &str) -> Server {
    let server = Server::prepare(name);
    server.import_stack();
    server.run();
    let claim = std::fs::read_to_string(server.folder.join("run/claim-token")).unwrap();
    let operator = Person::new(&server, "operator");
    let password = format!("{PASSWORD}\n");
    operator.slipway_with_input(&["claim", claim.trim(), "--user", "operator"], &password).ok();
    operator.slipway(&["keys", "add"]).ok();
    server
}

fn me_03_me_10_me_20_au_07_the_operators_pages_are_true(_: &Server) {
    let server = own_server("operate");
    {
        let ada = Person::with_tenant(&server, "acme");
        let work = ada.project("shop", &files(&web("one")));
        work.push().ok();
        let operator = Person::new(&server, "operator");
        let commands =
            ["operator/quota", "operator/drain"].map(|page| type_page(&operator, &work.path, page));
        assert!(commands.iter().all(|count| *count > 4), "{commands:?}");
        // Drained, nothing ran there; active again, it came back.
        wait_for("the program to answer again", Duration::from_secs(60), || {
            server.get("shop-dev-acme").ok().filter(|answer| answer.status == 200)
        });
        operator.slipway(&["nodes", "drain", "two"]).refused("node two");
    }
    server.wipe();
    server.remove();
}

fn following_logs_survives_a_restart(_: &Server) {
    let server = own_server("restart");
    {
        let person = Person::with_tenant(&server, "follower");
        let work = person.project("shop", &files(&web("one")));
        work.push().ok();
        let program = built("slipway");
        let words = ["logs", "--follow", "-e", "dev"];
        let mut command = person.command(&work.path, &program.to_string_lossy(), &words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (lines, said) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)));
        });
        let mut seen = Vec::new();
        let mut await_line = |words: &str| {
            wait_for("a line of the log", Duration::from_secs(30), || {
                let label = work.label("dev");
                let _answered = server.get_path(&label, words);
                seen.extend(said.try_iter());
                seen.iter().any(|line| line.contains(words)).then_some(())
            });
        };
        await_line("/before");
        server.stop();
        server.run();
        await_line("/after");
        let listening = seen.iter().filter(|line| line.ends_with("listening")).count();
        assert_eq!(listening, 1, "a line is shown once: {seen:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    server.wipe();
    server.remove();
}
