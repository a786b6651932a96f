//! Who belongs to the ensemble (EX-11, EX-12, ZK-09).

pub mod configuration;

pub mod decide;
