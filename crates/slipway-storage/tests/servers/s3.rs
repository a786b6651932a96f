//! An S3 server of the Python package `moto`, in an environment of its own below cargo's directory for
//! tests. Where the package cannot be had, the tests say so and are left out.
//!
//! S3 decides a conditional write in one step. The package looks first and writes then, in several threads:
//! on a busy machine two of twenty creators won now and then. So the server is run with one request at a
//! time, as a server that does what S3's documents say; `trust_conditions: false` is for those that do not,
//! and has tests of its own.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use slipway_storage::s3::{Description, Keys};
use slipway_storage::{Bucket, Place};

pub const BUCKET: &str = "settings";

/// Serves with one request at a time. Connections have threads of their own, so an idle one holds up nobody.
const SERVE: &str = "
import sys, threading
from werkzeug.serving import run_simple
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
served, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()
def in_turn(environ, start_response):
    with turn:
        return list(served(environ, start_response))
run_simple('127.0.0.1', int(sys.argv[1]), in_turn, threaded=True, request_handler=MotoRequestHandler)
";

/// Makes the bucket and an account, and has each request's signature checked from then on.
const PREPARE: &str = "
import sys, json, urllib.request, boto3
url = sys.argv[1]
named = dict(endpoint_url=url, region_name='us-east-1', aws_access_key_id='x', aws_secret_access_key='x')
boto3.client('s3', **named).create_bucket(Bucket='settings')
iam = boto3.client('iam', **named)
iam.create_user(UserName='slipway')
allow = {'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Action': 's3:*', 'Resource': '*'}]}
iam.put_user_policy(UserName='slipway', PolicyName='all', PolicyDocument=json.dumps(allow))
key = iam.create_access_key(UserName='slipway')['AccessKey']
urllib.request.urlopen(urllib.request.Request(url + '/moto-api/reset-auth', data=b'0', headers={'Content-Type': 'text/plain'}, method='POST')).read()
print(key['AccessKeyId'], key['SecretAccessKey'])
";

pub struct S3Server {
    child: Child,
    pub port: u16,
    pub keys: Keys,
}

impl S3Server {
    /// Starts one; nothing when the package cannot be had.
    pub fn start() -> Option<Self> {
        let python = python()?;
        let port = slipway_testing::free_port();
        let child = Command::new(&python)
            .args(["-c", SERVE, &port.to_string()])
            // As its own program does: it builds addresses of its own from this.
            .env("MOTO_PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let keys = Keys { access: String::new(), secret: String::new() };
        let mut server = Self { child, port, keys };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "the S3 server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        let prepared = Command::new(python).args(["-c", PREPARE, &server.endpoint()]).output().unwrap();
        assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
        let said = String::from_utf8(prepared.stdout).unwrap();
        let (access, secret) = said.trim().split_once(' ').unwrap();
        server.keys = Keys { access: access.to_owned(), secret: secret.to_owned() };
        Some(server)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn description(&self) -> Description {
        Description {
            endpoint: self.endpoint(),
            region: "us-east-1".to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: "slipway/test".to_owned(),
            keys: self.keys.clone(),
            authority_pem: None,
            trust_conditions: true,
        }
    }

    pub fn place(&self) -> Arc<Place> {
        place(self.description())
    }

    pub fn kill(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn place(description: Description) -> Arc<Place> {
    Arc::new(Place::bucket(Bucket::new(description).unwrap()))
}

/// The Python of an environment with the package, made once.
fn python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(make_environment).clone()
}

fn make_environment() -> Option<PathBuf> {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Test programs may run side by side.
    let lock = File::create(parent.join("s3-server.lock")).unwrap();
    lock.lock().unwrap();
    let environment = parent.join("s3-server");
    let python = environment.join("bin/python");
    let ready = environment.join("ready");
    if ready.exists() {
        return Some(python);
    }
    let run = |program: &Path, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let is_made = run(Path::new("python3"), &["-m", "venv", environment.to_str().unwrap()])
        && run(&python, &["-m", "pip", "install", "--quiet", "moto[server]>=5.1,<6"]);
    if !is_made {
        eprintln!("left out: the Python package moto[server], which has the S3 server, cannot be had");
        return None;
    }
    fs::write(ready, "").unwrap();
    Some(python)
}
