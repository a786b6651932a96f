//! Python with uv: a virtual environment in `/app/.venv`, made from `uv.lock`, `pyproject.toml` or
//! `requirements.txt`. It is a layer of its own, and only the files that decide its content go into
//! the sandbox, so that a push that changes none of them runs nothing at all.

use std::collections::BTreeMap;

use super::{Files, Inputs, Plan, Recipe};
use crate::error::Error;

pub(super) const LOOKS_FOR: &str = "requirements.txt, pyproject.toml";

/// Files that `-r` and `-c` lead to; a chain that is longer is followed by giving uv the whole tree.
const INCLUDES_MAX: usize = 20;

pub(super) fn detect(files: &Files) -> Result<Option<Plan>, Error> {
    let (kind, found, inputs) = if files.tree.has("uv.lock") && files.tree.has("pyproject.toml") {
        ("lock", "uv.lock", project_inputs(files))
    } else if files.tree.has("requirements.txt") {
        ("requirements", "requirements.txt", requirements_inputs(files))
    } else if files.tree.has("pyproject.toml") {
        if !has_table(files, "project") {
            return Err(Error::refused(
                "pyproject.toml has no [project] table, so it says no dependencies; add one, or a requirements.txt",
            ));
        }
        ("pyproject", "pyproject.toml", project_inputs(files))
    } else if files.tree.has("Pipfile") {
        return Err(Error::refused(
            "Pipfile is not supported; write its packages to requirements.txt (pipenv requirements > requirements.txt)",
        ));
    } else {
        return Ok(None);
    };
    let is_package = if inputs == Inputs::Tree { "package" } else { "no-package" };
    Ok(Some(Plan {
        builder: "python",
        headline: "Python app detected".into(),
        notes: vec![format!("Found {found}")],
        recipe: Some(Recipe {
            title: "Installing dependencies with uv",
            script: include_str!("python.sh"),
            arguments: vec![kind.to_owned(), is_package.to_owned()],
            inputs,
            dependencies: ".venv",
            changes_tree: false,
        }),
        left_out: vec![".venv"],
        env: vec![
            ("PATH", "/app/.venv/bin:/usr/local/bin:/usr/bin:/bin"),
            ("VIRTUAL_ENV", "/app/.venv"),
            // Lines must reach the log when they are printed, not when a buffer is full.
            ("PYTHONUNBUFFERED", "1"),
        ],
        process_types: BTreeMap::new(),
    }))
}

/// A project that is a package itself is built from its whole tree; any other only lists what it
/// needs.
fn project_inputs(files: &Files) -> Inputs {
    if has_table(files, "build-system")
        || files.text("pyproject.toml").is_none_or(|text| text.contains("path ="))
    {
        return Inputs::Tree;
    }
    Inputs::Files(present(files, &["pyproject.toml", "uv.lock", "uv.toml", ".python-version"]))
}

/// `requirements.txt` and what it includes; the whole tree when it installs something from there.
fn requirements_inputs(files: &Files) -> Inputs {
    let mut inputs = present(files, &[".python-version", "uv.toml"]);
    let mut waiting = vec!["requirements.txt".to_owned()];
    while let Some(path) = waiting.pop() {
        if inputs.contains(&path) {
            continue;
        }
        let Some(text) = files.text(&path).filter(|_| inputs.len() < INCLUDES_MAX) else {
            return Inputs::Tree;
        };
        inputs.push(path.clone());
        for line in text.lines().map(str::trim) {
            match included(line) {
                Line::File(name) => waiting.push(beside(&path, name)),
                Line::Local => return Inputs::Tree,
                Line::Package => {}
            }
        }
    }
    inputs.sort();
    Inputs::Files(inputs)
}

enum Line<'a> {
    /// Another file of the same kind.
    File(&'a str),
    /// Something in the tree.
    Local,
    /// A package by name, an option or a comment.
    Package,
}

fn included(line: &str) -> Line<'_> {
    for option in ["-r", "--requirement", "-c", "--constraint"] {
        if let Some(rest) = line.strip_prefix(option)
            && rest.starts_with([' ', '=', '\t'])
        {
            return Line::File(rest.trim_start_matches([' ', '=', '\t']).trim_end());
        }
    }
    let local_path = line.starts_with(['.', '/']) || line.starts_with("-e") || line.starts_with("--editable");
    if local_path || line.contains("file:") || line.ends_with(".whl") || line.ends_with(".tar.gz") {
        return Line::Local;
    }
    Line::Package
}

/// The path of a file named in another, which is relative to that one.
fn beside(path: &str, name: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{name}"),
        None => name.trim_start_matches("./").to_owned(),
    }
}

fn present(files: &Files, names: &[&str]) -> Vec<String> {
    names.iter().filter(|name| files.tree.has(name)).map(|name| (*name).to_owned()).collect()
}

/// True when a TOML file has that table. A line that looks like it inside a multi-line string only
/// makes us more careful than need be.
fn has_table(files: &Files, table: &str) -> bool {
    let header = format!("[{table}]");
    files.text("pyproject.toml").is_some_and(|text| {
        text.lines().any(|line| line.split('#').next().unwrap_or_default().replace(' ', "").trim() == header)
    })
}
