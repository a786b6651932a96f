//! The registry over real HTTP: the protocol, tenants, Debian's skopeo, kills, full disks.

mod collect;
mod crash;
mod harness;
mod protocol;
mod skopeo;
mod space;
mod tenants;
