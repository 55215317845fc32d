//! Owns the message for a text that is no TOML: where it stops being TOML, and, where it can be
//! recognised, what was meant.

use toml::de::Error;

use super::error::Problem;
use super::line::Place;

/// The most problems reported; what follows is mostly a consequence of the first.
const MAX_PROBLEMS: usize = 5;

/// What is wrong, one problem a line. Nothing of the text but keys is repeated: a secret may stand
/// where it should not.
pub(super) fn problems(text: &str, errors: &[Error]) -> Vec<Problem> {
    let mut found: Vec<_> = errors
        .iter()
        .map(|error| (error.span().map_or(0, |span| span.start.min(text.len())), error))
        .collect();
    found.sort_by_key(|(offset, _)| *offset);
    let mut problems: Vec<Problem> = Vec::new();
    for (offset, error) in found {
        let place = Place::of(text, offset);
        if problems.len() < MAX_PROBLEMS
            && problems.last().is_none_or(|last| last.line < place.line)
        {
            problems.push(problem(text, offset, place, error));
        }
    }
    problems
}

fn problem(text: &str, offset: usize, place: Place, error: &Error) -> Problem {
    let message = error.message();
    if message == "duplicate key" {
        let key = error.span().and_then(|span| text.get(span)).unwrap_or_default();
        let message = "is in the file twice: remove one, or put both into one table";
        return place.problem(vec![key.trim_matches(['"', '\'']).to_owned()], message);
    }
    let hint = hint(text, offset, message).map(|hint| format!("; {hint}")).unwrap_or_default();
    place.problem(Vec::new(), format!("not TOML: {message}{hint}"))
}

/// What was meant, by the look of the line.
fn hint(text: &str, offset: usize, message: &str) -> Option<&'static str> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..)?.lines().next().unwrap_or_default();
    let trimmed = line.trim();
    if text.trim_start().starts_with('{') {
        return Some("this looks like JSON: a job file is TOML, `key = \"value\"` line by line");
    }
    if trimmed == "---" || trimmed.starts_with("- ") {
        return Some("this looks like YAML: a job file is TOML, `key = \"value\"` line by line");
    }
    if line.contains(['“', '”', '„', '‟', '‘', '’', '‚', '«', '»']) {
        return Some("typographic quotes: write \" or '");
    }
    if line.contains(['\u{a0}', '\u{200b}', '\u{feff}', '\u{2028}']) {
        return Some("an invisible character that is no plain space: write the line anew");
    }
    if has_colon_for_equals(trimmed) {
        return Some("write `=` between a key and its value, not `:`");
    }
    if message.contains("escape") {
        return Some("within \"…\" a backslash begins an escape: write '…' instead, or `\\\\`");
    }
    if message.contains("must be quoted") {
        return Some("put the text in quotes: \"…\"");
    }
    if message.contains("basic string") || message.contains("literal string") {
        return Some("a text ends on the line where it begins, with the quote that it begins with");
    }
    None
}

fn has_colon_for_equals(line: &str) -> bool {
    let Some((key, rest)) = line.split_once(':') else { return false };
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-.\"' ".contains(c);
    !key.is_empty() && key.chars().all(bare) && !rest.starts_with('/')
}
