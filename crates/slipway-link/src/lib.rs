//! The cluster's own certificates, and the connections inside it.
//!
//! Everything that crosses from one machine of a cluster to another is a **link**: TLS 1.3, both ends
//! with a certificate of the cluster's own authority, which says in a URI who they are
//! (`slipway://<cluster>/server/<name>`, `…/node/<name>`). Host names and addresses prove nothing here.
//! After the handshake the dialler says in one line which [`Service`] it wants, and the other end
//! answers in one line: it takes the link, sends the dialler to another server, or refuses with a
//! sentence. From then on the bare stream is the service's.
//!
//! ```text
//! dialler → server   {"service":"node"}
//! server → dialler   {"answer":"ok"} | {"answer":"go-to","address":"10.0.0.2:7443"} | {"answer":"refused","why":"…"}
//! ```
//!
//! Nodes only dial. A machine without a certificate can say nothing but `join`, to a server that
//! proved to be of the cluster which its join token names.
//!
//! Read in this order: [`Identity`]; [`authority`] (who gives certificates) and [`Credentials`] (what one
//! has got); [`Hello`]; [`Dialler`] and [`Acceptor`], with [`Listener`] for a port; [`join`];
//! [`Admissions`] (which certificates still count); [`renew`].

mod identity;

mod certificate;

pub mod authority;

mod credentials;

mod hello;

mod tls;

mod stream;

pub mod dialler;

mod acceptor;

mod listener;

pub mod join;

mod admission;

pub mod renew;

mod error;

pub use acceptor::{Acceptor, Incoming};
pub use admission::{Admissions, Exclusion, admit};
pub use credentials::Credentials;
pub use dialler::Dialler;
pub use error::Error;
pub use hello::{Hello, Service};
pub use identity::{Identity, Role};
pub use listener::Listener;
pub use stream::LinkStream;

#[cfg(test)]
mod tests;
