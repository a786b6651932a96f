//! Push → image. The builder watches for pushes, reads the commit straight out of the bare
//! repository, lets untrusted programs run in a sandbox that somebody else provides, and puts what
//! they made on top of a stack as layers of an OCI image.
//!
//! Read in this order: [`run`] is the loop and [`queue`] its decision; [`build`] is one build as the
//! pusher sees it. Under them: [`source`] (the commit's tree), [`builder`] (what fits it, pure),
//! [`buildpack`] (the classic contract), [`workshop`] (directories and steps in the [`sandbox`]),
//! [`layer`] (files to a reproducible tar), [`made`] (what need not be made again) and [`services`]
//! (what runs of it). [`stack`] makes the pairs of images that all of this stands on. [`beneath`]
//! is how files that untrusted code left behind are touched at all, [`output`] how its words reach
//! the pusher, [`clear`] what happens when a push is gone.
//!
//! This process runs nothing of a tenant's: git is read by plumbing that looks at no configuration,
//! and everything else happens behind the two ports, [`sandbox::Sandbox`] and
//! [`config_source::ConfigSource`], which `slipwayd` implements.

pub mod run;

pub mod queue;

mod build;

mod clear;

pub mod source;

pub mod builder;

pub mod buildpack;

pub mod procfile;

pub mod slugignore;

pub mod services;

pub mod sandbox;

pub mod config_source;

pub mod workshop;

pub mod layer;

pub mod made;

pub mod base;

pub mod stack;

pub mod beneath;

pub mod output;

mod error;

pub use config_source::{ConfigSource, ConfigVar};
pub use error::Error;
pub use run::{Builder, BuilderHandle, Options};
pub use sandbox::{Bind, OutputSink, Sandbox, SandboxEnd, SandboxSpec, Scratch};
