//! Owns what stands in front of the table: lines that the job file says are no part of it, `sep=;`, and lines
//! above a header that has the mapped columns.

use std::borrow::Cow;

use super::dialect::Dialect;
use super::grammar::{Blank, Grammar, NoCloseMemo};
use super::header_rows;
use super::params::CsvParams;
use super::sniff::{DELIMITERS, SAMPLE};
use super::trial::line_end;
use crate::sources::files::Wanted;
use crate::sources::files::columns::fold;
use crate::values::field::Locator;

/// So many lines may stand above a header.
const MOST_LINES: usize = 50;

/// What stands in front of the table.
pub(super) struct Preamble {
    /// Bytes.
    pub length: usize,
    /// Lines.
    pub lines: u32,
    /// The delimiter that a line `sep=;` names.
    delimiter: Option<String>,
    /// What there is to say.
    pub note: Option<String>,
}

impl Preamble {
    /// What stands at the start of `text`; `None` when more bytes are needed.
    pub fn of(params: &CsvParams, text: &[u8], complete: bool) -> Option<Self> {
        let sample = &text[..text.len().min(SAMPLE)];
        let grammar = grammar(sample, complete && text.len() <= SAMPLE);
        let mut found = Self { length: 0, lines: 0, delimiter: None, note: None };
        if let Some((delimiter, length)) = separator_line(text, &grammar) {
            found.length = length;
            found.lines = 1;
            found.note = Some(format!(
                "the first line says that fields are separated by {delimiter:?}, and is passed over"
            ));
            found.delimiter = Some(delimiter);
        }
        for _ in found.lines..params.skip_lines.max(found.lines) {
            found.length += grammar.first_line(&text[found.length..], complete)?;
        }
        found.lines = found.lines.max(params.skip_lines);
        if params.skip_rows > 0 {
            found.length += rows(params, &text[found.length..], complete)?;
        }
        Some(found)
    }

    /// The parameters, with the delimiter that the file names unless the job file does.
    pub fn params<'p>(&self, params: &'p CsvParams) -> Cow<'p, CsvParams> {
        match &self.delimiter {
            Some(delimiter) if params.delimiter == "auto" => {
                Cow::Owned(CsvParams { delimiter: delimiter.clone(), ..params.clone() })
            }
            _ => Cow::Borrowed(params),
        }
    }
}

/// The grammar of lines that have no fields.
fn grammar(sample: &[u8], complete: bool) -> Grammar {
    let plain = Dialect { quote: None, escape: None, ..Dialect::default() };
    let dialect = Dialect { line_end: line_end(&plain, sample, complete), ..plain };
    Grammar::new(&dialect, Blank::of(1), u64::MAX)
}

/// The delimiter that the first line names, as Excel reads and writes it, and the length of the line.
fn separator_line(text: &[u8], grammar: &Grammar) -> Option<(String, usize)> {
    let length = grammar.first_line(text, false)?;
    let line = std::str::from_utf8(grammar.content(&text[..length])).ok()?;
    let line = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line);
    let (key, delimiter) = line.split_at_checked(4)?;
    let one = delimiter.chars().count() == 1 && !delimiter.contains(|c: char| c.is_alphanumeric());
    (key.eq_ignore_ascii_case("sep=") && one).then(|| (delimiter.to_owned(), length))
}

/// Length of the rows that the job file says are no part of the table. Where it does not say what separates their
/// fields, a quote may open behind each of the usual delimiters: the longest rows are those without a torn one.
fn rows(params: &CsvParams, text: &[u8], complete: bool) -> Option<usize> {
    let length = |delimiter: &str| rows_by(params, delimiter, text, complete);
    match params.delimiter.as_str() {
        "auto" => DELIMITERS.into_iter().map(length).try_fold(0, |most, one| Some(most.max(one?))),
        "tab" | "\\t" => length("\t"),
        other => length(other),
    }
}

fn rows_by(params: &CsvParams, delimiter: &str, text: &[u8], complete: bool) -> Option<usize> {
    let sample = &text[..text.len().min(SAMPLE)];
    let given = |text: &str| text.chars().next().filter(|_| text.len() == 1);
    let quote = if params.quote == "auto" { Some('"') } else { given(&params.quote) };
    let escape = if params.escape == "auto" { quote } else { given(&params.escape) };
    let plain = Dialect { delimiter: delimiter.to_owned(), quote, escape, ..Dialect::default() };
    let line_end = line_end(&plain, sample, complete && text.len() <= SAMPLE);
    let grammar = Grammar::new(&Dialect { line_end, ..plain }, Blank::of(1), params.max_row_bytes);
    let mut at = 0;
    for _ in 0..params.skip_rows {
        if at == text.len() {
            break;
        }
        at += grammar.span(&text[at..], complete, &mut NoCloseMemo::default())?.row;
    }
    Some(at)
}

/// The starts of lines, but for the first, in which a mapped column is named: how many lines stand above each, and how
/// many bytes.
pub(super) fn lines_above_header<'a>(
    text: &'a [u8],
    wanted: &'a [Wanted],
) -> impl Iterator<Item = (u32, usize)> + 'a {
    let names: Vec<String> =
        names(wanted).iter().map(|name| fold(name)).filter(|name| !name.is_empty()).collect();
    let lines = lines(text).into_iter();
    let named = lines.filter(move |(_, _, line)| names.iter().any(|name| line.has(name)));
    named.map(|(lines, at, _)| (lines, at))
}

/// The same of lines in which the name of a mapped column begins that ends in one of the next: a header of several rows.
pub(super) fn lines_above_tall_header(text: &[u8], wanted: &[Wanted]) -> Vec<(u32, usize)> {
    let names = names(wanted);
    let ends = names.iter().filter_map(|name| {
        let mut words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        Some((fold(words.next()?), fold(words.next_back()?)))
    });
    let ends: Vec<_> = ends.collect();
    let lines = lines(text);
    let begins = |(place, (_, _, line)): &(usize, &(u32, usize, Words))| {
        let below = lines[place + 1..].iter().take(header_rows::MOST as usize - 1);
        let ends_below = |last: &str| below.clone().any(|(_, _, line)| line.has(last));
        ends.iter().any(|(first, last)| line.has(first) && ends_below(last))
    };
    lines.iter().enumerate().filter(begins).map(|(_, (lines, at, _))| (*lines, *at)).collect()
}

/// The names of the columns without which no file is read, or of all mapped ones where there are none.
fn names(wanted: &[Wanted]) -> Vec<String> {
    let all = !wanted.iter().any(Wanted::is_needed_column);
    let wanted = wanted.iter().filter(|wanted| all || wanted.needed);
    let names = wanted.flat_map(|wanted| match &wanted.locator {
        Locator::Column(names) => names.clone(),
        Locator::Named(name) => vec![name.clone()],
        Locator::Path(_) | Locator::Whole(_) | Locator::Nowhere => Vec::new(),
    });
    names.collect()
}

/// The lines at the start of a text, but for the first: how many stand above each, and how many bytes.
fn lines(text: &[u8]) -> Vec<(u32, usize, Words)> {
    let sample = &text[..text.len().min(SAMPLE)];
    let mut found = Vec::new();
    let (mut at, mut lines) = (0, 0);
    while let Some(end) =
        memchr::memchr2(b'\n', b'\r', &sample[at..]).filter(|_| lines < MOST_LINES as u32)
    {
        at += end + 1;
        if sample[at - 1] == b'\r' && sample.get(at) == Some(&b'\n') {
            at += 1;
        }
        lines += 1;
        let rest = &sample[at..];
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        found.push((lines, at, Words::of(&String::from_utf8_lossy(&rest[..end]))));
    }
    found
}

/// A line without what people vary in names, and where words begin and end in it: a column `id` is not named by `video`, and
/// each line that may be a header is read under every dialect.
struct Words {
    folded: String,
    edges: Vec<usize>,
    line: String,
}

impl Words {
    fn of(line: &str) -> Self {
        let (mut folded, mut edges) = (String::new(), Vec::new());
        for word in line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            edges.push(folded.len());
            folded.extend(word.chars().flat_map(char::to_lowercase));
        }
        edges.push(folded.len());
        Self { folded, edges, line: line.to_owned() }
    }

    /// Whether the name, which is folded, stands there.
    fn has(&self, name: &str) -> bool {
        if !name.chars().any(char::is_alphanumeric) {
            return self.line.contains(name);
        }
        let is_edge = |at: usize| self.edges.binary_search(&at).is_ok();
        self.folded.match_indices(name).any(|(at, found)| is_edge(at) && is_edge(at + found.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_in_a_line_as_a_whole_word() {
        for (line, name, stands) in [
            ("id;Name", "id", true),
            ("\"ID\",x", "id", true),
            ("video,bid,identity", "id", false),
            ("Unit_Price (EUR)", "unitprice", true),
            ("Unit,Price", "unitprice", true),
            ("UnitPrices", "unitprice", false),
            ("Größe#", "größe", true),
            ("a,#,b", "#", true),
            ("", "id", false),
        ] {
            assert_eq!(Words::of(line).has(name), stands, "{line} {name}");
        }
    }
}
