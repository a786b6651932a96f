//! The stack that demo and tests import, made once on a machine and kept.

use std::path::{Path, PathBuf};

use crate::run::{built, run, step};

/// Where the stack is kept between runs. A machine without it makes it, which takes a minute or two.
const KEPT_IN: &str = "/var/cache/slipway-stack";

/// An OCI layout of the stack `debian-12`, made if it is not there yet.
pub fn layout() -> anyhow::Result<PathBuf> {
    layout_by(&built("slipwayd"))
}

/// The same, made by a certain build of the server.
pub fn layout_by(slipwayd: &Path) -> anyhow::Result<PathBuf> {
    let layout = PathBuf::from(KEPT_IN).join("debian-12");
    if layout.join("oci-layout").exists() {
        return Ok(layout);
    }
    step("Making the stack debian-12 from Debian packages (once; a minute or two)", || {
        let folder = layout.to_string_lossy();
        run(slipwayd, &["stack", "export", "debian-12", &folder])
    })?;
    Ok(layout)
}
