//! A client that writes all the time, in ZooKeeper's protocol, and notes how long it had to wait.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NODE: &str = "/written";

pub struct Writes {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: JoinHandle<Duration>,
}

impl Writes {
    pub fn start(addresses: Vec<String>) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::spawn(move || {
            let (mut last, mut gap, mut session) = (Instant::now(), Duration::ZERO, None);
            for address in addresses.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                session = session.or_else(|| Session::open(address).ok());
                while let Some(open) = &mut session {
                    if stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    if open.write().is_err() {
                        session = None;
                        continue;
                    }
                    gap = gap.max(last.elapsed());
                    last = Instant::now();
                    counted.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(5));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            gap
        });
        Self { stop, count, thread }
    }

    /// Waits for so many more.
    pub fn some(&self, more: u64) {
        let wanted = self.count.load(Ordering::Relaxed) + more;
        let started = Instant::now();
        while self.count.load(Ordering::Relaxed) < wanted {
            assert!(started.elapsed() < Duration::from_secs(30), "nothing can be written");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many there were, and the longest time from one to the next.
    pub fn end(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let gap = self.thread.join().unwrap();
        (self.count.load(Ordering::Relaxed), gap)
    }
}

struct Session(TcpStream);

impl Session {
    fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut session = Self(stream);
        let hello = [&[0; 12][..], &4000_i32.to_be_bytes(), &[0; 8], &text(&"\0".repeat(16)), &[0]].concat();
        session.exchange(&hello)?;
        let acl = [&1_i32.to_be_bytes()[..], &31_i32.to_be_bytes(), &text("world"), &text("anyone")].concat();
        let create = [&text(NODE)[..], &text(""), &acl, &[0; 4]].concat();
        // It is there already for all but the first.
        session.ask(1, &create)?;
        Ok(session)
    }

    fn write(&mut self) -> io::Result<()> {
        let set = [&text(NODE)[..], &text("value"), &(-1_i32).to_be_bytes()].concat();
        match self.ask(5, &set)? {
            0 => Ok(()),
            error => Err(io::Error::other(format!("refused with {error}"))),
        }
    }

    /// Returns the error's number.
    fn ask(&mut self, op: i32, body: &[u8]) -> io::Result<i32> {
        let answer = self.exchange(&[&1_i32.to_be_bytes()[..], &op.to_be_bytes(), body].concat())?;
        let error = answer.get(12..16).ok_or(io::ErrorKind::InvalidData)?;
        Ok(i32::from_be_bytes(error.try_into().unwrap()))
    }

    fn exchange(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let length = i32::try_from(message.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length[..], message].concat())?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }
}

fn text(value: &str) -> Vec<u8> {
    [&i32::try_from(value.len()).unwrap().to_be_bytes()[..], value.as_bytes()].concat()
}
