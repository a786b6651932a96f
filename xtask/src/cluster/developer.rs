//! A developer of the cluster: a key, a project, and one small program that is pushed with real git. It
//! needs nothing but the stack's own Python, so that a push takes seconds.

use std::fs;
use std::process::{Command, Stdio};

use super::{Lab, slipway};
use crate::run::finish;

/// The project that is pushed.
pub const PROJECT: &str = "acme/web";
/// Where it answers.
pub const HOST: &str = "web-dev-acme.apps.lab";

const PROGRAM: &str = r#"import http.server, os, signal, sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = (os.uname().nodename + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server(("", int(os.environ["PORT"])), Page).serve_forever()
"#;

/// Makes key, tenant and project, and pushes.
pub fn push(lab: &Lab) -> anyhow::Result<()> {
    let key = lab.folder.join("home/.ssh/id_ed25519");
    fs::create_dir_all(lab.folder.join("home/.ssh"))?;
    fs::create_dir_all(lab.folder.join("work"))?;
    run(
        lab,
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-C", "ada@laptop", "-f", &key.to_string_lossy()],
    )?;
    slipway(lab, &["keys", "add"])?;
    slipway(lab, &["tenants", "create", "acme"])?;
    run(lab, "git", &["init", "--quiet", "--initial-branch=main"])?;
    slipway(lab, &["projects", "create", PROJECT])?;
    for (name, text) in [("web.py", PROGRAM), ("Procfile", "web: python3 -u web.py\n")] {
        fs::write(lab.folder.join("work").join(name), text)?;
    }
    run(lab, "git", &["add", "."])?;
    run(lab, "git", &["commit", "--quiet", "--message=A page"])?;
    run(lab, "git", &["push", "paas-dev", "main"])
}

/// The command line, as the developer, in the work tree.
pub fn slipway(lab: &Lab, words: &[&str]) -> anyhow::Result<()> {
    let mut command = slipway::command(lab);
    command.args(words);
    settle(lab, &mut command);
    finish(command)
}

fn run(lab: &Lab, program: &str, words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(words);
    settle(lab, &mut command);
    finish(command)
}

/// Where and as whom it runs.
fn settle(lab: &Lab, command: &mut Command) {
    let home = lab.folder.join("home");
    let ssh = format!(
        "ssh -F none -i {0}/.ssh/id_ed25519 -o UserKnownHostsFile={0}/.ssh/known_hosts \
         -o StrictHostKeyChecking=accept-new",
        home.display()
    );
    command.stdin(Stdio::null()).current_dir(lab.folder.join("work"));
    command.env("HOME", home).env("GIT_SSH_COMMAND", ssh);
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Ada");
        command.env(format!("GIT_{role}_EMAIL"), "ada@example.com");
    }
}
