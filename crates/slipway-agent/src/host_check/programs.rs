//! The programs that Slipway runs.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Finding;
use super::cgroups::{Kind, Layout};
use super::version::Version;

const DIRECTORIES: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

pub(super) fn all(cgroups: &Layout) -> Vec<Finding> {
    let mut findings = vec![git()];
    findings.push(runtime(cgroups, version_of("crun"), version_of("runc")));
    findings.push(needed("nft", "nftables", "instances get no network without it"));
    findings.push(needed("mkfs.ext4", "e2fsprogs", "the disk of a build is made with it"));
    findings.push(match find("mmdebstrap") {
        Some(path) => Finding::ok("mmdebstrap", path.display().to_string()),
        None => Finding::warn(
            "mmdebstrap",
            "it is not installed, and `slipwayd stack create` needs it",
            "run `apt-get install mmdebstrap`, or import a stack with `slipwayd stack import`",
        ),
    });
    findings
}

fn git() -> Finding {
    // Since 2.39 all the checks of a push that we switch on are known.
    let needed = Version::new(&[2, 39]);
    match version_of("git") {
        None => Finding::fail("git", "it is not installed", "run `apt-get install git`"),
        Some(Found { version: Some(version), .. }) if version < needed => {
            let advice = format!("install git {needed} or newer");
            Finding::fail("git", format!("version {version} is too old"), advice)
        }
        Some(found) => Finding::ok("git", found.first_line),
    }
}

fn needed(program: &str, package: &str, why: &str) -> Finding {
    match find(program) {
        Some(path) => Finding::ok(program, path.display().to_string()),
        None => {
            let advice = format!("run `apt-get install {package}`");
            Finding::fail(program, format!("it is not installed, and {why}"), advice)
        }
    }
}

/// What a program says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) first_line: String,
    pub(super) version: Option<Version>,
}

/// Which OCI runtime there is. Whether it really runs a container is tried when the agent starts.
pub(super) fn runtime(cgroups: &Layout, crun: Option<Found>, runc: Option<Found>) -> Finding {
    let name = "OCI runtime";
    let fits_crun = cgroups.kind == Kind::V2 || cgroups.kind == Kind::V1;
    match (crun, runc) {
        (Some(crun), _) if fits_crun => Finding::ok(name, crun.first_line),
        (_, Some(runc)) => match runc.version.as_ref().and_then(lacks_fixes) {
            None => Finding::ok(name, runc.first_line),
            Some(fixed) => Finding::warn(
                name,
                format!(
                    "{}, which by its version lacks the fixes for CVE-2025-31133, CVE-2025-52565 and \
                     CVE-2025-52881; the user namespaces that Slipway always uses blunt them",
                    runc.first_line
                ),
                format!("install runc {fixed} or newer, or a distribution's package that names these fixes"),
            ),
        },
        (Some(crun), None) => Finding::fail(
            name,
            format!("{}, which refuses hybrid cgroups", crun.first_line),
            "run `apt-get install runc`, or boot with systemd.unified_cgroup_hierarchy=1",
        ),
        (None, None) => {
            Finding::fail(name, "neither crun nor runc is installed", "run `apt-get install crun runc`")
        }
    }
}

/// The first version of the same line with the fixes of November 2025, when this one is older.
fn lacks_fixes(runc: &Version) -> Option<Version> {
    let fixed_13 = Version::new(&[1, 3, 3]);
    let fixed_12 = Version::new(&[1, 2, 8]);
    if *runc >= Version::new(&[1, 3]) {
        (*runc < fixed_13).then_some(fixed_13)
    } else {
        (*runc < fixed_12).then_some(fixed_12)
    }
}

fn version_of(program: &str) -> Option<Found> {
    let output = Command::new(find(program)?)
        .arg("--version")
        .env_clear()
        .env("PATH", DIRECTORIES.join(":"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    let text = match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            return Some(Found { first_line: format!("{program} does not start: {error}"), version: None });
        }
    };
    let first_line = text.lines().next().unwrap_or("it prints no version").to_owned();
    Some(Found { version: Version::find(&first_line), first_line })
}

fn find(program: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| PathBuf::from(directory).join(program)).find(|path| path.is_file())
}
