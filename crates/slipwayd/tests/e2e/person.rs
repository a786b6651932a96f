//! Somebody with a home directory, an SSH key and a login, who types commands.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::{Server, built};

pub const PASSWORD: &str = "correct horse battery staple";

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub what: String,
    pub status: i32,
    /// Standard output and standard error together.
    pub text: String,
    /// Standard output alone.
    pub out: String,
}

impl Said {
    /// The command must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status == 0, "{} ended with {}:\n{}", self.what, self.status, self.text);
        self
    }

    /// The command must have failed, and have said this.
    #[track_caller]
    pub fn refused(self, words: &str) -> Self {
        assert!(self.status != 0, "{} succeeded:\n{}", self.what, self.text);
        self.says(words)
    }

    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.text.contains(words), "{} did not say {words:?}:\n{}", self.what, self.text);
        self
    }
}

pub struct Person<'a> {
    pub server: &'a Server,
    pub name: String,
    pub home: PathBuf,
}

impl<'a> Person<'a> {
    /// A home directory with a key, nothing else.
    pub fn new(server: &'a Server, name: &str) -> Self {
        let home = server.folder.join("people").join(name);
        if !home.exists() {
            fs::create_dir_all(home.join(".ssh")).unwrap();
            let key = home.join(".ssh/id_ed25519");
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", &format!("{name}@laptop"), "-f"])
                .arg(key)
                .status()
                .unwrap();
            assert!(made.success());
        }
        Self { server, name: name.to_owned(), home }
    }

    /// A user with a key who owns a tenant of the same name.
    pub fn with_tenant(server: &'a Server, name: &str) -> Self {
        let person = Self::user(server, name);
        person.slipway(&["tenants", "create", name]).ok();
        person
    }

    /// A user with a key.
    pub fn user(server: &'a Server, name: &str) -> Self {
        let operator = Self::new(server, "operator");
        operator.slipway_with_input(&["users", "create", name], &format!("{PASSWORD}\n")).ok();
        let person = Self::new(server, name);
        person.slipway_with_input(&["login", "--user", name], &format!("{PASSWORD}\n")).ok();
        person.slipway(&["keys", "add"]).ok();
        person
    }

    /// A repository with a project `<tenant>/<project>` and these files, committed.
    pub fn project(&self, project: &str, files: &[(&str, &str)]) -> Work<'_, 'a> {
        let work = Work { person: self, path: self.home.join(project), project: project.to_owned() };
        fs::create_dir_all(&work.path).unwrap();
        work.git(&["init", "--quiet", "--initial-branch=main"]).ok();
        work.slipway(&["projects", "create", &format!("{}/{project}", self.name)]).ok();
        work.commit(files, "First");
        work
    }

    pub fn slipway(&self, words: &[&str]) -> Said {
        self.run_in(&self.home, &built("slipway").to_string_lossy(), words, "")
    }

    pub fn slipway_with_input(&self, words: &[&str], input: &str) -> Said {
        self.run_in(&self.home, &built("slipway").to_string_lossy(), words, input)
    }

    pub fn ssh_command(&self) -> String {
        let ssh = self.home.join(".ssh");
        format!(
            "ssh -F none -i {}/id_ed25519 -o IdentitiesOnly=yes -o UserKnownHostsFile={}/known_hosts -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR",
            ssh.display(),
            ssh.display()
        )
    }

    pub fn command(&self, place: &Path, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(place).env_clear();
        command.env("HOME", &self.home);
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", built("").display()));
        command.env("SLIPWAY_SERVER", format!("http://localhost:{}", self.server.ports.api));
        command.env("GIT_SSH_COMMAND", self.ssh_command());
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), &self.name);
            command.env(format!("GIT_{role}_EMAIL"), format!("{}@example.com", self.name));
        }
        command
    }

    pub fn run_in(&self, place: &Path, program: &str, words: &[&str], input: &str) -> Said {
        let mut command = self.command(place, program, words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = std::thread::spawn(move || {
            let _ignored = stdin.write_all(input.as_bytes());
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        let name = Path::new(program).file_name().unwrap().to_string_lossy();
        Said {
            what: format!("{name} {}", words.join(" ")),
            status: output.status.code().unwrap_or(-1),
            text: format!("{err}{out}"),
            out,
        }
    }
}

/// A person's working copy of a project.
pub struct Work<'p, 's> {
    pub person: &'p Person<'s>,
    pub path: PathBuf,
    pub project: String,
}

/// A test's programs end with it, so that a hundred tests do not need a hundred programs' memory.
impl Drop for Work<'_, '_> {
    fn drop(&mut self) {
        // A test that ran a server of its own has wiped it.
        if !self.path.exists() {
            return;
        }
        let path = format!("{}/{}", self.person.name, self.project);
        self.slipway(&["projects", "delete", &path, "--confirm", &path]);
    }
}

impl Work<'_, '_> {
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn commit(&self, files: &[(&str, &str)], message: &str) {
        for (name, text) in files {
            self.write(name, text);
        }
        self.git(&["add", "--all"]).ok();
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]).ok();
    }

    pub fn git(&self, words: &[&str]) -> Said {
        self.person.run_in(&self.path, "git", words, "")
    }

    pub fn slipway(&self, words: &[&str]) -> Said {
        self.person.run_in(&self.path, &built("slipway").to_string_lossy(), words, "")
    }

    /// `git push paas-dev main`.
    pub fn push(&self) -> Said {
        self.git(&["push", "paas-dev", "main"])
    }

    /// The same, under way; what it says is kept for whoever waits for it.
    pub fn begin_push(&self) -> std::process::Child {
        let mut command = self.person.command(&self.path, "git", &["push", "paas-dev", "main"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The label of `web` in an environment.
    pub fn label(&self, environment: &str) -> String {
        format!("{}-{environment}-{}", self.project, self.person.name)
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).ok().out.trim().to_owned()
    }

    /// What the environment's remote says its branch is.
    pub fn remote_head(&self, environment: &str) -> Option<String> {
        let said = self.git(&["ls-remote", &format!("paas-{environment}"), "refs/heads/main"]).ok();
        said.out.split_whitespace().next().map(str::to_owned)
    }

    /// The page that the program answers with.
    pub fn page(&self, environment: &str) -> String {
        let answer = self.person.server.get(&self.label(environment)).unwrap();
        assert!(
            answer.status == 200,
            "{} answered {}: {}",
            self.label(environment),
            answer.status,
            answer.body
        );
        answer.body
    }
}
