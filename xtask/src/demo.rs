//! `cargo xtask demo`: the whole path, as a developer and an operator would type it.
//!
//! Everything happens in one temporary directory with ports of its own, and is gone afterwards.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::interrupt;
use crate::packages;
use crate::run::{built, heading, run, step};
use crate::stack;

const APP: &str = r#"import os
from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return f"Hello from {os.environ['SLIPWAY_ENVIRONMENT']}, release {os.environ['SLIPWAY_RELEASE']}\n"
"#;

const PASSWORD: &str = "correct horse battery staple";

/// Runs the demo; with `--exit` it ends by itself instead of waiting for Ctrl-C.
pub fn demo(options: &[&str]) -> anyhow::Result<()> {
    let stay = match options {
        [] => true,
        ["--exit"] => false,
        other => bail!("demo takes --exit, not {}", other.join(" ")),
    };
    interrupt::catch()?;
    packages::install(packages::ALL)?;
    step("Building slipway and slipwayd", || {
        run("cargo", &["build", "-p", "slipwayd", "-p", "slipway-cli", "-p", "slipway-shim"])
    })?;
    let layout = stack::layout()?;
    let story = Story::begin(&layout)?;
    let told = story.tell();
    if told.is_ok() && stay {
        story.invite();
        while !interrupt::seen() {
            std::thread::sleep(Duration::from_millis(200));
        }
        println!();
    }
    story.end()?;
    told
}

struct Story {
    folder: PathBuf,
    server: Child,
    ports: Ports,
}

struct Ports {
    router: u16,
    api: u16,
    registry: u16,
    ssh: u16,
}

impl Story {
    fn begin(layout: &Path) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("slipway-demo-{}", std::process::id()));
        fs::create_dir_all(folder.join("home/.ssh"))?;
        let ports = Ports {
            router: free_port(8080),
            api: free_port(7070),
            registry: free_port(7071),
            ssh: free_port(2222),
        };
        step("Importing the stack into the registry", || {
            let layout = layout.to_string_lossy();
            let data = folder.join("data");
            run(
                built("slipwayd"),
                &["stack", "import", "debian-12", &layout, "--data-dir", &data.to_string_lossy()],
            )
        })?;
        heading("Starting slipwayd up: one command, one data directory");
        let log = fs::File::create(folder.join("slipwayd.log"))?;
        let server = Command::new(built("slipwayd"))
            .args(["up", "--base-domain", "localhost"])
            .args(["--router", &format!("127.0.0.1:{}", ports.router)])
            .args(["--api", &format!("127.0.0.1:{}", ports.api)])
            .args(["--registry", &format!("127.0.0.1:{}", ports.registry)])
            .args(["--ssh", &format!("127.0.0.1:{}", ports.ssh)])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--run-dir")
            .arg(folder.join("run"))
            .arg("--master-key")
            .arg(folder.join("master.key"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start slipwayd")?;
        let story = Story { folder, server, ports };
        println!("    its log is {}", story.folder.join("slipwayd.log").display());
        Ok(story)
    }

    fn tell(&self) -> anyhow::Result<()> {
        let claim_token = self.claim_token()?;
        heading("An operator takes possession of it with the one-time token it printed");
        self.slipway_with_input(&["claim", &claim_token, "--user", "ada"], &format!("{PASSWORD}\n"))?;
        heading("A developer has an SSH key, a tenant, and a project with two environments");
        let key = self.folder.join("home/.ssh/id_ed25519");
        self.command(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-C", "ada@laptop", "-f", &key.to_string_lossy()],
        )?;
        self.slipway(&["keys", "add"])?;
        self.slipway(&["tenants", "create", "acme"])?;
        fs::create_dir_all(self.work())?;
        self.git(&["init", "--quiet", "--initial-branch=main"])?;
        self.slipway(&["projects", "create", "acme/shop"])?;

        heading("A small Python program with a dependency from PyPI");
        self.write("app.py", APP)?;
        self.write("requirements.txt", "flask\ngunicorn\n")?;
        self.write("Procfile", "web: gunicorn app:app\n")?;
        self.git(&["add", "."])?;
        self.git(&["commit", "--quiet", "--message=A shop"])?;
        heading("git push: the build streams by, and the push ends when the program answers");
        self.push("paas-dev")?;
        self.fetch("shop-dev-acme")?;

        heading("One changed line, pushed again: the dependencies are not touched");
        self.write("app.py", &APP.replace("Hello", "Welcome"))?;
        self.git(&["commit", "--quiet", "--all", "--message=Be more polite"])?;
        self.push("paas-dev")?;
        self.fetch("shop-dev-acme")?;

        heading("The same release in prod, without a rebuild");
        self.slipway(&["promote", "dev", "-e", "prod"])?;
        self.fetch("shop-prod-acme")?;
        heading("Three copies");
        self.slipway(&["scale", "web=3", "-e", "prod"])?;
        self.slipway(&["ps", "-e", "prod"])?;
        self.slipway(&["releases", "-e", "dev"])?;
        heading("What the program prints");
        self.slipway(&["logs", "-n", "5", "-e", "prod"])
    }

    fn invite(&self) {
        heading("It goes on running. Try, in another terminal:");
        let home = self.folder.join("home");
        println!("    cd {}", self.work().display());
        println!("    export HOME={} PATH={}:$PATH", home.display(), built("").display());
        println!("    export GIT_SSH_COMMAND='{}'", self.ssh_command());
        println!("    curl http://shop-dev-acme.localhost:{}/", self.ports.router);
        println!("    slipway config set GREETING=hi -e dev");
        println!("    slipway run -e dev python");
        println!("    slipway rollback -e dev");
        println!("    slipway logs -f -e prod");
        println!("    $EDITOR app.py; git commit -a; git push paas-dev main");
        println!("\nCtrl-C ends it and cleans up.");
    }

    fn end(mut self) -> anyhow::Result<()> {
        heading("Stopping, and removing all that was made");
        let mut down = Command::new(built("slipwayd"));
        down.arg("wipe").arg("--data-dir").arg(self.folder.join("data"));
        down.arg("--run-dir").arg(self.folder.join("run")).arg("--yes");
        // TERM, then the instances and the router, which would outlive the server otherwise.
        let _ignored = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.server.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        );
        self.server.wait()?;
        crate::run::finish(down)?;
        fs::remove_dir_all(&self.folder)?;
        Ok(())
    }

    fn claim_token(&self) -> anyhow::Result<String> {
        let file = self.folder.join("run/claim-token");
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(30) {
            if let Ok(token) = fs::read_to_string(&file)
                && !token.trim().is_empty()
            {
                return Ok(token.trim().to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.folder.join("slipwayd.log")).unwrap_or_default();
        bail!("slipwayd did not come up; its log:\n{log}")
    }

    fn work(&self) -> PathBuf {
        self.folder.join("shop")
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        println!("    {name}:");
        for line in text.lines() {
            println!("      {line}");
        }
        Ok(fs::write(self.work().join(name), text)?)
    }

    fn ssh_command(&self) -> String {
        let home = self.folder.join("home/.ssh");
        format!(
            "ssh -F none -i {}/id_ed25519 -o UserKnownHostsFile={}/known_hosts -o StrictHostKeyChecking=accept-new",
            home.display(),
            home.display()
        )
    }

    fn slipway(&self, words: &[&str]) -> anyhow::Result<()> {
        self.slipway_with_input(words, "")
    }

    fn slipway_with_input(&self, words: &[&str], input: &str) -> anyhow::Result<()> {
        println!("\n\x1b[36m$ slipway {}\x1b[0m", words.join(" "));
        let mut command = self.prepared(&built("slipway").to_string_lossy(), words);
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        succeeded(child, "slipway")
    }

    fn git(&self, words: &[&str]) -> anyhow::Result<()> {
        self.command("git", words)
    }

    fn push(&self, remote: &str) -> anyhow::Result<()> {
        let since = Instant::now();
        self.command("git", &["push", remote, "main"])?;
        println!("    pushed and live in {:.1} s", since.elapsed().as_secs_f64());
        Ok(())
    }

    fn command(&self, program: &str, words: &[&str]) -> anyhow::Result<()> {
        println!("\n\x1b[36m$ {program} {}\x1b[0m", words.join(" "));
        let child = self.prepared(program, words).stdin(Stdio::null()).spawn()?;
        succeeded(child, program)
    }

    fn prepared(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        let place = if self.work().exists() { self.work() } else { self.folder.clone() };
        command.args(words).current_dir(place);
        command.env("HOME", self.folder.join("home"));
        command.env("SLIPWAY_SERVER", format!("http://localhost:{}", self.ports.api));
        command.env("GIT_SSH_COMMAND", self.ssh_command());
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Ada");
            command.env(format!("GIT_{role}_EMAIL"), "ada@example.com");
        }
        command
    }

    /// Asks the router for a page, as a browser would.
    fn fetch(&self, label: &str) -> anyhow::Result<()> {
        let host = format!("{label}.localhost:{}", self.ports.router);
        println!("\n\x1b[36m$ curl http://{host}/\x1b[0m");
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.ports.router))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut lines = BufReader::new(stream).lines();
        let status = lines.next().context("the router closed the connection")??;
        let body: Vec<String> = lines
            .skip_while(|line| !line.as_ref().is_ok_and(String::is_empty))
            .skip(1)
            .collect::<Result<_, _>>()?;
        println!("{}", body.join("\n"));
        if !status.contains(" 200 ") {
            bail!("http://{host}/ answered {status}");
        }
        Ok(())
    }
}

fn succeeded(mut child: Child, name: &str) -> anyhow::Result<()> {
    let status = child.wait()?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

/// The wanted port if it is free, else any.
fn free_port(wanted: u16) -> u16 {
    TcpListener::bind(("127.0.0.1", wanted)).map_or_else(|_| slipway_testing::free_port(), |_| wanted)
}
