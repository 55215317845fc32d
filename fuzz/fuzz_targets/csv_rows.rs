//! Any file under any parameters: what must hold of any format, see `kasparro_fuzz::rows`.
//!
//! An input is eleven bytes that choose the parameters, digits as they read, and the file.

#![no_main]

use std::sync::LazyLock;

use kasparro_fuzz::job_file::Definition;
use kasparro_fuzz::mapping::Mapping;
use kasparro_fuzz::rows::Case;
use kasparro_fuzz::sources::files::Wanted;
use kasparro_fuzz::sources::files::format::RowFormat;
use kasparro_fuzz::sources::formats::csv::{Csv, CsvParams};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// For files whose columns are called by their header, and by their numbers.
static MAPPINGS: LazyLock<[(Definition, Mapping); 2]> = LazyLock::new(|| {
    ["a", "column_1"].map(|key| {
        let definition = definition(key);
        let mapping = Mapping::new(&definition, None);
        (definition, mapping)
    })
});

fuzz_target!(|input: &[u8]| {
    let Some((chosen, file)) = input.split_at_checked(11) else { return };
    let pick = |at: usize, of: usize| usize::from(chosen[at].wrapping_sub(b'0')) % of;
    let header = [json!("auto"), json!(["a", "b", "c"]), json!(["a"]), json!(false)];
    let header = header[pick(5, 4)].clone();
    let (definition, mapping) = &MAPPINGS[usize::from(header == json!(false))];
    let params = json!({
        "delimiter": (["auto", ",", ";", "||", "ä", ",,", "\t", " "][pick(0, 8)]),
        "quote": (["auto", "\"", "none", "'", "\\"][pick(1, 5)]),
        "escape": (["auto", "\"", "\\", "none"][pick(2, 4)]),
        "stray_quotes": (["auto", "quarantine", "keep"][pick(3, 3)]),
        "ragged_rows": (["quarantine", "pad"][pick(4, 2)]),
        "header": header,
        "header_rows": 1 + pick(6, 3),
        "encoding": (["auto", "windows-1252", "iso-8859-7"][pick(7, 3)]),
        "max_row_bytes": ([1 << 20, 4, 9, 40][pick(8, 4)]),
        "skip_lines": pick(6, 9) / 3,
    });
    let mut params = params;
    if let Some(extra) = [None, Some("keep"), Some("drop"), Some("quarantine")][pick(4, 8) / 2] {
        params["extra_fields"] = json!(extra);
    }
    let params: CsvParams = serde_json::from_value(params).expect("parameters");
    let format = |chunk_size| {
        let params = CsvParams { chunk_size, ..params.clone() };
        Csv::new(params, Wanted::of(definition)).ok()
    };
    let (chunks, first) = (1 + pick(9, 8), pick(10, 256));
    Case { format, mapping, extension: "csv", chunks, first }.check(file);
});

fn definition(key: &str) -> Definition {
    let text = format!(
        "kind = 'csv'\nprimary_key = ['{key}']\n[csv]\npaths = ['file.csv']\n[fields]\n\
         name = {{ column = 'b' }}\nprice = {{ column = 'c', type = 'decimal' }}\n\
         c = {{ type = 'json' }}\n"
    );
    let source = "fuzzed".parse().expect("a source's name");
    Definition::parse(source, "fuzzed.toml".as_ref(), text, &["csv"]).expect("a job file")
}
