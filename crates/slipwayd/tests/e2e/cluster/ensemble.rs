//! A server that looks after its own ZooKeeper.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slipway_testing::free_port;

use super::{LEADS, directory_in, server_command};
use crate::server::{Server, built, wait_for};
use crate::{Case, cases};

/// A Java on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(90);

pub fn cases() -> Vec<Case> {
    cases![ex_09_a_server_keeps_its_own_zookeeper_which_outlives_it]
}

struct Place {
    folder: PathBuf,
    server: Server,
    client_port: u16,
}

impl Place {
    fn make() -> Self {
        let folder = std::env::temp_dir().join(format!("slipway-own-ensemble-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let credentials = folder.join("credentials");
        fs::write(&credentials, "operator:a password of the tests\n").unwrap();
        fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).unwrap();
        let client_port = free_port();
        let lines = [
            "# of one server alone".to_owned(),
            format!("--data-dir {}", folder.join("ensemble").display()),
            format!("--credentials-file {}", credentials.display()),
            "--hostname 127.0.0.1".to_owned(),
            format!("--listen 127.0.0.1:{}", free_port()),
            format!("--client-port {client_port}"),
            r#"--settings {"checkMs":300,"javaEnvironment":"-Xmx128m","zooCfgExtra":{"tickTime":"200"}}"#
                .to_owned(),
        ];
        fs::write(folder.join("arguments"), lines.join("\n")).unwrap();
        Self { server: Server::prepare("own-ensemble"), folder, client_port }
    }

    fn run(&self) {
        let storage = directory_in(&self.folder);
        let mut command =
            server_command(&self.server, "one", free_port(), self.client_port, &self.folder, &storage);
        command.arg("--ensemble").arg(self.folder.join("arguments"));
        self.server.run_as(command);
    }

    fn until_it_leads(&self, times: usize) {
        wait_for("the server to lead", PATIENCE, || {
            (self.server.log().matches(LEADS).count() == times).then_some(())
        });
    }

    fn pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.folder.join("ensemble/zookeeper.pid")).ok()?;
        text.split(' ').next()?.parse().ok()
    }

    fn recover(&self) -> Output {
        let mut command = Command::new(built("slipwayd"));
        let arguments = fs::read_to_string(self.folder.join("arguments")).unwrap();
        let lines =
            arguments.lines().filter_map(|line| line.split_once(' ')).filter(|(name, _)| *name != "#");
        command.arg("ensemble").args(lines.flat_map(|(name, value)| [name, value]));
        command.args(["recover", "--give-up-the-others"]).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.server.log());
        }
        self.server.kill();
        // Nobody looks after it now.
        if let Some(pid) = self.pid() {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.server.wipe_quietly();
        self.server.remove();
        let _ignored = fs::remove_dir_all(&self.folder);
    }
}

fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn ex_09_a_server_keeps_its_own_zookeeper_which_outlives_it(_: &Server) {
    let place = Place::make();
    place.run();
    place.until_it_leads(1);
    let first = place.pid().unwrap();

    // Nobody else gets at its data meanwhile.
    let refused = place.recover();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("another instance uses"), "{said}");

    // However the server ends, ZooKeeper runs on, and the next one adopts it.
    place.server.kill();
    assert!(runs(first));
    place.run();
    place.until_it_leads(2);
    assert_eq!(place.pid(), Some(first));
    place.server.stop();
    assert!(runs(first));
    place.run();
    place.until_it_leads(3);

    // When ZooKeeper ends it is started again, and the server has not ended with it.
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_for("another ZooKeeper", PATIENCE, || place.pid().filter(|pid| *pid != first && runs(*pid)));
    wait_for("it to serve", PATIENCE, || {
        let log = place.server.log();
        let since = log.rfind("the server does not run; starting it")?;
        log[since..].contains("the server is serving").then_some(())
    });
    assert!(place.server.is_running());
}
