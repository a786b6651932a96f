//! Files → a tar layer that depends on nothing but their names, contents and executable bits: entries
//! sorted, time 0, owner 1000, modes 644 and 755, no extended attributes. The same tree gives the
//! same digest on every machine, and a layer that did not change is not stored twice.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use slipway_model::instance::APP_UID;
use slipway_model::limit::{SLUG_BYTES_MAX, TREE_DEPTH_MAX, TREE_PATH_BYTES_MAX};
use slipway_registry::image::{Compression, Layer, LayerWriter};
use slipway_registry::{Registry, Repository};
use tar::{EntryType, Header};
use tokio_util::sync::CancellationToken;

use crate::beneath::{Dir, Entry, Kind};
use crate::error::Error;
use crate::source::{DirectorySizes, Source, Tree, TreeFile, TreeFileKind, mebi};

/// Files and directories in a layer. Large dependency trees have 100,000; the bound is for the
/// hostile ones.
const ENTRIES_MAX: usize = 500_000;
/// Lines about devices, fifos and sockets that were passed over.
const SKIPPED_MAX: usize = 5;

/// A directory of the tree, or the whole, as a layer below `/app`.
pub struct LayerBuilder {
    tar: tar::Builder<LayerWriter>,
    /// The directory entries that have been written, which are all prefixes of the last path.
    directories: Vec<Vec<u8>>,
    entries: usize,
    size: u64,
    /// Bytes that the layers below have taken of the limit.
    size_before: u64,
    sizes: DirectorySizes,
    cancel: CancellationToken,
}

/// A finished layer with its unpacked size in bytes.
pub struct Packed {
    /// The layer.
    pub layer: Layer,
    /// Bytes of its files.
    pub size: u64,
}

impl LayerBuilder {
    /// An empty layer of `repository`, which can be given up at any time. `size_before` are the bytes
    /// of the app's other layers.
    ///
    /// # Errors
    /// [`Error::Registry`].
    pub fn new(
        registry: &Registry,
        repository: &Repository,
        size_before: u64,
        cancel: CancellationToken,
    ) -> Result<Self, Error> {
        // Not compressed: on one machine a layer is written once and unpacked from the page cache,
        // and a warm push would wait for the compressor.
        let writer = registry.layer_writer(repository, Compression::None)?;
        let mut tar = tar::Builder::new(writer);
        tar.mode(tar::HeaderMode::Deterministic);
        let sizes = DirectorySizes::default();
        let mut layer =
            Self { tar, directories: Vec::new(), entries: 0, size: 0, size_before, sizes, cancel };
        layer.directory(b"app")?;
        Ok(layer)
    }

    /// Adds the files of a commit that `wanted` wants.
    ///
    /// # Errors
    /// [`Error::Refused`] when there are too many, [`Error::Git`], [`Error::Registry`].
    pub fn add_tree(
        &mut self,
        source: &mut Source,
        tree: &Tree,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Error> {
        let files = tree.files.iter().filter(|(path, _)| wanted(path));
        source.each(files, |path, file, content| self.tree_file(path, file, content))
    }

    fn tree_file(&mut self, path: &[u8], file: &TreeFile, content: &mut dyn Read) -> Result<(), Error> {
        match file.kind {
            TreeFileKind::Symlink => {
                let mut target = Vec::with_capacity(file.size as usize);
                content.read_to_end(&mut target).map_err(|e| failed(path, e))?;
                self.symlink(path, &target)
            }
            TreeFileKind::Regular => self.file(path, false, file.size, content),
            TreeFileKind::Executable => self.file(path, true, file.size, content),
        }
    }

    /// Adds what a program left in a directory, without those of its direct entries that `wanted`
    /// does not want. Links are taken as links; devices, fifos and sockets are passed over.
    /// `path` is where the directory is below `/app`; empty for `/app` itself. Returns what was
    /// passed over.
    ///
    /// # Errors
    /// [`Error::Refused`] when there are too many files or they are too deep, [`Error::Io`],
    /// [`Error::Registry`].
    pub fn add_dir(
        &mut self,
        dir: &Dir,
        path: &[u8],
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<String>, Error> {
        let mut skipped = Vec::new();
        // Open directories, outermost first, each with what is left of it. Not a recursion: how deep
        // it goes is the hostile's choice, and so is how much there is to remember on the way.
        let own = dir.dir(".").map_err(|e| failed(path, e))?;
        let mut open = vec![self.list(own, path.to_vec(), 0)?];
        let mut listed = open[0].left.len();
        while let Some(at) = open.last_mut() {
            let Some(entry) = at.left.next() else {
                open.pop();
                continue;
            };
            listed -= 1;
            let depth = open.len();
            let at = &open[depth - 1];
            if depth == 1 && !wanted(&entry.name) {
                continue;
            }
            let full = match &at.path[..] {
                b"" => entry.name.clone(),
                path => [path, b"/", &entry.name[..]].concat(),
            };
            // npm nests, so twice what a commit may have.
            if depth > 2 * TREE_DEPTH_MAX || full.len() > TREE_PATH_BYTES_MAX {
                return Err(Error::refused(format!(
                    "the build left a path that is too deep: {}…",
                    shown(&full[..full.len().min(80)])
                )));
            }
            match entry.kind {
                Kind::Directory => {
                    let below = at.dir.dir(&entry.name[..]).map_err(|e| failed(&full, e))?;
                    self.directory(&[b"app/", &full[..]].concat())?;
                    let below = self.list(below, full, listed)?;
                    listed += below.left.len();
                    open.push(below);
                }
                Kind::File { executable } => {
                    let mut file = at.dir.file(&entry.name[..]).map_err(|e| failed(&full, e))?;
                    self.file(&full, executable, entry.size, &mut file)?;
                }
                Kind::Symlink => {
                    let target = at.dir.read_link(&entry.name).map_err(|e| failed(&full, e))?;
                    self.symlink(&full, &target)?;
                }
                Kind::Special if skipped.len() < SKIPPED_MAX => skipped.push(shown(&full)),
                Kind::Special => {}
            }
        }
        Ok(skipped)
    }

    /// Reads a directory's entries, which with those `listed` above it must not be too many.
    fn list(&self, dir: Dir, path: Vec<u8>, listed: usize) -> Result<OpenDirectory, Error> {
        match dir.entries(ENTRIES_MAX.saturating_sub(self.entries + listed)) {
            Ok(entries) => Ok(OpenDirectory { dir, path, left: entries.into_iter() }),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(too_many()),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Completes the layer.
    ///
    /// # Errors
    /// [`Error::Refused`] when the app is too large, [`Error::Registry`].
    pub fn finish(self) -> Result<Packed, Error> {
        if self.is_too_large() {
            return Err(Error::refused(format!(
                "the app has {}, more than the limit of {SLUG_BYTES_MAX}; the largest directories: {}",
                mebi(self.size_before + self.size),
                self.sizes.largest(),
            )));
        }
        let writer = self.tar.into_inner().map_err(|e| failed(b"", e))?;
        Ok(Packed { layer: writer.finish()?, size: self.size })
    }

    fn file(
        &mut self,
        path: &[u8],
        executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), Error> {
        self.parents(path)?;
        self.size += size;
        self.sizes.add(path, size);
        if self.is_too_large() {
            // Nothing more is written, but all of it is counted, so that the refusal names the place
            // where the bytes are and not the one where they became too many.
            return self.count();
        }
        let mut header = header(EntryType::Regular, if executable { 0o755 } else { 0o644 });
        header.set_size(size);
        // A file that shrinks while it is read would shift everything behind it.
        let mut content = Exactly { content, left: size };
        self.append(&mut header, path, |tar, header, path| tar.append_data(header, path, &mut content))
    }

    fn is_too_large(&self) -> bool {
        self.size_before + self.size > SLUG_BYTES_MAX.0
    }

    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        self.parents(path)?;
        let target = as_path(target);
        let mut header = header(EntryType::Symlink, 0o777);
        self.append(&mut header, path, |tar, header, path| tar.append_link(header, path, &target))
    }

    fn parents(&mut self, path: &[u8]) -> Result<(), Error> {
        let full = [b"app/", path].concat();
        for (at, _) in full.iter().enumerate().filter(|(_, b)| **b == b'/') {
            self.directory(&full[..at])?;
        }
        Ok(())
    }

    /// Writes the entry of a directory (a full path, with `app`), once.
    fn directory(&mut self, full: &[u8]) -> Result<(), Error> {
        if self.directories.iter().any(|known| known == full) {
            return Ok(());
        }
        // What is not above this one is behind us for good, but for `a`, `a-b`, `a/c`: then the entry
        // is written again, which is harmless.
        self.directories.retain(|known| full.starts_with(known) && full.get(known.len()) == Some(&b'/'));
        self.directories.push(full.to_vec());
        let mut header = header(EntryType::Directory, 0o755);
        self.count()?;
        let full = as_path(full);
        self.tar.append_data(&mut header, &full, io::empty()).map_err(|e| failed(b"", e))
    }

    fn append(
        &mut self,
        header: &mut Header,
        path: &[u8],
        append: impl FnOnce(&mut tar::Builder<LayerWriter>, &mut Header, &Path) -> io::Result<()>,
    ) -> Result<(), Error> {
        self.count()?;
        let full = as_path(&[b"app/", path].concat());
        append(&mut self.tar, header, &full).map_err(|e| failed(path, e))
    }

    fn count(&mut self) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(too_many());
        }
        Ok(())
    }
}

/// A directory that is being added.
struct OpenDirectory {
    dir: Dir,
    path: Vec<u8>,
    left: std::vec::IntoIter<Entry>,
}

fn too_many() -> Error {
    Error::refused(format!("the app has more than {ENTRIES_MAX} files, which is the limit"))
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(u64::from(APP_UID));
    header.set_gid(u64::from(APP_UID));
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// Fails when the content ends before it should.
struct Exactly<'a> {
    content: &'a mut dyn Read,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.content.read(&mut into[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn as_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The registry's own errors travel inside an `io::Error`.
fn failed(path: &[u8], error: io::Error) -> Error {
    match error.downcast::<slipway_registry::Error>() {
        Ok(ours) => Error::Registry(ours),
        Err(error) => Error::io("pack", &as_path(path))(error),
    }
}
