use proptest::prelude::*;

use super::*;
use crate::service::{Operator, Overlap, PortProtocol, Probe};

/// Each case of the story: `== title`, the manifest, `>>` and what is said about it. The first two
/// lines of every manifest, project and credential, are left out where a case starts with `...`.
#[test]
fn the_story_of_refusals_reads_as_written() {
    let story = include_str!("tests/refusals.story");
    let mut wrong = Vec::new();
    for case in story.split("\n== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (text, message) = rest.split_once("\n>> ").unwrap_or_else(|| panic!("{title}: no '>>' line"));
        let head = "project: acme/shop\ncredential: slwp_1\n";
        let text = match text.strip_prefix("...") {
            Some(body) => format!("{head}{}", body.trim_start_matches('\n')),
            None => text.to_owned(),
        };
        // Bytes that an editor would not keep are spelt out in the story.
        let text = text
            .replace("<tab>", "\t")
            .replace("<bom>", "\u{feff}")
            .replace("<cr>", "\r")
            .replace("<nul>", "\0");
        let said = match parse(text.as_bytes()) {
            Ok(_) => "accepted".to_owned(),
            Err(e) => e.to_string(),
        };
        if said != message.trim_end() {
            wrong.push(format!("== {title}\n>> {said}"));
        }
    }
    assert!(wrong.is_empty(), "the story should read:\n{}", wrong.join("\n"));
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let manifest = parse(include_bytes!("tests/everything.yaml")).unwrap();
    assert_eq!(manifest.project.to_string(), "acme/shop");
    assert_eq!(manifest.credential, "slwp_8c1vEXAMPLE");
    assert_eq!(manifest.release.as_deref(), Some("python manage.py migrate"));
    let BuildHints { builder, root, buildpacks, stack, image } = &manifest.build;
    assert_eq!((*builder, root.as_deref(), image), (Builder::Buildpacks, Some("services/backend"), &None));
    assert_eq!(buildpacks[..], ["https://git.example/pack.git#v2", "./buildpack"]);
    assert_eq!(stack.as_deref(), Some("debian-12"));

    let web: ServiceName = "web".parse().unwrap();
    let mut spec = ServiceSpec { command: Some("from the Procfile".into()), ..ServiceSpec::default() };
    manifest.apply(&"dev".parse().unwrap(), &web, &mut spec);
    let constraint = |field: &str, operator, value: Option<&str>| Constraint {
        field: field.into(),
        operator,
        value: value.map(Into::into),
    };
    let expected = ServiceSpec {
        command: Some("gunicorn app:app --bind 0.0.0.0:$PORT".into()),
        instances: 2,
        cpus: Cpus(500),
        mem: Bytes::mebi(256),
        disk: Bytes::gibi(1),
        listens: true,
        health: Some(HealthCheck {
            probe: Probe::Http("/healthz?deep=1".into()),
            interval: Span::from_secs(5),
            timeout: Span::from_millis(500),
            failures_max: 0,
            grace: None,
            port_index: None,
            port: None,
        }),
        constraints: vec![
            constraint("rack", Operator::GroupBy, None),
            constraint("hostname", Operator::MaxPer, Some("1")),
            constraint("@zone", Operator::Like, Some("eu-.*")),
        ],
        upgrade: crate::service::UpgradeStrategy { minimum_health_permille: 500, maximum_over_permille: 250 },
        stop_grace: Span::from_secs(30),
        start_timeout: Span::from_secs(120),
        gpus: 1,
        ports: vec![
            port(None, 9000, 0, PortProtocol::Tcp, &[]),
            port(Some("metrics"), 9100, 31000, PortProtocol::Both, &[("scrape", "yes")]),
        ],
        env: words(&[("WORKERS", "2"), ("EMPTY", "")]),
        labels: words(&[("team", "shop"), ("example.com/tier", "front")]),
        fetch: vec![
            fetch("https://example.com/model.tgz"),
            Fetch {
                extract: false,
                executable: true,
                cache: true,
                dest: Some("bin/tool".into()),
                ..fetch("http://example.com/tool")
            },
        ],
        readiness: Some(ReadinessCheck {
            name: "readiness".into(),
            path: "/ready".into(),
            port_name: "metrics".into(),
            interval: Span::from_secs(3),
            timeout: Span::from_secs(1),
            codes: vec![200, 204],
            preserve: true,
        }),
        rollout: Rollout { batch: Some(5), canary: Some(1), failures_max: Some(3), ..Rollout::default() },
        backoff: Some(Backoff {
            initial: Span::from_secs(2),
            factor_permille: 1500,
            max: Span::from_secs(600),
        }),
        unreachable: Some(UnreachableStrategy::After {
            inactive: Span::from_secs(20),
            expunge: Span::from_secs(300),
        }),
        kill_selection: KillSelection::OldestFirst,
        tier: Tier::Preferred,
        ..ServiceSpec::default()
    };
    assert_eq!(spec, expected);

    manifest.apply(&"prod".parse().unwrap(), &web, &mut spec);
    assert_eq!((spec.instances, spec.mem), (4, Bytes::gibi(1)), "the environment wins, field by field");
    assert_eq!(spec.stop_grace, Span::from_secs(30));
    assert_eq!(spec.env, words(&[("WORKERS", "8"), ("EMPTY", "")]), "variables are added");
    let names: Vec<_> =
        manifest.service_names(&"prod".parse().unwrap()).iter().map(|n| n.to_string()).collect();
    assert_eq!(names, ["db", "mailer", "report", "web", "worker"]);
    assert_eq!(manifest.environments[&"prod".parse().unwrap()].domains, ["shop.example.com"]);
}

fn port(
    name: Option<&str>,
    container: u16,
    host: u16,
    protocol: PortProtocol,
    labels: &[(&str, &str)],
) -> PortSpec {
    let name = name.map(Into::into);
    PortSpec { name, container, host: Some(host), protocol, service: 0, labels: words(labels) }
}

fn words(words: &[(&str, &str)]) -> BTreeMap<String, String> {
    words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn fetch(uri: &str) -> Fetch {
    Fetch { uri: uri.into(), extract: true, executable: false, cache: false, dest: None }
}

fn spec_of(service: &str) -> ServiceSpec {
    let manifest = parse(include_bytes!("tests/everything.yaml")).unwrap();
    let mut spec = ServiceSpec { listens: true, ..ServiceSpec::default() };
    manifest.apply(&"dev".parse().unwrap(), &service.parse().unwrap(), &mut spec);
    manifest.apply(&"prod".parse().unwrap(), &service.parse().unwrap(), &mut spec);
    spec
}

#[test]
fn ma_32_a_service_with_volumes_never_has_two_copies_of_one() {
    let spec = spec_of("db");
    let volume = |path: &str, size| VolumeSpec { path: path.into(), size };
    assert_eq!(spec.volumes, [volume("/data", Bytes::gibi(10)), volume("journal", Bytes::mebi(512))]);
    assert_eq!((spec.upgrade.minimum_health_permille, spec.upgrade.maximum_over_permille), (500, 0));
    assert_eq!(spec.unreachable, Some(UnreachableStrategy::Disabled));
}

#[test]
fn au_08_a_scheduled_service_listens_to_nobody() {
    let spec = spec_of("report");
    let schedule = Schedule { cron: "0 3 * * mon-fri".into(), overlap: Overlap::KillExisting };
    assert_eq!((spec.schedule, spec.listens), (Some(schedule), false));
}

#[test]
fn a_new_manifest_reads_as_itself_and_so_do_its_comments() {
    let text = render_new(&"acme/shop".parse().unwrap(), "slwp_8c1v");
    let manifest = parse(text.as_bytes()).unwrap();
    assert_eq!(
        (manifest.project.to_string(), manifest.credential.as_str()),
        ("acme/shop".into(), "slwp_8c1v")
    );
    assert!(manifest.services.is_empty() && manifest.environments.is_empty() && manifest.release.is_none());

    let is_prose =
        |line: &str| line.starts_with("# ") && line[2..].starts_with(|c: char| c.is_ascii_uppercase());
    let uncommented: Vec<_> = text
        .lines()
        .filter(|line| !is_prose(line))
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .collect();
    let manifest = parse(uncommented.join("\n").as_bytes()).unwrap();
    assert_eq!((manifest.services.len(), manifest.environments.len()), (2, 1));
}

#[test]
fn what_could_grow_is_refused_before_it_grows() {
    let check = |text: String, says: &str| {
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    check("a".repeat(1 << 20), "the file has 1048576 bytes; at most 256 KiB are read");
    check("[".repeat(100_000), "more than 20 levels");
    check("- ".repeat(100_000), "more than 20 levels");
    check("a: ".repeat(80_000), "YAML");
    check("{".repeat(100_000), "more than 20 levels");
    check(format!("project: {}", "x".repeat(200_000)), "\"project\" is longer than 4096 bytes");
    let many: String = (0..101).map(|n| format!("  s{n}: {{}}\n")).collect();
    check(format!("services:\n{many}"), "101 services are too many");
    let laughs = "a: &a [x]\nb: &b [*a,*a]\n".to_owned();
    check(laughs, "anchors (&) are not allowed");
}

#[test]
fn a_buildpack_says_what_it_would_start() {
    let said = |text: &str| buildpack::default_process_types(text.as_bytes()).map_err(|e| e.message);
    let text = "---\naddons:\n  - heroku-postgresql\nconfig_vars: {}\ndefault_process_types:\n  web: bin/server -p $PORT\n";
    assert_eq!(said(text).unwrap(), BTreeMap::from([("web".to_owned(), "bin/server -p $PORT".to_owned())]));
    assert!(said("--- {}\n").unwrap().is_empty());
    assert!(said("").unwrap().is_empty());
    assert!(said("default_process_types: [web]").unwrap_err().contains("must be a map"));
    assert!(said("default_process_types: { web: }").unwrap_err().contains("must be text"));
}

proptest! {
    /// Errors are values whatever comes in, and their place is inside the text.
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    /// Almost-YAML reaches deeper than noise does.
    #[test]
    fn arbitrary_yaml_like_text_never_panics(
        parts in proptest::collection::vec(
            prop::sample::select(vec![
                "project", "services", "web", ": ", ":\n", "\n", "  ", "- ", "[", "]", "{", "}", ",", "&a", "*a",
                "!!x", "<<", "|", ">", "'", "\"", "\\", "#", "---", "...", "\t", "\r\n", "é", "%", "@", "?", "~", "1",
            ]),
            0..60,
        )
    ) {
        let text = parts.concat();
        if let Err(error) = parse(text.as_bytes()) {
            prop_assert!(error.line <= text.lines().count() + 1, "{}", error);
        }
    }
}
