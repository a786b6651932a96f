//! Marathon's wire: everything of `/v2` that can be said without I/O, as Marathon 1.11 says it
//! (`seed-systems.md` section 2). No clock, no randomness, no async: bodies go in and definitions come
//! out, records go in and answers come out. Handlers load, call this, and write.
//!
//! A body is parsed by [`json`] within bounds, and read into an [`app::AppUpdate`], which knows old forms
//! as well as new ones. An update alone is a new app, and onto an old [`app::AppDefinition`] it is a
//! change; either is validated, and what is wrong is an [`error::Error`] in Marathon's shape. [`spec`]
//! says what the platform has to run for a definition, and says a pushed service in Marathon's words.
//! [`group`] does for trees what [`app`] does for one; [`steps`] puts a change of several into order.
//! [`present`] and [`event`] are the answers.

pub mod error;

pub mod json;

pub mod decimal;

pub mod timestamp;

pub mod app;

pub mod service_port;

pub mod virtual_host;

pub mod spec;

pub mod environment;

pub mod group;

pub mod steps;

pub mod select;

pub mod present;

pub mod event;
