//! Uploads over HTTP: sessions that outlive a request, and even a kill of the process.
//!
//! A session is two files: the bytes, and a small `.session` beside them that says whose they are.
//! Opening one costs no fsync and no transaction, a killed process finds its sessions again, and
//! the file's modification time is the lease. While the process lives it also keeps the hash, so
//! that a resumed chunk does not read what came before.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use slipway_model::id::Digest;

use super::blobs::{Blob, Partial};
use super::{Registry, lock};
use crate::error::Error;
use crate::{Repository, Result};

/// The open sessions of this process, by id.
#[derive(Default)]
pub(super) struct Uploads {
    open: Mutex<HashMap<String, Arc<Session>>>,
}

/// One upload.
pub(crate) struct Session {
    id: String,
    who: Who,
    /// Empty once finished, cancelled or failed. One request at a time holds the lock, and only on
    /// a blocking thread.
    partial: Mutex<Option<Partial>>,
}

/// Whose an upload is: nobody else can see or continue it (N45).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Who {
    repository: String,
    owner: String,
}

impl Session {
    /// What its address ends with.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl Registry {
    /// Opens an upload for `owner`.
    pub(crate) fn start_upload(&self, repository: &Repository, owner: &str) -> Result<Arc<Session>> {
        self.check_space(0)?;
        self.drop_idle_uploads();
        let who = Who { repository: repository.to_string(), owner: owner.to_owned() };
        let id = format!("{:032x}", rand::random::<u128>());
        let mut open = lock(&self.shared.uploads.open);
        let own = open.values().filter(|session| session.who.owner == owner).count();
        if open.len() >= self.shared.options.uploads_max || own >= self.shared.options.uploads_max_per_owner {
            return Err(Error::TooManyUploads);
        }
        let partial = self.new_partial(&id)?;
        let note = self.session_note(&id);
        let text = serde_json::to_vec(&who).expect("two strings are JSON");
        if let Err(source) = fs::write(&note, text) {
            partial.discard();
            return Err(Error::io("write", &note)(source));
        }
        let session = Arc::new(Session { id: id.clone(), who, partial: Mutex::new(Some(partial)) });
        open.insert(id, Arc::clone(&session));
        Ok(session)
    }

    /// Finds an upload of that owner, taking one up again that an earlier process had open.
    pub(crate) fn find_upload(&self, repository: &Repository, owner: &str, id: &str) -> Result<Arc<Session>> {
        let is_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id {
            return Err(Error::UploadUnknown);
        }
        let known = lock(&self.shared.uploads.open).get(id).cloned();
        let session = match known {
            Some(session) => session,
            None => self.resume_upload(id)?,
        };
        if session.who.repository != repository.as_str() || session.who.owner != owner {
            return Err(Error::UploadUnknown);
        }
        Ok(session)
    }

    /// Hashes what is there outside the lock; of two that do so at once, the first one counts.
    fn resume_upload(&self, id: &str) -> Result<Arc<Session>> {
        let text = fs::read(self.session_note(id)).map_err(|_| Error::UploadUnknown)?;
        let who: Who = serde_json::from_slice(&text).map_err(|_| Error::UploadUnknown)?;
        let partial = Partial::resume(self.uploads_folder().join(id)).map_err(|_| Error::UploadUnknown)?;
        let session = Arc::new(Session { id: id.to_owned(), who, partial: Mutex::new(Some(partial)) });
        Ok(Arc::clone(lock(&self.shared.uploads.open).entry(id.to_owned()).or_insert(session)))
    }

    /// Bytes stored so far.
    pub(crate) fn upload_size(&self, session: &Session) -> Result<u64> {
        lock(&session.partial).as_ref().map(Partial::size).ok_or(Error::UploadUnknown)
    }

    /// Says which digest will be promised at the end, if it is known before the first byte.
    pub(crate) fn expect_upload(&self, session: &Session, digest: &Digest) {
        if let Some(partial) = lock(&session.partial).as_mut() {
            partial.expect_algorithm_of(digest);
        }
    }

    /// Appends to an upload that has exactly `at` bytes. A full disk ends the session (F42).
    pub(crate) fn append_upload(&self, session: &Session, at: u64, bytes: &[u8]) -> Result<()> {
        let mut guard = lock(&session.partial);
        let partial = guard.as_mut().ok_or(Error::UploadUnknown)?;
        if partial.size() != at {
            return Err(Error::ChunkOutOfOrder { stored: partial.size() });
        }
        let appended = partial.append(self, bytes);
        if appended.is_err() {
            // What is in the file and what was hashed may differ now.
            drop(guard);
            self.cancel_upload(session);
        }
        appended
    }

    /// Ends an upload by making it a blob. The session is gone, whether it worked or not.
    pub(crate) fn finish_upload(
        &self,
        repository: &Repository,
        session: &Session,
        expected: &Digest,
    ) -> Result<Blob> {
        let partial = lock(&session.partial).take().ok_or(Error::UploadUnknown)?;
        let committed = self.commit(repository, partial, Some(expected));
        self.forget_upload(session);
        committed
    }

    /// Ends an upload and drops its bytes.
    pub(crate) fn cancel_upload(&self, session: &Session) {
        if let Some(partial) = lock(&session.partial).take() {
            partial.discard();
        }
        self.forget_upload(session);
    }

    fn forget_upload(&self, session: &Session) {
        lock(&self.shared.uploads.open).remove(&session.id);
        let _ = fs::remove_file(self.session_note(&session.id));
    }

    /// Drops the sessions whose file has not grown for the length of the lease.
    pub(super) fn drop_idle_uploads(&self) {
        let sessions: Vec<_> = lock(&self.shared.uploads.open).values().cloned().collect();
        for session in sessions {
            // A session that is being written to right now is not idle.
            let Ok(guard) = session.partial.try_lock() else { continue };
            let idle = guard.as_ref().is_none_or(|partial| self.is_past_lease(partial.path()));
            drop(guard);
            if idle {
                self.cancel_upload(&session);
            }
        }
    }

    /// At start: removes every file of `uploads/` that no living session needs.
    pub(super) fn sweep_uploads(&self) -> Result<()> {
        let folder = self.uploads_folder();
        let entries = fs::read_dir(&folder).map_err(Error::io("list", &folder))?;
        for entry in entries {
            let path = entry.map_err(Error::io("list", &folder))?.path();
            let bytes = path.with_extension("");
            let is_session = bytes.exists() && bytes.with_extension("session").exists();
            if !is_session || self.is_past_lease(&bytes) {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn is_past_lease(&self, path: &std::path::Path) -> bool {
        let modified = path.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        SystemTime::now().duration_since(modified).unwrap_or_default() > self.shared.options.upload_lease
    }

    fn session_note(&self, id: &str) -> PathBuf {
        self.uploads_folder().join(format!("{id}.session"))
    }
}
