//! Starting: what is said when it cannot, and what answers before somebody has claimed it.

use std::net::TcpListener;
use std::process::Command;

use crate::server::{Server, built};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        a_port_in_use_is_named,
        a_data_directory_in_use_is_named,
        a_lost_master_key_is_not_made_anew,
        before_the_claim_nothing_answers,
        doctor_says_what_to_do,
        wipe_deletes_nothing_but_its_own,
        others_on_the_machine_see_nothing,
    ]
}

fn a_port_in_use_is_named(_: &Server) {
    let server = Server::prepare("port");
    let taken = TcpListener::bind(("127.0.0.1", server.ports.ssh)).unwrap();
    let output = server.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(&server.ports.ssh.to_string()), "{text}");
    assert!(text.contains("in use"), "{text}");
    drop(taken);
    server.wipe();
    server.remove();
}

fn a_data_directory_in_use_is_named(shared: &Server) {
    let output = shared.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("in use") || text.contains("another"), "{text}");
}

fn a_lost_master_key_is_not_made_anew(_: &Server) {
    let server = Server::prepare("key");
    server.run();
    server.kill();
    let (key, kept) = (server.folder.join("master.key"), server.folder.join("kept"));
    std::fs::rename(&key, &kept).unwrap();
    let output = server.command().output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("master key"), "{text}");
    assert!(!key.exists(), "a key that opens nothing was made");
    std::fs::rename(&kept, &key).unwrap();
    server.run();
    server.wipe();
    server.remove();
}

fn before_the_claim_nothing_answers(_: &Server) {
    let server = Server::prepare("claim");
    server.run();
    for path in ["/v1/me", "/v1/users", "/v1/tenants", "/v1/nodes"] {
        let answer = crate::http::get(server.ports.api, "localhost", path).unwrap();
        assert_eq!(answer.status, 401, "{path}: {}", answer.body);
    }
    let claim = std::fs::read_to_string(server.folder.join("run/claim-token")).unwrap();
    let person = crate::person::Person::new(&server, "first");
    let password = format!("{}\n", crate::person::PASSWORD);
    person.slipway_with_input(&["claim", "slwp_wrong", "--user", "first"], &password).refused("");
    person.slipway_with_input(&["claim", claim.trim(), "--user", "first"], "short\n").refused("password");
    person.slipway_with_input(&["claim", claim.trim(), "--user", "first"], &password).ok();
    person.slipway_with_input(&["claim", claim.trim(), "--user", "second"], &password).refused("");
    assert!(!server.folder.join("run/claim-token").exists(), "the token stays in its file");
    server.wipe();
    server.remove();
}

fn doctor_says_what_to_do(shared: &Server) {
    let output = Command::new(built("slipwayd"))
        .args(["doctor", "--json", "--data-dir"])
        .arg(shared.folder.join("data"))
        .output()
        .unwrap();
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = findings.as_array().unwrap();
    assert!(findings.len() >= 8, "{findings:?}");
    for finding in findings {
        let fine = finding["status"] == "ok";
        assert!(fine || !finding["advice"].as_str().unwrap_or_default().is_empty(), "{finding}");
    }
}

fn wipe_deletes_nothing_but_its_own(shared: &Server) {
    let wipe = |data: &std::path::Path| {
        Command::new(built("slipwayd"))
            .args(["wipe", "--yes", "--data-dir"])
            .arg(data)
            .arg("--run-dir")
            .arg(shared.folder.join("absent"))
            .output()
            .unwrap()
    };
    let precious = shared.folder.join("precious");
    std::fs::create_dir_all(&precious).unwrap();
    std::fs::write(precious.join("letter"), "x").unwrap();
    assert!(!wipe(&precious).status.success() && precious.join("letter").exists());
    // One that runs is not touched either.
    let output = wipe(&shared.folder.join("data"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("stop it first"), "{text}");
    // Nor is what it has taken elsewhere.
    let mut moving = Command::new(built("slipwayd"));
    moving.args(["move-repositories", "--data-dir"]).arg(shared.folder.join("data"));
    moving.arg("--run-dir").arg(shared.folder.join("absent")).arg("--shared-dir").arg(&precious);
    let output = moving.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("stop it first"), "{text}");
    assert_eq!(shared.get("nobody-has-this").unwrap().status, 404, "the router goes on");
}

fn others_on_the_machine_see_nothing(shared: &Server) {
    let person = crate::person::Person::with_tenant(shared, "private");
    let web = crate::app::web("one");
    let work = person.project("shop", &crate::app::files(&web));
    work.push().ok();
    let data = shared.folder.join("data");
    // As somebody who is not root and in no group of ours.
    let output = Command::new("setpriv")
        .args(["--reuid=1000", "--regid=1000", "--clear-groups", "find"])
        .arg(&data)
        .args(["-mindepth", "2", "-print"])
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(seen.is_empty(), "{seen}");
    for name in
        ["git/private/shop.git/HEAD", "registry/registry.redb", "store/records.redb", "router/routes.json"]
    {
        let read = Command::new("setpriv")
            .args(["--reuid=1000", "--regid=1000", "--clear-groups", "cat"])
            .arg(data.join(name))
            .output()
            .unwrap();
        assert!(!read.status.success(), "{name} can be read");
    }
}
