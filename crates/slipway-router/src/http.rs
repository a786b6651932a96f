//! HTTP/1.1 as bytes: heads are parsed strictly and rewritten, bodies are followed, not re-made.
//!
//! Why not a ready-made HTTP library: a router must be stricter than a server. Whatever it accepts
//! and reads differently from the app behind it is a way to smuggle a request past it (N50–N54), and
//! general parsers accept bare line feeds, folded lines and doubled lengths for old clients' sake.
//! It is also the one part whose cost per request is measured against nginx: two reads and two writes
//! are all the system calls that a request makes here.
//!
//! [`head`] reads, line by line with [`field`], [`rewrite`] writes, [`body`] finds the end, [`page`] is what we say ourselves.

pub mod head;

pub mod field;

pub mod rewrite;

pub mod body;

pub mod page;
