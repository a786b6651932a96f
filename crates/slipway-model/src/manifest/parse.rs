//! Text → [`Manifest`]: the schema. One function for each section, each a loop over the keys in the
//! order of the file, so that the first mistake is the one that is reported.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::tree::{self, Key, Node, Place};
use super::value::{list, map, parsed, text, unknown_key, wanted};
use super::{BuildHints, Builder, EnvironmentHints, Manifest, ManifestError, ServiceHints};
use crate::name::NameError;

mod run;
mod service;

use service::read_service;

/// Services or environments in one manifest; a release with more would not fit its record.
const NAMED_MAX: usize = 100;
/// Domains of one environment, and buildpacks of one build.
const LIST_MAX: usize = 50;
/// Reads a manifest. A text that was read once is read the same for ever: there are no includes, no
/// variables and no defaults that depend on the place.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    const KNOWN: &[&str] = &["project", "credential", "build", "services", "release", "environments"];
    let root = tree::read(bytes)?;
    let (mut project, mut credential, mut release) = (None, None, None);
    let mut build = BuildHints::default();
    let mut services = BTreeMap::new();
    let mut environments = BTreeMap::new();
    for (key, node) in map(&root, wanted("slipway.yaml", "project: acme/shop"))? {
        match key.text.as_str() {
            "project" => project = Some(parsed(node, wanted("project", "acme/shop"))?),
            "credential" => credential = Some(read_credential(node)?),
            "build" => build = read_build(node)?,
            "services" => services = read_services(node)?,
            "release" => {
                release = Some(text(node, wanted("release", "python manage.py migrate"))?.to_owned())
            }
            "environments" => environments = read_environments(node)?,
            _ => return Err(unknown_key(key, "", KNOWN)),
        }
    }
    let missing = |key: &str| {
        Place::START.error(format!(
            "{key:?} is missing; the file needs project: tenant/name and its credential: slwc_…"
        ))
    };
    Ok(Manifest {
        project: project.ok_or_else(|| missing("project"))?,
        credential: credential.ok_or_else(|| missing("credential"))?,
        build,
        services,
        release,
        environments,
    })
}

fn read_credential(node: &Node) -> Result<String, ManifestError> {
    let credential = text(node, wanted("credential", "slwc_8c1v…"))?;
    if credential.len() > 128
        || !credential.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    {
        let message = "\"credential\" is not one that Slipway made; it has only letters, digits, '_' and '-'";
        return Err(node.place.error(message));
    }
    Ok(credential.to_owned())
}

fn read_build(node: &Node) -> Result<BuildHints, ManifestError> {
    const KNOWN: &[&str] = &["builder", "root", "buildpacks", "stack", "image"];
    let mut build = BuildHints::default();
    for (key, node) in map(node, wanted("build", "{ root: backend }"))? {
        match key.text.as_str() {
            "builder" => build.builder = read_builder(node)?,
            "root" => build.root = read_root(node)?,
            "buildpacks" => {
                let packs = list(node, wanted("buildpacks", "[./buildpack]"), LIST_MAX)?;
                build.buildpacks = packs.iter().map(read_buildpack).collect::<Result<_, _>>()?;
            }
            "stack" => build.stack = Some(read_stack(node)?),
            "image" => build.image = Some(read_image(node)?),
            _ => return Err(unknown_key(key, "build", KNOWN)),
        }
    }
    match build.builder {
        Builder::Image if build.image.is_none() => {
            Err(node.place.error("\"builder: image\" needs \"image\", such as image: shop:1.4"))
        }
        Builder::Image => Ok(build),
        _ if build.image.is_some() => Err(node.place.error("\"image\" is used with \"builder: image\" only")),
        Builder::Auto | Builder::Buildpacks => Ok(build),
        _ if !build.buildpacks.is_empty() => {
            Err(node.place.error("\"buildpacks\" are used with \"builder: buildpacks\" only"))
        }
        _ => Ok(build),
    }
}

fn read_builder(node: &Node) -> Result<Builder, ManifestError> {
    match text(node, wanted("builder", "auto"))? {
        "auto" => Ok(Builder::Auto),
        "python" => Ok(Builder::Python),
        "node" => Ok(Builder::Node),
        "static" => Ok(Builder::Static),
        "procfile" => Ok(Builder::Procfile),
        "buildpacks" => Ok(Builder::Buildpacks),
        "dockerfile" => Ok(Builder::Dockerfile),
        "image" => Ok(Builder::Image),
        other => Err(node
            .place
            .error(format!("\"builder\" must be auto, python, node, static, procfile, buildpacks, dockerfile or image; found {other:?}"))),
    }
}

fn read_root(node: &Node) -> Result<Option<String>, ManifestError> {
    let root = text(node, wanted("root", "backend"))?;
    let parts: Vec<_> = root.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if root.starts_with('/') || parts.contains(&"..") {
        return Err(node.place.error("\"root\" must be a directory inside the repository, such as backend"));
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

fn read_buildpack(node: &Node) -> Result<String, ManifestError> {
    let source = text(node, wanted("buildpacks", "./buildpack"))?;
    let ok = match (source.strip_prefix("./"), source.strip_prefix("https://")) {
        (Some(path), _) => !path.is_empty() && path.split('/').all(|part| part != ".."),
        (_, Some(rest)) => !rest.starts_with(['/', '-']) && !rest.contains(['@', ' ']),
        _ => false,
    };
    if !ok {
        return Err(node.place.error(
            "a buildpack is https://host/pack.git#branch, the https URL of a .tgz, or ./path in the repository",
        ));
    }
    Ok(source.to_owned())
}

fn read_stack(node: &Node) -> Result<String, ManifestError> {
    let stack = text(node, wanted("stack", "debian-12"))?;
    let shape_ok = stack.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b));
    if stack.len() > 60 || !shape_ok || !stack.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(node.place.error("\"stack\" must be the name of a stack, such as debian-12"));
    }
    Ok(stack.to_owned())
}

fn read_image(node: &Node) -> Result<String, ManifestError> {
    let image = text(node, wanted("image", "shop:1.4"))?;
    let shape_ok = image.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/:@".contains(&b));
    if image.len() > 255 || !shape_ok || !image.contains([':', '@']) {
        return Err(node.place.error("\"image\" must be name:tag or name@digest in the tenant's registry"));
    }
    Ok(image.to_owned())
}

fn read_services<T: FromStr<Err = NameError> + Ord>(
    node: &Node,
) -> Result<BTreeMap<T, ServiceHints>, ManifestError> {
    named(node, "services", "{ web: { instances: 2 } }", read_service)
}

fn read_environments<T: FromStr<Err = NameError> + Ord>(
    node: &Node,
) -> Result<BTreeMap<T, EnvironmentHints>, ManifestError> {
    named(node, "environments", "{ prod: { domains: [shop.example.com] } }", read_environment)
}

/// A map whose keys are names that people choose.
fn named<N, T>(
    node: &Node,
    what: &str,
    example: &str,
    read: impl Fn(&Key, &Node) -> Result<T, ManifestError>,
) -> Result<BTreeMap<N, T>, ManifestError>
where
    N: FromStr<Err = NameError> + Ord,
{
    let entries = map(node, wanted(what, example))?;
    if entries.len() > NAMED_MAX {
        return Err(node.place.error(format!("{} {what} are too many; at most {NAMED_MAX}", entries.len())));
    }
    let mut all = BTreeMap::new();
    for (key, node) in entries {
        let name = key.text.parse().map_err(|e: NameError| key.place.error(e.to_string()))?;
        all.insert(name, read(key, node)?);
    }
    Ok(all)
}

fn read_environment(key: &Key, node: &Node) -> Result<EnvironmentHints, ManifestError> {
    const KNOWN: &[&str] = &["services", "domains"];
    let mut environment = EnvironmentHints::default();
    for (inner, node) in map(node, wanted(&key.text, "{ domains: [shop.example.com] }"))? {
        match inner.text.as_str() {
            "services" => environment.services = read_services(node)?,
            "domains" => {
                for item in list(node, wanted("domains", "[shop.example.com]"), LIST_MAX)? {
                    let domain = read_domain(item)?;
                    if environment.domains.contains(&domain) {
                        return Err(item.place.error(format!("{domain} is listed twice")));
                    }
                    environment.domains.push(domain);
                }
            }
            _ => return Err(unknown_key(inner, &format!("environments.{}", key.text), KNOWN)),
        }
    }
    Ok(environment)
}

/// A host name that can be claimed: at least two labels, no wildcard, no address, ASCII only, so
/// that no lookalike letter can stand for another (N31).
fn read_domain(node: &Node) -> Result<String, ManifestError> {
    let domain = text(node, wanted("domains", "shop.example.com"))?.to_ascii_lowercase();
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_a_word =
        domain.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
    if domain.len() > 253 || !domain.contains('.') || !domain.split('.').all(label_ok) || !last_is_a_word {
        let message = format!(
            "{domain:?} is not a domain such as shop.example.com (no wildcard, address, port or path; \
             international names in their xn-- form)"
        );
        return Err(node.place.error(message));
    }
    Ok(domain)
}
