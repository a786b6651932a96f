//! Which builder fits a tree, and what it would do: pure functions over the list of files and the
//! contents of a few small ones. What comes out is a [`Plan`] that can be printed, compared and
//! tested; carrying it out is [`crate::build`]'s business.

use std::collections::BTreeMap;

use slipway_model::manifest;

use crate::error::Error;
use crate::source::Tree;

mod node;
mod python;
mod static_files;

/// Rises when a recipe changes in a way that its text does not show, so that layers made by an
/// older one are not used again.
pub const RECIPES_VERSION: u32 = 1;

/// A tree and the contents of those of its files that [`contents_wanted`] names.
#[derive(Debug, Default)]
pub struct Files {
    /// The list.
    pub tree: Tree,
    /// Contents by path.
    pub contents: BTreeMap<String, Vec<u8>>,
}

/// Largest file whose content a builder looks at.
pub const CONTENT_BYTES_MAX: usize = 512 << 10;
/// Lists of requirements that are looked at; one that is not is taken for part of the program.
const LISTS_MAX: usize = 50;

/// The files whose content a decision may depend on.
pub fn contents_wanted(tree: &Tree) -> Vec<&str> {
    const NAMES: &[&str] = &["Procfile", ".slugignore", ".buildpacks", "package.json", "pyproject.toml"];
    let is_list = |path: &&str| path.ends_with(".txt") && path.matches('/').count() <= 1;
    let paths = tree.files.keys().filter_map(|path| std::str::from_utf8(path).ok());
    let lists = paths.filter(is_list).filter(|path| *path != "requirements.txt").take(LISTS_MAX);
    let names = NAMES.iter().copied().chain(["requirements.txt"]).chain(lists);
    names.filter(|path| tree.file(path).is_some_and(|file| file.size <= CONTENT_BYTES_MAX as u64)).collect()
}

impl Files {
    /// The content of a file as text.
    pub fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.contents.get(path)?).ok()
    }
}

/// How a tree becomes layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// `python`, `node`, `static` or `procfile`.
    pub builder: &'static str,
    /// What the pusher is told: the first line, without the arrow.
    pub headline: String,
    /// Lines below it.
    pub notes: Vec<String>,
    /// What has to run, if anything.
    pub recipe: Option<Recipe>,
    /// Paths that do not go into the app's own layer.
    pub left_out: Vec<&'static str>,
    /// Variables that the image sets.
    pub env: Vec<(&'static str, &'static str)>,
    /// Commands for services that nobody else gives one.
    pub process_types: BTreeMap<String, String>,
}

/// A program run in a sandbox, and which files it reads and makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What it does, for the pusher: `Installing dependencies with uv`.
    pub title: &'static str,
    /// A constant text for the sandbox's bash; what varies is in `arguments`.
    pub script: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The files of the tree it sees.
    pub inputs: Inputs,
    /// The directory below `/app` that it fills. It becomes a layer of its own.
    pub dependencies: &'static str,
    /// Whether it changes other files as well, so that the app's layer has to be made from what it
    /// left and not from the commit.
    pub changes_tree: bool,
}

/// The files that a recipe sees. Its result is used again while they stay the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inputs {
    /// These.
    Files(Vec<String>),
    /// All.
    Tree,
}

/// Picks the native builder for a tree.
///
/// # Errors
/// [`Error::Refused`] when none fits, with what was looked for, or when the one that fits cannot
/// build this tree.
pub fn choose(wanted: manifest::Builder, files: &Files) -> Result<Plan, Error> {
    use manifest::Builder;
    let asked = |plan: Option<Plan>, name: &str, looked_for: &str| {
        plan.ok_or_else(|| {
            Error::refused(format!("slipway.yaml says builder: {name}, but there is no {looked_for}"))
        })
    };
    match wanted {
        Builder::Python => asked(python::detect(files)?, "python", python::LOOKS_FOR),
        Builder::Node => asked(node::detect(files)?, "node", node::LOOKS_FOR),
        Builder::Static => asked(static_files::detect(files), "static", static_files::LOOKS_FOR),
        Builder::Procfile => asked(procfile(files), "procfile", "Procfile"),
        Builder::Dockerfile => Err(Error::refused(
            "builder: dockerfile is not supported yet; use python, node, static, procfile, buildpacks, \
             or push an image to the registry and use builder: image",
        )),
        Builder::Auto | Builder::Buildpacks | Builder::Image => choose_what_fits(files),
    }
}

fn choose_what_fits(files: &Files) -> Result<Plan, Error> {
    let python = files.tree.has("requirements.txt") || files.tree.has("pyproject.toml");
    // A refusal of the first that fits is the answer: falling through to another builder would only
    // hide the reason.
    let found = match python::detect(files)? {
        Some(plan) => Some(plan),
        None => node::detect(files)?,
    };
    let Some(mut plan) = found.or_else(|| static_files::detect(files)).or_else(|| procfile(files)) else {
        let hint = if files.tree.has("Dockerfile") {
            " (a Dockerfile is there, but is not supported yet)"
        } else {
            ""
        };
        return Err(Error::refused(format!(
            "no builder fits{hint}: looked for {} (python), {} (node), {} (static), Procfile (procfile), .buildpacks; \
             name one with build.builder or build.buildpacks in slipway.yaml",
            python::LOOKS_FOR,
            node::LOOKS_FOR,
            static_files::LOOKS_FOR,
        )));
    };
    if python && files.tree.has("package.json") {
        plan.notes.push("package.json is here too; to build with Node, set build.builder: node".into());
    }
    Ok(plan)
}

/// Nothing to build: the tree has what the Procfile starts.
fn procfile(files: &Files) -> Option<Plan> {
    files.tree.has("Procfile").then(|| Plan {
        builder: "procfile",
        headline: "Procfile app detected".into(),
        notes: vec!["Nothing to build; the files go into the image as they are".into()],
        recipe: None,
        left_out: Vec::new(),
        env: Vec::new(),
        process_types: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests;
