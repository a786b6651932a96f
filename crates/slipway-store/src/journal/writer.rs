//! Appending to a journal.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use slipway_model::limit::BUILD_LOG_BYTES_MAX;
use tokio::sync::Notify;

use super::copies::Copies;
use super::{Error, MODE_FINISHED, MODE_OPEN, is_finished};

/// Room kept for the line that says how much is missing.
const LAST_LINE_BYTES: u64 = 128;

/// Appends to one journal. Each append is one system call into the page cache, short enough for an
/// async task.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    length: u64,
    length_max: u64,
    dropped: u64,
    ends_in_newline: bool,
    appended: Arc<Notify>,
    copies: Option<(Arc<Copies>, PathBuf)>,
}

impl Writer {
    pub(super) fn open(
        path: PathBuf,
        appended: Arc<Notify>,
        copies: Option<(Arc<Copies>, PathBuf)>,
    ) -> Result<Self, Error> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(Error::io("make the directory of", &path))?;
        }
        // Not by letting the system refuse: it refuses root nothing.
        match std::fs::metadata(&path) {
            Ok(found) if is_finished(&found.permissions()) => return Err(Error::Finished(path)),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("examine", &path)(error)),
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE_OPEN)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let length = file.metadata().map_err(Error::io("examine", &path))?.len();
        if let Some((copies, path)) = &copies {
            copies.begin(path);
        }
        Ok(Self {
            path,
            file,
            length,
            length_max: BUILD_LOG_BYTES_MAX.0 - LAST_LINE_BYTES,
            dropped: 0,
            // After a crash the last line may be broken off.
            ends_in_newline: length == 0,
            appended,
            copies,
        })
    }

    /// Where the next byte will be.
    pub fn offset(&self) -> u64 {
        self.length
    }

    /// Appends bytes as they are. Beyond [`BUILD_LOG_BYTES_MAX`] they are counted instead.
    ///
    /// # Errors
    /// [`Error::Full`] when the disk has no room: what did not fit, and all that follows, is counted
    /// as dropped. [`Error::Io`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let room = usize::try_from(self.length_max.saturating_sub(self.length)).unwrap_or(usize::MAX);
        // Once something is missing all that follows is, so that the only gap is at the end.
        let kept = if self.dropped > 0 { 0 } else { room.min(bytes.len()) };
        self.dropped += (bytes.len() - kept) as u64;
        let result = self.write(&bytes[..kept]);
        if kept > 0 {
            self.appended.notify_waiters();
        }
        result
    }

    /// Appends one line; `line` has no newline.
    ///
    /// # Errors
    /// As for [`Writer::append`].
    pub fn line(&mut self, line: &str) -> Result<(), Error> {
        self.append(format!("{line}\n").as_bytes())
    }

    /// Ends the journal: followers end when they have read all of it. If anything was dropped, a last
    /// line says how much.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Full`] when the last line could not be written, though the journal is
    /// finished then too.
    pub fn finish(mut self) -> Result<(), Error> {
        let mut last = Ok(());
        if self.dropped > 0 {
            let newline = if self.ends_in_newline { "" } else { "\n" };
            let line = format!("{newline}[{} more bytes of output were not kept]\n", self.dropped);
            last = self.write(line.as_bytes());
        }
        self.file
            .set_permissions(Permissions::from_mode(MODE_FINISHED))
            .map_err(Error::io("finish", &self.path))?;
        self.appended.notify_waiters();
        if let Some((copies, path)) = &self.copies {
            copies.finish(path);
        }
        last
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(count) => {
                    self.length += count as u64;
                    self.ends_in_newline = count > 0 && bytes[count - 1] == b'\n';
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.dropped += bytes.len() as u64;
                    return Err(Error::io("append to", &self.path)(error));
                }
            }
        }
        Ok(())
    }
}
