//! `slipway.yaml` in every wrong way; the old release goes on, and nothing is kept of the push.

use crate::app::{files, web};
use crate::person::{Person, Work};
use crate::server::Server;
use crate::{Case, cases};

pub fn cases() -> Vec<Case> {
    cases![a_wrong_manifest_is_refused_with_its_place]
}

fn a_wrong_manifest_is_refused_with_its_place(server: &Server) {
    let person = Person::with_tenant(server, "yamler");
    let work = person.project("shop", &files(&web("one")));
    work.push().ok();
    let running = work.head();
    let good = std::fs::read_to_string(work.path.join("slipway.yaml")).unwrap();
    let other = Person::with_tenant(server, "yamler-two");
    let foreign = other.project("shop", &[]);
    let foreign = std::fs::read_to_string(foreign.path.join("slipway.yaml")).unwrap();
    let credential = |text: &str| {
        text.lines().find_map(|line| line.strip_prefix("credential: ")).unwrap().trim().to_owned()
    };
    let lines = good.lines().count();
    let swapped = good.replace(&credential(&good), &credential(&foreign));
    let large = format!("{good}# {}\n", "x".repeat(1 << 20));
    let checks: Vec<(&str, String, String)> = vec![
        ("not YAML", format!("{good}services: [\n"), "slipway.yaml:".into()),
        (
            "an unknown key",
            format!("{good}instnaces: 2\n"),
            format!("slipway.yaml:{}:1: unknown key", lines + 1),
        ),
        (
            "a wrong type",
            format!("{good}services: {{ web: {{ instances: many }} }}\n"),
            format!("slipway.yaml:{}:", lines + 1),
        ),
        ("another's credential", swapped, "credential".into()),
        ("another project", foreign, "yamler-two/shop".into()),
        ("1 MB", large, "the limit is 262144".into()),
        (
            "an alias",
            format!("{good}services: {{ web: &a {{ instances: 1 }}, worker: *a }}\n"),
            "slipway.yaml:".into(),
        ),
        ("a billion laughs", format!("{good}a: &a [x,x]\nb: &b [*a,*a]\n"), "slipway.yaml:".into()),
    ];
    for (what, text, words) in checks {
        work.commit(&[("slipway.yaml", &text)], what);
        refused_and_nothing_changed(&work, &running, &words);
    }
    work.git(&["rm", "--quiet", "slipway.yaml"]).ok();
    work.git(&["commit", "--quiet", "--message", "Without"]).ok();
    refused_and_nothing_changed(&work, &running, "slipway.yaml");
    // And right again.
    work.commit(&[("slipway.yaml", &good)], "Mended");
    work.push().ok();
}

#[track_caller]
fn refused_and_nothing_changed(work: &Work, running: &str, words: &str) {
    work.push().refused(words);
    assert_eq!(work.remote_head("dev").as_deref(), Some(running));
    assert!(work.page("dev").starts_with("one"));
}
