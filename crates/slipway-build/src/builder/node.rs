//! Node with npm: `npm ci` from the lock file, then the `build` script if there is one, then the
//! development dependencies go. Without a build script only `package.json` and the lock decide what
//! is in `node_modules`, which is then a layer that later pushes use again.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Files, Inputs, Plan, Recipe};
use crate::error::Error;

pub(super) const LOOKS_FOR: &str = "package.json";

/// The part of `package.json` that decides.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Package {
    scripts: BTreeMap<String, String>,
    main: Option<String>,
    workspaces: Option<serde_json::Value>,
    dependencies: BTreeMap<String, serde_json::Value>,
    #[serde(rename = "devDependencies")]
    dev_dependencies: BTreeMap<String, serde_json::Value>,
}

pub(super) fn detect(files: &Files) -> Result<Option<Plan>, Error> {
    if !files.tree.has("package.json") {
        return Ok(None);
    }
    let text =
        files.contents.get("package.json").ok_or_else(|| Error::refused("package.json is too large"))?;
    let package: Package = serde_json::from_slice(text)
        .map_err(|e| Error::refused(format!("package.json cannot be read: {e}")))?;
    let lock = ["npm-shrinkwrap.json", "package-lock.json"].into_iter().find(|name| files.tree.has(name));
    let has_dependencies = !package.dependencies.is_empty() || !package.dev_dependencies.is_empty();
    if lock.is_none() && has_dependencies {
        let other = ["yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb"]
            .into_iter()
            .find(|name| files.tree.has(name));
        let reason = match other {
            Some(other) => {
                format!("{other} is not supported; commit a package-lock.json (npm install writes it)")
            }
            None => "package.json has no package-lock.json beside it; run npm install and commit the lock"
                .to_owned(),
        };
        return Err(Error::refused(reason));
    }
    let recipe = recipe(&package, files, lock);
    // Without anything to install, a node_modules in the commit is the program's own.
    let left_out = if recipe.is_some() { vec!["node_modules"] } else { Vec::new() };
    Ok(Some(Plan {
        builder: "node",
        headline: "Node app detected".into(),
        notes: vec![format!(
            "Found package.json{}",
            lock.map(|lock| format!(" and {lock}")).unwrap_or_default()
        )],
        recipe,
        left_out,
        env: vec![
            ("PATH", "/app/node_modules/.bin:/usr/local/bin:/usr/bin:/bin"),
            ("NODE_ENV", "production"),
        ],
        process_types: process_types(&package, files),
    }))
}

fn recipe(package: &Package, files: &Files, lock: Option<&str>) -> Option<Recipe> {
    let builds = package.scripts.contains_key("build");
    if lock.is_none() && !builds {
        return None;
    }
    const READ_THE_TREE: &[&str] =
        &["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"];
    let local = |version: &serde_json::Value| {
        version.as_str().is_some_and(|v| v.starts_with("file:") || v.starts_with("link:"))
    };
    let from_tree = package.dependencies.values().chain(package.dev_dependencies.values()).any(local)
        || package.workspaces.is_some()
        || READ_THE_TREE.iter().any(|script| package.scripts.contains_key(*script));
    let changes_tree = builds || from_tree;
    let inputs = if changes_tree {
        Inputs::Tree
    } else {
        let names = ["package.json", lock.unwrap_or_default(), ".npmrc", ".node-version", ".nvmrc"];
        Inputs::Files(
            names.iter().filter(|name| files.tree.has(name)).map(|name| (*name).to_owned()).collect(),
        )
    };
    Some(Recipe {
        title: if builds {
            "Installing dependencies and building with npm"
        } else {
            "Installing dependencies with npm"
        },
        script: include_str!("node.sh"),
        arguments: vec![
            if lock.is_some() { "lock" } else { "no-lock" }.to_owned(),
            if builds { "build" } else { "no-build" }.to_owned(),
        ],
        inputs,
        dependencies: "node_modules",
        changes_tree,
    })
}

/// The start script itself, not `npm start`: npm would stand between the program and its signals,
/// needs 50 MB for it, and is not in every run image.
fn process_types(package: &Package, files: &Files) -> BTreeMap<String, String> {
    let script = |name: &str| package.scripts.get(name).filter(|text| !text.contains(['\n', '\0']));
    let is_plain = |main: &&str| main.bytes().all(|b| b.is_ascii_alphanumeric() || b"./_-".contains(&b));
    let main =
        package.main.as_deref().filter(is_plain).filter(|main| files.tree.has(main.trim_start_matches("./")));
    let web = match (script("prestart"), script("start"), main) {
        (Some(before), Some(start), _) => format!("{before} && {start}"),
        (None, Some(start), _) => start.clone(),
        _ if files.tree.has("server.js") => "node server.js".to_owned(),
        (_, _, Some(main)) => format!("node {main}"),
        _ => return BTreeMap::new(),
    };
    BTreeMap::from([("web".to_owned(), web)])
}
