//! A door before a server of somebody else's, which can be shut: connections that there were break, and
//! new ones are hung up on.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub struct Door {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_shut: bool,
    /// Both ends of each connection. A test has few.
    passing: Vec<TcpStream>,
}

impl Door {
    /// Opens one before that port of this machine. It stands as long as the process.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let door = Self { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let state = door.state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Whoever came may have gone.
                let _gone = stream.and_then(|stream| pass(stream, port, &state));
            }
        });
        door
    }

    pub fn shut(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_shut = true;
        for stream in state.passing.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn open(&self) {
        self.state.lock().unwrap().is_shut = false;
    }
}

fn pass(here: TcpStream, port: u16, state: &Mutex<State>) -> io::Result<()> {
    let mut state = state.lock().unwrap();
    if state.is_shut {
        return Ok(());
    }
    let there = TcpStream::connect(("127.0.0.1", port))?;
    state.passing.extend([here.try_clone()?, there.try_clone()?]);
    for (mut from, mut to) in [(here.try_clone()?, there.try_clone()?), (there, here)] {
        std::thread::spawn(move || {
            let _broken = io::copy(&mut from, &mut to);
            let _gone = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
