//! One link of a node, from the first line to the last.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use slipway_control::leader::{NodeMessage, belief};
use slipway_model::instance::Desired;
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::wire::{
    self, ANSWER_BYTES_MAX, Body, Lines, List, PEERS, ReportLine, SILENCE_MAX, TOLD_LINE_BYTES_MAX,
};
use super::{Listed, Shared};

/// A node answers a question within this time, or does not count.
pub const ANSWER_TIME: Duration = Duration::from_secs(5);
/// A whole list has to be on its way and be taken.
const LIST_TIME: Duration = Duration::from_secs(30);
/// Before a node is heard that tells everything anew on the same link.
const BETWEEN_WHOLES: Duration = Duration::from_secs(1);
/// Between two tries to hand over a list.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// A way to ask a node; clones share the connection.
#[derive(Clone)]
pub struct Link {
    /// Tells links of one node apart.
    pub number: u64,
    pub cut: CancellationToken,
    sender: SendRequest<Body>,
}

/// Why a node did not answer, in words.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("no answer within {} seconds", .0.as_secs())]
    TooLate(Duration),
    #[error("the connection failed: {0}")]
    Broken(String),
    /// It answered, with no.
    #[error("{1}")]
    Refused(StatusCode, String),
}

impl Link {
    /// Asks, and waits for the beginning of the answer, which is a success.
    pub async fn ask(
        &self,
        request: Request<Body>,
        patience: Duration,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut sender = self.sender.clone();
        let asked = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let answered = tokio::select! {
            answered = timeout(patience, asked) => answered.map_err(|_| Unanswered::TooLate(patience))?,
            () = self.cut.cancelled() => return Err(Unanswered::Broken("it has been replaced".into())),
        };
        let response = answered.map_err(|error| Unanswered::Broken(error.to_string()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let why = read(response, 4096, patience).await.unwrap_or_default();
        Err(Unanswered::Refused(status, String::from_utf8_lossy(&why).into_owned()))
    }

    /// `GET`, by a path and a query.
    pub async fn get(&self, path: &str, query: &impl Serialize) -> Result<Response<Incoming>, Unanswered> {
        self.ask(request(Method::GET, &with_query(path, query), wire::whole(Vec::new())), ANSWER_TIME).await
    }
}

/// A question.
pub fn request(method: Method, path_and_query: &str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    let uri = http::Uri::builder().scheme("http").authority("node").path_and_query(path_and_query).build();
    // Paths are our own; what is not is in the query, encoded.
    *request.uri_mut() = uri.unwrap_or_else(|_| http::Uri::from_static("http://node/"));
    request
}

/// The query as one parameter of JSON: it has lists and absent values, which a query string has not.
fn with_query(path: &str, query: &impl Serialize) -> String {
    let text = serde_json::to_string(query).unwrap_or_default();
    format!("{path}?wish={}", slipway_api::client::query(&text))
}

/// The whole of an answer.
pub async fn read(
    response: Response<Incoming>,
    bytes_max: usize,
    patience: Duration,
) -> Result<Vec<u8>, Unanswered> {
    let body = Limited::new(response.into_body(), bytes_max).collect();
    let collected = timeout(patience, body).await.map_err(|_| Unanswered::TooLate(patience))?;
    let collected = collected.map_err(|error| Unanswered::Broken(error.to_string()))?;
    Ok(collected.to_bytes().to_vec())
}

/// The whole of an answer as JSON.
pub async fn read_json<T: serde::de::DeserializeOwned>(
    response: Response<Incoming>,
) -> Result<T, Unanswered> {
    let text = read(response, ANSWER_BYTES_MAX, ANSWER_TIME).await?;
    serde_json::from_slice(&text).map_err(|error| Unanswered::Broken(error.to_string()))
}

/// Serves a link until it ends, at the latest with `shut_out`. Not to be dropped before: the leader would not
/// hear that the node has gone.
pub async fn serve(
    shared: Arc<Shared>,
    name: NodeName,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    shut_out: impl Future<Output = ()>,
) {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let handshake = timeout(ANSWER_TIME, wire::client().handshake(TokioIo::new(stream))).await;
    let (sender, connection) = match handshake {
        Ok(Ok(both)) => both,
        Ok(Err(error)) => return tracing::warn!(node.name = %name, %error, "a node's link did not begin"),
        Err(_) => return tracing::warn!(node.name = %name, "a node's link did not begin in time"),
    };
    let cut = shared.closed.child_token();
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let link = Link { number, cut: cut.clone(), sender };
    let talk = async {
        let ended = tokio::select! {
            ended = talk(&shared, &name, &link) => ended,
            () = shut_out => Ok("the node was shut out"),
        };
        leave(&shared, &name, &link).await;
        ended
    };
    // The connection moves only while it is polled; it goes with the talk.
    let driven = tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended { tracing::debug!(%error, "a link broke") },
            () = cut.cancelled() => {}
        }
    });
    match talk.await {
        Ok(why) => tracing::info!(node.name = %name, why, "a node's link has ended"),
        Err(error) => tracing::warn!(node.name = %name, "a node's link has ended: {error}"),
    }
    link.cut.cancel();
    let _ended = driven.await;
}

/// Hears what the node says until it is silent; why it ended.
async fn talk(shared: &Shared, name: &NodeName, link: &Link) -> io::Result<&'static str> {
    let asked = link.ask(request(Method::GET, "/reports", wire::whole(Vec::new())), ANSWER_TIME).await;
    let response = asked.map_err(io::Error::other)?;
    let mut lines = Lines::new(response.into_body(), TOLD_LINE_BYTES_MAX);
    let Some(first) = next(&mut lines, link).await? else { return Ok("it said nothing") };
    let ReportLine::Whole { peers: ref known, .. } = first else { return Ok("it did not say who it is") };
    let known = known.clone();
    let mut message = heard(name, first)?;
    // From here on the leader hears of its end.
    {
        let turn = shared.node(name, |node| Arc::clone(&node.turn));
        let _turn = turn.lock().await;
        let older = shared.node(name, |node| node.link.replace(link.clone()));
        if let Some(older) = older {
            tracing::info!(node.name = %name, "a newer link of this node takes the place of one that was there");
            older.cut.cancel();
        }
    }
    shared.note_change();
    let mut whole_from = Instant::now() + BETWEEN_WHOLES;
    let telling = async {
        loop {
            if let Some(message) = message.take()
                && !pass_on(shared, name, link, message).await
            {
                return Ok("it was replaced, or nobody listens");
            }
            let Some(told) = next(&mut lines, link).await? else { return Ok("the node has gone") };
            if matches!(told, ReportLine::Whole { .. }) {
                // Each is work for the leader; what comes sooner waits at the node's end.
                sleep_until(whole_from).await;
                whole_from = Instant::now() + BETWEEN_WHOLES;
            }
            message = heard(name, told)?;
        }
    };
    tokio::select! {
        ended = telling => ended,
        why = hand_over(shared, name, link, known) => Ok(why),
        () = tell_servers(shared, name, link) => Ok("nobody listens"),
    }
}

async fn next(lines: &mut Lines, link: &Link) -> io::Result<Option<ReportLine>> {
    tokio::select! {
        line = timeout(SILENCE_MAX, lines.next()) => {
            line.map_err(|_| io::Error::other(format!("it said nothing for {} seconds", SILENCE_MAX.as_secs())))?
        }
        () = link.cut.cancelled() => Ok(None),
    }
}

/// What the leader is told of a line, as far as it is believed.
fn heard(name: &NodeName, told: ReportLine) -> io::Result<Option<NodeMessage>> {
    match told {
        ReportLine::Heartbeat => Ok(None),
        ReportLine::Report(mut report) => {
            belief::cut(&mut report);
            Ok(Some(NodeMessage::Report { node: name.clone(), report: *report }))
        }
        ReportLine::Whole { mut node, mut instances, .. } => {
            belief::node(name, &mut node).map_err(io::Error::other)?;
            instances.iter_mut().for_each(belief::cut);
            node.joined_at = Timestamp::from(SystemTime::now());
            Ok(Some(NodeMessage::Whole { node: *node, instances }))
        }
    }
}

/// Tells the leader, if this is still the node's link.
async fn pass_on(shared: &Shared, name: &NodeName, link: &Link, message: NodeMessage) -> bool {
    let turn = shared.node(name, |node| Arc::clone(&node.turn));
    let _turn = turn.lock().await;
    is_current(shared, name, link) && shared.messages.send(message).await.is_ok()
}

fn is_current(shared: &Shared, name: &NodeName, link: &Link) -> bool {
    shared.link(name).is_some_and(|current| current.number == link.number)
}

/// Takes the link out, and tells the leader that the node has gone, unless there is a newer one.
async fn leave(shared: &Shared, name: &NodeName, link: &Link) {
    let turn = shared.node(name, |node| Arc::clone(&node.turn));
    let _turn = turn.lock().await;
    let was_current = is_current(shared, name, link);
    if was_current {
        shared.node(name, |node| {
            node.link = None;
            // Its router and its pulls come again when it does.
            std::mem::take(&mut node.others).cancel();
        });
        // The leader may have gone before.
        let _nobody = shared.messages.send(NodeMessage::Gone { node: name.clone() }).await;
    }
    shared.note_change();
}

/// Puts the newest list to the node whenever there is one; why it gave up. `known` is what the node calls the
/// peers that it has; they are left out of lists that have the same.
async fn hand_over(shared: &Shared, name: &NodeName, link: &Link, mut known: Option<String>) -> &'static str {
    let mut desired = shared.node(name, |node| node.desired.subscribe());
    // One that came before the link counts as new.
    desired.mark_changed();
    let mut wait = RETRY_FIRST;
    loop {
        if desired.changed().await.is_err() {
            return "nobody listens";
        }
        loop {
            let Some(listed) = desired.borrow_and_update().clone() else { break };
            let told = listed.peers.as_ref().map(|peers| peers.name.clone());
            let leaves_out = told.is_some() && told == known;
            let question = list(&listed, leaves_out);
            drop(listed);
            match link.ask(question, LIST_TIME).await {
                Ok(_) => {
                    wait = RETRY_FIRST;
                    known = told.or(known);
                    break;
                }
                Err(Unanswered::Refused(StatusCode::PRECONDITION_FAILED, _)) if leaves_out => {
                    known = None;
                    continue;
                }
                Err(Unanswered::Refused(StatusCode::CONFLICT, why)) => {
                    tracing::error!(node.name = %name, why, "the node obeys a newer leader");
                    return "it obeys a newer leader";
                }
                Err(error) => tracing::warn!(node.name = %name, "a node did not take its list: {error}"),
            }
            // Sooner if there is a newer list.
            let _sooner = timeout(wait, desired.changed()).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }
}

/// The question that puts a list to a node.
fn list(listed: &Listed, leaves_out_peers: bool) -> Request<Body> {
    let Desired { epoch, generation, instances, volumes, peers: _ } = &listed.desired;
    let peers = listed.peers.as_deref().filter(|_| !leaves_out_peers).map(|peers| &*peers.json);
    let list = List { epoch: *epoch, generation: *generation, instances, volumes, peers };
    let text = serde_json::to_vec(&list).unwrap_or_default();
    let mut question = request(Method::PUT, "/desired", wire::whole(text));
    let name = listed.peers.as_deref().and_then(|peers| HeaderValue::from_str(&peers.name).ok());
    question.headers_mut().extend(name.map(|name| (PEERS, name)));
    question
}

async fn tell_servers(shared: &Shared, name: &NodeName, link: &Link) {
    let mut servers = shared.servers.subscribe();
    servers.mark_changed();
    let mut wait = RETRY_FIRST;
    while servers.changed().await.is_ok() {
        loop {
            let addresses = servers.borrow_and_update().clone();
            if addresses.is_empty() {
                break;
            }
            let text = serde_json::to_vec(&addresses).unwrap_or_default();
            match link.ask(request(Method::PUT, "/servers", wire::whole(text)), ANSWER_TIME).await {
                Ok(_) => {
                    wait = RETRY_FIRST;
                    break;
                }
                Err(error) => {
                    tracing::warn!(node.name = %name, "a node did not hear where the servers are: {error}");
                }
            }
            // Sooner if there is news.
            let _sooner = timeout(wait, servers.changed()).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }
}
