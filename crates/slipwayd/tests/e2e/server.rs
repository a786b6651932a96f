//! A real `slipwayd up` with directories and ports of its own.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use slipway_testing::free_port;

use crate::person::{PASSWORD, Person};

/// Where `cargo xtask test` keeps the stack.
const STACK: &str = "/var/cache/slipway-stack/debian-12";

/// Waits for a condition; panics with the words when it does not come.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, condition: impl FnMut() -> Option<T>) -> T {
    until(limit, condition).unwrap_or_else(|| panic!("waited {limit:?} in vain for: {what}"))
}

/// Waits for a condition; nothing when it does not come.
pub fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let since = Instant::now();
    loop {
        let met = condition();
        if met.is_some() || since.elapsed() >= limit {
            return met;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// A program that cargo has built beside the server.
pub fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_slipwayd")).with_file_name(name)
}

pub struct Server {
    pub folder: PathBuf,
    pub ports: Ports,
    pub subnet: String,
    process: Mutex<Option<Child>>,
}

/// A test that panics leaves no process behind.
impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Ports {
    pub router: u16,
    pub api: u16,
    pub registry: u16,
    pub ssh: u16,
}

/// Networks for instances: no two of this process get the same, nor one that something else here uses.
fn free_subnet() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let routes = fs::read_to_string("/proc/net/route").unwrap();
    loop {
        let number = 66 + (std::process::id() * 17 + NEXT.fetch_add(1, Ordering::Relaxed)) % 120;
        // Addresses there are in hexadecimal, the last byte first.
        if !routes.contains(&format!("0000{number:02X}0A")) {
            return format!("10.{number}.0.0/16");
        }
    }
}

impl Server {
    /// Starts the server that the tests share, with the stack imported and claimed by `root-ada`.
    pub fn start() -> Self {
        let server = Self::prepare("e2e");
        server.import_stack();
        server.run();
        let claim = fs::read_to_string(server.folder.join("run/claim-token")).unwrap();
        let operator = Person::new(&server, "operator");
        operator
            .slipway_with_input(&["claim", claim.trim(), "--user", "operator"], &format!("{PASSWORD}\n"))
            .ok();
        server
    }

    /// Directories and ports, nothing running.
    pub fn prepare(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("slipway-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let ports = Ports { router: free_port(), api: free_port(), registry: free_port(), ssh: free_port() };
        let subnet = free_subnet();
        Self { folder, ports, subnet, process: Mutex::new(None) }
    }

    /// A signal other than the two that end it.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let process = self.process.lock().unwrap();
        let pid = nix::unistd::Pid::from_raw(process.as_ref().unwrap().id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Whether the process has not ended.
    pub fn is_running(&self) -> bool {
        self.process.lock().unwrap().as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn import_stack(&self) {
        self.import_stack_with(|command| command);
    }

    /// The same for storage that several servers share, as an option and its value, with their master key.
    pub fn import_stack_into(&self, storage: &[OsString; 2], master_key: &Path) {
        self.import_stack_with(|command| command.args(storage).arg("--master-key").arg(master_key));
    }

    fn import_stack_with(&self, further: impl FnOnce(&mut Command) -> &mut Command) {
        assert!(Path::new(STACK).exists(), "no stack in {STACK}; `cargo xtask test` makes it");
        let mut command = Command::new(built("slipwayd"));
        command
            .args(["stack", "import", "debian-12", STACK, "--data-dir"])
            .arg(self.folder.join("data"))
            .arg("--run-dir")
            .arg(self.folder.join("run"))
            .stdin(Stdio::null());
        let status = further(&mut command).status().unwrap();
        assert!(status.success(), "stack import failed");
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(built("slipwayd"));
        command
            .args(["up", "--base-domain", "localhost", "--node", "one", "--subnet", &self.subnet])
            .args(["--router", &format!("127.0.0.1:{}", self.ports.router)])
            .args(["--api", &format!("127.0.0.1:{}", self.ports.api)])
            .args(["--registry", &format!("127.0.0.1:{}", self.ports.registry)])
            .args(["--ssh", &format!("127.0.0.1:{}", self.ports.ssh)])
            .args(["--ports", &self.node_ports()])
            // Programs that write next to nothing: where they fit must not depend on this machine's disk.
            .args(["--disk", "64G"])
            .arg("--data-dir")
            .arg(self.folder.join("data"))
            .arg("--run-dir")
            .arg(self.folder.join("run"))
            .arg("--master-key")
            .arg(self.folder.join("master.key"))
            .stdin(Stdio::null());
        command
    }

    /// Ports of the node that lead to programs: two servers on one machine must not give the same. They
    /// lie below those that the kernel gives to connections.
    fn node_ports(&self) -> String {
        let first = 25_000 + (u32::from(self.ports.api) + std::process::id()) % 70 * 100;
        format!("{first}-{}", first + 99)
    }

    /// Starts the process and waits until the API answers.
    pub fn run(&self) {
        self.run_as(self.command());
    }

    /// The same with a command of one's own.
    pub fn run_as(&self, mut command: Command) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        *self.process.lock().unwrap() = Some(child);
        wait_for("the API to answer", Duration::from_secs(30), || {
            if let Some(status) = self.process.lock().unwrap().as_mut().unwrap().try_wait().unwrap() {
                panic!("slipwayd ended with {status}:\n{}", self.log());
            }
            let answer = crate::http::get(self.ports.api, "localhost", "/v1/health").ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// SIGKILL, as a power cut would look to it.
    pub fn kill(&self) {
        // Also while a test panics that held it: a second panic would hide the first.
        if let Some(mut child) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and wait.
    pub fn stop(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
            wait_for("slipwayd to end after TERM", Duration::from_secs(20), || child.try_wait().unwrap());
        }
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.join("slipwayd.log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// What the names of this server's things on the machine contain: its directory, or the tag that
    /// is made from it.
    pub fn marks(&self) -> Vec<String> {
        use sha2::{Digest, Sha256};
        let data = self.folder.join("data");
        let hash = Sha256::digest(data.to_string_lossy().as_bytes());
        let tag: String = hash.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
        vec![self.folder.to_string_lossy().into_owned(), tag]
    }

    /// Stops everything of this server on the machine and deletes its data.
    pub fn wipe(&self) {
        self.stop();
        assert!(self.wipe_quietly(), "slipwayd wipe failed");
    }

    /// The same when nothing runs; false when it failed.
    pub fn wipe_quietly(&self) -> bool {
        let status = Command::new(built("slipwayd"))
            .args(["wipe", "--yes", "--data-dir"])
            .arg(self.folder.join("data"))
            .arg("--run-dir")
            .arg(self.folder.join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }

    /// Deletes what the tests themselves made.
    pub fn remove(&self) {
        let _ignored = fs::remove_dir_all(&self.folder);
    }

    /// Asks for a page through the router.
    pub fn get(&self, label: &str) -> Result<crate::http::Answer, String> {
        self.get_path(label, "/")
    }

    pub fn get_path(&self, label: &str, path: &str) -> Result<crate::http::Answer, String> {
        crate::http::get(self.ports.router, &format!("{label}.localhost:{}", self.ports.router), path)
    }
}
