//! Running git: by argv, with an environment that holds what is listed here and nothing else, as an
//! unprivileged user, under limits, in a process group of its own so that it can be ended with
//! everything it started.
//!
//! All settings are in one file of ours that every git reads as its global configuration. No
//! repository's own configuration is written, and no system or user configuration is read, so an
//! upgrade changes every repository at once and nothing of the machine can interfere (N10).

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use slipway_model::name::EnvironmentName;
use slipway_model::unit::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::error::Error;
use crate::hook;

/// Output of one short git command. The longest wanted one is a list of refs.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// A short git command takes milliseconds; one that takes this long hangs.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(60);
/// Address space of a git process. Blobs above `core.bigFileThreshold` are streamed and packs are
/// mapped in small windows, so an honest push stays far below; a pack whose deltas unfold to
/// gigabytes (N22) is stopped by it.
const GIT_ADDRESS_SPACE_MAX: u64 = 2 << 30;
/// Between asking a process group to end, so that git removes its own temporary files, and ending it.
const TERM_GRACE: Duration = Duration::from_secs(3);

/// Harmless faults of old tools that well-known repositories have in their history are passed over, and
/// what git itself cannot read is there to fool something else. The same as below `receive "fsck"` in
/// our settings, for `index-pack --strict`.
pub(crate) const PUSH_FSCK: &str =
    "=zeroPaddedFilemode=ignore,missingSpaceBeforeDate=ignore,badTimezone=ignore,gitmodulesParse=error";

/// The unprivileged user that git runs as and that the repositories belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GitUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Which refs of a push git leaves to us (`receive.procReceiveRefs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnRefs {
    /// Branches: one of them deploys.
    Branches,
    /// Tags too: a ref is moved elsewhere first.
    All,
}

/// How to run git here.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    /// Holds the repositories, our configuration and the hooks.
    root: PathBuf,
    user: Option<GitUser>,
}

impl Git {
    /// Prepares the directory that holds everything.
    pub(crate) fn prepare(
        root: &Path,
        user: Option<GitUser>,
        hook_program: &Path,
        push_bytes_max: Bytes,
        refs: OwnRefs,
    ) -> Result<Self, Error> {
        let git = Self::over(root, user);
        // What a process has left that was killed.
        let _absent = fs::remove_dir_all(git.passing());
        let hooks = git.hooks();
        fs::create_dir_all(&hooks).map_err(|source| Error::File {
            what: "make",
            path: hooks.clone(),
            source,
        })?;
        // git's user has to get through to its hooks; who else may get this far, the caller has
        // decided with the mode of the root.
        fs::set_permissions(&hooks, fs::Permissions::from_mode(0o755)).map_err(|source| Error::File {
            what: "set the mode of",
            path: hooks.clone(),
            source,
        })?;
        // The program gets a name here, because git's user may not reach the place it was started
        // from, and because an upgrade must not pull it away from under a push.
        replace(&hooks.join("slipway-hook"), |new| {
            // A link to a symbolic link would lead back to where git's user may not go.
            match hook_program.canonicalize() {
                Ok(program) => fs::hard_link(&program, new).or_else(|_| fs::copy(&program, new).map(drop)),
                // The program of a process, replaced since it was started, has no name, and can be read.
                Err(_) => fs::copy(hook_program, new).map(drop),
            }
        })?;
        for name in hook::NAMES {
            replace(&hooks.join(name), |new| symlink("slipway-hook", new))?;
        }
        replace(&git.configuration(), |new| {
            fs::write(new, configuration(&hooks, push_bytes_max, refs))?;
            fs::set_permissions(new, fs::Permissions::from_mode(0o644))
        })?;
        Ok(git)
    }

    /// In a directory that has been prepared.
    pub(crate) fn over(root: &Path, user: Option<GitUser>) -> Self {
        Self { root: root.to_owned(), user }
    }

    /// Fails when git's user cannot get through to a directory, which would otherwise show as a
    /// strange failure of the first push.
    pub(crate) fn check_reach(&self, directory: &Path) -> Result<(), Error> {
        let Some(GitUser { uid, gid }) = self.user else { return Ok(()) };
        for path in directory.ancestors() {
            let found = fs::metadata(path).map_err(|source| Error::File {
                what: "examine",
                path: path.to_owned(),
                source,
            })?;
            let wanted = match () {
                () if found.uid() == uid => 0o100,
                () if found.gid() == gid => 0o010,
                () => 0o001,
            };
            if found.mode() & wanted == 0 {
                return Err(Error::Unreachable { path: path.to_owned(), uid });
            }
        }
        Ok(())
    }

    /// The directory that holds the tenants' directories.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Gives a directory that we made to git's user.
    pub(crate) fn give(&self, path: &Path) -> io::Result<()> {
        match self.user {
            Some(GitUser { uid, gid }) => std::os::unix::fs::chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// A git command with nothing but its sub-command: environment, user and group are set.
    pub(crate) fn command(&self, command: &str, repository: &Path) -> Command {
        let mut git = Command::new("git");
        git.arg(command)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env("GIT_DIR", repository)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.configuration())
            .env("GIT_TERMINAL_PROMPT", "0")
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(GitUser { uid, gid }) = self.user {
            // The standard library also drops the supplementary groups when it changes the user.
            git.uid(uid).gid(gid);
        }
        git
    }

    /// Runs a short command to its end, feeding it `input`, and returns what it printed.
    pub(crate) async fn run(
        &self,
        repository: &Path,
        name: &'static str,
        command: &mut Command,
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let (status, stdout, stderr) = self.finish(repository, name, command, input).await?;
        if !status.success() {
            let stderr = String::from_utf8_lossy(&stderr).trim().chars().take(500).collect();
            return Err(Error::Git { command: name, repository: repository.to_owned(), stderr });
        }
        Ok(stdout)
    }

    /// Runs a short command that answers yes or no with its exit status, 0 or 1.
    pub(crate) async fn ask(
        &self,
        repository: &Path,
        name: &'static str,
        command: &mut Command,
    ) -> Result<bool, Error> {
        let (status, _, stderr) = self.finish(repository, name, command, b"").await?;
        match status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => {
                let stderr = String::from_utf8_lossy(&stderr).trim().chars().take(500).collect();
                Err(Error::Git { command: name, repository: repository.to_owned(), stderr })
            }
        }
    }

    async fn finish(
        &self,
        repository: &Path,
        name: &'static str,
        command: &mut Command,
        input: &[u8],
    ) -> Result<(std::process::ExitStatus, Vec<u8>, Vec<u8>), Error> {
        let failed = |source| Error::RunGit { command: name, repository: repository.to_owned(), source };
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut child = command.spawn().map_err(failed)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A git that has heard enough closes its end; what it answers tells.
                let _ = stdin.write_all(input).await;
            }
        };
        let work = async {
            let read_out = async {
                match stdout {
                    Some(pipe) => pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut out).await,
                    None => Ok(0),
                }
            };
            let read_err = async {
                match stderr {
                    Some(pipe) => pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut err).await,
                    None => Ok(0),
                }
            };
            let ((), read_out, read_err) = tokio::join!(feed, read_out, read_err);
            read_out.and(read_err)?;
            child.wait().await
        };
        let status = tokio::time::timeout(COMMAND_TIME_MAX, work)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
            .map_err(failed)?;
        Ok((status, out, err))
    }

    fn hooks(&self) -> PathBuf {
        // A name with a dot cannot be a tenant's.
        self.root.join(".hooks")
    }

    /// For files that are on their way.
    pub(crate) fn passing(&self) -> PathBuf {
        self.root.join(".passing")
    }

    fn configuration(&self) -> PathBuf {
        self.root.join(".gitconfig")
    }
}

/// Makes a file aside and renames it into place, so that it is always whole.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    let new = path.with_extension("new");
    let made = match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => make(&new).and_then(|()| fs::rename(&new, path)),
    };
    made.map_err(|source| Error::File { what: "write", path: path.to_owned(), source })
}

/// Sets the variables that show a git command the objects of a push that is not accepted yet.
pub(crate) fn see_quarantine(command: &mut Command, repository: &Path, quarantine: Option<&Path>) {
    if let Some(quarantine) = quarantine {
        command
            .env("GIT_OBJECT_DIRECTORY", quarantine)
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", repository.join("objects"));
    }
}

/// The prefix of an environment's refs: git's own namespaces (gitnamespaces(7)), so that all
/// environments of a project share their objects and a promotion copies nothing.
pub(crate) fn namespace(environment: &EnvironmentName) -> String {
    format!("refs/namespaces/{environment}")
}

/// Limits a git process, and what it starts, from its first instruction on.
pub(crate) fn limit(command: &mut Command) {
    let apply = || {
        let exactly = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
        rustix::process::setrlimit(Resource::As, exactly(GIT_ADDRESS_SPACE_MAX))?;
        rustix::process::setrlimit(Resource::Core, exactly(0))?;
        Ok(())
    };
    // SAFETY: between fork and exec only two system calls are made; nothing is allocated or locked.
    // From outside (prlimit) it would need a capability, because the process has another user.
    unsafe { command.pre_exec(apply) };
}

/// Ends a process and everything it started: politely, then for good.
pub(crate) async fn end(child: &mut Child) {
    let Some(group) = pid_of(child) else { return };
    let _ = rustix::process::kill_process_group(group, Signal::TERM);
    if tokio::time::timeout(TERM_GRACE, child.wait()).await.is_err() {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let _ = child.wait().await;
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Our settings; the reasons stand beside them.
fn configuration(hooks: &Path, push_bytes_max: Bytes, refs: OwnRefs) -> String {
    let tags = match refs {
        OwnRefs::Branches => "",
        OwnRefs::All => "\tprocReceiveRefs = refs/tags\n",
    };
    // git's quoting of values: backslash and double quote.
    let hooks = hooks.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "# Written by slipwayd at each start.\n\
         [core]\n\
         \thooksPath = \"{hooks}\"\n\
         # Above this a blob is streamed instead of held in memory.\n\
         \tbigFileThreshold = 16m\n\
         \tpackedGitWindowSize = 32m\n\
         \tpackedGitLimit = 256m\n\
         \tdeltaBaseCacheLimit = 32m\n\
         # What has been acknowledged survives a power cut.\n\
         \tfsync = all\n\
         \tlogAllRefUpdates = false\n\
         \tprotectHFS = true\n\
         \tprotectNTFS = true\n\
         [transfer]\n\
         \tfsckObjects = true\n\
         # Each push stays one pack: one file to sync, and nothing that unpacks without bounds.\n\
         \tunpackLimit = 1\n\
         [receive]\n\
         \tmaxInputSize = {bytes}\n\
         \tadvertisePushOptions = true\n\
         \tprocReceiveRefs = refs/heads\n{tags}\
         \tdenyCurrentBranch = ignore\n\
         \tdenyDeleteCurrent = ignore\n\
         \tautogc = false\n\
         \tkeepAlive = 5\n\
         # Harmless faults of old tools that well-known repositories have in their history.\n\
         [receive \"fsck\"]\n\
         \tzeroPaddedFilemode = ignore\n\
         \tmissingSpaceBeforeDate = ignore\n\
         \tbadTimezone = ignore\n\
         # What git itself cannot read is there to fool something else.\n\
         \tgitmodulesParse = error\n\
         [pack]\n\
         \tthreads = 2\n\
         \twindowMemory = 64m\n\
         [gc]\n\
         \tauto = 0\n\
         [protocol]\n\
         \tallow = never\n\
         [init]\n\
         \tdefaultBranch = main\n",
        bytes = push_bytes_max.0
    )
}
