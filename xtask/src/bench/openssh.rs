//! The peer of our SSH endpoint: OpenSSH's server with its defaults, and bare repositories.

use std::fs;
use std::path::Path;
use std::process::Command;

use slipway_testing::free_port;

use super::process::{Daemon, Folder, output, wait_for_port};
use super::slipway::{git_identity, ssh_command};

pub struct OpenSsh {
    port: u16,
    // Before the folder: it writes into it until it ends.
    _daemon: Daemon,
    pub folder: Folder,
}

impl OpenSsh {
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let folder = Folder::make(name)?;
        let port = free_port();
        for key in ["host_key", "id_ed25519"] {
            output(Command::new("ssh-keygen").args([
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-f",
                &folder.text(key),
            ]))?;
        }
        // Where it wants to shut its unprivileged half in; made by its service file elsewhere.
        fs::create_dir_all("/run/sshd")?;
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nUseDNS no\nPermitRootLogin prohibit-password\nLogLevel ERROR\n\
             SetEnv HOME={} PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n",
            folder.text("host_key"),
            folder.text("id_ed25519.pub"),
            folder.path().display(),
        );
        let settings = folder.write("sshd_config", &settings)?;
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", &settings]);
        let daemon = Daemon::start(command, &folder.join("sshd.log"))?;
        wait_for_port("sshd", port)?;
        Ok(Self { port, _daemon: daemon, folder })
    }

    pub fn pid(&self) -> u32 {
        self._daemon.pid()
    }

    /// Makes a bare repository. Its address.
    pub fn repository(&self, name: &str) -> anyhow::Result<String> {
        let path = self.folder.text(name);
        output(Command::new("git").args(["init", "--quiet", "--bare", "--initial-branch=main", &path]))?;
        Ok(format!("ssh://root@127.0.0.1:{}{path}", self.port))
    }

    /// `git` with the key that this server knows.
    pub fn git_command(&self, place: &Path) -> Command {
        let mut command = Command::new("git");
        command
            .current_dir(place)
            .env_clear()
            .envs(git_identity())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("HOME", self.folder.path()).env("GIT_SSH_COMMAND", ssh_command(self.folder.path()));
        command
    }
}
