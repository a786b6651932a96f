//! `slipway run`: a command in a new instance, with this terminal.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::termios::{self, SetArg, Termios};
use slipway_api::client::{Attachment, Frame};
use slipway_api::wire::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::args;
use crate::session::{Session, at};

/// Runs a command and gives its exit status.
pub async fn run(
    session: &Session,
    place: &args::Environment,
    words: Vec<String>,
    no_tty: bool,
) -> anyhow::Result<u8> {
    let path = session.environment(place)?;
    let client = session.client()?;
    let tty = !no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let request = RunCommand { command: command_line(&words), tty };
    let started: RunStarted = client.post(&at(&path, "/run"), &request).await?;
    session.printer.note(&format!("Running in {path} as {}", started.instance));
    let attachment = client.attach(&at(&path, &format!("/instances/{}/attach", started.instance))).await?;
    let stdin = std::io::stdin();
    // Raw from here on, and back whatever happens.
    let _raw = if tty { Some(RawMode::enter(stdin.as_fd())?) } else { None };
    relay(attachment, tty).await
}

async fn relay(attachment: Attachment, tty: bool) -> anyhow::Result<u8> {
    let Attachment { mut receive, mut send } = attachment;
    let (frames, mut outgoing) = mpsc::channel::<Frame>(16);
    let sender = tokio::spawn(async move {
        while let Some(frame) = outgoing.recv().await {
            if send.send(&frame).await.is_err() {
                break;
            }
        }
    });
    let (leave, mut left) = mpsc::channel::<()>(1);
    let input = tokio::spawn(read_input(frames.clone(), tty, leave));
    let window = tokio::spawn(follow_window(frames, tty));
    let (arrived, mut arriving) = mpsc::channel::<Frame>(16);
    let receiver = tokio::spawn(async move {
        while let Ok(Some(frame)) = receive.next().await {
            if arrived.send(frame).await.is_err() {
                break;
            }
        }
    });
    let mut stdout = tokio::io::stdout();
    let mut stderr = tokio::io::stderr();
    let mut status = None;
    loop {
        let frame = tokio::select! {
            frame = arriving.recv() => frame,
            Some(()) = left.recv() => anyhow::bail!("left the command, which ends now\r"),
        };
        match frame {
            Some(Frame::Data(data)) => {
                stdout.write_all(&data).await?;
                stdout.flush().await?;
            }
            Some(Frame::ErrorData(data)) => {
                stderr.write_all(&data).await?;
                stderr.flush().await?;
            }
            Some(Frame::Exit { status: code, reason }) => {
                status = Some((code, reason));
                break;
            }
            Some(Frame::Eof | Frame::Resize { .. }) => {}
            None => break,
        }
    }
    for task in [sender, receiver, input, window] {
        task.abort();
    }
    match status {
        Some((code, reason)) if reason.is_empty() => Ok(code),
        Some((code, reason)) => {
            eprintln!("\rslipway: the command {reason}\r");
            Ok(code)
        }
        None => anyhow::bail!("the connection to the command broke, and so the command ends"),
    }
}

/// Times that Ctrl-C is typed in a row to leave a command that does not mind it: process 1 of a
/// sandbox is not interrupted unless it handles the signal.
const INTERRUPTS_TO_LEAVE: u32 = 3;

async fn read_input(frames: mpsc::Sender<Frame>, raw: bool, leave: mpsc::Sender<()>) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 16 << 10];
    let mut interrupts = 0;
    loop {
        let frame = match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => Frame::Eof,
            Ok(count) => Frame::Data(buffer[..count].to_vec()),
        };
        let end = frame == Frame::Eof;
        let is_interrupt = raw && frame == Frame::Data(vec![3]);
        interrupts = if is_interrupt { interrupts + 1 } else { 0 };
        if interrupts == INTERRUPTS_TO_LEAVE {
            let _ended = leave.send(()).await;
            return;
        }
        if frames.send(frame).await.is_err() || end {
            return;
        }
    }
}

async fn follow_window(frames: mpsc::Sender<Frame>, tty: bool) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    if !tty {
        return;
    }
    loop {
        let (columns, rows) = window_size();
        if frames.send(Frame::Resize { columns, rows }).await.is_err() || changes.recv().await.is_none() {
            return;
        }
    }
}

fn window_size() -> (u16, u16) {
    nix::ioctl_read_bad!(window, nix::libc::TIOCGWINSZ, nix::libc::winsize);
    let mut size = nix::libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize; on failure the default stays.
    let _ignored = unsafe { window(nix::libc::STDOUT_FILENO, &mut size) };
    (size.ws_col, size.ws_row)
}

/// One word is a command line already; several are quoted so that the shell in the sandbox sees the
/// same words again.
fn command_line(words: &[String]) -> String {
    if let [line] = words {
        return line.clone();
    }
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    fn enter(terminal: BorrowedFd<'a>) -> nix::Result<Self> {
        let before = termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(terminal, SetArg::TCSANOW, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        let _ignored = termios::tcsetattr(self.terminal, SetArg::TCSANOW, &self.before);
    }
}
