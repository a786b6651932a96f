//! Files that instances have written, as whoever may deploy sees them, and nobody else.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{files, web};
use crate::marathon::client::Marathon;
use crate::person::{Person, Work};
use crate::server::{Server, wait_for};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        me_18_me_19_files_are_looked_at_while_it_lives_and_after_its_end,
        me_18_me_19_files_are_for_those_who_may_deploy_there,
    ]
}

/// Begins with a note, and with names that want to lead elsewhere or to be obeyed by a terminal.
const WRITE: &str = r#"import os
open("note", "w").write("0123456789\n")
os.symlink(os.path.abspath("note"), "good")
os.symlink("/etc/shadow", "absolute")
os.symlink("../" * 20 + "etc/shadow", "relative")
os.symlink("/", "root")
os.symlink("/proc/self/root", "proc")
open("\x1b[31mred\nline", "w").close()
"#;

fn writer<'p, 's>(person: &'p Person<'s>) -> Work<'p, 's> {
    let mut program = web("one");
    program[0].1.insert_str(0, WRITE);
    let work = person.project("shop", &files(&program));
    work.push().ok();
    work
}

fn sandboxes(work: &Work) -> Vec<Value> {
    let list = work.slipway(&["files", "-e", "dev", "--json"]).ok().out;
    let list: Value = serde_json::from_str(&list).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn me_18_me_19_files_are_looked_at_while_it_lives_and_after_its_end(server: &Server) {
    let person = Person::with_tenant(server, "writer");
    let work = writer(&person);
    let all = sandboxes(&work);
    assert_eq!((all.len(), &all[0]["source"], &all[0]["ended_at"]), (1, &json!("web"), &Value::Null));
    let instance = all[0]["instance"].as_str().unwrap();
    let list = |folder: &str| work.slipway(&["files", "-e", "dev", instance, folder]);
    let get = |path: &str| work.slipway(&["files", "get", "-e", "dev", instance, path]);
    for round in ["living", "ended"] {
        if round == "ended" {
            work.slipway(&["restart", "-e", "dev"]).ok();
            wait_for("the sandbox of the instance before", Duration::from_secs(60), || {
                let ended = sandboxes(&work).into_iter().find(|sandbox| sandbox["instance"] == instance)?;
                (ended["ended_at"].is_u64() && ended["partial"] == false).then_some(())
            });
            assert_ne!(sandboxes(&work)[0]["instance"], instance, "those that live come first");
            work.slipway(&["files", "-e", "dev"]).ok().says(&format!("{instance}  web     ended"));
        }
        let top = work.slipway(&["files", "-e", "dev", instance]).ok();
        assert!(top.out.contains(" files/\n") && top.out.contains(" log\n"), "{round}: {}", top.out);
        let names = list("files/app").ok().says(" note\n").says(r"\u{1b}[31mred\nline").out;
        assert!(!names.contains('\x1b'), "{names:?}");
        assert_eq!(get("files/app/note").ok().out, "0123456789\n", "{round}");
        assert_eq!(get("/files/app/good").ok().out, "0123456789\n", "{round}");
        assert!(get("log").ok().out.contains("listening"), "{round}");
        for path in [
            "../../etc/shadow",
            "/etc/shadow",
            "files/../../../../../../etc/shadow",
            "files/app/absolute",
            "files/app/relative",
            "files/app/root/etc/shadow",
            "files/app/proc/etc/shadow",
            "log/../about.json",
            "about.json",
            "files/app",
            "",
        ] {
            let said = get(path).refused("");
            assert!(said.out.is_empty() && !said.text.contains("root:"), "{round}, {path}: {}", said.text);
        }
        // What looks like the top of everything is the top of what it has written.
        assert!(!list("files/app/root").ok().out.contains("proc"), "{round}");
        list("files/../..").ok().says(" app/\n");
        list("files/app/proc").refused("");
    }
    let target = work.path.join("kept");
    let kept = target.to_str().unwrap();
    work.slipway(&["files", "get", "-e", "dev", instance, "files/app/absent", "-o", kept]).refused("no such");
    assert!(!target.exists(), "a file of nothing");
    work.slipway(&["files", "get", "-e", "dev", instance, "files/app/note", "-o", kept]).ok();
    assert_eq!(std::fs::read_to_string(target).unwrap(), "0123456789\n");
}

fn me_18_me_19_files_are_for_those_who_may_deploy_there(server: &Server) {
    let person = Person::with_tenant(server, "owner-of-files");
    let work = writer(&person);
    let stranger = Person::with_tenant(server, "no-owner-of-files");
    let theirs = stranger.project("shop", &files(&web("theirs")));
    let instance = sandboxes(&work)[0]["instance"].as_str().unwrap().to_owned();
    let as_role = |person: &Person, role: &str| {
        let words = ["tokens", "create", role, "--tenant", &person.name, "--role", role];
        Marathon { server, token: person.slipway(&words).ok().out.trim().to_owned() }
    };
    let of = |tenant: &str| format!("/v1/environments/{tenant}/shop/dev");
    let looks = |tenant: &str| {
        let files = format!("{}/instances/{instance}/files", of(tenant));
        let note = "path=files/app/note";
        [
            format!("{files}?path=files/app"),
            format!("{files}/read?{note}&offset=3&length=4"),
            format!("{files}/download?{note}"),
        ]
    };
    let developer = as_role(&person, "developer");
    let [_, read, _] = looks(&person.name);
    assert_eq!(developer.get(&read).is(200), json!({"data": "3456", "offset": 3, "size": 11}));
    let viewer = as_role(&person, "viewer");
    let other = as_role(&stranger, "developer");
    let there = format!("{}/sandboxes", of(&person.name));
    assert_eq!(viewer.get(&there).is(200)["items"][0]["instance"], instance.as_str());
    other.get(&there).is(404);
    // The list of another environment has none of it, and its path does not lead there.
    assert_eq!(other.get(&format!("{}/sandboxes", of(&stranger.name))).is(200)["items"], json!([]));
    for path in looks(&person.name) {
        developer.get(&path).is(200);
        viewer.get(&path).is(403);
        other.get(&path).is(404);
    }
    for path in looks(&stranger.name) {
        other.get(&path).is(404);
    }
    theirs.slipway(&["files", "-e", "dev"]).ok().says("no instance whose files are kept");
    theirs.slipway(&["files", "-e", "dev", &instance]).refused("there is no sandbox");
}
