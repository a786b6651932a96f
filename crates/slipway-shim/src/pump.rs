//! The shim's one loop: output into the log and to whoever is attached, until the end.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::attach::Attachments;
use crate::frame::Frame;
use crate::launch::Program;
use crate::log::{Log, Stream};
use crate::spec::{Ended, ExitRecord, Output, ShimSpec, now_millis};

/// What a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// After the end: how long a client may take to fetch the rest. Also how long a program that ended
/// before anybody could attach waits for somebody to tell.
const FAREWELL: Duration = Duration::from_secs(3);
/// Nothing holds the pipes open after the end of the pid namespace; this is for when something does.
const DRAIN: Duration = Duration::from_secs(2);

/// Pumps until the program has ended and its output is in; says how it ended.
pub fn until_end(spec: &ShimSpec, program: Program) -> ExitRecord {
    let mut pump = Pump::new(spec, program);
    while !pump.turn(None) {}
    let mut record = ExitRecord::new(pump.reap());
    crate::evidence::collect(spec, &mut record);
    pump.drain();
    record.lines_lost = pump.log.as_ref().map_or(0, Log::lines_lost);
    pump.farewell(&record);
    record
}

struct Pump {
    program: Program,
    log: Option<Log>,
    attachments: Option<Attachments>,
    dies_with_agent: bool,
    buffer: Vec<u8>,
}

impl Pump {
    fn new(spec: &ShimSpec, program: Program) -> Self {
        let log = match &spec.output {
            Output::File { path, bytes_max, line_bytes_max } => {
                Some(Log::open(path, *bytes_max, *line_bytes_max))
            }
            Output::Inherit => None,
        };
        // Without its socket the run goes on; whoever wanted to attach finds the log.
        let attachments = spec.attach.as_deref().and_then(|path| Attachments::listen(path).ok());
        let ours = [&program.stdout, &program.stderr, &program.stdin, &program.terminal];
        for descriptor in ours.into_iter().flatten() {
            let flags = nix::fcntl::OFlag::O_NONBLOCK;
            let _ = nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_SETFL(flags));
        }
        Self { program, log, attachments, dies_with_agent: spec.dies_with_agent, buffer: vec![0; READ_BYTES] }
    }

    /// Waits for something and does it. True when the program has ended, or when `until` has passed.
    fn turn(&mut self, until: Option<Instant>) -> bool {
        let ready = self.wait(until);
        if let Some(attachments) = &mut self.attachments {
            attachments.accept();
            attachments.exchange();
        }
        self.type_input();
        self.read_outputs();
        if let Some(attachments) = &mut self.attachments {
            attachments.exchange();
        }
        if ready.agent_gone {
            // The pid namespace goes with its first process, and everything in it.
            let _ = nix::sys::signal::kill(Pid::from_raw(self.program.init_pid()), nix::sys::signal::SIGKILL);
            self.dies_with_agent = false;
        }
        ready.ended || until.is_some_and(|until| Instant::now() >= until)
    }

    fn wait(&self, until: Option<Instant>) -> Ready {
        let mut wanted: Vec<(BorrowedFd, PollFlags)> = Vec::with_capacity(8);
        let after_end = until.is_some();
        if !after_end {
            wanted.push((self.program.end.as_fd(), PollFlags::POLLIN));
        }
        // SAFETY: descriptor 1 is open for the whole life of the process; the agent passed it.
        let agent = unsafe { BorrowedFd::borrow_raw(1) };
        if self.dies_with_agent {
            wanted.push((agent, PollFlags::empty()));
        }
        let congested = self.attachments.as_ref().is_some_and(Attachments::is_congested);
        if !congested {
            let outputs = [&self.program.stdout, &self.program.stderr, &self.program.terminal];
            wanted.extend(outputs.into_iter().flatten().map(|fd| (fd.as_fd(), PollFlags::POLLIN)));
        }
        if let Some(attachments) = &self.attachments {
            wanted.push((attachments.listener().as_fd(), PollFlags::POLLIN));
            for client in attachments.clients() {
                let mut events = PollFlags::empty();
                events.set(PollFlags::POLLIN, attachments.wants_input());
                events.set(PollFlags::POLLOUT, client.has_backlog());
                wanted.push((client.stream.as_fd(), events));
            }
        }
        let mut descriptors: Vec<PollFd> =
            wanted.iter().map(|(fd, events)| PollFd::new(*fd, *events)).collect();
        // A client that stalls, and input that the program does not take yet, are looked at again soon.
        let mut pause = if self.attachments.as_ref().is_some_and(|a| a.has_backlog() || a.has_input()) {
            Some(Duration::from_millis(50))
        } else {
            None
        };
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            pause = Some(pause.map_or(left, |pause| pause.min(left)));
        }
        let timeout = pause.map_or(PollTimeout::NONE, |pause| {
            PollTimeout::try_from(pause + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Out of memory in the kernel: try again rather than spin.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        let mut ready = Ready { ended: false, agent_gone: false };
        for descriptor in &descriptors {
            let happened = descriptor.revents().unwrap_or(PollFlags::empty());
            if descriptor.as_fd().as_raw_fd() == self.program.end.as_raw_fd() {
                ready.ended = happened.contains(PollFlags::POLLIN);
            }
            if descriptor.as_fd().as_raw_fd() == 1 {
                ready.agent_gone = happened.intersects(PollFlags::POLLERR | PollFlags::POLLHUP);
            }
        }
        ready
    }

    fn read_outputs(&mut self) -> bool {
        if self.attachments.as_ref().is_some_and(Attachments::is_congested) {
            return false;
        }
        let mut any = false;
        let outputs = [
            (&mut self.program.stdout, Stream::Out),
            (&mut self.program.stderr, Stream::Err),
            (&mut self.program.terminal, Stream::Out),
        ];
        for (output, stream) in outputs {
            let Some(descriptor) = output else { continue };
            let count = match nix::unistd::read(&*descriptor, &mut self.buffer) {
                Ok(count) if count > 0 => count,
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                // The end, which on a terminal looks like an error.
                _ => {
                    *output = None;
                    continue;
                }
            };
            any = true;
            let piece = &self.buffer[..count];
            if let Some(log) = &mut self.log {
                log.take(stream, piece, now_millis());
            }
            if let Some(attachments) = &mut self.attachments {
                attachments.send(&match stream {
                    Stream::Out => Frame::Stdout(piece.to_vec()),
                    Stream::Err => Frame::Stderr(piece.to_vec()),
                });
            }
        }
        any
    }

    fn type_input(&mut self) {
        let Some(attachments) = &mut self.attachments else { return };
        if let (Some((columns, rows)), Some(terminal)) = (attachments.take_resize(), &self.program.terminal) {
            let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // SAFETY: `size` is a live winsize, which is what this request reads.
            unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        }
        let target: Option<&OwnedFd> = self.program.terminal.as_ref().or(self.program.stdin.as_ref());
        let Some(target) = target else {
            attachments.input().clear();
            return;
        };
        while !attachments.input().is_empty() {
            let (front, _) = attachments.input().as_slices();
            match nix::unistd::write(target, front) {
                Ok(count) => drop(attachments.input().drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // The program does not want any more.
                Err(_) => {
                    attachments.input().clear();
                    self.program.stdin = None;
                    return;
                }
            }
        }
        if attachments.input_is_over() {
            self.program.stdin = None;
        }
    }

    fn reap(&self) -> Ended {
        let pid = Pid::from_raw(self.program.init_pid());
        loop {
            match waitpid(pid, None) {
                Ok(WaitStatus::Exited(_, code)) => return Ended::Exited { code },
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ended::Signaled { signal: signal as i32 },
                Ok(_) | Err(Errno::EINTR) => {}
                // Cannot be: it is our child and nobody else waits for it.
                Err(_) => return Ended::Signaled { signal: libc::SIGKILL },
            }
        }
    }

    fn drain(&mut self) {
        let until = Instant::now() + DRAIN;
        let open = |pump: &Self| pump.program.stdout.is_some() || pump.program.stderr.is_some();
        // A terminal's other end is gone, so what it still holds can be read without waiting.
        while self.program.terminal.is_some() && self.read_outputs() {}
        self.program.terminal = None;
        while open(self) && !self.turn(Some(until)) {}
        if let Some(log) = &mut self.log {
            log.finish(now_millis());
        }
    }

    /// Tells whoever is attached how it ended, and lets them fetch what is left.
    fn farewell(&mut self, record: &ExitRecord) {
        let Some(attachments) = &mut self.attachments else { return };
        attachments.send(&Frame::Exit(serde_json::to_vec(record).unwrap_or_default()));
        let until = Instant::now() + FAREWELL;
        loop {
            let waiting = self.attachments.as_ref().is_some_and(|a| a.has_backlog() || !a.anybody_came());
            if !waiting || self.turn(Some(until)) {
                return;
            }
        }
    }
}

struct Ready {
    ended: bool,
    agent_gone: bool,
}
