//! Running the package managers: by argv, with an environment of our own, their words passed on.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::Error;

/// Lines of output that are kept for the message when a program fails.
const KEPT_LINES: usize = 20;
/// The directories in which Debian keeps programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program about to be run.
pub(super) struct Program {
    step: &'static str,
    command: Command,
}

impl Program {
    pub(super) fn new(step: &'static str, program: &str) -> Self {
        let mut command = Command::new(program);
        // Package scripts must neither ask questions nor speak another language.
        command.env_clear().envs([
            ("PATH", PATH),
            ("LC_ALL", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("HOME", "/root"),
        ]);
        Self { step, command }
    }

    pub(super) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(super) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Runs it to its end. Both its outputs go, line by line, to `line`.
    pub(super) fn run(mut self, mut line: impl FnMut(&str)) -> Result<(), Error> {
        let program = self.command.get_program().to_string_lossy().into_owned();
        let start = |source| Error::Start { program: program.clone(), source };
        let (reader, writer) = std::io::pipe().map_err(start)?;
        self.command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(start)?).stderr(writer);
        let mut child = self.command.spawn().map_err(start)?;
        // The command holds our ends of the pipe; without this it would never end.
        drop(self.command);
        let mut kept = VecDeque::new();
        for text in BufReader::new(reader).split(b'\n') {
            let Ok(text) = text else { break };
            let text = String::from_utf8_lossy(&text);
            let text = text.trim_end();
            line(text);
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(text.to_owned());
        }
        let status = child.wait().map_err(start)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Program { step: self.step, program, status, output: Vec::from(kept).join("\n") })
    }
}
