//! Each host's disk: a file system of its own, so that it can be full without its neighbours' noticing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Host, HostKind, Lab};

/// The file that leaves no room for others.
const BALLAST: &str = "ballast";

/// Makes and mounts it.
pub fn make(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    let folder = lab.disk(host);
    fs::create_dir_all(&folder)?;
    let size = match host.kind {
        HostKind::ZooKeeper => "size=128m",
        // The disk of one build has to fit, and what servers leave free.
        HostKind::Server => "size=4g",
        HostKind::Node => "size=3g",
    };
    let options = Some(format!("{size},mode=0711"));
    mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), options.as_deref())
        .with_context(|| format!("cannot mount {}", folder.display()))?;
    // Programs of tenants pass through it to their files.
    fs::set_permissions(&lab.folder, fs::Permissions::from_mode(0o711))?;
    Ok(())
}

/// Unmounts it, whatever still uses it.
pub fn remove(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    let _absent = umount2(&lab.disk(host), MntFlags::MNT_DETACH);
    Ok(())
}

/// Leaves no room.
pub fn fill(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    let mut ballast = fs::File::create(lab.disk(host).join(BALLAST))?;
    let chunk = vec![b'.'; 1 << 20];
    // Ends with the disk; then byte by byte of what is left.
    for size in [chunk.len(), 4096, 1] {
        while std::io::Write::write_all(&mut ballast, &chunk[..size]).is_ok() {}
    }
    Ok(())
}

/// Makes room again.
pub fn empty(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    let _absent = fs::remove_file(lab.disk(host).join(BALLAST));
    Ok(())
}
