//! Any paginator at any position, whatever is answered: a full sync goes forwards only, and ends by
//! itself when an API answers the same for ever.
//!
//! An input is the table of a job file for the kind `rest_api`, a position as it is stored (nothing
//! is the first), and the bodies that the API answers, all between lines of `---`.

#![no_main]

use kasparro_fuzz::job_file::Definition;
use kasparro_fuzz::sources::rest_api::{Page, Response, RestApiParams, RestApiSource};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Pages that an API may answer behind its last different one: a full sync that is told the same for
/// ever ends before. Pages without records may lead on a hundred times.
const REPEATS: usize = 103;

fuzz_target!(|text: &[u8]| {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut parts = text.split("\n---\n");
    let (Some(params), Some(position)) = (parts.next(), parts.next()) else { return };
    let bodies: Vec<&str> = parts.collect();
    let _ = full_sync(params, position, &bodies);
});

fn full_sync(params: &str, position: &str, bodies: &[&str]) -> Option<()> {
    let source = open(params)?;
    let mut position = match position {
        "" => source.first(),
        stored => serde_json::from_str(stored).ok()?,
    };
    let last = bodies.last()?;
    for body in bodies.iter().chain([last; REPEATS]) {
        let next = read(&source, &position, body)?.next?;
        check_step(&position, &next);
        position = next;
    }
    panic!("the same answer for ever leads on to {position}");
}

fn open(params: &str) -> Option<RestApiSource> {
    let text = format!("kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\n{params}");
    let source = "fuzzed".parse().expect("a source's name");
    let definition = Definition::parse(source, "fuzzed.toml".as_ref(), text, &["rest_api"]).ok()?;
    let params: RestApiParams = definition.params().ok()?;
    RestApiSource::new(params, "".into(), definition.locators()).ok()
}

/// The page; `None` when the answer is refused.
fn read(source: &RestApiSource, position: &Value, body: &str) -> Option<Page> {
    let body = body.as_bytes().to_vec();
    let answer = Response { from: "fuzzed".into(), status: 200, body, ..Response::default() };
    match source.read(position, answer) {
        Ok(page) => Some(page),
        Err(error) => {
            assert!(!error.message.is_empty(), "refused without a word");
            None
        }
    }
}

fn check_step(position: &Value, next: &Value) {
    assert_ne!(position, next, "a page leads to itself");
    // A page far behind one that repeats the page before it stands at that one's place.
    let repeated = |position: &Value| position.pointer("/chain/probe/repeated").cloned();
    let is_probe = repeated(next).is_some();
    let [at, to] = [position, next].map(|at| repeated(at).unwrap_or_else(|| at.clone()));
    for number in ["page", "offset"] {
        let number = |position: &Value| position.get(number).and_then(Value::as_u64);
        let Some(before) = number(&at) else { continue };
        let goes_on = |next| next > before || is_probe && next == before;
        assert!(number(&to).is_some_and(goes_on), "{position} leads back to {next}");
    }
}
