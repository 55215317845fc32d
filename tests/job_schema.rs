//! The committed JSON Schema of job files is the one that this build understands.

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/job.schema.json");

#[test]
fn the_committed_schema_is_up_to_date() {
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == kasparro::sources::job_schema_json(),
        "{COMMITTED} is not what this build understands; run\n\n    \
         kasparro job-schema > jobs/job.schema.json\n\nand look at the difference before committing it"
    );
}
