//! Any text is a definition, or an error that names its lines and keys, those of the parameters of its
//! kind included. A definition maps any row to one
//! record or one reject, and its schedule has a next tick.

#![no_main]

use kasparro_fuzz::check_mapped;
use kasparro_fuzz::domain::hash::ContentHash;
use kasparro_fuzz::domain::raw::RawRef;
use kasparro_fuzz::domain::reject::Reject;
use kasparro_fuzz::domain::shape::FieldType;
use kasparro_fuzz::job_file::Definition;
use kasparro_fuzz::job_file::error::DefinitionError;
use kasparro_fuzz::mapping::contract::Gone;
use kasparro_fuzz::mapping::{Mapped, Mapping};
use kasparro_fuzz::sources::files::Wanted;
use kasparro_fuzz::sources::files::format::RowFormat;
use kasparro_fuzz::sources::formats::csv::Csv;
use kasparro_fuzz::sources::formats::jsonl::Jsonl;
use kasparro_fuzz::sources::kinds;
use kasparro_fuzz::sources::rest_api::{RestApiParams, RestApiSource};
use kasparro_fuzz::values::row::{Cell, Row};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let source = "fuzzed".parse().expect("a source's name");
    match Definition::parse(source, "fuzzed.toml".as_ref(), text.to_owned(), kinds()) {
        Ok(definition) => check(text, &definition),
        Err(error) => check_error(text, &error),
    }
});

fn check(text: &str, definition: &Definition) {
    assert_eq!(definition.text, text);
    assert_eq!(definition.hash, ContentHash::of(text.as_bytes()));
    if let Some(schedule) = &definition.schedule {
        let instant = "2026-02-03T04:05:06Z".parse().expect("an instant");
        assert!(schedule.next_after(instant).is_some_and(|tick| tick > instant), "never due");
    }
    let mapping = Mapping::new(definition, None);
    let hash = || Mapping::hash(definition, None, &Gone::default());
    assert_eq!(hash(), hash());
    for row in [
        Same { cell: Cell::Missing, typed: false },
        Same { cell: Cell::Null, typed: true },
        Same { cell: Cell::Text("1"), typed: false },
        Same { cell: Cell::Text("2025-01-02T03:04:05Z"), typed: true },
    ] {
        check_row(&mapping, &row);
    }
    check_params(text, definition);
}

/// Opening reads nothing, so any parameters can be tried.
fn check_params(text: &str, definition: &Definition) {
    if definition.kind == "csv" {
        match definition.table("csv") {
            Ok(params) => drop(Csv::new(params, Wanted::of(definition))),
            Err(error) => check_error(text, &error),
        }
    } else if definition.kind == "jsonl" {
        match definition.table("jsonl") {
            Ok(params) => drop(Jsonl::new(params, Wanted::of(definition))),
            Err(error) => check_error(text, &error),
        }
    } else {
        match definition.params::<RestApiParams>() {
            Ok(params) => drop(RestApiSource::new(params, "".into(), definition.locators())),
            Err(error) => check_error(text, &error),
        }
    }
}

fn check_row(mapping: &Mapping, row: &Same) {
    let raw = RawRef::File(1);
    let mut mapped = Mapped::default();
    mapped.records.enter_raw(raw);
    let reject = |defects| Reject {
        raw_row: 1,
        line: None,
        byte_range: None,
        key: None,
        raw: vec![],
        defects,
    };
    mapping.map(row, raw, 1, &mut mapped, reject).expect("nothing is frozen without a schema");
    check_mapped(1, &mapped);
}

fn check_error(text: &str, error: &DefinitionError) {
    let DefinitionError::Invalid { problems, .. } = error else { panic!("names no line: {error}") };
    assert!(!problems.is_empty(), "refused for nothing");
    let lines = text.matches('\n').count() + 1;
    for problem in problems {
        assert!((1..=lines).contains(&problem.line), "{problem:?} of {lines} lines");
        assert!(problem.column > 0 && !problem.message.is_empty(), "{problem:?}");
        let keyless = ["not TOML", "the job file is empty"];
        let of_file = keyless.iter().any(|beginning| problem.message.starts_with(beginning));
        assert!(of_file || !problem.keys.is_empty(), "names no key: {problem:?}");
    }
    let shown = error.to_string();
    assert!(
        shown.matches("fuzzed.toml:").count() >= problems.len(),
        "a line is not shown: {shown}"
    );
}

/// A row that has one value for whatever it is asked.
struct Same {
    cell: Cell<'static>,
    typed: bool,
}

impl Row for Same {
    fn cell(&self, _: usize) -> Cell<'_> {
        self.cell
    }

    fn typed(&self) -> bool {
        self.typed
    }

    fn visit_fields(&self, visit: &mut dyn FnMut(&str, Option<FieldType>)) {
        visit("same", Some(FieldType::String));
    }
}
