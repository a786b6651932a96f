use crate::args;

use super::*;

#[test]
fn a_node_joins_only_with_a_data_directory_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, run_dir) = (directory.path().join("data"), directory.path().join("run"));
    check_is_nodes_own(&data_dir).expect("there is nothing yet");
    let paths = Paths::make(&args::Directories { data_dir: data_dir.clone(), run_dir }).unwrap();
    fs::write(paths.agent().join("list.json"), "{}").unwrap();
    check_is_nodes_own(&data_dir).expect("a node's");
    let refused = |words: &str| {
        let said = check_is_nodes_own(&data_dir).unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("--data-dir /var/lib/slipway-node"), "{said}");
    };
    fs::write(paths.registry().join("index"), "").unwrap();
    refused("that of a slipwayd server");
    fs::write(paths.store().join("records"), "").unwrap();
    refused("made by slipwayd up");
}
