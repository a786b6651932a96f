//! The decisions: time and state in, actions out.
//!
//! Nothing here awaits, reads a clock, draws a random number or does I/O. The leader holds one
//! [`view::EnvironmentView`] for each environment and one [`cluster::Cluster`]; on every change it
//! asks [`intake::next`] whether somebody wants a new release, and [`environment::plan`] what to do so
//! that the environment comes nearer to what is asked. Both answer with [`action::Action`]s that leave
//! the executor nothing to choose: it stores them, applies them to the view with the same function
//! that the simulator uses, and then tells nodes and routers.
//!
//! Read in this order: [`policy`] (every number), [`cluster`] (what there is), [`view`] and [`action`]
//! (the words), [`environment`] (the one function that decides), and then its parts: [`rollout`]
//! (MA-48…51), [`backoff`] (MA-56), [`victim`] (MA-58), [`placement`] with [`constraint`] and
//! [`attribute`] (MA-35…41, MA-17), what belongs to it ([`port`], [`volume`] for MA-70, [`quota`] for
//! ME-03, [`drain`] for ME-10), what the leader asks when several wait ([`fairness`] for ME-02,
//! [`preemption`] for AU-02), [`intake`] and [`retention`] (from records to releases), [`group`] (the
//! order in which the services of a Marathon deployment may follow, MA-52…55), [`schedule`] (AU-08).

pub mod policy;

pub mod cluster;

pub mod quota;

pub mod view;

pub mod action;

pub mod environment;

pub mod rollout;

pub mod backoff;

pub mod victim;

pub mod placement;

pub mod constraint;

pub mod attribute;

pub mod dedicated;

pub mod port;

pub mod volume;

pub mod drain;

pub mod fairness;

pub mod preemption;

pub mod intake;

pub mod retention;

pub mod group;

pub mod schedule;

#[cfg(test)]
mod simulator;
