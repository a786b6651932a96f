//! Answers that go on: build logs, program logs, attachments. They end with the caller's right.

use std::path::Path;
use std::time::Duration;

use axum::body::Body as Payload;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use slipway_access::{Kind, Scoped};
use slipway_api::client::{Attachment, Frame};
use slipway_api::error::ErrorCode;
use slipway_model::account::Right;
use slipway_model::id::{BuildNumber, InstanceId};
use slipway_model::instance::{Assignments, InstanceRole, RunRequest};
use slipway_model::name::{EnvironmentPath, ServiceName};
use slipway_model::project::Environment;
use slipway_model::push::{Build, Push};
use slipway_store::journal::{self, Follower, Journal};
use tokio::sync::mpsc;

use super::extract::{Asking, Named};
use super::{Api, LogQuery, Refusal};

/// Lines that one question may begin with.
const LOG_LINES_MAX: usize = 10_000;
/// Between two looks at whether somebody who follows still may.
const RIGHT_INTERVAL: Duration = Duration::from_secs(5);

/// The query of [`build_log`].
#[derive(Debug, Deserialize)]
pub struct BuildLogQuery {
    #[serde(default)]
    follow: bool,
}

pub async fn build_log(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Named(number): Named<BuildNumber>,
    Query(query): Query<BuildLogQuery>,
) -> Result<Response, Refusal> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    environment.get::<Push>(number).await?;
    let file = Build::log_path(&path, number);
    let end = if query.follow { u64::MAX } else { length(&api.journal, file.as_ref()).await? };
    if end == 0 {
        return Ok(text_response(Payload::empty()));
    }
    let follower = api.journal.follow(file.as_ref(), 0).map_err(|error| Refusal::internal(&error))?;
    // In pieces as the client takes them: a log that nobody reads is not held in memory.
    let chunks = stream::unfold((follower, 0), move |(mut follower, told): (Follower, u64)| async move {
        if told >= end {
            return None;
        }
        let chunk = follower.next().await.ok()??;
        let told = chunk.offset + chunk.bytes.len() as u64;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(chunk.bytes)), (follower, told)))
    });
    let revoked = Box::pin(revoked(environment, Right::View, RIGHT_INTERVAL));
    Ok(text_response(Payload::from_stream(chunks.take_until(revoked))))
}

/// How long a log is; nothing when its build has not begun.
async fn length(journal: &Journal, file: &Path) -> Result<u64, Refusal> {
    match journal.length(file).await {
        Err(journal::Error::Absent(_)) => Ok(0),
        length => length.map_err(|error| Refusal::internal(&error)),
    }
}

fn text_response(body: Payload) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], body).into_response()
}

/// The query of [`logs`].
#[derive(Debug, Deserialize)]
pub struct LogsQuery {
    #[serde(default)]
    follow: bool,
    lines: Option<usize>,
    service: Option<ServiceName>,
    instance: Option<InstanceId>,
}

pub async fn logs(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Refusal> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    let lines = api.instances.logs(LogQuery {
        environment: path,
        service: query.service,
        instance: query.instance,
        lines: query.lines.unwrap_or(100).min(LOG_LINES_MAX),
        follow: query.follow,
    });
    let revoked = Box::pin(revoked(environment, Right::View, RIGHT_INTERVAL));
    let json = lines.take_until(revoked).map(|line| {
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        Ok::<_, std::convert::Infallible>(Bytes::from(text))
    });
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, kind)], Payload::from_stream(json)).into_response())
}

pub async fn attach(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Named(instance): Named<InstanceId>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    let waits = environment.get::<RunRequest>(instance.clone()).await.is_ok();
    let assigned = environment.assignments().await?.is_some_and(|all| is_one_off(&all, &instance));
    if !waits && !assigned {
        return Err(Refusal::no_such(format!("one-off run {instance} in {path}")));
    }
    if request.headers().get(header::UPGRADE).is_none_or(|value| value != "slipway-attach") {
        return Err(Refusal::new(ErrorCode::BadRequest, "attach with Upgrade: slipway-attach"));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A client that went away before the upgrade wants nothing any more.
        let Ok(upgraded) = upgrade.await else { return };
        let revoked = revoked(environment, Right::Deploy, RIGHT_INTERVAL);
        carry(&api, &path, instance, Attachment::new(TokioIo::new(upgraded)), revoked).await;
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("slipway-attach")),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn is_one_off(assignments: &Assignments, instance: &InstanceId) -> bool {
    let found = assignments.assignments.iter().find(|assignment| &assignment.instance == instance);
    found.is_some_and(|assignment| matches!(assignment.role, InstanceRole::OneOff { .. }))
}

/// Returns when the caller's right to the environment has been taken away. A store that does not
/// answer takes away nobody's.
async fn revoked(environment: Scoped<Environment>, right: Right, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let refused = environment.again(right).await.map_err(|error| error.kind());
        if matches!(refused, Err(Kind::NotAuthenticated | Kind::NotFound | Kind::Forbidden)) {
            return;
        }
    }
}

async fn carry(
    api: &Api,
    path: &EnvironmentPath,
    instance: InstanceId,
    attachment: Attachment,
    revoked: impl Future<Output = ()>,
) {
    let Attachment { mut receive, mut send } = attachment;
    let (from_client, input) = mpsc::channel(16);
    let (output, mut to_client) = mpsc::channel(16);
    let reader = tokio::spawn(async move {
        while let Ok(Some(frame)) = receive.next().await {
            if from_client.send(frame).await.is_err() {
                return;
            }
        }
    });
    let writer = tokio::spawn(async move {
        while let Some(frame) = to_client.recv().await {
            if send.send(&frame).await.is_err() {
                return;
            }
        }
    });
    let carried = tokio::select! {
        carried = api.instances.attach(instance.clone(), input, output.clone()) => carried,
        () = revoked => Err("your right to be attached has been taken away; the run goes on".to_owned()),
    };
    if let Err(sentence) = carried {
        let sentence = unplaced(api, path, &instance).await.unwrap_or(sentence);
        let _gone = output.send(Frame::Exit { status: 255, reason: sentence }).await;
    }
    drop(output);
    let _ended = writer.await;
    reader.abort();
}

/// Why a run is nowhere, in the words of the leader, who knows more of it than the node that was asked.
async fn unplaced(api: &Api, path: &EnvironmentPath, instance: &InstanceId) -> Option<String> {
    let snapshot = api.leader.snapshot(path).await?;
    if snapshot.instances.iter().any(|placed| &placed.instance == instance) {
        return None;
    }
    let waiting = snapshot.waiting.iter().find(|waiting| waiting.service.is_none())?;
    Some(format!("could not be placed: {}; `slipway ps --why -e {path}` says more", waiting.why))
}

#[cfg(test)]
mod tests;
