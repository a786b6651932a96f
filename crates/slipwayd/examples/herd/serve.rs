//! A simulated node's end of its link: it takes its list, says at once that all of it is healthy, and tells
//! everything to whoever asks for reports.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use slipway_model::instance::{CheckStatus, Desired, Goal, InstanceReport, InstanceState, Node};
use slipway_model::unit::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, interval_at};

use crate::peers::Peers;
use crate::wire::{self, Body, HEARTBEAT, PEERS, ReportLine};

/// What a node answers with. Cheap to clone.
#[derive(Clone)]
pub struct Here {
    pub node: Node,
    pub servers: watch::Sender<Vec<String>>,
    pub peers: Peers,
    /// The newest list, for those who count.
    pub told: watch::Sender<Listed>,
    pub running: Arc<Mutex<Vec<InstanceReport>>>,
    pub reports: broadcast::Sender<InstanceReport>,
}

/// What a node was told last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listed {
    pub epoch: u64,
    pub instances: usize,
    pub at: Option<std::time::Instant>,
}

/// Serves a link until it breaks.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    here: Here,
) -> Result<(), hyper::Error> {
    let answer = service_fn(move |request| {
        let here = here.clone();
        async move { Ok::<_, Infallible>(here.answer(request).await) }
    });
    wire::server().serve_connection(TokioIo::new(stream), answer).await
}

impl Here {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if (method, path.as_str()) == (Method::GET, "/reports") {
            return self.tell();
        }
        let peers = request.headers().get(PEERS).and_then(|name| Some(name.to_str().ok()?.to_owned()));
        let Ok(body) = request.into_body().collect().await else { return status(StatusCode::BAD_REQUEST) };
        let body = body.to_bytes();
        let is_understood = match path.as_str() {
            "/desired" => match serde_json::from_slice::<Desired>(&body) {
                Ok(mut desired) => {
                    if peers.is_some_and(|name| self.peers.complete(&mut desired, &name).is_err()) {
                        return status(StatusCode::PRECONDITION_FAILED);
                    }
                    self.obey(desired);
                    true
                }
                Err(_) => false,
            },
            "/servers" => {
                serde_json::from_slice(&body).map(|servers| drop(self.servers.send_replace(servers))).is_ok()
            }
            _ => return status(StatusCode::NOT_FOUND),
        };
        status(if is_understood { StatusCode::NO_CONTENT } else { StatusCode::BAD_REQUEST })
    }

    fn obey(&self, desired: Desired) {
        let wanted: Vec<_> = desired.instances.into_iter().filter(|wish| wish.goal == Goal::Run).collect();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Vec::with_capacity(wanted.len());
        for wish in wanted {
            let known = running.iter().position(|report| report.instance == wish.spec.id);
            next.push(match known {
                Some(at) => running.swap_remove(at),
                None => {
                    let report = healthy(wish.spec.id);
                    let _nobody = self.reports.send(report.clone());
                    report
                }
            });
        }
        *running = next;
        let (epoch, instances) = (desired.epoch.0, running.len());
        self.told.send_modify(|told| {
            let at = if told.epoch == epoch { told.at } else { Some(std::time::Instant::now()) };
            *told = Listed { epoch, instances, at };
        });
    }

    fn tell(self) -> Response<Body> {
        let (out, lines) = mpsc::channel::<Bytes>(64);
        tokio::spawn(async move {
            let mut reports = self.reports.subscribe();
            let instances = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut told = Some(ReportLine::Whole {
                node: Box::new(self.node.clone()),
                instances,
                peers: self.peers.name(),
            });
            let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
            while let Some(line) = told.take() {
                if out.send(wire::line(&line)).await.is_err() {
                    return;
                }
                told = tokio::select! {
                    biased;
                    Ok(report) = reports.recv() => Some(ReportLine::Report(Box::new(report))),
                    () = out.closed() => None,
                    _ = heartbeat.tick() => Some(ReportLine::Heartbeat),
                };
            }
        });
        let lines = wire::received(lines).map(|line| Ok(Frame::data(line)));
        Response::new(StreamBody::new(lines).boxed_unsync())
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(wire::whole(Vec::new()));
    *response.status_mut() = status;
    response
}

fn healthy(instance: slipway_model::id::InstanceId) -> InstanceReport {
    let now = Timestamp::from(SystemTime::now());
    InstanceReport {
        instance,
        state: InstanceState::Healthy,
        address: Some(Ipv4Addr::new(10, 64, 0, 2)),
        at: now,
        started_at: None,
        ready: None,
        checks: vec![CheckStatus { alive: true, first_success: Some(now), ..CheckStatus::default() }],
    }
}
