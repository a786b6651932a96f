//! A tree → files on disk, for builders that need them there.

use std::io::Read;

use super::{Source, Tree, TreeFile, TreeFileKind};
use crate::beneath::Dir;
use crate::error::Error;

/// Writes a tree into an empty directory, everything owned by `uid`. Symbolic links are written as
/// what they are and never followed: each directory is opened below the one before, by the kernel's
/// rule that no link may lead there.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written, [`Error::Git`].
pub fn extract(source: &mut Source, tree: &Tree, into: &Dir, uid: u32) -> Result<(), Error> {
    let root = into.dir(".").map_err(Error::io("open", "the build directory".as_ref()))?;
    // The directories of the path before, outermost first: sorted paths enter each just once.
    let mut open: Vec<(Vec<u8>, Dir)> = Vec::new();
    source.each(tree.files.iter(), |path, file, content| {
        let mut parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        let name = parts.pop().unwrap_or_default();
        let shared = open.iter().zip(&parts).take_while(|((open, _), part)| open == *part).count();
        open.truncate(shared);
        let shown = || std::path::PathBuf::from(String::from_utf8_lossy(path).into_owned());
        for part in &parts[shared..] {
            let parent = open.last().map_or(&root, |(_, dir)| dir);
            let dir = enter(parent, part, uid).map_err(Error::io("make the directory of", &shown()))?;
            open.push((part.to_vec(), dir));
        }
        let parent = open.last().map_or(&root, |(_, dir)| dir);
        write(parent, name, file, content, uid).map_err(Error::io("write", &shown()))
    })
}

/// Byte order puts `a-b` between `a` and `a/c`, so a directory may come up twice.
fn enter(parent: &Dir, name: &[u8], uid: u32) -> std::io::Result<Dir> {
    match parent.make_dir(name, uid) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => parent.dir(name),
        made => made,
    }
}

fn write(
    parent: &Dir,
    name: &[u8],
    file: &TreeFile,
    content: &mut dyn Read,
    uid: u32,
) -> std::io::Result<()> {
    match file.kind {
        TreeFileKind::Symlink => {
            let mut target = Vec::with_capacity(file.size as usize);
            content.read_to_end(&mut target)?;
            parent.make_symlink(name, &target, uid)
        }
        TreeFileKind::Regular | TreeFileKind::Executable => {
            let mut made = parent.create(name, file.kind == TreeFileKind::Executable, uid)?;
            std::io::copy(content, &mut made).map(drop)
        }
    }
}
