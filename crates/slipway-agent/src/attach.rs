//! Attaching to a one-off run: its output here, our input there.

use std::sync::Arc;
use std::time::Duration;

use slipway_model::id::InstanceId;
use slipway_model::instance::{ExitReason, InstanceRole, InstanceSpec, InstanceState};
use slipway_shim::frame::{Decoder, Frame, PAYLOAD_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::agent::{Agent, Shared};
use crate::error::Error;
use crate::logs;

/// Pieces that wait for a slow reader before the program waits too.
const PIECES_WAITING_MAX: usize = 16;
/// How often to look whether the run has begun.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Both directions of an attached run.
#[derive(Debug)]
pub struct Attachment {
    /// What the program prints; ends after [`AttachOutput::Exit`].
    pub output: mpsc::Receiver<AttachOutput>,
    /// What it is given. Dropping it means that there is no more.
    pub input: mpsc::Sender<AttachInput>,
}

/// Something that comes from the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachOutput {
    /// Output; on a terminal, all of it.
    Stdout(Vec<u8>),
    /// Error output.
    Stderr(Vec<u8>),
    /// It has ended.
    Exit(ExitReason),
}

/// Something that goes to the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachInput {
    /// Input.
    Stdin(Vec<u8>),
    /// There will be no more.
    StdinEnd,
    /// The terminal has this size now.
    Resize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
}

impl Agent {
    /// Attaches to a one-off run that is being prepared, runs, or has ended: then what it printed
    /// comes from its log.
    ///
    /// # Errors
    /// When there is no such instance, or when it is no one-off run.
    pub fn attach(&self, id: &InstanceId) -> Result<Attachment, Error> {
        let (spec, _) = self.shared.find(id).ok_or_else(|| Error::UnknownInstance(id.clone()))?;
        if !matches!(spec.role, InstanceRole::OneOff { .. }) {
            return Err(Error::NotAttachable(id.clone()));
        }
        let (send_output, output) = mpsc::channel(PIECES_WAITING_MAX);
        let (input, receive_input) = mpsc::channel(PIECES_WAITING_MAX);
        tokio::spawn(carry(Arc::clone(&self.shared), spec, send_output, receive_input));
        Ok(Attachment { output, input })
    }
}

async fn carry(
    shared: Arc<Shared>,
    spec: InstanceSpec,
    output: mpsc::Sender<AttachOutput>,
    input: mpsc::Receiver<AttachInput>,
) {
    let id = spec.id.clone();
    // From the beginning on: a run that has ended is soon forgotten, and its end with it.
    let mut reports = shared.subscribe();
    let socket = shared.paths.attach_socket(&id);
    let stream = loop {
        if let Ok(stream) = UnixStream::connect(&socket).await {
            break Some(stream);
        }
        let ended = shared.find(&id).is_none_or(|(_, state)| !state.is_alive());
        if ended || output.is_closed() {
            break None;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    };
    let anything_came = match stream {
        Some(stream) => exchange(stream, &output, input).await,
        None => false,
    };
    // The end as the agent sees it: the shim does not know whether memory or a person was the cause.
    let exit = loop {
        if let Some((_, InstanceState::Ended { exit })) = shared.find(&id) {
            break exit.reason;
        }
        match tokio::time::timeout(Duration::from_secs(1), reports.recv()).await {
            Ok(Ok(report)) if report.instance == id => {
                if let InstanceState::Ended { exit } = report.state {
                    break exit.reason;
                }
            }
            // Others' reports, or a gap in them.
            Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
            Err(_nothing_came) if shared.find(&id).is_some() && !output.is_closed() => {}
            Ok(Err(RecvError::Closed)) | Err(_) => break ExitReason::Lost,
        }
    };
    if !anything_came {
        for line in logs::tail(&shared.paths.log(&spec), usize::MAX >> 1) {
            let _ = output.send(AttachOutput::Stdout(format!("{line}\n").into_bytes())).await;
        }
    }
    let _ = output.send(AttachOutput::Exit(exit)).await;
}

/// Carries until the shim says that the program has ended; whether there was anything.
async fn exchange(
    stream: UnixStream,
    output: &mpsc::Sender<AttachOutput>,
    mut input: mpsc::Receiver<AttachInput>,
) -> bool {
    let (mut from_shim, mut to_shim) = stream.into_split();
    let typing = tokio::spawn(async move {
        while let Some(piece) = input.recv().await {
            let frames: Vec<Frame> = match piece {
                AttachInput::Stdin(data) => {
                    data.chunks(PAYLOAD_BYTES_MAX).map(|part| Frame::Stdin(part.to_vec())).collect()
                }
                AttachInput::StdinEnd => vec![Frame::StdinEnd],
                AttachInput::Resize { columns, rows } => vec![Frame::Resize { columns, rows }],
            };
            for frame in frames {
                if to_shim.write_all(&frame.encode()).await.is_err() {
                    return;
                }
            }
        }
        let _ = to_shim.write_all(&Frame::StdinEnd.encode()).await;
        // Half of the connection stays open until the shim closes the other.
        std::future::pending::<()>().await;
    });
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    let mut anything = false;
    'reading: while let Ok(count @ 1..) = from_shim.read(&mut buffer).await {
        decoder.push(&buffer[..count]);
        while let Ok(Some(frame)) = decoder.next_frame() {
            anything = true;
            let piece = match frame {
                Frame::Stdout(data) => AttachOutput::Stdout(data),
                Frame::Stderr(data) => AttachOutput::Stderr(data),
                Frame::Exit(_) => break 'reading,
                _ => continue,
            };
            if output.send(piece).await.is_err() {
                break 'reading;
            }
        }
    }
    typing.abort();
    anything
}
