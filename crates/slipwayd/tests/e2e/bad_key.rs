//! Keys, tokens and names that do not count.

use crate::app::{files, web};
use crate::person::{PASSWORD, Person};
use crate::server::Server;
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![
        an_unknown_key_is_refused,
        a_revoked_key_is_refused_at_once,
        a_key_of_another_tenant_learns_nothing,
        what_does_not_exist_is_named,
        ssh_offers_nothing_but_git,
        a_wrong_password_is_refused_and_slowed,
        a_limited_token_stays_within_its_limits,
        an_invitation_works_once_for_one,
    ]
}

fn an_unknown_key_is_refused(server: &Server) {
    let owner = Person::with_tenant(server, "key-owner");
    let work = owner.project("shop", &files(&web("one")));
    let stranger = Person::new(server, "key-stranger");
    let remote = work.git(&["remote", "get-url", "paas-dev"]).ok().out;
    let ls = stranger.run_in(&stranger.home, "git", &["ls-remote", remote.trim()], "");
    assert!(ls.status != 0 && !ls.text.contains("shop.git does not exist"), "{}", ls.text);
}

fn a_revoked_key_is_refused_at_once(server: &Server) {
    let person = Person::with_tenant(server, "key-revoker");
    let work = person.project("shop", &files(&web("one")));
    work.git(&["ls-remote", "paas-dev"]).ok();
    let list: serde_json::Value =
        serde_json::from_str(&person.slipway(&["keys", "list", "--json"]).ok().out).unwrap();
    let fingerprint = list["items"][0]["fingerprint"].as_str().unwrap();
    person.slipway(&["keys", "remove", fingerprint]).ok();
    let said = work.push();
    assert!(said.status != 0, "{}", said.text);
    person.slipway(&["keys", "add"]).ok();
    work.git(&["ls-remote", "paas-dev"]).ok();
}

fn a_key_of_another_tenant_learns_nothing(server: &Server) {
    let owner = Person::with_tenant(server, "foreign-a");
    let theirs = owner.project("secretshop", &files(&web("one")));
    let remote = theirs.git(&["remote", "get-url", "paas-dev"]).ok().out.trim().to_owned();
    let other = Person::with_tenant(server, "foreign-b");
    let absent = remote.replace("secretshop", "absentshop");
    let there = other.run_in(&other.home, "git", &["ls-remote", &remote], "");
    let not_there = other.run_in(&other.home, "git", &["ls-remote", &absent], "");
    assert!(there.status != 0 && not_there.status != 0);
    assert_eq!(there.text.replace("secretshop", "X"), not_there.text.replace("absentshop", "X"));
    for words in [
        &["ps", "-e", "foreign-a/secretshop/dev"] as &[&str],
        &["logs", "-e", "foreign-a/secretshop/dev"],
        &["config", "list", "-e", "foreign-a/secretshop/dev"],
        &["releases", "-e", "foreign-a/secretshop/dev"],
        &["projects", "show", "foreign-a/secretshop"],
        &["members", "list", "foreign-a"],
        &["scale", "web=0", "-e", "foreign-a/secretshop/dev", "--detach"],
        &["projects", "delete", "foreign-a/secretshop", "--confirm", "foreign-a/secretshop"],
    ] {
        other.slipway(words).refused("no access");
    }
}

fn what_does_not_exist_is_named(server: &Server) {
    let person = Person::with_tenant(server, "namer");
    let work = person.project("shop", &files(&web("one")));
    let remote = work.git(&["remote", "get-url", "paas-dev"]).ok().out.trim().to_owned();
    for wrong in ["/namer/shopp/dev.git", "/namer/shop/staging.git", "/namerr/shop/dev.git"] {
        let url = remote.replace("/namer/shop/dev.git", wrong);
        work.git(&["push", &url, "main"]).refused(wrong.trim_start_matches('/').trim_end_matches(".git"));
    }
    for wrong in ["/namer/shop.git", "/../../etc/passwd", "/namer/shop/dev.git/x", "/NAMER/shop/dev.git"] {
        let url = remote.replace("/namer/shop/dev.git", wrong);
        let said = work.git(&["push", &url, "main"]);
        assert!(said.status != 0, "{wrong}: {}", said.text);
    }
    person.slipway(&["ps", "-e", "namer/shop/staging"]).refused("namer/shop/staging");
    person.slipway(&["projects", "create", "namer/shop"]).refused("exists");
    person.slipway(&["projects", "create", "namer/Sh;op"]).refused("not valid");
}

fn ssh_offers_nothing_but_git(server: &Server) {
    let person = Person::user(server, "sheller");
    let base = format!("{} -p {} git@127.0.0.1", person.ssh_command(), server.ports.ssh);
    let try_words = |extra: &[&str]| {
        let mut words: Vec<&str> = base.split(' ').skip(1).collect();
        words.extend_from_slice(extra);
        person.run_in(&person.home, "ssh", &words, "")
    };
    try_words(&[]).refused("sheller");
    for command in [
        "id",
        "git-receive-pack '/a/b/c.git'; id",
        "git-receive-pack --upload-pack=id",
        "git-upload-archive '/sheller/x/dev.git'",
        "git-receive-pack '/../../../etc'",
        "git-receive-pack $(id)",
    ] {
        let said = try_words(&[command]);
        assert!(said.status != 0 && !said.text.contains("uid="), "{command}: {}", said.text);
    }
}

fn a_wrong_password_is_refused_and_slowed(server: &Server) {
    let person = Person::user(server, "guesser");
    for _ in 0..3 {
        person
            .slipway_with_input(&["login", "--user", "guesser"], "wrong password\n")
            .refused("not logged in");
    }
    person
        .slipway_with_input(&["login", "--user", "nobody-here"], "wrong password\n")
        .refused("not logged in");
    // The session from before goes on.
    person.slipway(&["whoami"]).ok().says("guesser");
    person.slipway(&["logout"]).ok();
    person.slipway(&["whoami"]).refused("not logged in");
    let mut command =
        person.command(&person.home, &crate::server::built("slipway").to_string_lossy(), &["whoami"]);
    let output = command.env("SLIPWAY_TOKEN", "slwp_made_up").output().unwrap();
    assert!(!output.status.success());
}

fn a_limited_token_stays_within_its_limits(server: &Server) {
    let person = Person::with_tenant(server, "limiter");
    let work = person.project("shop", &files(&web("one")));
    person.slipway(&["tenants", "create", "limiter-two"]).ok();
    let words = ["tokens", "create", "ci", "--tenant", "limiter", "--role", "viewer", "--life", "1d"];
    let token = person.slipway(&words).ok().out.trim().to_owned();
    let with_token = |words: &[&str]| {
        let mut all = vec!["--token", &token];
        all.extend_from_slice(words);
        work.slipway(&all)
    };
    with_token(&["ps", "-e", "dev"]).ok();
    with_token(&["scale", "web=2", "-e", "dev", "--detach"]).refused("developer");
    with_token(&["members", "list", "limiter-two"]).refused("no access");
    with_token(&["tokens", "create", "more"]).refused("limited");
    let list: serde_json::Value =
        serde_json::from_str(&person.slipway(&["tokens", "list", "--json"]).ok().out).unwrap();
    let ci = list["items"].as_array().unwrap().iter().find(|t| t["label"] == "ci").unwrap();
    person.slipway(&["tokens", "revoke", ci["id"].as_str().unwrap()]).ok();
    with_token(&["ps", "-e", "dev"]).refused("not logged in");
    assert!(!server.log().contains(&token), "the log has a token");
}

fn an_invitation_works_once_for_one(server: &Server) {
    let owner = Person::with_tenant(server, "inviter");
    let _shop = owner.project("shop", &files(&web("one")));
    let created =
        owner.slipway(&["invitations", "create", "inviter", "invitee", "--role", "viewer", "--json"]).ok();
    let created: serde_json::Value = serde_json::from_str(&created.out).unwrap();
    let invitation = created["invitation"].as_str().unwrap();
    let thief = Person::user(server, "thief");
    let said = thief.slipway(&["invitations", "accept", invitation]);
    assert!(said.status != 0, "{}", said.text);
    let invitee = Person::new(server, "invitee");
    let words = ["invitations", "accept", invitation, "--new"];
    invitee.slipway_with_input(&words, &format!("{PASSWORD}\n")).ok().says("member of inviter");
    invitee.slipway(&["ps", "-e", "inviter/shop/dev"]).ok();
    invitee.slipway(&["restart", "-e", "inviter/shop/dev"]).refused("developer");
    let again = invitee.slipway(&["invitations", "accept", invitation]);
    assert!(again.status != 0, "{}", again.text);
    owner.slipway(&["members", "remove", "inviter", "invitee"]).ok();
    invitee.slipway(&["ps", "-e", "inviter/shop/dev"]).refused("no access");
    owner.slipway(&["members", "remove", "inviter", "inviter"]).refused("owner");
}
