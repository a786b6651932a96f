//! Classic buildpacks (build-git-registry.md section 1): where they come from, and the three programs
//! of the contract run over a tree. Everything of a buildpack runs in the sandbox, its download
//! included: to the host a buildpack is a directory that untrusted code filled.

use std::collections::BTreeMap;
use std::io::Read;

use slipway_model::limit::TREE_FILES_MAX;
use slipway_model::manifest::Manifest;

use crate::beneath::Dir;
use crate::builder::Files;
use crate::config_source::ConfigVar;
use crate::error::Error;
use crate::sandbox::Sandbox;
use crate::source::{Source, Tree, extract};
use crate::workshop::{Step, Workshop};

/// Buildpacks of one build.
const PACKS_MAX: usize = 20;
/// What `bin/release` may print.
const RELEASE_BYTES_MAX: u64 = 64 << 10;

/// Where a buildpack comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackSource {
    /// A git repository and what to check out of it.
    Git {
        /// `https://…`
        url: String,
        /// A branch, tag or commit; the default branch if empty.
        reference: String,
    },
    /// An archive.
    Tarball {
        /// `https://…`
        url: String,
    },
    /// A directory of the pushed tree, without `./`.
    Path(String),
}

impl PackSource {
    /// Reads `https://host/pack.git#ref`, the URL of an archive, or `./path`.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = || {
            Error::refused(format!(
                "{text:?} is not a buildpack: it must be https://host/pack.git#branch, the https URL of a .tgz, or ./path"
            ))
        };
        if let Some(path) = text.strip_prefix("./") {
            let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
            if parts.is_empty() || parts.contains(&"..") {
                return Err(refuse());
            }
            return Ok(Self::Path(parts.join("/")));
        }
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        let host = text.strip_prefix("https://").map(|rest| rest.split('/').next().unwrap_or_default());
        // A password in a URL would stand in the log and in the list of processes.
        if host.is_none_or(|host| host.is_empty() || host.contains('@')) || !printable || text.len() > 1024 {
            return Err(refuse());
        }
        const ARCHIVES: [&str; 5] = [".tgz", ".tar.gz", ".tbz", ".tar.bz", ".tar"];
        if ARCHIVES.iter().any(|end| text.ends_with(end)) {
            return Ok(Self::Tarball { url: text.to_owned() });
        }
        let (url, reference) = text.split_once('#').unwrap_or((text, ""));
        if reference.starts_with('-') {
            return Err(refuse());
        }
        Ok(Self::Git { url: url.to_owned(), reference: reference.to_owned() })
    }
}

impl std::fmt::Display for PackSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Git { url, reference } if reference.is_empty() => f.write_str(url),
            Self::Git { url, reference } => write!(f, "{url}#{reference}"),
            Self::Tarball { url } => f.write_str(url),
            Self::Path(path) => write!(f, "./{path}"),
        }
    }
}

/// The buildpacks that a build names: by the config variable `BUILDPACK_URL`, else the file
/// `.buildpacks`, else the manifest (BP-05). Empty when nobody names any.
///
/// # Errors
/// [`Error::Refused`] when one of them is none.
pub fn named(manifest: &Manifest, files: &Files, config: &[ConfigVar]) -> Result<Vec<PackSource>, Error> {
    let url = config.iter().find(|var| var.key.as_str() == "BUILDPACK_URL" && !var.value.trim().is_empty());
    let words: Vec<&str> = if let Some(url) = url {
        vec![url.value.trim()]
    } else if let Some(text) = files.text(".buildpacks") {
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    } else {
        manifest.build.buildpacks.iter().map(String::as_str).collect()
    };
    if words.len() > PACKS_MAX {
        return Err(Error::refused(format!("{} buildpacks are too many; at most {PACKS_MAX}", words.len())));
    }
    words.into_iter().map(PackSource::parse).collect()
}

/// The parts of a build that buildpacks work on.
pub struct Materials<'m> {
    /// The packs, in order.
    pub packs: &'m [PackSource],
    /// The commit's files without what `.slugignore` names.
    pub tree: &'m Tree,
    /// The commit's files, all of them: a pack's own directory may be ignored.
    pub whole: &'m Tree,
    /// The environment's config.
    pub config: &'m [ConfigVar],
    /// The commit, for `SOURCE_VERSION`.
    pub commit: &'m str,
}

/// Runs the buildpacks. The result is in the workshop's directory `build`.
///
/// # Errors
/// [`Error::Refused`] when one of them cannot be had, does not fit or fails.
pub async fn run<S: Sandbox>(
    workshop: &Workshop<'_, S>,
    source: &mut Source,
    materials: &Materials<'_>,
) -> Result<BTreeMap<String, String>, Error> {
    let Materials { packs, .. } = materials;
    tokio::task::block_in_place(|| lay_out(workshop, source, materials))?;
    let remote: Vec<String> = packs
        .iter()
        .enumerate()
        .flat_map(|(number, pack)| match pack {
            PackSource::Git { url, reference } => {
                vec![format!("{number:02}"), "git".into(), url.clone(), reference.clone()]
            }
            PackSource::Tarball { url } => {
                vec![format!("{number:02}"), "tar".into(), url.clone(), String::new()]
            }
            PackSource::Path(_) => Vec::new(),
        })
        .collect();
    let step = |what, script, arguments, sees, network| Step {
        what,
        script,
        arguments,
        env: environment(materials.commit),
        sees,
        cwd: "/build",
        network,
    };
    const PACKS: (&str, &str) = ("packs", "/packs");
    const BUILD: (&str, &str) = ("build", "/build");
    if !remote.is_empty() {
        let script = include_str!("buildpack/fetch.sh");
        workshop.run(step("fetching the buildpacks", script, &remote, &[PACKS, BUILD], true)).await?;
    }
    let names: Vec<String> = packs.iter().map(PackSource::to_string).collect();
    let script = include_str!("buildpack/detect.sh");
    workshop.run(step("detecting with the buildpack", script, &names, &[PACKS, BUILD], false)).await?;
    let script = include_str!("buildpack/compile.sh");
    let sees = [PACKS, BUILD, ("app", "/app"), ("env", "/env"), ("out", "/out")];
    workshop.run(step("compiling with the buildpack", script, &names, &sees, true)).await?;

    let mut yaml = Vec::new();
    let out = workshop.open_directory("out")?;
    let Ok(release) = out.file("release.yml") else { return Ok(BTreeMap::new()) };
    release
        .take(RELEASE_BYTES_MAX)
        .read_to_end(&mut yaml)
        .map_err(Error::io("read", "bin/release's output".as_ref()))?;
    slipway_model::manifest::buildpack::default_process_types(&yaml).map_err(|e| {
        Error::refused(format!(
            "bin/release of the last buildpack printed something unexpected in line {}: {}",
            e.line, e.message
        ))
    })
}

fn lay_out<S: Sandbox>(
    workshop: &Workshop<'_, S>,
    source: &mut Source,
    materials: &Materials<'_>,
) -> Result<(), Error> {
    let uid = workshop.uid();
    let build = workshop.directory("build")?;
    extract(source, materials.tree, &build, uid)?;
    let packs = workshop.directory("packs")?;
    for (number, pack) in materials.packs.iter().enumerate() {
        let PackSource::Path(path) = pack else { continue };
        let own = subtree(materials.whole, path);
        if own.files.is_empty() || own.files.len() > TREE_FILES_MAX {
            return Err(Error::refused(format!("the buildpack {pack} is not in the commit")));
        }
        let into = packs
            .make_dir(format!("{number:02}").as_bytes(), uid)
            .map_err(Error::io("make the directory of", pack.to_string().as_ref()))?;
        extract(source, &own, &into, uid)?;
    }
    let env = workshop.directory("env")?;
    for var in materials.config {
        write_variable(&env, var, uid).map_err(Error::io("write", "a file of ENV_DIR".as_ref()))?;
    }
    workshop.directory("app")?;
    workshop.directory("out")?;
    Ok(())
}

/// One file per variable, its content the value and nothing else (section 1.1).
fn write_variable(env: &Dir, var: &ConfigVar, uid: u32) -> std::io::Result<()> {
    use std::io::Write;
    env.create(var.key.as_str(), false, uid)?.write_all(var.value.as_bytes())
}

/// The files below a directory, by their paths from there.
fn subtree(tree: &Tree, path: &str) -> Tree {
    let prefix = format!("{path}/").into_bytes();
    let below = tree.files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
    Tree { files: below.map(|(path, file)| (path[prefix.len()..].to_vec(), file.clone())).collect() }
}

fn environment(commit: &str) -> BTreeMap<String, String> {
    let pairs = [
        // Packs choose their downloads by Heroku's names and know no other (section 1.1).
        ("STACK", "heroku-24"),
        ("SOURCE_VERSION", commit),
        ("HOME", "/app"),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests;
