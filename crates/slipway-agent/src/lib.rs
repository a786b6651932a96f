//! The agent: assignment → instance. It is told the whole list of what its node should run and
//! converges to it. All privileged code of Slipway is here, in the shim, and in the network.
//!
//! ```text
//!  Desired ─▶ agent ─▶ instance (a task each) ─▶ image, layers ─▶ bundle ─▶ shim ─▶ OCI runtime
//!                          │  ▲                  network          health     │
//!  InstanceReport ◀────────┘  └────────────────── how it ended ◀─────────────┘
//! ```
//!
//! What survives what: an instance lives as long as its [shim](slipway_shim), not as long as the
//! agent. The agent writes down what it is about to start before it starts it; at its own start it
//! finds what runs by locks that only living shims hold, adopts what it knows, and removes what it
//! does not, from the kernel's cgroups outwards. Files in the run directory may vanish (a reboot);
//! files in the state directory hold no secret.
//!
//! Read in this order: [`agent`] (the list), [`instance`] (the life of one), `sandbox` (what is made
//! for it, and removed), then what it uses: [`image`] and [`layers`], [`bundle`], [`shim`],
//! `volumes`, [`fetch`], [`health`], [`logs`], [`files`]; then [`build`] with [`scratch`], and what a start of the agent does:
//! [`recovery`], [`runtime`], [`cgroup`].

mod error;

pub mod options;

pub mod agent;

pub mod instance;

mod sandbox;

pub mod image;

pub mod layers;

pub mod bundle;

pub mod shim;

pub mod volumes;

pub mod fetch;

pub mod health;

pub mod logs;

pub mod files;

pub mod attach;

pub mod build;

pub mod scratch;

pub mod recovery;

pub mod runtime;

pub mod cgroup;

pub mod network;

pub mod host_check;

pub use agent::Agent;
pub use error::Error;
pub use options::{Options, RuntimeChoice};
