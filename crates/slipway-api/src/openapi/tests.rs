use super::*;

/// To accept a change of the API, run this test with `SLIPWAY_WRITE_OPENAPI=1` and commit the file.
#[test]
fn the_committed_document_is_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("SLIPWAY_WRITE_OPENAPI").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == text, "docs/openapi.json is not what the code says");
}

#[test]
fn routes_are_unique_and_named_alike() {
    let mut seen = std::collections::BTreeSet::new();
    for endpoint in endpoint::all() {
        assert!(seen.insert(operation_id(&endpoint)), "{} {} twice", endpoint.method, endpoint.path);
        if endpoint.path.contains("{tenant}") {
            assert!(matches!(endpoint.need, Need::Tenant(_)), "{}", endpoint.path);
        }
    }
}
