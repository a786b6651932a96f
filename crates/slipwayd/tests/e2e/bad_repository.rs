//! Trees, refs and options that are meant to hurt.

use std::io::Write;
use std::process::Stdio;

use crate::app::{files, web};
use crate::person::{Person, Work};
use crate::server::Server;
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        git_entries_in_trees_are_refused,
        links_out_of_the_tree_are_inert,
        a_hundred_thousand_files_are_too_many,
        a_push_over_the_size_limit_is_refused,
        shell_characters_in_refs_and_options_do_nothing,
    ]
}

/// Makes a commit with a tree entry that git's porcelain would not.
fn commit_with_entry(work: &Work, mode: &str, name: &str, content: &str) -> String {
    let blob = input(work, &["hash-object", "-w", "--stdin"], content);
    let tree = work.git(&["ls-tree", "HEAD"]).ok().out;
    let kind = if mode == "40000" { "tree" } else { "blob" };
    let object = if mode == "40000" {
        input(work, &["mktree"], &format!("100644 blob {blob}\tconfig\n"))
    } else {
        blob
    };
    let tree = input(work, &["mktree"], &format!("{tree}{mode} {kind} {object}\t{name}\n"));
    let parent = work.head();
    work.git(&["commit-tree", &tree, "-p", &parent, "-m", "Odd"]).ok().out.trim().to_owned()
}

fn input(work: &Work, words: &[&str], text: &str) -> String {
    let mut child = work
        .person
        .command(&work.path, "git", words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn git_entries_in_trees_are_refused(server: &Server) {
    let person = Person::with_tenant(server, "dotgit");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let running = work.head();
    for name in [".git", ".GIT", "git~1"] {
        let commit = commit_with_entry(&work, "40000", name, "[core]\n\tfsmonitor = touch /tmp/owned\n");
        let said = work.git(&["push", "paas-dev", &format!("{commit}:refs/heads/main")]);
        assert!(said.status != 0, "{name}: {}", said.text);
        assert_eq!(work.remote_head("dev").as_deref(), Some(running.as_str()));
    }
    work.page("dev");
}

fn links_out_of_the_tree_are_inert(server: &Server) {
    let person = Person::with_tenant(server, "linker");
    let work = person.project("shop", &files(&web("one")));
    std::os::unix::fs::symlink("/etc", work.path.join("etc")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", work.path.join("shadow")).unwrap();
    std::os::unix::fs::symlink("../../../../../../root", work.path.join("up")).unwrap();
    work.commit(&[], "Links");
    // They lead to the sandbox's own files at most.
    work.push().ok();
    let said =
        work.slipway(&["run", "-T", "-e", "dev", "--", "sh", "-c", "cat /app/shadow; ls /app/up; hostname"]);
    let host = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    assert!(host.is_empty() || !said.text.contains(host.lines().next().unwrap()), "{}", said.text);
}

fn a_hundred_thousand_files_are_too_many(server: &Server) {
    let person = Person::with_tenant(server, "many-files");
    let work = person.project("shop", &files(&web("one")));
    let blob = input(&work, &["hash-object", "-w", "--stdin"], "x");
    let mut lines = String::new();
    for i in 0..100_001 {
        lines += &format!("100644 blob {blob}\tf{i:06}\n");
    }
    let tree = input(&work, &["mktree"], &lines);
    let base = work.git(&["ls-tree", "HEAD"]).ok().out;
    let tree = input(
        &work,
        &["mktree"],
        &format!("{base}40000 tree {tree}\tmany\n").replace("40000 tree", "040000 tree"),
    );
    let commit = work.git(&["commit-tree", &tree, "-p", &work.head(), "-m", "Many"]).ok().out;
    let said = work.git(&["push", "paas-dev", &format!("{}:refs/heads/main", commit.trim())]);
    said.refused("100");
}

fn a_push_over_the_size_limit_is_refused(server: &Server) {
    let person = Person::with_tenant(server, "too-large");
    let work = person.project("shop", &files(&web("one")));
    // Blobs that compress well: a small pack, a large tree.
    let zeros = vec![b'0'; 400 << 20];
    for i in 0..3 {
        std::fs::write(work.path.join(format!("zeros{i}")), &zeros[i..]).unwrap();
    }
    work.commit(&[], "Large");
    work.push().refused("1");
    assert_eq!(work.remote_head("dev"), None);
}

fn shell_characters_in_refs_and_options_do_nothing(server: &Server) {
    let person = Person::with_tenant(server, "shellchars");
    let work = person.project("shop", &files(&web("one")));
    let mark = person.home.join("owned");
    for option in [
        format!("$(touch {})", mark.display()),
        format!("; touch {}", mark.display()),
        "a=b\tc".to_owned(),
        "--upload-pack=id".to_owned(),
    ] {
        work.commit(&[], "Again");
        let said = work.git(&["push", "-o", &option, "paas-dev", "main"]);
        assert!(said.status == 0, "{}", said.text);
    }
    for reference in ["refs/heads/$(id)", "refs/heads/;id", "refs/heads/-x", "refs/heads/`id`"] {
        let said = work.git(&["push", "paas-dev", &format!("main:{reference}")]);
        assert!(!said.text.contains("uid="), "{}", said.text);
    }
    assert!(!mark.exists());
    work.page("dev");
}
