//! The node's end of its link: what the leader asks is answered here. The other end, and what both say, is
//! in [`crate::hub`].

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use slipway_agent::Agent;
use slipway_api::client::Frame;
use slipway_control::api::{FilesFound, FilesWanted, Instances, LogQuery};
use slipway_control::leader::NodeMessage;
use slipway_model::id::InstanceId;
use slipway_model::instance::{Desired, Exit, ExitReason, InstanceReport, InstanceState, Node};
use slipway_model::limit::SERVERS_MAX;
use slipway_model::unit::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};

use super::peers::Peers;
use crate::glue::instances::LocalInstances;
use crate::glue::nodes::{self, Trouble};
use crate::hub::wire::{
    self, DESIRED_BYTES_MAX, FilesWhat, FilesWish, HEARTBEAT, Listing, LogPiece, LogWish, PEERS, ReportLine,
    SIZE, SandboxesWish,
};

/// Frames that wait for a slow side.
const FRAMES_WAITING_MAX: usize = 16;
/// Reports of what this node would not start that wait to be told.
const REFUSED_WAITING_MAX: usize = 1024;
/// Other reports that do, and the lines made of them.
const MESSAGES_WAITING_MAX: usize = 64;
/// An address of a server.
const ADDRESS_BYTES_MAX: usize = 300;

/// What a node answers with. Cheap to clone.
#[derive(Clone)]
pub struct Here {
    /// What it has.
    pub node: Node,
    /// Where the other nodes look for this machine: the cluster knows, and tells it when that is news.
    pub address: watch::Sender<Option<Ipv4Addr>>,
    /// What runs instances; none on a machine that shall run none.
    pub agent: Option<Agent>,
    /// Where the servers are, kept by whoever dials.
    pub servers: watch::Sender<Vec<String>>,
    /// What was told of other nodes, on whichever link.
    pub peers: Peers,
    /// What an operator should mend on this machine.
    pub trouble: Trouble,
}

/// Serves a link until it breaks; why it did.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    here: Here,
) -> Result<(), hyper::Error> {
    // Made anew for each link: what was refused on one is not told on another.
    let (refused, _) = broadcast::channel(REFUSED_WAITING_MAX);
    let state = OnLink { here: Arc::new(here), refused };
    let routes = Router::new()
        .route("/desired", put(desired))
        .route("/servers", put(servers))
        .route("/reports", get(reports))
        .route("/logs", get(logs))
        .route("/sandboxes", get(sandboxes))
        .route("/files", get(files))
        .route("/attach/{instance}", post(attach))
        .layer(DefaultBodyLimit::max(DESIRED_BYTES_MAX))
        .with_state(state);
    wire::server().serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await
}

#[derive(Clone)]
struct OnLink {
    here: Arc<Here>,
    /// Instances that were given to a machine that runs none.
    refused: broadcast::Sender<InstanceReport>,
}

type Refused = (StatusCode, String);

async fn desired(State(on): State<OnLink>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Refused> {
    let mut desired: Desired = read(&body)?;
    if let Some(name) = headers.get(PEERS).and_then(|name| name.to_str().ok()) {
        let completed = on.here.peers.complete(&mut desired, name);
        completed.map_err(|error| (StatusCode::PRECONDITION_FAILED, error.to_string()))?;
    }
    let mut peers = desired.peers.iter().flat_map(|peers| peers.iter());
    if let Some(own) = peers.find(|peer| peer.node == on.here.node.name) {
        on.here.address.send_if_modified(|known| known.replace(own.address) != Some(own.address));
    }
    let Some(agent) = on.here.agent.clone() else {
        for wish in desired.instances {
            let error = "this machine runs no instances (--no-instances)".to_owned();
            let exit = Exit { reason: ExitReason::LaunchFailed { error }, tail: Vec::new() };
            let (state, at) = (InstanceState::Ended { exit }, Timestamp::from(SystemTime::now()));
            let report = InstanceReport {
                instance: wish.spec.id,
                state,
                address: None,
                at,
                ready: None,
                checks: Vec::new(),
                started_at: None,
            };
            // Heard by whoever reads the reports.
            let _nobody = on.refused.send(report);
        }
        return Ok(StatusCode::NO_CONTENT);
    };
    // It writes down whom it obeys.
    match tokio::task::spawn_blocking(move || agent.apply(desired)).await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error @ slipway_agent::Error::StaleEpoch { .. })) => {
            tracing::warn!(%error, "a leader that is none any more has spoken");
            Err((StatusCode::CONFLICT, error.to_string()))
        }
        Ok(Err(error)) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.chain())),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

async fn servers(State(on): State<OnLink>, body: Bytes) -> Result<StatusCode, Refused> {
    let addresses: Vec<String> = read(&body)?;
    let is_good = |address: &String| address.len() <= ADDRESS_BYTES_MAX && address.contains(':');
    if addresses.is_empty() || addresses.len() > SERVERS_MAX || !addresses.iter().all(is_good) {
        return Err((StatusCode::BAD_REQUEST, "these are not addresses of servers".into()));
    }
    on.here.servers.send_if_modified(|known| {
        let is_news = *known != addresses;
        *known = addresses;
        is_news
    });
    Ok(StatusCode::NO_CONTENT)
}

async fn reports(State(on): State<OnLink>) -> Response {
    let (send, lines) = mpsc::channel(MESSAGES_WAITING_MAX);
    tokio::spawn(report(on, send));
    Body::from_stream(wire::received(lines).map(Ok::<Bytes, Infallible>)).into_response()
}

/// Tells what there is, and then what changes, until nobody listens.
async fn report(on: OnLink, out: mpsc::Sender<Bytes>) {
    let (messages_out, mut messages) = mpsc::channel(MESSAGES_WAITING_MAX);
    let mut refused = on.refused.subscribe();
    let mut tasks = JoinSet::new();
    let here = &on.here;
    tasks.spawn(nodes::report(here.agent.clone(), here.node.clone(), here.trouble.clone(), messages_out));
    // Not at once: what is said first is who this is.
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let told = tokio::select! {
            // What happened goes before that it is still there.
            biased;
            message = messages.recv() => match message {
                Some(NodeMessage::Whole { node, instances }) => {
                    ReportLine::Whole { node: Box::new(node), instances, peers: on.here.peers.name() }
                }
                Some(NodeMessage::Report { report, .. }) => ReportLine::Report(Box::new(report)),
                // Nobody is to believe for its heartbeat a node that tells no more what runs there.
                Some(NodeMessage::Gone { .. }) | None => return,
            },
            () = out.closed() => return,
            Ok(report) = refused.recv() => ReportLine::Report(Box::new(report)),
            _ = heartbeat.tick() => ReportLine::Heartbeat,
        };
        if out.send(wire::line(&told)).await.is_err() {
            return;
        }
    }
}

async fn logs(State(on): State<OnLink>, Query(wish): Query<Wish>) -> Result<Response, Refused> {
    let LogWish { environment, service, instance, lines, follow } = wish.read()?;
    let Some(agent) = on.here.agent.clone() else {
        return Ok(Body::from(wire::line(&LogPiece::Live)).into_response());
    };
    let looks = LocalInstances(agent).log_looks(LogQuery { environment, service, instance, lines, follow });
    let pieces = looks.enumerate().map(|(number, lines)| {
        let mut text = Vec::new();
        for line in lines {
            text.extend_from_slice(&wire::line(&LogPiece::Line(line)));
        }
        if number == 0 {
            text.extend_from_slice(&wire::line(&LogPiece::Live));
        }
        Ok::<Bytes, Infallible>(text.into())
    });
    Ok(Body::from_stream(pieces).into_response())
}

async fn sandboxes(State(on): State<OnLink>, Query(wish): Query<Wish>) -> Result<Response, Refused> {
    let SandboxesWish { environment } = wish.read()?;
    let Some(agent) = on.here.agent.clone() else { return Ok(Json([(); 0]).into_response()) };
    Ok(Json(LocalInstances(agent).sandboxes(environment).await).into_response())
}

async fn files(State(on): State<OnLink>, Query(wish): Query<Wish>) -> Result<Response, Refused> {
    let FilesWish { environment, instance, path, what, offset, length } = wish.read()?;
    let not_here = || (StatusCode::NOT_FOUND, format!("there is no sandbox of {instance} here"));
    let agent = on.here.agent.clone().ok_or_else(not_here)?;
    let wanted = match what {
        FilesWhat::List => FilesWanted::List,
        FilesWhat::Piece => FilesWanted::Piece { offset, length },
        FilesWhat::All => FilesWanted::All,
    };
    let found = LocalInstances(agent).files(environment, instance.clone(), path, wanted).await;
    let found = found.ok_or_else(not_here)?.map_err(|why| (StatusCode::UNPROCESSABLE_ENTITY, why))?;
    Ok(match found {
        FilesFound::List { entries, is_truncated } => Json(Listing { entries, is_truncated }).into_response(),
        FilesFound::Piece { data, size } => ([(SIZE, HeaderValue::from(size))], data).into_response(),
        FilesFound::All { size, pieces } => {
            let pieces = wire::received(pieces).map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
            ([(SIZE, HeaderValue::from(size))], Body::from_stream(pieces)).into_response()
        }
    })
}

async fn attach(
    State(on): State<OnLink>,
    Path(instance): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let bad = |_| (StatusCode::BAD_REQUEST, "this is no instance".to_owned());
    let instance: InstanceId = instance.parse().map_err(bad)?;
    let none = || (StatusCode::NOT_FOUND, "this machine runs no instances".to_owned());
    let agent = on.here.agent.clone().ok_or_else(none)?;
    let (incoming, _) = wire::attachment(request.into_body());
    let (outgoing, body) = wire::attachment(http_body_util::Empty::new());
    let (mut receive, mut send) = (incoming.receive, outgoing.send);
    let (from_client, input) = mpsc::channel(FRAMES_WAITING_MAX);
    let (output, mut to_client) = mpsc::channel(FRAMES_WAITING_MAX);
    let reader = tokio::spawn(async move {
        loop {
            match receive.next().await {
                Ok(Some(frame)) => {
                    if from_client.send(frame).await.is_err() {
                        return;
                    }
                }
                // The client has gone, which ends the run.
                Ok(None) => return,
                // The leader has gone, and with it nobody's wish: the run goes on.
                Err(_) => return from_client.closed().await,
            }
        }
    });
    tokio::spawn(async move {
        let writer = tokio::spawn(async move {
            while let Some(frame) = to_client.recv().await {
                if send.send(&frame).await.is_err() {
                    return;
                }
            }
        });
        if let Err(reason) = LocalInstances(agent).attach(instance, input, output.clone()).await {
            let _gone = output.send(Frame::Exit { status: 255, reason }).await;
        }
        drop(output);
        let _ended = writer.await;
        reader.abort();
    });
    Ok(Body::new(body).into_response())
}

/// What is asked for, as JSON in one parameter.
#[derive(Deserialize)]
struct Wish {
    wish: String,
}

impl Wish {
    fn read<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        read(self.wish.as_bytes())
    }
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(text)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("not understood: {error}")))
}
