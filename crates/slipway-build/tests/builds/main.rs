//! Builds as a user causes them: real repositories, a real store and registry, real programs from the
//! real package indexes in a real container. Needs root, runc and the stack that `cargo xtask test`
//! makes.

mod runc;
mod world;

mod buildpacks;
mod hostile;
mod life;
mod limits;
mod native;
