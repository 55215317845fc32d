//! Any bytes in any dialect: the rows end where the documented grammar says, however the bytes arrive,
//! and follow each other without a gap.
//!
//! An input is eight bytes that choose the parameters, digits as they read, and the rows.

#![no_main]

use kasparro_fuzz::sources::formats::csv::{CsvParams, reference_grammar};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|input: &[u8]| {
    let Some((chosen, table)) = input.split_at_checked(8) else { return };
    let pick = |at: usize, of: usize| usize::from(chosen[at].wrapping_sub(b'0')) % of;
    let params: CsvParams = serde_json::from_value(json!({
        "delimiter": (["auto", ",", ";", "||", "ä", ",,", "\t", " "][pick(0, 8)]),
        "quote": (["auto", "\"", "none", "'", "\\"][pick(1, 5)]),
        "escape": (["auto", "\"", "\\", "none"][pick(2, 4)]),
        "stray_quotes": (["auto", "quarantine", "keep"][pick(3, 3)]),
        "max_row_bytes": ([1 << 20, 4, 9, 40][pick(4, 4)]),
    }))
    .expect("parameters");
    let steps = [1 + pick(6, 16), 1 + pick(7, 64)];
    // An error is that the quote is in the delimiter.
    let _ = reference_grammar::check(&params, pick(5, 3), table, &steps);
});
