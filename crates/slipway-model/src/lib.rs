//! The words of Slipway. Every other crate speaks in these types, and nothing here does I/O, reads
//! a clock or knows about async: a value of this crate can be built in a test with a literal.
//!
//! Read in this order: a [`name`] is parsed once at the edge into a type that cannot hold a bad
//! one; an [`id`] has its own type; the [`unit`]s carry their unit in the type. Then follow the data
//! path: [`account`] (who), [`project`] (what is pushed, and where to), [`manifest`]
//! (`slipway.yaml`), [`push`], [`release`], [`deployment`], [`app`] (services without a push), [`instance`] (what a node is told and
//! what it reports), [`route`]; [`cluster`] has what several machines need. [`record`] says under which key each stored record lives and who
//! writes it; [`limit`] lists every bound with its reason; [`cause`] puts an error on one line.

pub mod name;

pub mod id;

pub mod unit;

pub mod cidr;

pub mod attribute;

pub mod limit;

pub mod cause;

pub mod cron;

pub mod account;

pub mod project;

pub mod service;

pub mod manifest;

pub mod push;

pub mod release;

pub mod deployment;

pub mod app;

pub mod instance;

pub mod route;

pub mod cluster;

pub mod record;
