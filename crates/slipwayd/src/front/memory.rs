//! The API without a leader: what is known is told, and said to be old; nothing is changed.

use std::time::{Instant, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};
use slipway_api::client;
use slipway_model::unit::Timestamp;
use slipway_store::{Standing, Store};

use super::http::refusal;

const AS_OF: HeaderName = HeaderName::from_static(client::AS_OF);

/// Since when there has been no leader that this process could ask.
#[derive(Clone)]
struct Since {
    store: Store,
    noticed: Instant,
}

/// Wraps routes of this process, which answer from what it remembers from now on.
pub fn routes(own: Router, store: Store) -> Router {
    let since = Since { store, noticed: Instant::now() };
    own.layer(middleware::from_fn_with_state(since, answer))
}

async fn answer(State(since): State<Since>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return refusal(
            "no server leads at this moment, so nothing can be changed; what runs goes on. Try again in a moment",
        );
    }
    let mut response = next.run(request).await;
    if let Ok(as_of) = HeaderValue::from_str(&since.as_of().to_string()) {
        response.headers_mut().insert(AS_OF, as_of);
    }
    response
}

impl Since {
    fn as_of(&self) -> Timestamp {
        let oldest = match self.store.standing() {
            Standing::Reachable => self.noticed,
            Standing::Silent { since, .. } => since.min(self.noticed),
        };
        Timestamp::from(SystemTime::now() - oldest.elapsed())
    }
}
