use slipway_model::manifest::Builder;

use super::*;
use crate::source::{TreeFile, TreeFileKind};

/// A tree of files given as `path` or `path=content`.
fn files(list: &[&str]) -> Files {
    let mut files = Files::default();
    for file in list {
        let (path, content) = file.split_once('=').unwrap_or((file, ""));
        let entry =
            TreeFile { kind: TreeFileKind::Regular, blob: content.to_owned(), size: content.len() as u64 };
        files.tree.files.insert(path.as_bytes().to_vec(), entry);
    }
    let wanted: Vec<String> = contents_wanted(&files.tree).into_iter().map(str::to_owned).collect();
    for (path, content) in list.iter().filter_map(|file| file.split_once('=')) {
        if wanted.iter().any(|wanted| wanted == path) {
            files.contents.insert(path.to_owned(), content.as_bytes().to_vec());
        }
    }
    files
}

/// What is chosen, with what the sandbox would see.
fn check(list: &[&str], expected: &str) {
    let said = match choose(Builder::Auto, &files(list)) {
        Ok(plan) => {
            let inputs = match plan.recipe.map(|recipe| (recipe.arguments.join(" "), recipe.inputs)) {
                None => "nothing runs".to_owned(),
                Some((arguments, Inputs::Tree)) => format!("{arguments}: the tree"),
                Some((arguments, Inputs::Files(files))) => format!("{arguments}: {}", files.join(" ")),
            };
            let web = plan.process_types.get("web").map(|web| format!("; web: {web}")).unwrap_or_default();
            format!("{}; {inputs}{}", plan.builder, if plan.builder == "static" { "" } else { &web })
        }
        Err(e) => e.to_string(),
    };
    assert_eq!(said, expected, "{list:?}");
}

#[test]
fn python_sees_only_what_decides_its_dependencies() {
    check(&["app.py", "requirements.txt=flask\n"], "python; requirements no-package: requirements.txt");
    check(
        &[
            "requirements.txt=-r requirements/base.txt\n-c limits.txt",
            "requirements/base.txt=-r more.txt",
            "requirements/more.txt=x",
            "limits.txt=",
        ],
        "python; requirements no-package: limits.txt requirements.txt requirements/base.txt requirements/more.txt",
    );
    check(&["requirements.txt=-r requirements.txt\n"], "python; requirements no-package: requirements.txt");
    check(&["requirements.txt=-e .\n", "setup.py"], "python; requirements package: the tree");
    check(&["requirements.txt=./vendor/x.whl\n"], "python; requirements package: the tree");
    check(&["requirements.txt=-r absent.txt\n"], "python; requirements package: the tree");
    check(
        &["pyproject.toml=[project]\nname='x'", "uv.lock", ".python-version"],
        "python; lock no-package: pyproject.toml uv.lock .python-version",
    );
    check(
        &["pyproject.toml=[project]\n[ build-system ] # hatch", "uv.lock"],
        "python; lock package: the tree",
    );
    check(&["pyproject.toml=[project]\n"], "python; pyproject no-package: pyproject.toml");
    check(
        &["pyproject.toml=[tool.black]\n"],
        "pyproject.toml has no [project] table, so it says no dependencies; add one, or a requirements.txt",
    );
    check(
        &["Pipfile"],
        "Pipfile is not supported; write its packages to requirements.txt (pipenv requirements > requirements.txt)",
    );
}

#[test]
fn node_runs_over_the_tree_only_when_a_script_needs_it() {
    check(
        &[
            r#"package.json={"scripts":{"start":"node x"},"dependencies":{"express":"4"}}"#,
            "package-lock.json",
        ],
        "node; lock no-build: package.json package-lock.json; web: node x",
    );
    check(
        &[
            r#"package.json={"scripts":{"build":"vite build"},"main":"./dist.js"}"#,
            "package-lock.json",
            "dist.js",
        ],
        "node; lock build: the tree; web: node ./dist.js",
    );
    check(
        &[r#"package.json={"dependencies":{"a":"file:./a"}}"#, "package-lock.json"],
        "node; lock no-build: the tree",
    );
    check(&["package.json={}", "server.js"], "node; nothing runs; web: node server.js");
    check(
        &[r#"package.json={"dependencies":{"a":"1"}}"#],
        "package.json has no package-lock.json beside it; run npm install and commit the lock",
    );
    check(
        &[r#"package.json={"dependencies":{"a":"1"}}"#, "yarn.lock"],
        "yarn.lock is not supported; commit a package-lock.json (npm install writes it)",
    );
    check(&["package.json={"], "package.json cannot be read: EOF while parsing an object at line 1 column 1");
}

#[test]
fn the_rest_is_copied_or_refused_with_what_was_looked_for() {
    check(&["index.html", "style.css"], "static; nothing runs");
    check(&["public/index.html", "Procfile=web: ./x"], "static; nothing runs");
    check(&["Procfile=web: ./x"], "procfile; nothing runs");
    let looked = "looked for requirements.txt, pyproject.toml (python), package.json (node), \
                  index.html, public/index.html (static), Procfile (procfile), .buildpacks; \
                  name one with build.builder or build.buildpacks in slipway.yaml";
    check(&["main.rs"], &format!("no builder fits: {looked}"));
    check(
        &["Dockerfile"],
        &format!("no builder fits (a Dockerfile is there, but is not supported yet): {looked}"),
    );
}

#[test]
fn a_named_builder_is_not_overruled() {
    let both = files(&["requirements.txt", r#"package.json={}"#]);
    assert_eq!(choose(Builder::Auto, &both).unwrap().builder, "python");
    assert_eq!(
        choose(Builder::Auto, &both).unwrap().notes[1],
        "package.json is here too; to build with Node, set build.builder: node"
    );
    assert_eq!(choose(Builder::Node, &both).unwrap().builder, "node");
    let refused = choose(Builder::Static, &both).unwrap_err().to_string();
    assert_eq!(refused, "slipway.yaml says builder: static, but there is no index.html, public/index.html");
    assert!(choose(Builder::Dockerfile, &both).unwrap_err().to_string().contains("not supported yet"));
}
