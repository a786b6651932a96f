//! `/v2/events`: what happens, as server-sent events (MA-63…66).
//!
//! The leader tells; one task puts each event into Marathon's words, once for all who follow, in the form
//! of a tenant's own ids and, if somebody sees several tenants, in the other one, too. Each follower has a
//! pump that picks what is its, and a queue of [`WAITING_MAX`] frames between pump and connection. When
//! that is full the follower is too slow and its connection is cut, whatever it is doing (MA-65).

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use slipway_model::app::PathId;
use slipway_model::name::{TenantName, UserName};
use slipway_model::unit::Timestamp;
use tokio::sync::{broadcast, mpsc};

use super::answer::Answer;
use super::context::Context;
use super::ids::Ids;
use super::refusal::Refusal;
use super::view::View;
use super::words::{self, Frame};
use crate::api::Api;
use crate::leader::LeaderQueries;
use crate::leader::events::{Event, Happened};

/// Frames that wait for one follower (MA-65).
const WAITING_MAX: usize = 1024;
/// Streams of one user: each holds a connection for ever, of which there are 1024 for everybody.
const STREAMS_OF_USER_MAX: usize = 64;
/// Events that wait for a pump to look at them, all tenants' together.
const TOLD_WAITING_MAX: usize = 8192;
/// An empty line now and then tells both ends that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Between two looks at whether the caller still sees the same tenants.
const VIEW_INTERVAL: Duration = Duration::from_secs(5);

/// Ends the connection that a request came on, even while it is being written to. The server puts one
/// beside each request.
#[derive(Debug, Clone, Default)]
pub struct ConnectionEnd(pub Arc<tokio::sync::Notify>);

/// An event in Marathon's words.
#[derive(Debug)]
struct Told {
    event: Arc<Event>,
    own: OnceLock<Vec<Frame>>,
    several: OnceLock<Vec<Frame>>,
}

/// Puts the leader's events into words, for everybody.
#[derive(Debug)]
pub struct Hub {
    told: broadcast::Sender<Passed>,
    is_begun: AtomicBool,
    seats: Arc<Seats>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            told: broadcast::Sender::new(TOLD_WAITING_MAX),
            is_begun: AtomicBool::new(false),
            seats: Arc::default(),
        }
    }
}

/// How many streams each user follows.
#[derive(Debug, Default)]
struct Seats(Mutex<HashMap<UserName, usize>>);

impl Seats {
    /// One more, until it is dropped; `None` when the user has [`STREAMS_OF_USER_MAX`].
    fn take(self: &Arc<Self>, user: &UserName) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(user.clone()).or_default();
        if *count >= STREAMS_OF_USER_MAX {
            return None;
        }
        *count += 1;
        Some(Seat { seats: self.clone(), user: user.clone() })
    }
}

#[derive(Debug)]
struct Seat {
    seats: Arc<Seats>,
    user: UserName,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

impl Hub {
    /// Everything from now on.
    fn follow(&self, leader: &LeaderQueries) -> broadcast::Receiver<Passed> {
        let told = self.told.subscribe();
        if !self.is_begun.swap(true, Ordering::SeqCst) {
            tokio::spawn(relay(leader.events(), self.told.clone()));
        }
        told
    }
}

/// An event, or the word that some were lost.
type Passed = Option<Arc<Told>>;

async fn relay(mut events: broadcast::Receiver<Arc<Event>>, told: broadcast::Sender<Passed>) {
    loop {
        match events.recv().await {
            Ok(event) => {
                // Nobody may follow at this moment.
                let passed = Told { event, own: OnceLock::new(), several: OnceLock::new() };
                let _ = told.send(Some(Arc::new(passed)));
            }
            // It only passes on; if it lags, the machine does. Nobody may believe to have heard all.
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "events were lost; every follower is cut off");
                let _ = told.send(None);
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

impl Told {
    /// The frames for somebody with that view.
    fn frames(&self, ids: &Ids) -> &[Frame] {
        let form = if ids.is_several() { &self.several } else { &self.own };
        form.get_or_init(|| words::frames(&self.event, ids.is_several()))
    }
}

/// Sends events until the client goes, is too slow, or is no longer who it was.
pub async fn follow(context: &Context, end: ConnectionEnd) -> Answer {
    let kinds: BTreeSet<String> = context.asked.query.all("event_type").map(str::to_owned).collect();
    let seat = context.hub.seats.take(context.asked.caller.user()).ok_or_else(|| {
        let why = format!("you follow {STREAMS_OF_USER_MAX} streams of events already; end one of them");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, why)
    })?;
    let told = context.hub.follow(&context.api.leader);
    let follower = Follower::begin(context, seat);
    let (frames, waiting) = mpsc::channel(WAITING_MAX);
    tokio::spawn(pump(told, context.view.clone(), kinds, frames, follower, end));
    let frames = stream::unfold(waiting, |mut waiting: mpsc::Receiver<Bytes>| async move {
        let frame = match tokio::time::timeout(KEEP_ALIVE, waiting.recv()).await {
            Ok(frame) => frame?,
            Err(_) => Bytes::from_static(b"\n"),
        };
        Some((Ok::<_, std::convert::Infallible>(frame), waiting))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// Tells that somebody follows, and when it is dropped, that nobody does any more.
struct Follower {
    api: Api,
    counters: Arc<super::Counters>,
    tenants: Vec<TenantName>,
    client: String,
    _seat: Seat,
}

impl Follower {
    fn begin(context: &Context, seat: Seat) -> Self {
        context.counters.streams.fetch_add(1, Ordering::Relaxed);
        let follower = Self {
            api: context.api.clone(),
            counters: context.counters.clone(),
            tenants: context.view.tenants().iter().map(|tenant| tenant.name.clone()).collect(),
            client: context.asked.source.to_string(),
            _seat: seat,
        };
        follower.tell(|client| Happened::StreamAttached { client });
        follower
    }

    fn tell(&self, what: impl FnOnce(String) -> Happened) {
        let tenant = match self.tenants.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        };
        let at = Timestamp::from(SystemTime::now());
        self.api.leader.teller().tell(tenant, at, what(self.client.clone()));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.counters.streams.fetch_sub(1, Ordering::Relaxed);
        self.tell(|client| Happened::StreamDetached { client });
    }
}

async fn pump(
    mut told: broadcast::Receiver<Passed>,
    view: View,
    kinds: BTreeSet<String>,
    frames: mpsc::Sender<Bytes>,
    follower: Follower,
    end: ConnectionEnd,
) {
    let mut look = tokio::time::interval(VIEW_INTERVAL);
    loop {
        let next = tokio::select! {
            next = told.recv() => next,
            () = frames.closed() => return,
            _ = look.tick() => match view.is_still_right(&follower.api).await {
                true => continue,
                false => return,
            },
        };
        // Whoever falls so far behind that even this queue overflows is too slow as well.
        let Ok(Some(told)) = next else { return end.0.notify_one() };
        if !is_shown(&told.event, &view) {
            continue;
        }
        for frame in told.frames(&view) {
            if !kinds.is_empty() && !kinds.contains(frame.kind) {
                continue;
            }
            match frames.try_send(frame.bytes.clone()) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    tracing::info!(
                        client = follower.client,
                        "a follower of events is too slow and is cut off"
                    );
                    return end.0.notify_one();
                }
            }
        }
    }
}

fn is_shown(event: &Event, ids: &Ids) -> bool {
    match &event.tenant {
        Some(tenant) => ids.sees(tenant),
        // Who looks at several tenants is no business of any one.
        None if matches!(event.what, Happened::StreamAttached { .. } | Happened::StreamDetached { .. }) => {
            ids.is_several()
        }
        None => true,
    }
}

/// Tells that somebody has asked for a change of an app (MA-64).
pub fn posted(context: &Context, tenant: &TenantName, definition: Arc<str>) {
    let client = context.asked.source.to_string();
    tell(context, tenant, Happened::Posted { client, uri: context.asked.path.clone(), definition });
}

/// Tells that a tenant's apps have another version.
pub fn group_changed(context: &Context, tenant: &TenantName, version: Timestamp) {
    tell(context, tenant, Happened::GroupChanged { group: PathId::root(), version, error: None });
}

fn tell(context: &Context, tenant: &TenantName, what: Happened) {
    context.api.leader.teller().tell(Some(tenant.clone()), Timestamp::from(SystemTime::now()), what);
}

#[cfg(test)]
mod tests;
