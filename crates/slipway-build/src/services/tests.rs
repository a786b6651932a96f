use super::*;
use crate::procfile;

fn check(manifest: &str, procfile: Option<&str>, proposed: &[(&str, &str)], expected: &str) {
    let text = format!("project: acme/shop\ncredential: slwp_1\n{manifest}");
    let manifest = slipway_model::manifest::parse(text.as_bytes()).unwrap();
    let procfile = procfile.map(|text| procfile::parse(text.as_bytes()).unwrap());
    let proposed =
        proposed.iter().map(|(name, command)| ((*name).to_owned(), (*command).to_owned())).collect();
    let said = match merge(&manifest, &"dev".parse().unwrap(), procfile, &proposed, false) {
        Ok(Services { specs, release_command }) => {
            let show = |(name, spec): (&ServiceName, &ServiceSpec)| {
                let port = if spec.listens { " listens" } else { "" };
                format!("{name}×{}={}{port}", spec.instances, spec.command.as_deref().unwrap_or("?"))
            };
            let mut all: Vec<_> = specs.iter().map(show).collect();
            all.extend(release_command.map(|command| format!("release={command}")));
            all.join(", ")
        }
        Err(e) => e.to_string(),
    };
    assert_eq!(said, expected);
}

#[test]
fn the_manifest_beats_the_procfile_and_that_the_builder() {
    let npm = [("web", "npm start")];
    check("", Some("web: a\nworker: b\nrelease: m"), &[], "web×1=a listens, worker×1=b, release=m");
    check("", None, &npm, "web×1=npm start listens");
    check("", Some("worker: b"), &npm, "worker×1=b");
    check(
        "services: { web: { instances: 2 } }",
        Some("worker: b"),
        &npm,
        "web×2=npm start listens, worker×1=b",
    );
    check(
        "services: { web: { command: c } }\nrelease: n",
        Some("web: a\nrelease: m"),
        &npm,
        "web×1=c listens, release=n",
    );
    check(
        "services: { api: { command: c, listens: true } }\nenvironments: { dev: { services: { api: { instances: 3 } } } }",
        None,
        &[],
        "api×3=c listens",
    );
    check(
        "environments: { prod: { services: { cron: { command: x } } } }",
        Some("web: a"),
        &[],
        "web×1=a listens",
    );
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    check(
        "services: { worker: {} }",
        Some("web: a"),
        &[],
        "service worker has no command; add services.worker.command to slipway.yaml or a line `worker: …` to the Procfile",
    );
    check(
        "",
        None,
        &[],
        "nothing says what to run; add a Procfile with a line such as `web: gunicorn app:app`, or services.web.command to slipway.yaml",
    );
}

#[test]
fn an_image_may_start_itself() {
    let manifest = slipway_model::manifest::parse(b"project: acme/shop\ncredential: slwp_1\n").unwrap();
    let services = merge(&manifest, &"dev".parse().unwrap(), None, &BTreeMap::new(), true).unwrap();
    let web = &services.specs[&"web".parse().unwrap()];
    assert_eq!(
        (web.command.as_deref(), web.listens, &web.health),
        (None, true, &Some(HealthCheck::answer()))
    );
}
