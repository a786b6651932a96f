//! Starting: what is said when it cannot, and what answers before somebody has claimed it.

use std::net::TcpListener;
use std::process::Command;

use crate::server::{Server, built};
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        a_port_in_use_is_named,
        a_data_directory_in_use_is_named,
        before_the_claim_nothing_answers,
        doctor_says_what_to_do,
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
