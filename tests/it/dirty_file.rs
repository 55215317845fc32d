//! A large file with everything that is commonly wrong with files: each bad row is set aside once,
//! for the one reason that makes it bad.

use std::collections::{BTreeMap, BTreeSet};

use kasparro::domain::counters::Counters;
use kasparro::domain::run::Mode;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::app::TestApp;

const ROWS: usize = 6_000;
/// One row in so many repeats an id: 0.5 %.
const REPEAT_ONE_IN: usize = 200;
const REASONS: &str = "select reason || ' ' || count(*) from quarantined_rows
                       group by reason order by reason collate \"C\"";
const ROWS_SET_ASIDE: &str = "select count(distinct (raw_ref, raw_row)) from quarantined_rows";

/// The reasons, and how many rows of each there are: no two numbers are equal.
const CLASSES: [(&str, usize); 6] = [
    ("wrong_field_count", 31),
    ("invalid_decimal", 37),
    ("missing_key", 41),
    ("invalid_date", 43),
    ("stray_quote", 47),
    ("invalid_encoding", 53),
];

fn job(chunk_size: usize) -> String {
    format!(
        "kind = \"csv\"\nprimary_key = [\"id\"]\n[csv]\npaths = [\"items.csv\"]\n\
         encoding = \"utf-8\"\nstray_quotes = \"quarantine\"\nchunk_size = {chunk_size}\n[fields]\n\
         name = {{ column = \"name\", required = true }}\n\
         price = {{ column = \"price\", type = \"decimal\" }}\n\
         made_on = {{ column = \"made_on\", type = \"date\" }}\n\
         [checks]\nmax_quarantine_ratio = 0.5\n"
    )
}

/// A row of one of [`CLASSES`], in one of the shapes that it comes in.
fn bad_row(reason: &str, row: usize, dice: &mut StdRng) -> Vec<u8> {
    let shapes: &[&[u8]] = match reason {
        "wrong_field_count" => &[b"#,pipe,1.50", b"#,pipe, black,1.50,2024-02-29", b"#"],
        "invalid_decimal" => &[b"#,pipe,cheap,2024-02-29", b"#,pipe,1.2.3,2024-02-29"],
        "missing_key" => &[b",pipe,1.50,2024-02-29", b"\"\",pipe,1.50,2024-02-29"],
        "invalid_date" => &[b"#,pipe,1.50,2023-02-29", b"#,pipe,1.50,soon"],
        "stray_quote" => &[
            b"#,5\" pipe,1.50,2024-02-29",
            b"#,\"6\" pipe, black\",1.50,2024-02-29",
            b"#,\"the \"good\" one\",1.50,2024-02-29",
            b"\"#\" ,pipe, black,1.50",
        ],
        "invalid_encoding" => &[b"#,caf\xe9,1.50,2024-02-29", b"#,\"\xff\xfe\",1.50,2024-02-29"],
        other => panic!("{other}"),
    };
    let shape = shapes[dice.random_range(0..shapes.len())];
    let id = format!("b{row}").into_bytes();
    shape.iter().flat_map(|byte| if *byte == b'#' { id.clone() } else { vec![*byte] }).collect()
}

/// The file, and what reading it comes to.
fn file(dice: &mut StdRng) -> (Vec<u8>, Counters) {
    let mut reasons: Vec<Option<&str>> =
        CLASSES.iter().flat_map(|(reason, rows)| vec![Some(*reason); *rows]).collect();
    let quarantined = reasons.len() as i64;
    reasons.resize(ROWS, None);
    reasons.shuffle(dice);
    // A row repeats the id and the content of a row before it, or the id alone.
    let repeats: BTreeSet<usize> = (REPEAT_ONE_IN..ROWS).step_by(REPEAT_ONE_IN).collect();
    let mut counters = Counters { rows_read: ROWS as i64, quarantined, ..Counters::default() };
    let mut contents: BTreeMap<usize, String> = BTreeMap::new();
    let mut file = b"id,name,price,made_on\n".to_vec();
    for (row, reason) in reasons.into_iter().enumerate() {
        if let Some(reason) = reason {
            file.extend(bad_row(reason, row, dice));
        } else {
            let id = if repeats.contains(&row) { any_of(&contents, dice) } else { row };
            let content = match contents.get(&id) {
                Some(known) if dice.random() => known.clone(),
                _ => format!("\"pipe, \"\"{row}\"\"\",{row}.50,2024-02-29"),
            };
            file.extend(format!("g{id},{content}").into_bytes());
            match contents.insert(id, content.clone()) {
                None => counters.inserted += 1,
                Some(known) if known == content => counters.unchanged += 1,
                Some(_) => counters.updated += 1,
            }
        }
        file.push(b'\n');
    }
    (file, counters)
}

fn any_of(contents: &BTreeMap<usize, String>, dice: &mut StdRng) -> usize {
    let nth = dice.random_range(0..contents.len());
    *contents.keys().nth(nth).expect("a row before it")
}

#[tokio::test]
async fn every_bad_row_of_a_large_file_is_set_aside_once_for_its_own_reason() {
    let (file, expected) = file(&mut StdRng::seed_from_u64(6));
    assert!(expected.updated > 0 && expected.unchanged > 0, "{expected:?}");
    let mut reasons: Vec<_> =
        CLASSES.iter().map(|(reason, rows)| format!("{reason} {rows}")).collect();
    reasons.sort();
    for chunk_size in [5_000, 1 << 22] {
        let app = TestApp::empty().await;
        app.write("items.toml", job(chunk_size));
        app.write("items.csv", &file);
        let run = app.run_mode("items", Mode::Incremental).await;
        assert!(run.status.is_success(), "{run:?}");
        assert_eq!(app.texts(REASONS).await, reasons, "{chunk_size}");
        assert_eq!(app.number(ROWS_SET_ASIDE).await, expected.quarantined, "{chunk_size}");
        let Counters { slices, bytes, .. } = run.counters;
        assert_eq!(run.counters, Counters { slices, bytes, ..expected }, "{chunk_size}");
        app.database.close().await;
    }
}
