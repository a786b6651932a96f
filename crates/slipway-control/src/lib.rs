//! The leader's loops, and the handlers of `/v1`.
//!
//! [`leader`] decides what runs where and says so to nodes and routers; [`routes`] is its route table;
//! [`api`] is what people and programs ask it.

pub mod leader;

pub mod routes;

pub mod api;
