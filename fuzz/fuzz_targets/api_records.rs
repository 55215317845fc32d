//! A body under any selector and mapping: as many records and rejects as it has rows, the same each
//! time, and all of a kind that the database takes.
//!
//! An input is a job file, a line `---`, and the body.

#![no_main]

use kasparro_fuzz::check_mapped;
use kasparro_fuzz::domain::raw::RawRef;
use kasparro_fuzz::domain::schema::Schema;
use kasparro_fuzz::job_file::Definition;
use kasparro_fuzz::mapping::{Mapped, Mapping};
use kasparro_fuzz::sources::rest_api::{Page, Response, RestApiSource};
use kasparro_fuzz::sources::{RawRows, Source, SourceError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Some((job, body)) = text.split_once("\n---\n") else { return };
    if !is_costly(job) {
        let _ = case(job, body);
    }
});

/// A few characters of JSONPath can ask for everything over and over, as `$..*..*..*` does. The
/// author of a job file is trusted not to.
fn is_costly(job: &str) -> bool {
    job.matches("..").count() > 1 || job.matches('*').count() > 4
}

/// `None` when the job file cannot be used or the body has no records: that is for the answer to say.
fn case(job: &str, body: &str) -> Option<()> {
    let source = "fuzzed".parse().expect("a source's name");
    let definition =
        Definition::parse(source, "fuzzed.toml".as_ref(), job.to_owned(), &["rest_api"]).ok()?;
    let params = definition.params().ok()?;
    let source = RestApiSource::new(params, "".into(), definition.locators()).ok()?;
    let body = body.as_bytes().to_vec();
    let answer = Response { from: "fuzzed".into(), status: 200, body, ..Response::default() };
    let page = source.read(&source.first(), answer).map_err(|error| check_error(&error)).ok()?;
    let rows = usize::try_from(page.records).expect("a number of records");
    assert!(page.shape.rows <= rows as u64, "the shape is of more rows than there are");
    let mapped = map(&source, &page, &Mapping::new(&definition, None)).expect("nothing is frozen");
    check_mapped(rows, &mapped);
    // Under its own schema, whatever the contract says, no row may get lost either.
    let mapping = Mapping::new(&definition, Some(&Schema::of(&page.shape)));
    if let Ok(mapped) = map(&source, &page, &mapping) {
        check_mapped(rows, &mapped);
    }
    Some(())
}

fn map(source: &RestApiSource, page: &Page, mapping: &Mapping) -> Result<Mapped, SourceError> {
    let mut mapped = Mapped::default();
    let rows = RawRows::Document { text: &page.body, context: &serde_json::Value::Null };
    source.map(rows, RawRef::Page(page.hash.into()), mapping, &mut mapped)?;
    Ok(mapped)
}

fn check_error(error: &SourceError) {
    assert!(error.message.starts_with("fuzzed: "), "names no address: {error}");
}
