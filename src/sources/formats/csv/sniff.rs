//! Owns the dialect of a file: what the job file gives, and for the rest the dialect under which
//! the start of the file makes the most sense. Sniffing reads the sample with the real grammar
//! under every candidate, so a sniffed dialect is one that was seen to work. Deterministic.

use super::dialect::{Dialect, LineEnd};
use super::grammar::{Field, FieldKind, Grammar, NoCloseMemo};
use super::params::{CsvParams, Given, unusable};
use crate::sources::SourceError;
use crate::sources::files::format::Memo;

/// Bytes of a file that are looked at.
pub(super) const SAMPLE: usize = 64 << 10;
/// Delimiters that `"auto"` tries; the first wins when several fit equally well.
const DELIMITERS: [&str; 4] = [",", ";", "\t", "|"];
/// Quotes that `"auto"` tries.
const QUOTES: [char; 2] = ['"', '\''];
/// Quoted fields may be long, but not while guessing.
const SAMPLE_ROW: u64 = SAMPLE as u64;

/// How well a dialect fits; greater is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// Tenths of the rows that are whole and have as many fields as the first. Tenths, because a
    /// few bad rows must not make a dialect lose against one that cuts nothing at all.
    tenths: usize,
    columns: usize,
    /// Values that come out without their quotes.
    quoted: usize,
}

/// Decides the dialect from the parameters and, where they say `"auto"`, from `sample`, the start
/// of the table; `complete` says that it is all of it.
///
/// # Errors
/// When a parameter is invalid.
pub(super) fn decide(
    params: &CsvParams,
    sample: &[u8],
    complete: bool,
) -> Result<Dialect, SourceError> {
    let truncated = !complete || sample.len() > SAMPLE;
    let sample = &sample[..sample.len().min(SAMPLE)];
    let line_end = line_end(sample);
    let guessed = matches!(params.given_quote().map_err(unusable)?, Given::Auto);
    let mut best: Option<(Fit, Dialect)> = None;
    for mut dialect in candidates(params)? {
        dialect.line_end = line_end;
        let (fit, apostrophes) = fit(&dialect, sample, truncated);
        if guessed && dialect.quote == Some(QUOTES[1]) && !apostrophes {
            continue;
        }
        if best.as_ref().is_none_or(|(best, _)| fit > *best) {
            best = Some((fit, dialect));
        }
    }
    let mut dialect = best.map_or_else(Dialect::default, |(_, dialect)| dialect);
    dialect.stray_quotes = params.stray_quotes;
    Ok(dialect)
}

/// Every dialect that the parameters allow, the likeliest first. Strays count as defects in all of
/// them: they are what tells a wrong dialect.
fn candidates(params: &CsvParams) -> Result<Vec<Dialect>, SourceError> {
    let delimiters = match params.given_delimiter().map_err(unusable)? {
        Given::As(delimiter) => vec![delimiter],
        Given::Auto => DELIMITERS.map(str::to_owned).to_vec(),
    };
    let quotes = match params.given_quote().map_err(unusable)? {
        Given::As(quote) => vec![quote],
        Given::Auto => QUOTES.map(Some).to_vec(),
    };
    let mut found = Vec::new();
    for delimiter in &delimiters {
        for quote in quotes.iter().filter(|q| q.is_none_or(|q| !delimiter.contains(q))) {
            let escapes = match params.given_escape().map_err(unusable)? {
                Given::As(escape) => vec![escape],
                Given::Auto => vec![*quote, Some('\\')],
            };
            for escape in escapes {
                let delimiter = delimiter.clone();
                found.push(Dialect { delimiter, quote: *quote, escape, ..Dialect::default() });
            }
        }
    }
    Ok(found)
}

/// A `\r` at the very end of a sample may be half of a `\r\n`, so it takes another one.
pub(super) fn line_end(sample: &[u8]) -> LineEnd {
    let returns = memchr::memchr_iter(b'\r', &sample[..sample.len().saturating_sub(1)]).count();
    let lone = returns > 0 || sample.len() < SAMPLE && sample.ends_with(b"\r");
    if lone && memchr::memchr(b'\n', sample).is_none() { LineEnd::Cr } else { LineEnd::Lf }
}

/// How well a dialect fits, and whether its quote is one, should it be the apostrophe. That must
/// not win because the real quotes of the file are broken: it would hide the defect and leave the
/// quotes in the values.
fn fit(dialect: &Dialect, sample: &[u8], truncated: bool) -> (Fit, bool) {
    let grammar = Grammar::new(dialect, 0, SAMPLE_ROW);
    let mut memo = NoCloseMemo::default();
    let mut fields = Vec::new();
    let mut usual_quote = false;
    let mut rows: Vec<(usize, bool, usize)> = Vec::new();
    let mut at = grammar.blank_lines(sample, true).unwrap_or(0);
    while at < sample.len() {
        let Some(span) = grammar.span(&sample[at..], true, &mut memo) else { break };
        memo.advance(span.next);
        if at + span.next < sample.len() || !truncated {
            let row = grammar.content(&sample[at..at + span.next]);
            grammar.fields(row, &mut fields);
            usual_quote |=
                fields.iter().any(|field| row[field.start as usize..].starts_with(b"\""));
            let whole = fields.iter().all(|field| !is_defect(field));
            let quoted = fields.iter().filter(|field| is_quoted(field)).count();
            rows.push((fields.len(), whole, quoted));
        }
        at += span.next;
    }
    let columns = rows.first().map_or(0, |(columns, ..)| *columns);
    let good = || rows.iter().filter(|(n, whole, _)| *n == columns && *whole);
    let tenths = if columns < 2 { 0 } else { good().count() * 10 / rows.len().max(1) };
    let quoted = good().map(|(.., quoted)| quoted).sum();
    (Fit { tenths, columns, quoted }, quoted > 0 && !usual_quote)
}

fn is_defect(field: &Field) -> bool {
    matches!(field.kind, FieldKind::Stray | FieldKind::Unclosed)
}

fn is_quoted(field: &Field) -> bool {
    matches!(field.kind, FieldKind::Quoted | FieldKind::Escaped)
}

#[cfg(test)]
mod tests {
    use super::super::tests::params;
    use super::*;

    fn sniff(sample: &str) -> (String, Option<char>, Option<char>, LineEnd) {
        let found = decide(&params(), sample.as_bytes(), true).unwrap();
        (found.delimiter, found.quote, found.escape, found.line_end)
    }

    #[test]
    fn the_delimiter_is_the_one_that_cuts_all_rows_alike() {
        for (sample, delimiter) in [
            ("a,b\n1,2\n", ","),
            ("name;price, EUR;qty\nx;1,5;2\ny;2,5;3\n", ";"),
            ("a\tb\n1,5\t2\n", "\t"),
            ("a|b|c\n1|2|3\n", "|"),
            ("only\n1\n", ","),
            ("", ","),
        ] {
            assert_eq!(sniff(sample).0, delimiter, "{sample:?}");
        }
    }

    #[test]
    fn quotes_and_escapes_are_those_that_leave_no_strays() {
        assert_eq!(sniff("a,b\n\"x, \"\"y\"\"\",2\n").2, Some('"'));
        assert_eq!(sniff("a,b\n\"x, \\\"y\\\"\",2\n").2, Some('\\'));
        assert_eq!(sniff("a,b\n'x, y',2\n'z',3\n").1, Some('\''));
        assert_eq!(sniff("a,b\nMen's,2\n'tis,3\n").1, Some('"'));
        assert_eq!(sniff("a,b\n1,\"oops\n2,'y'\n").1, Some('"'));
    }

    #[test]
    fn a_lone_return_ends_lines_only_in_files_without_newlines() {
        assert_eq!(sniff("a,b\r1,2\r").3, LineEnd::Cr);
        assert_eq!(sniff("a,b\r\n1,2\r\n").3, LineEnd::Lf);
        assert_eq!(sniff("a,b\n1,2\r3\n").3, LineEnd::Lf);
    }

    #[test]
    fn what_is_given_is_not_guessed() {
        let given = CsvParams { delimiter: ";".into(), quote: "none".into(), ..params() };
        let found = decide(&given, b"a,b\n1,2\n", true).unwrap();
        assert_eq!((found.delimiter.as_str(), found.quote), (";", None));
        let given = CsvParams { quote: "'".into(), ..params() };
        assert_eq!(decide(&given, b"a,b\n1,2\n", true).unwrap().quote, Some('\''));
    }
}
