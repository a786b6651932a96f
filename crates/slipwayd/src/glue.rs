//! Connections between components that may not know each other: each module implements a port of one
//! over the interface of another.

pub mod authority;
pub mod config;
pub mod images;
pub mod instances;
pub mod nobody;
pub mod nodes;
pub mod pins;
pub mod routers;
pub mod sandbox;
