//! Trees and programs that mean harm (N34, N90, N95).

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use slipway_build::beneath::Dir;
use slipway_build::source::{Source, extract};
use slipway_model::unit::Bytes;

use crate::runc::Limits;
use crate::world::{Config, MANIFEST, World, git};

#[tokio::test(flavor = "multi_thread")]
async fn links_out_of_the_tree_stay_links() {
    let world = World::new().await;
    let files = [
        MANIFEST,
        ("Procfile", "web: x\n"),
        ("out@", "/etc/shadow"),
        ("up@", "../../../../etc"),
        ("loop@", "loop"),
    ];
    let image = world.built(&files).await;
    let mut links = Vec::new();
    world.each_entry(&image, |path, header| {
        if header.entry_type().is_symlink() {
            links.push((path, header.link_name().unwrap().unwrap().display().to_string()));
        }
    });
    let expected = [("app/loop", "loop"), ("app/out", "/etc/shadow"), ("app/up", "../../../../etc")];
    assert_eq!(links, expected.map(|(path, target)| (path.to_owned(), target.to_owned())));

    // A Procfile, manifest or list of packages that is a link is not read through it.
    let reason = world.refused(&[MANIFEST, ("Procfile@", "/etc/passwd")]).await;
    assert!(reason.starts_with("no builder fits"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_that_no_git_writes_are_refused() {
    let world = World::new().await;
    let check = async |entries: &[(&str, &str)], expected: &str| {
        let blob = git(&world.repository(), &["hash-object", "-w", "--stdin"], "x");
        let manifest = git(&world.repository(), &["hash-object", "-w", "--stdin"], MANIFEST.1);
        let inner = git(&world.repository(), &["mktree"], &format!("100644 blob {blob}\tfile\n"));
        let elsewhere = "b".repeat(40);
        let mut listing = format!("100644 blob {manifest}\tslipway.yaml\n");
        for (mode, name) in entries {
            let (kind, id) = match *mode {
                "040000" => ("tree", &inner),
                "160000" => ("commit", &elsewhere),
                _ => ("blob", &blob),
            };
            writeln!(listing, "{mode} {kind} {id}\t{name}").unwrap();
        }
        let tree = git(&world.repository(), &["mktree", "--missing"], &listing);
        let commit = git(
            &world.repository(),
            &["-c", "user.name=a", "-c", "user.email=a@example.com", "commit-tree", &tree],
            "",
        );
        let push = world.push_commit(&commit, "acme/shop/dev").await;
        let reason = world.failed(&push).await;
        assert!(reason.contains(expected), "{reason}");
    };
    world.commit(&[MANIFEST]);
    check(&[("040000", ".git")], "\".git/file\": nothing may be called .git").await;
    check(&[("100644", ".GIT")], "nothing may be called .git").await;
    check(&[("100644", "git~1")], "nothing may be called .git").await;
    check(&[("100644", ".g\u{200c}it")], "nothing may be called .git").await;
    check(&[("040000", "..")], "it would lead out of the tree").await;
    check(&[("040000", "."), ("100644", "a")], "it would lead out of the tree").await;
    check(&[("100644", &"x".repeat(300))], "longer than 255 bytes").await;
    check(&[("160000", "vendor"), ("160000", "other")], "submodules are not supported: other, vendor").await;
    check(&[("160000", "\u{1b}]0;owned\u{7}x")], "submodules are not supported: ]0;ownedx; commit").await;
    check(&[("120000", "a"), ("040000", "a")], "both as a file and as a directory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_over_a_limit_are_refused_with_the_limit() {
    let world = World::new().await;
    let head = "commit refs/heads/main\ncommitter a <a@example.com> 1 +0000\ndata 0\n\n";
    let manifest = format!("M 100644 inline slipway.yaml\ndata {}\n{}\n", MANIFEST.1.len(), MANIFEST.1);
    let mut many = format!("blob\nmark :1\ndata 1\nx\n{head}deleteall\n{manifest}");
    for number in 0..100_000 {
        writeln!(many, "M 100644 :1 d{}/f{number}", number % 300).unwrap();
    }
    let push = world.push_commit(&world.import(&many), "acme/shop/dev").await;
    assert_eq!(world.failed(&push).await, "the commit has more than 100000 files, which is the limit");

    // 1.2 GB in a repository of a few hundred kilobytes.
    let large = "0".repeat(60 << 20);
    let mut bomb = format!("blob\nmark :1\ndata {}\n{large}\n{head}deleteall\n{manifest}", large.len());
    for number in 0..20 {
        writeln!(bomb, "M 100644 :1 media/video/{number}").unwrap();
    }
    let push = world.push_commit(&world.import(&bomb), "acme/shop/dev").await;
    let reason = world.failed(&push).await;
    let expected = "the commit's files have 1200.0 MB, more than the limit of 1G; the largest directories: media/video 1200.0 MB";
    assert!(reason.starts_with(expected), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hostile_build_leaves_behind_is_taken_as_it_is() {
    let world = World::new().await;
    let compile = r#"#!/bin/bash
cd "$1"
mkfifo pipe
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
ln -s /etc/shadow shadow
ln -s / root
ln -s ../../../.. up
printf 'x' >setuid && chmod 6755 setuid
printf '\033]0;owned\007\033[2Jharmless\n'
rm -rf Procfile && ln -s /etc/passwd Procfile
"#;
    let files = [
        MANIFEST,
        (".buildpacks", "./p"),
        ("p/bin/detect*", "#!/bin/sh\necho x\n"),
        ("p/bin/compile*", compile),
        ("p/bin/release*", "#!/bin/sh\necho 'default_process_types: {web: ./x}'\n"),
    ];
    let push = world.push(&files).await;
    let image = world.succeeded(&push).await;
    let mut seen = Vec::new();
    world.each_entry(&image, |path, header| {
        if !path.starts_with("app/p/") {
            seen.push(format!("{path} {:?} {:o}", header.entry_type(), header.mode().unwrap()));
        }
    });
    let seen = seen.join("\n");
    for line in [
        "app/setuid Regular 755",
        "app/root Symlink 777",
        "app/shadow Symlink 777",
        "app/Procfile Symlink 777",
    ] {
        assert!(seen.contains(line), "{line} in {seen}");
    }
    assert!(!seen.contains("pipe") && !seen.contains("socket"), "{seen}");
    let log = world.log(&push).await;
    assert!(log.contains("Left out pipe: it is a device, fifo or socket"), "{log}");
    assert!(log.contains("       harmless\n") && !log.contains('\u{1b}'), "{log}");
}

/// Trees deeper than any stack, where the host looks: nobody walks through them by recursion.
#[tokio::test(flavor = "multi_thread")]
async fn trees_of_any_depth_harm_nobody() {
    let limits = Limits { disk: Bytes::mebi(64), ..Limits::default() };
    let world = World::with(limits, Config::default()).await;
    let compile = r#"#!/bin/bash
set -e
deep() { (cd "$1" && python3 -c 'import os
for _ in range(15000):
    os.mkdir("d"); os.chdir("d")'); }
echo "the cache has: $(ls "$2" | tr '\n' ' ')"
case $(cat "$1/what") in
    cache) truncate -s 900M "$2/sparse"; deep "$2" ;;
    fill) dd if=/dev/zero of="$2/full" bs=1M count=56 status=none ;;
    app) deep "$1" ;;
    pack) mkdir "$1/made"; deep "$1/made" ;;
esac
"#;
    let push = async |what: &str| {
        let files = [
            MANIFEST,
            ("Procfile", "web: x\n"),
            (".buildpacks", "./p"),
            ("what", what),
            ("p/bin/detect*", "#!/bin/sh\necho x\n"),
            ("p/bin/compile*", compile),
        ];
        world.push(&files).await
    };
    // What looks large is not, and what is deep is not walked.
    let log = async |push| {
        world.succeeded(&push).await;
        world.log(&push).await
    };
    let first = log(push("cache").await).await;
    assert!(first.contains("the cache has:"), "{first}");
    let second = log(push("fill").await).await;
    assert!(second.contains("the cache has: d sparse") && !second.contains("nearly full"), "{second}");
    // Now it is full, and goes with all its depth.
    let third = log(push("nothing").await).await;
    assert!(third.contains("The build cache is nearly full and starts anew"), "{third}");
    assert!(!third.contains("sparse"), "{third}");

    for (what, path) in [("app", "d/d/d/"), ("pack", "made/d/d/")] {
        let push = push(what).await;
        let reason = world.failed(&push).await;
        assert!(reason.starts_with(&format!("the build left a path that is too deep: {path}")), "{reason}");
    }
    log(push("nothing").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_extracted_beneath_its_directory() {
    let world = World::new().await;
    let commit =
        world.commit(&[("a/b/c*", "1"), ("a/b-d", "2"), ("a/link@", "/etc"), ("a-x/y", "3"), ("z", "")]);
    let folder = tempfile::tempdir().unwrap();
    let mut source = Source::open(&world.repository(), &commit.parse().unwrap()).unwrap();
    let tree = source.tree(None).unwrap();
    extract(&mut source, &tree, &Dir::open(folder.path()).unwrap(), 1000).unwrap();
    let at = |path: &str| folder.path().join(path);
    assert_eq!(std::fs::read_to_string(at("a/b/c")).unwrap(), "1");
    assert_eq!(std::fs::read_to_string(at("a/b-d")).unwrap(), "2");
    assert_eq!(std::fs::read_link(at("a/link")).unwrap(), Path::new("/etc"));
    for (path, mode) in [("a", 0o40755), ("a/b/c", 0o100755), ("z", 0o100644)] {
        let meta = std::fs::metadata(at(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode()), (1000, 1000, mode), "{path}");
    }

    // A link where a directory should be is not gone through, whoever put it there.
    let trap = tempfile::tempdir().unwrap();
    symlink("/tmp", trap.path().join("a")).unwrap();
    assert!(extract(&mut source, &tree, &Dir::open(trap.path()).unwrap(), 1000).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_tree_is_read_quickly() {
    let world = World::new().await;
    let names: Vec<String> = (0..100).map(|number| format!("src/d{}/f{number}", number % 7)).collect();
    let content = "line of text\n".repeat(800);
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), content.as_str())).collect();
    let commit = world.commit(&files).parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let began = std::time::Instant::now();
    let mut source = Source::open(&world.repository(), &commit).unwrap();
    let tree = source.tree(None).unwrap();
    extract(&mut source, &tree, &Dir::open(folder.path()).unwrap(), 1000).unwrap();
    println!("{} files, {} bytes extracted in {:?}", tree.files.len(), tree.size(), began.elapsed());
}
