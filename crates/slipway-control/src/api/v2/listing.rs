//! Answers that have many apps in them, written while they are taken.
//!
//! Ten thousand apps are 24 MB of JSON, and a client may take its time with them. So an answer begins as a
//! skeleton, in which a mark stands for each app, and the apps themselves, shared with whoever else looks
//! at them. An app becomes text when the connection asks for more, a chunk of [`CHUNK_BYTES`] at a time;
//! nobody who takes nothing has more than that made. What is left, the shared apps of an old version, is
//! bounded by how many such answers a user may have under way: [`LISTINGS_OF_USER_MAX`].

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde_json::value::RawValue;
use slipway_access::AppsState;
use slipway_marathon::present::AppEmbed;
use slipway_model::account::Tenant;
use slipway_model::app::{App, PathId};
use slipway_model::name::{TenantName, UserName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer;
use super::context::Context;
use super::refusal::Refusal;
use super::running::{self, Open, Service};
use super::view::View;
use crate::leader::LeaderQueries;

/// Listings of one user that are under way at once.
pub const LISTINGS_OF_USER_MAX: usize = 16;
/// One more waits so long for its place: many quick ones at once are no reason to refuse any.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// A chunk is sent when it has so many bytes. One app more may be in it.
const CHUNK_BYTES: usize = 64 << 10;
/// Users without a listing are forgotten when there are more than so many.
const IDLE_MAX: usize = 64;
/// Begins a mark, which is a string of this and a number. Neither ids nor times have that character.
const MARK: &str = "\"#";

/// How many listings each user has under way.
#[derive(Debug, Default)]
pub struct Places(Mutex<HashMap<UserName, Arc<Semaphore>>>);

/// Held until the answer has been sent or its connection is gone.
pub type Place = OwnedSemaphorePermit;

impl Places {
    /// A place for one more.
    ///
    /// # Errors
    /// 429 when the user has [`LISTINGS_OF_USER_MAX`], and none ends soon.
    pub async fn take(&self, user: &UserName) -> Result<Place, Refusal> {
        let of_user = {
            let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if users.len() > IDLE_MAX {
                users.retain(|_, places| Arc::strong_count(places) > 1);
            }
            users
                .entry(user.clone())
                .or_insert_with(|| Arc::new(Semaphore::new(LISTINGS_OF_USER_MAX)))
                .clone()
        };
        match tokio::time::timeout(WAIT_MAX, of_user.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                let why =
                    format!("you have {LISTINGS_OF_USER_MAX} listings under way already; read or end one");
                Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, why))
            }
        }
    }
}

/// A service that is listed.
#[derive(Debug)]
pub enum Listed {
    /// An app, shared with whoever looks at it.
    App(Arc<App>),
    /// One of a push, of which there are few.
    Pushed(Box<Service>),
}

impl Listed {
    /// Every service of a tenant, in the order of their ids.
    pub fn all(tenant: &Tenant, state: &AppsState) -> Vec<Self> {
        let pushed = state.pushed_services().filter_map(|service| Service::of_pushed(tenant, &service));
        let pushed = pushed.map(|service| Self::Pushed(Box::new(service)));
        let mut all: Vec<Self> = state.apps.values().cloned().map(Self::App).chain(pushed).collect();
        all.sort_by(|one, other| one.id().cmp(other.id()));
        all
    }

    /// Its id in its tenant.
    pub fn id(&self) -> &PathId {
        match self {
            Self::App(app) => &app.id,
            Self::Pushed(service) => &service.id,
        }
    }

    /// Whose.
    pub fn tenant(&self) -> &TenantName {
        match self {
            Self::App(app) => &app.tenant,
            Self::Pushed(service) => &service.tenant,
        }
    }

    /// What selectors look at: its command and its labels.
    pub fn selectable(&self) -> (Option<&str>, &BTreeMap<String, String>) {
        match self {
            Self::App(app) => (app.spec.command.as_deref(), &app.spec.labels),
            Self::Pushed(service) => service.selectable(),
        }
    }

    fn service(self) -> Service {
        match self {
            Self::App(app) => Service::of_app(&app),
            Self::Pushed(service) => *service,
        }
    }
}

/// The apps of an answer. The skeleton has [`Listing::mark`]s where they are to be.
pub struct Listing {
    leader: LeaderQueries,
    view: View,
    embed: AppEmbed,
    services: Vec<Option<(Listed, Arc<Open>)>>,
    _place: Place,
}

impl Listing {
    /// No app yet.
    ///
    /// # Errors
    /// 429 when the caller has too many under way.
    pub async fn begin(context: &Context, embed: AppEmbed) -> Result<Self, Refusal> {
        let place = context.listings.take(context.asked.caller.user()).await?;
        let (leader, view) = (context.api.leader.clone(), context.view.clone());
        Ok(Self { leader, view, embed, services: Vec::new(), _place: place })
    }

    /// What stands for that service in the skeleton.
    pub fn mark(&mut self, service: Listed, open: &Arc<Open>) -> Box<RawValue> {
        let mark = format!("{MARK}{}\"", self.services.len());
        self.services.push(Some((service, open.clone())));
        RawValue::from_string(mark).unwrap_or_else(|_| RawValue::NULL.to_owned())
    }

    /// 200 with the skeleton and the apps in it.
    pub fn answer(self, skeleton: String) -> Response {
        let sent = (self, Skeleton::new(skeleton));
        let chunks = stream::unfold(sent, |(mut listing, mut skeleton)| async move {
            let chunk = listing.chunk(&mut skeleton).await?;
            Some((Ok::<_, Infallible>(chunk), (listing, skeleton)))
        });
        answer::text_of_json(StatusCode::OK, Body::from_stream(chunks))
    }

    async fn chunk(&mut self, skeleton: &mut Skeleton) -> Option<Bytes> {
        let mut text = String::new();
        while text.len() < CHUNK_BYTES {
            let Some(index) = skeleton.until_mark(&mut text) else { break };
            if let Some(app) = self.app(index).await {
                skeleton.put(&mut text, app.get());
            }
        }
        (!text.is_empty()).then(|| Bytes::from(text))
    }

    /// The app in the caller's words; `None` when it cannot be shown, which is no reason to show no other.
    async fn app(&mut self, index: usize) -> Option<Box<RawValue>> {
        let (listed, open) = self.services.get_mut(index)?.take()?;
        let service = listed.service();
        let embed = self.embed;
        let needs_leader = embed.tasks || embed.counts || embed.last_task_failure || embed.task_stats;
        let snapshot = match needs_leader {
            true => self.leader.snapshot(&service.environment).await,
            false => None,
        };
        let Ok(shown) = service.shown(snapshot.as_ref(), &open, embed) else {
            tracing::error!(app = %service.id, tenant.name = %service.tenant, "a stored definition is no JSON");
            return None;
        };
        Some(running::outward(&self.view, &service.tenant, shown))
    }
}

/// An answer that was made as one, with its place.
pub fn held(response: Response, place: Place) -> Response {
    response.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |chunk| {
            let _held = &place;
            chunk
        }))
    })
}

/// JSON with marks in it, as far as it has been written.
struct Skeleton {
    text: String,
    at: usize,
    /// A comma that is written only if another app follows, and only after an app.
    has_comma: bool,
    is_after_app: bool,
}

impl Skeleton {
    fn new(text: String) -> Self {
        Self { text, at: 0, has_comma: false, is_after_app: false }
    }

    /// Writes what stands before the next mark; returns its number. `None` at the end.
    fn until_mark(&mut self, into: &mut String) -> Option<usize> {
        let rest = &self.text[self.at..];
        let (before, mark) = match rest.split_once(MARK) {
            Some((before, after)) => (before, after.split_once('"').map(|(number, _)| number)),
            None => (rest, None),
        };
        let index = mark.and_then(|number| number.parse().ok());
        let taken = before.len() + mark.map_or(0, |number| MARK.len() + number.len() + 1);
        let before: Range<usize> = self.at..self.at + before.len();
        self.at += taken;
        if &self.text[before.clone()] == "," {
            self.has_comma |= self.is_after_app;
        } else {
            (self.has_comma, self.is_after_app) = (false, false);
            into.push_str(&self.text[before]);
        }
        index
    }

    /// Writes an app in the place of the mark that was met last.
    fn put(&mut self, into: &mut String, app: &str) {
        if std::mem::take(&mut self.has_comma) {
            into.push(',');
        }
        into.push_str(app);
        self.is_after_app = true;
    }
}

#[cfg(test)]
mod tests;
