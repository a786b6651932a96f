//! The contract of the store, run over each backend.

use std::path::Path;

use slipway_store::Store;

mod contract;

async fn embedded(dir: &Path) -> Store {
    Store::open(dir).unwrap()
}

#[test]
fn the_embedded_store_keeps_the_contract() {
    contract::check(60, embedded);
}
