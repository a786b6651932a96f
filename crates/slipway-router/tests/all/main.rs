//! The router as its neighbours see it: clients over sockets in front, apps over sockets behind, the
//! leader at the feed. Nothing of the router is replaced.

mod bed;

mod apps_that_fail;
mod bad_requests;
mod draining;
mod feed;
mod forwarding;
mod log_and_tls;
mod ma_80;
mod streaming;
mod time_limits;
