//! See the crate's description; being written.
