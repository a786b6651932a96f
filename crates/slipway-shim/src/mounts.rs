//! The root filesystem, in a mount namespace of the shim's own.
//!
//! Layers are unpacked once on a node and owned by container ids (0…65535). An idmapped mount shows
//! them as owned by the tenant's ids instead, without a copy; overlayfs takes such mounts as its
//! lower directories. Because nothing here is visible outside of the namespace, nothing can leak.

use std::ffi::{CString, c_int};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::disk;
use crate::spec::{ROOT_NAME, Rootfs, ShimSpec, Upper};

/// Builds the tree that the bundle's `root.path` names.
///
/// # Errors
/// What failed, in words.
pub fn build(spec: &ShimSpec) -> Result<(), String> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(|error| format!("cannot make a mount namespace: {error}"))?;
    // What is unmounted outside goes away here too; nothing of ours is seen outside.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        .map_err(|error| format!("cannot separate the mount namespace: {error}"))?;
    build_tree(&spec.rootfs)
}

/// Unmounts the tree. The end of the namespace would do the same, but only after the shim is gone,
/// and its caller wants the scratch disk beneath it free before.
pub fn tear_down(spec: &ShimSpec) {
    let _ = umount2(&spec.rootfs.mount_dir, MntFlags::MNT_DETACH);
}

fn build_tree(rootfs: &Rootfs) -> Result<(), String> {
    let dir = &rootfs.mount_dir;
    let (bytes, inodes) = match rootfs.upper {
        Upper::Memory { bytes, inodes } => (bytes, inodes),
        // Holds only mount points then.
        Upper::Directory { .. } => (1 << 20, 256),
    };
    let users = UserNamespace::new(rootfs.uid_base, rootfs.uid_count)?;
    let layers: Vec<OwnedFd> =
        rootfs.layers.iter().map(|path| users.shift(path, true)).collect::<Result<_, _>>()?;
    let binds: Vec<OwnedFd> =
        rootfs.binds.iter().map(|path| users.shift(path, false)).collect::<Result<_, _>>()?;

    let options = format!("size={bytes},nr_inodes={inodes},mode=0711");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("slipway"), dir, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(|error| format!("cannot mount a tmpfs for writes on {}: {error}", dir.display()))?;
    for (index, tree) in layers.iter().enumerate() {
        attach(tree, &make_dir(&dir.join(index.to_string()), 0o755)?)?;
    }
    for (index, (tree, source)) in binds.iter().zip(&rootfs.binds).enumerate() {
        let point = dir.join(format!("b{index}"));
        // A file can only be mounted on a file, such as a bundle of certificates.
        let point = if source.is_dir() { make_dir(&point, 0o755)? } else { make_file(&point)? };
        attach(tree, &point)?;
    }
    for (index, volume) in rootfs.volumes.iter().enumerate() {
        let disk = make_dir(&dir.join(format!("v{index}")), 0o700)?;
        let data = disk::mount_volume(&volume.image, &disk, (volume.uid, volume.gid))?;
        let point = make_dir(&dir.join(format!("b{}", rootfs.binds.len() + index)), 0o755)?;
        attach(&users.shift(&data, false)?, &point)?;
    }
    drop(users);
    let mut lower = layers.len();
    if let Some(path) = &rootfs.fetched {
        let point = make_dir(&dir.join(lower.to_string()), 0o755)?;
        attach(&copy_of_mount(path)?, &point)?;
        lower += 1;
    }
    let (upper, work) = match &rootfs.upper {
        Upper::Memory { .. } => (dir.join("upper"), dir.join("work")),
        Upper::Directory { path } => (path.join("upper"), path.join("work")),
    };
    make_dir(&upper, 0o755)?;
    make_dir(&work, 0o700)?;
    chown(&upper, Some(rootfs.uid_base), Some(rootfs.uid_base))
        .map_err(|error| format!("cannot give {} to the tenant: {error}", upper.display()))?;
    let merged = make_dir(&dir.join(ROOT_NAME), 0o755)?;
    overlay(dir, lower, &upper, &work, &merged)?;
    rootfs.volumes.iter().try_for_each(|volume| make_target(&merged, &volume.target, rootfs.uid_base))
}

/// Makes the directory that a volume is mounted on, where the image has none. Nothing on the way may be a
/// link: the runtime would follow it, and the image's author would choose what is mounted over.
fn make_target(root: &Path, target: &str, uid_base: u32) -> Result<(), String> {
    let failed = |part: &str, error: std::io::Error| match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENOTDIR) => {
            format!("a volume cannot be mounted at {target}: {part:?} is a link or a file in the image")
        }
        _ => format!("a volume cannot be mounted at {target}: {error}"),
    };
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let mut at: OwnedFd = std::fs::File::open(root).map_err(|error| failed("/", error))?.into();
    for part in target.split('/').filter(|part| !part.is_empty()) {
        let name = CString::new(part).map_err(|error| failed(part, error.into()))?;
        // SAFETY: open descriptors, a NUL-terminated string that outlives the calls, integers.
        unsafe {
            if libc::mkdirat(at.as_raw_fd(), name.as_ptr(), 0o755) == 0 {
                let no_follow = libc::AT_SYMLINK_NOFOLLOW;
                libc::fchownat(at.as_raw_fd(), name.as_ptr(), uid_base, uid_base, no_follow);
            }
            let next = libc::openat(at.as_raw_fd(), name.as_ptr(), flags);
            if next < 0 {
                return Err(failed(part, std::io::Error::last_os_error()));
            }
            at = OwnedFd::from_raw_fd(next);
        }
    }
    Ok(())
}

/// Options of mount(2) must fit in a page, so the layers are named relative to the directory they
/// are in: 1,000 of them fit.
fn overlay(dir: &Path, layers: usize, upper: &Path, work: &Path, merged: &Path) -> Result<(), String> {
    let before = std::env::current_dir().map_err(|error| format!("no working directory: {error}"))?;
    std::env::set_current_dir(dir).map_err(|error| format!("cannot enter {}: {error}", dir.display()))?;
    // Overlayfs lists the topmost layer first.
    let lower: Vec<String> = (0..layers).rev().map(|index| index.to_string()).collect();
    let relative = |path: &Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), relative(upper), relative(work));
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    let mounted = mount(Some("overlay"), merged, Some("overlay"), flags, Some(options.as_str()));
    let _ = std::env::set_current_dir(before);
    mounted.map_err(|error| format!("cannot mount the image's {layers} layers: {error}"))
}

fn make_dir(path: &Path, mode: u32) -> Result<PathBuf, String> {
    let made = std::fs::DirBuilder::new().mode(mode).create(path);
    made.and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    Ok(path.to_owned())
}

fn make_file(path: &Path) -> Result<PathBuf, String> {
    std::fs::File::create_new(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    Ok(path.to_owned())
}

/// A user namespace that exists only to carry an id mapping to `mount_setattr`.
struct UserNamespace {
    descriptor: OwnedFd,
}

impl UserNamespace {
    fn new(base: u32, count: u32) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot make a user namespace for the tenant: {error}");
        let (mut ready, child_ready) = std::io::pipe().map_err(failed)?;
        let (child_wait, go_on) = std::io::pipe().map_err(failed)?;
        // SAFETY: this process has one thread, so the child may go on with ordinary code.
        match unsafe { nix::unistd::fork() }.map_err(|error| failed(error.into()))? {
            nix::unistd::ForkResult::Child => {
                drop(go_on);
                let made = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).is_ok();
                let mut child_ready = child_ready;
                let _ = child_ready.write_all(&[u8::from(made)]);
                // Until the parent closes its end, or is gone.
                let mut child_wait = child_wait;
                let _ = child_wait.read(&mut [0]);
                // SAFETY: ends the process without running anything of the parent's.
                unsafe { libc::_exit(0) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                drop(child_ready);
                drop(child_wait);
                let made = Self::of_child(&mut ready, child.as_raw(), base, count);
                drop(go_on);
                let _ = nix::sys::wait::waitpid(child, None);
                made.map_err(failed)
            }
        }
    }

    fn of_child(ready: &mut impl Read, child: i32, base: u32, count: u32) -> std::io::Result<Self> {
        let mut made = [0];
        ready.read_exact(&mut made)?;
        if made[0] == 0 {
            return Err(std::io::Error::other("user namespaces are not allowed on this host"));
        }
        std::fs::write(format!("/proc/{child}/uid_map"), format!("0 {base} {count}\n"))?;
        std::fs::write(format!("/proc/{child}/gid_map"), format!("0 {base} {count}\n"))?;
        let file = std::fs::File::open(format!("/proc/{child}/ns/user"))?;
        Ok(Self { descriptor: file.into() })
    }

    /// A detached copy of the directory's mount, with the ids of this namespace.
    fn shift(&self, path: &Path, read_only: bool) -> Result<OwnedFd, String> {
        let tree = copy_of_mount(path)?;
        let mut attributes = libc::MOUNT_ATTR_IDMAP | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
        if read_only {
            attributes |= libc::MOUNT_ATTR_RDONLY;
        }
        let wanted = libc::mount_attr {
            attr_set: attributes,
            attr_clr: 0,
            propagation: 0,
            userns_fd: self.descriptor.as_raw_fd() as u64,
        };
        // SAFETY: `wanted` is a live mount_attr and its size is passed along; the path is empty.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                tree.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw const wanted,
                size_of::<libc::mount_attr>(),
            )
        };
        if done < 0 {
            let error = std::io::Error::last_os_error();
            return Err(format!("cannot show the tenant's ids on {}: {error}", path.display()));
        }
        Ok(tree)
    }
}

/// A detached copy of the directory's mount.
fn copy_of_mount(path: &Path) -> Result<OwnedFd, String> {
    let name = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| format!("{} has a NUL in it", path.display()))?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, name.as_ptr(), flags) };
    if tree < 0 {
        return Err(format!("cannot open {}: {}", path.display(), std::io::Error::last_os_error()));
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(tree as c_int) })
}

fn attach(tree: &OwnedFd, target: &Path) -> Result<(), String> {
    let name = CString::new(target.as_os_str().as_encoded_bytes())
        .map_err(|_| format!("{} has a NUL in it", target.display()))?;
    // SAFETY: both strings are NUL-terminated and outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            name.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if done < 0 {
        return Err(format!("cannot mount on {}: {}", target.display(), std::io::Error::last_os_error()));
    }
    Ok(())
}
