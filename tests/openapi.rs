//! The committed OpenAPI document is the one that this build serves.

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

#[test]
fn the_committed_document_is_up_to_date() {
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == kasparro::api::openapi_json(),
        "{COMMITTED} is not what this build serves; run\n\n    \
         kasparro openapi > openapi/openapi.json\n\nand look at the difference before committing it"
    );
}
