//! The builders that Slipway has itself.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::runc::run_image;
use crate::world::{MANIFEST, World};

const REQUIREMENTS: (&str, &str) = ("requirements.txt", "itsdangerous==2.2.0\n");
const PROCFILE: (&str, &str) =
    ("Procfile", "web: python app.py\nworker: python worker.py\nrelease: python migrate.py\n");

#[tokio::test(flavor = "multi_thread")]
async fn a_python_program_gets_its_dependencies_once_and_a_warm_push_runs_nothing() {
    let world = World::new().await;
    let app =
        |text: &'static str| [MANIFEST, REQUIREMENTS, PROCFILE, ("app.py", text), ("pkg/mod.py", "x = 1\n")];
    let began = Instant::now();
    let cold = world.built(&app("import itsdangerous; print('one', itsdangerous.__name__)")).await;
    println!("python cold: {:?}", began.elapsed());
    assert_eq!((cold.builder.as_str(), world.sandboxes.load(Ordering::Relaxed)), ("python", 1));
    assert_eq!(cold.services[&"worker".parse().unwrap()].command.as_deref(), Some("python worker.py"));
    assert_eq!(cold.release_command.as_deref(), Some("python migrate.py"));
    let printed = run_image(&world.folder, &world.registry, &cold.image, "python app.py");
    assert_eq!(printed, "one itsdangerous\n");

    let began = Instant::now();
    let push = world.push(&app("import itsdangerous; print('two')")).await;
    let warm = world.succeeded(&push).await;
    println!("python warm: {:?}", began.elapsed());
    assert_eq!(world.sandboxes.load(Ordering::Relaxed), 1, "no dependency changed");
    assert_ne!(warm.image.digest, cold.image.digest);
    assert_eq!(run_image(&world.folder, &world.registry, &warm.image, "python app.py"), "two\n");
    let log = world.log(&push).await;
    let anew = world.push_without_cache(push.commit.as_str()).await;
    assert_eq!(world.succeeded(&anew).await.image, warm.image, "made anew, it is the same");
    assert_eq!(world.sandboxes.load(Ordering::Relaxed), 2);
    let expected = "-----> Python app detected
       Found requirements.txt
-----> Dependencies are unchanged; using those of an earlier build
-----> Image ";
    assert!(log.starts_with(expected), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_commit_gives_the_same_digest_on_another_machine() {
    let files = [
        MANIFEST,
        REQUIREMENTS,
        PROCFILE,
        ("app.py", "print(1)"),
        ("bin/run*", "#!/bin/sh\n"),
        ("link@", "app.py"),
    ];
    let (one, other) = (World::new().await, World::new().await);
    let (first, second) = (one.built(&files).await, other.built(&files).await);
    assert_eq!(first.image.digest, second.image.digest);
    one.each_entry(&first, |path, header| {
        let meta = (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        assert_eq!(meta, (0, 1000, 1000), "{path}");
        let mode = header.mode().unwrap();
        assert!(matches!(mode, 0o644 | 0o755 | 0o777), "{path} {mode:o}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_does_not_exist_is_named() {
    let world = World::new().await;
    let reason =
        world.refused(&[MANIFEST, PROCFILE, ("requirements.txt", "no-such-package-of-slipway==1.0\n")]).await;
    assert!(reason.starts_with("installing dependencies with uv failed with status"), "{reason}");
    assert!(reason.contains("no-such-package-of-slipway"), "{reason}");
    let reason = world.refused(&[MANIFEST, REQUIREMENTS, PROCFILE, (".python-version", "2.7\n")]).await;
    assert!(reason.contains(".python-version asks for Python 2.7, but this stack has Python 3."), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_program_gets_its_dependencies_and_its_build() {
    let world = World::new().await;
    let lock = include_str!("node/package-lock.json");
    let package =
        r#"{"name":"app","version":"1.0.0","scripts":{"start":"node app.js"},"dependencies":{"ms":"2.1.3"}}"#;
    let app = ("app.js", "console.log(require('ms')('2 days'))");
    let files = [MANIFEST, ("package.json", package), ("package-lock.json", lock), app];
    let began = Instant::now();
    let image = world.built(&files).await;
    println!("node cold: {:?}", began.elapsed());
    assert_eq!(image.services[&"web".parse().unwrap()].command.as_deref(), Some("node app.js"));
    assert_eq!(run_image(&world.folder, &world.registry, &image.image, "node app.js"), "172800000\n");
    let began = Instant::now();
    world.built(&[files[0], files[1], files[2], ("app.js", "1")]).await;
    println!("node warm: {:?}", began.elapsed());
    assert_eq!(world.sandboxes.load(Ordering::Relaxed), 1);

    let builds = package.replace("\"start\"", "\"build\":\"node make.js\",\"start\"");
    let make = (
        "make.js",
        "require('fs').writeFileSync('made.txt', require('ms')('1s') + ' ' + process.env.NODE_ENV)",
    );
    let image =
        world.built(&[MANIFEST, ("package.json", &builds), ("package-lock.json", lock), app, make]).await;
    let paths = world.files(&image);
    assert!(
        paths.contains(&"app/made.txt".to_owned())
            && paths.contains(&"app/node_modules/ms/index.js".to_owned()),
        "{paths:?}"
    );
    assert_eq!(run_image(&world.folder, &world.registry, &image.image, "cat made.txt"), "1000 production");
}

#[tokio::test(flavor = "multi_thread")]
async fn static_files_and_bare_programs_need_no_sandbox() {
    let world = World::new().await;
    let image = world
        .built(&[
            MANIFEST,
            ("index.html", "<h1>hello</h1>"),
            (".slugignore", "*.psd\n/drafts\n"),
            ("a.psd", "x"),
            ("drafts/b", "y"),
        ])
        .await;
    assert_eq!(
        (image.builder.as_str(), world.files(&image)),
        ("static", vec!["app".to_owned(), "app/index.html".to_owned()])
    );
    assert!(image.services[&"web".parse().unwrap()].listens);

    let files =
        [MANIFEST, ("Procfile", "web: ./run\n"), ("run*", "#!/bin/sh\necho ran in $PWD with $HOME\n")];
    let image = world.built(&files).await;
    assert_eq!(image.builder, "procfile");
    assert_eq!(run_image(&world.folder, &world.registry, &image.image, "./run"), "ran in /app with /app\n");
    assert_eq!(world.sandboxes.load(Ordering::Relaxed), 0);

    let manifest = "project: acme/shop\ncredential: slwp_1\nbuild: { root: backend }\nenvironments: { dev: { domains: [a.example.com] } }\n";
    let image = world
        .built(&[
            ("slipway.yaml", manifest),
            ("other/x", ""),
            ("backend/Procfile", "web: ./run\n"),
            ("backend/run*", ""),
        ])
        .await;
    assert_eq!(world.files(&image), ["app", "app/Procfile", "app/run"]);
    assert_eq!(image.domains, ["a.example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_the_tenant_is_taken_as_it_is() {
    let world = World::new().await;
    let built = world.built(&[MANIFEST, ("Procfile", "web: ./run\n")]).await;
    let (repository, tag) = ("acme/shop".parse().unwrap(), "v1".parse().unwrap());
    world.registry.tag(&repository, &built.image.digest, &tag).unwrap();
    let manifest = |image: &str| {
        format!("project: acme/shop\ncredential: slwp_1\nbuild: {{ builder: image, image: \"{image}\" }}\n")
    };
    let image = world.built(&[("slipway.yaml", &manifest("shop:v1"))]).await;
    assert_eq!((image.image, image.builder.as_str()), (built.image.clone(), "image"));
    let web = &image.services[&"web".parse().unwrap()];
    assert_eq!((web.command.as_deref(), web.listens), (None, true));
    let image = world.built(&[("slipway.yaml", &manifest(&format!("shop@{}", built.image.digest)))]).await;
    assert_eq!(image.image, built.image);
    let reason = world.refused(&[("slipway.yaml", &manifest("shop:v2"))]).await;
    assert_eq!(reason, "build.image: shop:v2 is not in the registry; push it first");
    let reason = world.refused(&[("slipway.yaml", &manifest("stacks/debian-12:run"))]).await;
    assert_eq!(reason, "build.image: stacks/debian-12:run is not in the registry of acme");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_built_is_refused_with_the_thing_named() {
    let world = World::new().await;
    let check = async |files: &[(&str, &str)], expected: &str| {
        let reason = world.refused(files).await;
        assert!(reason.contains(expected), "{reason}");
    };
    check(&[("Procfile", "web: x")], "the commit has no slipway.yaml at its top level").await;
    check(
        &[("slipway.yaml", "project: acme/shop\ncredential: slwp_1\nbuidl: {}")],
        "slipway.yaml:3:1: unknown key \"buidl\"",
    )
    .await;
    check(
        &[("slipway.yaml", "project: acme/other\ncredential: slwp_1")],
        "slipway.yaml says project: acme/other, but this is acme/shop",
    )
    .await;
    check(
        &[MANIFEST, ("main.c", "")],
        "no builder fits: looked for requirements.txt, pyproject.toml (python)",
    )
    .await;
    check(&[MANIFEST, ("Procfile", "web")], "Procfile:1: a line must read `type: command`").await;
    check(&[MANIFEST, REQUIREMENTS], "nothing says what to run; add a Procfile").await;
    let with = |build: &str| format!("project: acme/shop\ncredential: slwp_1\nbuild: {build}\n");
    check(&[("slipway.yaml", &with("{ root: backend }"))], "the commit has no such directory").await;
    check(
        &[("slipway.yaml", &with("{ stack: debian-99 }")), ("Procfile", "web: x")],
        "stack debian-99 cannot be used",
    )
    .await;
    check(
        &[("slipway.yaml", &with("{ builder: dockerfile }")), ("Dockerfile", "FROM x")],
        "builder: dockerfile is not supported yet",
    )
    .await;
    check(&[("slipway.yaml", &with("{ builder: buildpacks }"))], "builder: buildpacks needs a buildpack")
        .await;
    assert_eq!(world.sandboxes.load(Ordering::Relaxed), 0);
}
