//! Three ZooKeeper servers and three `slipwayd server`s, of which one leads.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use slipway_access::MasterKey;
use slipway_api::client::Client;
use slipway_api::wire::{ClaimRequest, Done, NewToken};
use slipway_store::{Store, ZooKeeperOptions};
use slipway_testing::free_port;
use tokio::time::sleep;

use crate::Failure;
use crate::ensemble::Ensemble;

const COUNT: usize = 3;
/// Room for some hundred thousand records in each ZooKeeper server.
const ROOMY: &[&str] = &["-Xmx1g"];
const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery staple";

pub struct Servers {
    // Before the ZooKeepers, so that servers end first.
    all: Vec<Server>,
    /// The clients of those that run.
    clients: Arc<Mutex<Vec<Client>>>,
    token: String,
    pub store: Store,
    dead: Option<usize>,
    ensemble: Ensemble,
    folder: tempfile::TempDir,
}

struct Server {
    name: String,
    folder: PathBuf,
    api: u16,
    cluster: u16,
    others: [u16; 2],
    process: Option<Child>,
}

impl Servers {
    /// All run, and somebody owns the cluster.
    pub async fn start() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("slipway-herd-").tempdir()?;
        fs::create_dir_all(folder.path().join("shared"))?;
        let ensemble = Ensemble::run(COUNT, "", ROOMY);
        let master = MasterKey::load_or_create(&folder.path().join("master.key"))?;
        let store = Store::connect(ZooKeeperOptions {
            authentication: Some(master.store_authentication()),
            patience: PATIENCE,
            ..ZooKeeperOptions::new(ensemble.addresses(), "/slipway")
        });
        let store = store.await?;
        let all = (1..=COUNT).map(|number| Server::new(&folder.path().join(format!("s{number}")), number));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let (clients, token) = (Arc::default(), String::new());
        let mut servers = Self { all, clients, token, store, dead: None, ensemble, folder };
        for at in 0..COUNT {
            servers.run(at)?;
            servers.answers(at).await?;
        }
        let claim_token = fs::read_to_string(servers.all[0].folder.join("run/claim-token"))?;
        let claim = ClaimRequest { claim_token, user: "ada".parse()?, password: PASSWORD.to_owned() };
        let token: NewToken = Client::new(&servers.all[0].address())?.post("/v1/claim", &claim).await?;
        servers.token = token.token;
        servers.list_clients()?;
        Ok(servers)
    }

    /// One of the servers that run, in turn.
    pub fn client(&self, number: usize) -> Client {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients[number % clients.len()].clone()
    }

    /// All that run, kept up to date.
    pub fn clients(&self) -> Arc<Mutex<Vec<Client>>> {
        self.clients.clone()
    }

    /// Where nodes dial.
    pub fn addresses(&self) -> Vec<String> {
        self.all.iter().map(|server| format!("127.0.0.1:{}", server.cluster)).collect()
    }

    /// The newest epoch.
    pub fn epoch(&self) -> u64 {
        self.store.leader().borrow().as_ref().map_or(0, |leader| leader.epoch.0)
    }

    /// Ends the leading server without a word.
    pub fn kill_leader(&mut self) -> Result<(), Failure> {
        let leader = self.store.leader().borrow().as_ref().map(|leader| leader.candidate.name.clone());
        let is_leader =
            |server: &Server| leader.as_ref().is_some_and(|leader| leader.as_str() == server.name);
        let at = self.all.iter().position(is_leader);
        let at = at.ok_or("nobody leads")?;
        self.all[at].kill();
        self.dead = Some(at);
        self.list_clients()
    }

    /// When somebody was elected after that.
    pub async fn elected_after(&self, epoch: u64) -> Result<Instant, Failure> {
        let mut leaders = self.store.leader();
        let is_newer =
            |leader: &Option<slipway_store::Leader>| leader.as_ref().is_some_and(|it| it.epoch.0 > epoch);
        drop(tokio::time::timeout(PATIENCE, leaders.wait_for(is_newer)).await??);
        Ok(Instant::now())
    }

    /// Starts again the server that was killed.
    pub async fn revive(&mut self) -> Result<(), Failure> {
        let Some(at) = self.dead.take() else { return Ok(()) };
        self.run(at)?;
        self.answers(at).await?;
        self.list_clients()
    }

    fn run(&mut self, at: usize) -> Result<(), Failure> {
        let zookeeper = self.ensemble.addresses().join(",");
        let mut command = self.all[at].command("server")?;
        let server = &self.all[at];
        let local = |port: u16| format!("127.0.0.1:{port}");
        command
            .args(["--name", &server.name, "--base-domain", "localhost", "--zookeeper", &zookeeper])
            .args(["--cluster", &local(server.cluster), "--cluster-address", &local(server.cluster)])
            .args(["--api", &local(server.api)])
            .args(["--registry", &local(server.others[0]), "--ssh", &local(server.others[1])])
            .arg("--shared-dir")
            .arg(self.folder.path().join("shared"))
            .arg("--master-key")
            .arg(self.folder.path().join("master.key"));
        let log = fs::File::options().create(true).append(true).open(server.folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.all[at].process = Some(command.spawn()?);
        Ok(())
    }

    async fn answers(&self, at: usize) -> Result<(), Failure> {
        let client = Client::new(&self.all[at].address())?;
        let since = Instant::now();
        loop {
            match client.get::<Done>("/v1/health").await {
                Ok(_) => return Ok(()),
                Err(error) if since.elapsed() > PATIENCE => {
                    let log = fs::read_to_string(self.all[at].folder.join("log")).unwrap_or_default();
                    return Err(
                        format!("{} does not answer: {error}; it says:\n{log}", self.all[at].name).into()
                    );
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn list_clients(&self) -> Result<(), Failure> {
        let running = self.all.iter().enumerate().filter(|(at, _)| Some(*at) != self.dead);
        let clients = running
            .map(|(_, server)| Ok(Client::new(&server.address())?.with_token(self.token.clone())))
            .collect::<Result<Vec<_>, Failure>>()?;
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = clients;
        Ok(())
    }
}

impl Server {
    fn new(folder: &std::path::Path, number: usize) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let (api, cluster, others) = (free_port(), free_port(), [free_port(), free_port()]);
        let (name, folder, process) = (format!("s{number}"), folder.to_owned(), None);
        Ok(Self { name, folder, api, cluster, others, process })
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// `slipwayd`, as it was built beside this program.
    fn command(&self, verb: &str) -> Result<Command, Failure> {
        let own = std::env::current_exe()?;
        let built = own.parent().and_then(|examples| examples.parent()).ok_or("no directory")?;
        let mut command = Command::new(built.join("slipwayd"));
        command.arg(verb).arg("--data-dir").arg(self.folder.join("data"));
        command.arg("--run-dir").arg(self.folder.join("run"));
        Ok(command)
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Nothing stays on the machine.
impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.all {
            server.kill();
            let wiped = server.command("wipe").and_then(|mut wipe| {
                Ok(wipe.arg("--yes").stdin(Stdio::null()).stdout(Stdio::null()).status()?)
            });
            if !wiped.is_ok_and(|status| status.success()) {
                eprintln!("slipwayd wipe failed in {}", server.folder.display());
            }
        }
    }
}
