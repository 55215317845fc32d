//! The vocabulary of `CONTRIBUTING.md`: words that kasparro's code once had for things that have a name in
//! the field do not come back, neither in identifiers nor in comments, messages and SQL.

use std::collections::BTreeSet;
use std::path::Path;

/// A word that is not used, and the term that is. A word is matched whole; `_` and digits are letters.
struct Retired {
    word: &'static str,
    /// What may stand directly before it, where it means something else.
    except_after: &'static [&'static str],
    instead: &'static str,
}

const fn retired(word: &'static str, instead: &'static str) -> Retired {
    Retired { word, except_after: &[], instead }
}

const RETIRED: &[Retired] = &[
    retired("run_moves", "run_progress"),
    retired("run_books", "latest_run_progress"),
    retired("runs_now", "runs_live"),
    retired("books::", "progress::"),
    retired("Books", "RunProgress"),
    retired("moved_at", "last_progress_at"),
    retired("last_move", "last_sequence"),
    retired("settle", "complete"),
    retired("settles", "completes"),
    retired("settled", "completed"),
    retired("settling", "completing"),
    retired("settlement", "completion"),
    retired("Settlement", "ProgressChange"),
    retired("unsettled", "unfinished"),
    retired("settled_pages", "unchanged_pages"),
    retired("settled_tasks", "completed_tasks"),
    retired("passed_over", "skipped"),
    retired("pass_over", "skip"),
    retired("dead_tasks", "failed_tasks"),
    retired("bury", "fail"),
    retired("buried", "failed"),
    // A verb in the third person is no attempt.
    Retired { word: "tries", except_after: &["`\"auto\"` "], instead: "attempts" },
    retired("a try", "an attempt"),
    retired("chunks_at_hand", "chunk_cache"),
    retired("ChunksAtHand", "ChunkCache"),
    retired("judged_rows", "evaluated_rows"),
    retired("JudgedRows", "EvaluatedRows"),
    retired("Objection", "ContractViolation"),
    retired("Flaw", "ConversionError, ParamProblem"),
    retired("key_sieve", "bloom_filter"),
    retired("KeySieve", "BloomFilter"),
    retired("sieve", "filter"),
    retired("Sheet", "RowMapper"),
    retired("fault_point", "failpoint"),
    retired("Reach", "AllowedRoots"),
    retired("onward::", "redirects"),
    retired("Astray", "RedirectError"),
    retired("at_home", "same_origin"),
    retired("exchange::", "client"),
    retired("Refusal::meaning", "ErrorResponse::classify"),
    retired("UnpackError", "DecompressError"),
    retired("MOUTHFUL", "CHUNK"),
    retired("HARMLESS", "MIN_CHECKED"),
    retired("STRUCK_OUT", "REDACTED"),
    retired("laws", "reference grammar"),
    retired("Quiet", "NoCloseMemo"),
    retired("Extent", "RecordSpan, JsonSize"),
    retired("is_torn", "is_unterminated"),
    retired("words!", "string_enum!"),
    retired("UnknownWord", "UnknownVariant"),
    retired("stirred", "last_tick"),
    retired("Lives", "HeartbeatState"),
    retired("SILENT", "HEARTBEAT_TIMEOUT"),
    retired("LOOK_FOR_THE_DEAD", "REAP_INTERVAL"),
    retired("OUTSIDE", "LISTEN_BACKLOG"),
    retired("FEW", "MERGE_BELOW"),
    retired("PATIENCE", "TIMEOUT"),
    retired("hasten", "reschedule"),
    retired("LastTryLost", "WorkerLost"),
    retired("doors", "auth"),
    retired("Admission", "AuthConfig"),
    retired("Stranger", "Unauthenticated"),
    retired("keyring", "token_cache"),
    retired("needs::", "required_scope"),
    retired("presented::", "credentials"),
    retired("arrival::", "concurrency_limit"),
    retired("declared::", "security"),
    retired("Newsroom", "listener"),
    retired("hide_in_body", "redact_body"),
    retired("lexical", "types_inferred"),
    retired("'dead'", "'failed'"),
];

/// Lines that must name what is retired, and why.
const ALLOWED: &[(&str, &str)] = &[
    // The ledgers of earlier versions have it.
    ("#[serde(alias = \"lexical\")]", "lexical"),
    ("versions stored it as `lexical`.", "lexical"),
    // A key of job files, in the meaning that it has for searches.
    ("rename = \"settle\"", "settle"),
    ("(\"settle\", ", "settle"),
    ("settle = ", "settle"),
    (".settle\"", "settle"),
];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Retired {
    /// Whether the line has the word, whole and in its retired meaning.
    fn is_in(&self, line: &str) -> bool {
        line.match_indices(self.word).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + self.word.len()..]);
            let whole = |c: Option<char>| !c.is_some_and(is_word);
            // `_TIMEOUT` and the like are made of the word, too.
            let starts = whole(before.chars().next_back())
                || self.word == "PATIENCE" && before.ends_with('_');
            starts
                && (whole(after.chars().next()) || self.word.ends_with(['!', ':']))
                && !self.except_after.iter().any(|other| before.ends_with(other))
        })
    }
}

/// What is checked: the code, the SQL in it, and migrations from the one on that renamed the tables.
fn is_checked(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match path.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned()) {
        // 0018 renames, so it has both names.
        Some(first) if first == "migrations" => *name > *"0019",
        _ => true,
    }
}

#[test]
fn no_retired_word_is_in_the_code_or_the_tables() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "crates", "migrations"] {
        super::files_below(&root.join(folder), &["rs", "sql"], &mut paths);
    }
    let mut found = BTreeSet::new();
    for path in paths {
        let relative = path.strip_prefix(root).expect("below root");
        if !is_checked(relative) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source file is read");
        for (number, line) in (1..).zip(text.lines()) {
            let is_allowed =
                |word: &str| ALLOWED.iter().any(|(part, of)| *of == word && line.contains(part));
            for retired in RETIRED {
                if retired.is_in(line) && !is_allowed(retired.word) {
                    found.insert(format!(
                        "{}:{number}: `{}`: the term is {}",
                        relative.display(),
                        retired.word,
                        retired.instead
                    ));
                }
            }
        }
    }
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_retired_word_is_found_whole_and_in_its_meaning_only() {
    let tries = RETIRED.iter().find(|retired| retired.word == "tries").expect("it is retired");
    assert!(tries.is_in("after 8 tries"));
    assert!(!tries.is_in("retries, and entries"));
    assert!(!tries.is_in("`\"auto\"` tries comma"));
    let patience =
        RETIRED.iter().find(|retired| retired.word == "PATIENCE").expect("it is retired");
    assert!(patience.is_in("const HEAD_PATIENCE: Duration"));
}
