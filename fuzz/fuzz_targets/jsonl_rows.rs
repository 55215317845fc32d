//! Any file as JSON Lines: what must hold of any format (`kasparro_fuzz::rows`), and each line that is not blank
//! is a row.
//!
//! An input is four bytes that choose the parameters, digits as they read, and the file.

#![no_main]

use std::sync::LazyLock;

use kasparro_fuzz::job_file::Definition;
use kasparro_fuzz::mapping::Mapping;
use kasparro_fuzz::rows::Case;
use kasparro_fuzz::sources::files::Wanted;
use kasparro_fuzz::sources::files::format::RowFormat;
use kasparro_fuzz::sources::formats::jsonl::{Jsonl, JsonlParams};
use libfuzzer_sys::fuzz_target;

/// By keys that are found without parsing the whole line, and by one that is not.
static MAPPINGS: LazyLock<[(Definition, Mapping); 3]> = LazyLock::new(|| {
    ["a", "$.b.c", "$..c"].map(|key| {
        let definition = definition(key);
        let mapping = Mapping::new(&definition, None);
        (definition, mapping)
    })
});

fuzz_target!(|input: &[u8]| {
    let Some((chosen, file)) = input.split_at_checked(4) else { return };
    let pick = |at: usize, of: usize| usize::from(chosen[at].wrapping_sub(b'0')) % of;
    let (definition, mapping) = &MAPPINGS[pick(0, 3)];
    let max_row_bytes = [1 << 20, 4, 9, 40][pick(1, 4)];
    let format = |chunk_size| {
        let params = JsonlParams { max_row_bytes, chunk_size, ..JsonlParams::default() };
        Jsonl::new(params, Wanted::of(definition)).ok()
    };
    let (chunks, first) = (1 + pick(2, 8), pick(3, 256));
    let case = Case { format, mapping, extension: "jsonl", chunks, first };
    let Some(rows) = case.check(file) else { return };
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let solid = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    assert_eq!(rows, solid.count(), "a line is no row");
});

fn definition(key: &str) -> Definition {
    let text = format!(
        "kind = 'jsonl'\nprimary_key = ['{key}']\n[files]\npaths = ['file.jsonl']\n[fields]\n\
         name = {{ from = '$.b.c' }}\nprice = {{ from = '$..c', type = 'decimal' }}\n\
         c = {{ type = 'json' }}\n"
    );
    let source = "fuzzed".parse().expect("a source's name");
    Definition::parse(source, "fuzzed.toml".as_ref(), text, &["jsonl"]).expect("a job file")
}
