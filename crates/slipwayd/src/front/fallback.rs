//! The API without a leader: what is known is told, and said to be old. Changes are records, which this
//! process writes as well as any: the next leader finds them. Only when the store is silent, too, nothing
//! can be changed.

use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};
use slipway_api::client;
use slipway_model::unit::Timestamp;
use slipway_store::{Reach, Store};

use super::http::refusal;

const AS_OF: HeaderName = HeaderName::from_static(client::AS_OF);

/// How old what is remembered may be.
#[derive(Clone)]
struct Age {
    store: Store,
    /// Since when nobody has told what runs; `None` where nobody ever has.
    lost: Option<Instant>,
}

/// Wraps routes of a process that leads no more: what runs is answered as it was a moment ago.
pub fn of_term(own: Router, store: Store) -> Router {
    wrapped(own, Age { store, lost: Some(Instant::now()) })
}

/// Wraps routes of a process that has never led: they answer from the records alone.
pub fn of_records(own: Router, store: Store) -> Router {
    wrapped(own, Age { store, lost: None })
}

fn wrapped(own: Router, age: Age) -> Router {
    own.layer(middleware::from_fn_with_state(age, answer))
}

async fn answer(State(age): State<Age>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return match age.store.reach() {
            Reach::Reachable => next.run(request).await,
            Reach::Silent { .. } => refusal(
                "ZooKeeper does not answer at this moment, so nothing can be changed; what runs goes on. \
                 Try again in a moment",
            ),
        };
    }
    let mut response = next.run(request).await;
    if let Ok(as_of) = HeaderValue::from_str(&age.as_of().to_string()) {
        response.headers_mut().insert(AS_OF, as_of);
    }
    response
}

impl Age {
    fn as_of(&self) -> Timestamp {
        let silent = match self.store.reach() {
            Reach::Reachable => None,
            Reach::Silent { since, .. } => Some(since),
        };
        let oldest = [silent, self.lost].into_iter().flatten().min();
        let age = oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed());
        Timestamp::from(SystemTime::now() - age)
    }
}
