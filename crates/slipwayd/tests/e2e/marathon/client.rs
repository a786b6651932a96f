//! As much of a Marathon client as the tests need: plain HTTP and JSON, nothing shared with the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http;
use crate::person::Person;
use crate::server::{Server, until, wait_for};

/// How long anything may take that has to start containers, on a machine where others compile.
pub const LONG: Duration = Duration::from_secs(120);

/// Somebody's way to `/v2`, with the token of one tenant.
pub struct Marathon<'a> {
    pub server: &'a Server,
    pub token: String,
}

/// An answer: status, head, JSON (`Null` when it is none), and the text itself.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub head: String,
    pub json: Value,
    pub text: String,
}

impl Told {
    /// The request must have had that status.
    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert!(self.status == status, "answered {} instead of {status}: {}", self.status, self.text);
        self.json
    }
}

impl<'a> Marathon<'a> {
    /// A new tenant with a token of its own.
    pub fn of_tenant(server: &'a Server, tenant: &str) -> Self {
        let person = Person::with_tenant(server, tenant);
        let words = ["tokens", "create", "marathon", "--tenant", tenant];
        let token = person.slipway(&words).ok().out.trim().to_owned();
        Self { server, token }
    }

    pub fn get(&self, path: &str) -> Told {
        self.ask("GET", path, None)
    }

    pub fn post(&self, path: &str, body: Value) -> Told {
        self.ask("POST", path, Some(body))
    }

    pub fn put(&self, path: &str, body: Value) -> Told {
        self.ask("PUT", path, Some(body))
    }

    pub fn delete(&self, path: &str) -> Told {
        self.ask("DELETE", path, None)
    }

    pub fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Told {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let token = &self.token;
        let length = body.len();
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        ))
    }

    /// A request as it stands.
    pub fn raw(&self, request: &str) -> Told {
        let answer = http::send(self.server.ports.api, request).unwrap();
        let json = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        Told { status: answer.status, head: answer.head, json, text: answer.body }
    }

    /// Waits until no deployment is under way.
    #[track_caller]
    pub fn settled(&self) {
        let ended = || self.get("/v2/deployments").is(200) == json!([]);
        if until(LONG, || ended().then_some(())).is_none() {
            let (deployments, queue) = (self.get("/v2/deployments").text, self.get("/v2/queue").text);
            panic!("deployments did not end within {LONG:?}: {deployments}\nwhat waits: {queue}");
        }
    }

    /// Makes an app and waits until it is there; returns what it looks like then.
    #[track_caller]
    pub fn run(&self, app: Value) -> Value {
        let id = app["id"].as_str().unwrap().to_owned();
        self.post("/v2/apps", app).is(201);
        self.settled();
        self.app(&id)
    }

    /// The app, with its tasks.
    #[track_caller]
    pub fn app(&self, id: &str) -> Value {
        self.get(&format!("/v2/apps{id}")).is(200)["app"].clone()
    }

    /// Waits until the app looks like that.
    #[track_caller]
    pub fn wait_app(&self, id: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, LONG, || Some(self.app(id)).filter(&is_it))
    }

    /// The ids of the tasks, in order.
    pub fn tasks(&self, id: &str) -> Vec<String> {
        let tasks = self.get(&format!("/v2/apps{id}/tasks")).is(200);
        let ids = tasks["tasks"].as_array().unwrap().iter();
        let mut ids: Vec<String> = ids.map(|task| task["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }

    /// Follows the events until the answer is dropped.
    pub fn events(&self, query: &str) -> Events {
        let mut stream = TcpStream::connect(("127.0.0.1", self.server.ports.api)).unwrap();
        let token = &self.token;
        let request = format!(
            "GET /v2/events{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Accept: text/event-stream\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let reader = stream.try_clone().unwrap();
        let (send, frames) = channel();
        std::thread::spawn(move || {
            let mut event = String::new();
            for line in BufReader::new(Chunks::new(reader)).lines() {
                let Ok(line) = line else { return };
                if let Some(kind) = line.strip_prefix("event: ") {
                    event = kind.to_owned();
                } else if let Some(data) = line.strip_prefix("data: ") {
                    let data = serde_json::from_str(data).expect("the data of an event is one line of JSON");
                    if send.send((event.clone(), data)).is_err() {
                        return;
                    }
                }
            }
        });
        Events { frames, stream }
    }
}

/// What arrives on `/v2/events`.
pub struct Events {
    pub frames: Receiver<(String, Value)>,
    stream: TcpStream,
}

impl Drop for Events {
    fn drop(&mut self) {
        let _gone = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Events {
    /// The next of that type.
    #[track_caller]
    pub fn next(&self, kind: &str) -> Value {
        self.until(&format!("a {kind}"), |of, _| of == kind)
    }

    /// The next that is like that; those before it are gone.
    #[track_caller]
    pub fn until(&self, what: &str, mut is_it: impl FnMut(&str, &Value) -> bool) -> Value {
        let mut seen = Vec::new();
        loop {
            let Ok((kind, data)) = self.frames.recv_timeout(LONG) else {
                panic!("no {what} among the events: {seen:?}")
            };
            if is_it(&kind, &data) {
                return data;
            }
            seen.push(kind);
        }
    }
}

/// The body of a chunked answer.
struct Chunks {
    reader: BufReader<TcpStream>,
    left: usize,
    is_begun: bool,
}

impl Chunks {
    fn new(stream: TcpStream) -> Self {
        Self { reader: BufReader::new(stream), left: 0, is_begun: false }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        Ok(line)
    }
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if !self.is_begun {
            let head = self.line()?;
            assert!(head.contains(" 200 "), "the events were refused: {head}");
            while !self.line()?.trim().is_empty() {}
            self.is_begun = true;
        }
        while self.left == 0 {
            let size = self.line()?;
            match (size.is_empty(), usize::from_str_radix(size.trim(), 16)) {
                (true, _) | (_, Ok(0)) => return Ok(0),
                // The line end after a chunk.
                (_, Err(_)) => continue,
                (_, Ok(size)) => self.left = size,
            }
        }
        let most = into.len().min(self.left);
        let got = self.reader.read(&mut into[..most])?;
        self.left -= got;
        Ok(got)
    }
}
