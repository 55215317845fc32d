//! Owns reading the start of a file under a dialect that may be the right one.

use super::dialect::{Dialect, LineEnd};
use super::grammar::{Blank, Field, FieldKind, Grammar, NoCloseMemo};
use crate::sources::files::format::Memo;

/// So many rows with quotes that close show that one which does not is broken.
pub(super) const MANY_MORE: usize = 10;
/// So many values in quotes make a column of them.
const MANY: usize = 3;

/// The start of a file under a dialect.
pub(super) struct Trial<'a> {
    grammar: Grammar,
    quote: Option<char>,
    rows: Vec<Row<'a>>,
    /// How wide most rows are.
    pub columns: usize,
    /// Tenths of the rows that are whole and so wide; none if there is only one column.
    pub tenths: usize,
    /// Values of those rows that come out without their quotes.
    pub quoted: usize,
}

struct Row<'a> {
    content: &'a [u8],
    fields: Vec<Field>,
}

impl Row<'_> {
    fn is_whole(&self) -> bool {
        let defect = |field: &Field| matches!(field.kind, FieldKind::Stray | FieldKind::Unclosed);
        !self.fields.iter().any(defect)
    }
}

fn is_quoted(field: &Field) -> bool {
    matches!(field.kind, FieldKind::Quoted | FieldKind::Escaped)
}

impl<'a> Trial<'a> {
    /// Cuts `sample`; the last row of one that is not `complete` does not count. `columns` is how many the job
    /// file says that there are.
    pub fn new(
        dialect: &Dialect,
        columns: Option<usize>,
        sample: &'a [u8],
        complete: bool,
    ) -> Self {
        let grammar = Grammar::new(dialect, Blank::of(0), sample.len() as u64 + 1);
        let mut rows = Vec::new();
        each_row(&grammar, sample, |start, next| {
            if next < sample.len() || complete {
                let content = grammar.content(&sample[start..next]);
                let mut fields = Vec::new();
                grammar.fields(content, &mut fields);
                rows.push(Row { content, fields });
            }
        });
        let columns = columns.unwrap_or_else(|| usual_width(&rows));
        let fits = |row: &&Row<'_>| row.fields.len() == columns && row.is_whole();
        let good = rows.iter().filter(fits).count();
        let quotes = |row: &Row<'_>| row.fields.iter().filter(|field| is_quoted(field)).count();
        let quoted = rows.iter().filter(fits).map(quotes).sum();
        let tenths = if columns < 2 { 0 } else { good * 10 / rows.len().max(1) };
        Self { grammar, quote: dialect.quote, rows, columns, tenths, quoted }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The names that the first rows give to the columns, as far as guessing needs them.
    pub fn header(&self, rows: usize) -> Vec<String> {
        let width = self.rows.iter().take(rows).map(|row| row.fields.len()).max().unwrap_or(0);
        let mut names = vec![String::new(); width];
        for row in self.rows.iter().take(rows) {
            for (name, field) in names.iter_mut().zip(&row.fields) {
                let text = &row.content[field.start as usize..field.end as usize];
                if !name.is_empty() {
                    name.push(' ');
                }
                name.push_str(&String::from_utf8_lossy(text));
            }
        }
        names
    }

    /// Whether a field opens with this quote.
    pub fn opens_with(&self, quote: char) -> bool {
        self.rows.iter().any(|row| opens_with(row.content, &row.fields, quote))
    }

    /// Whether the quote is one beyond doubt: it holds a value together that would be cut without it, or all
    /// values of a column stand in it.
    pub fn holds_quotes(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row.is_whole() && holds_quotes(&self.grammar, row.content, &row.fields))
            || self.has_quoted_column(MANY)
    }

    /// Whether every value stands in quotes, of every row behind the first, or of the only one: then they are quotes, few
    /// as the rows may be. One value alone may be a title.
    pub fn stands_in_quotes(&self) -> bool {
        let behind = usize::from(self.rows.len() > 1);
        let quoted = |row: &Row<'_>| {
            let values =
                row.fields.iter().filter(|field| is_quoted(field) || field.start < field.end);
            let (mut all, mut any) = (true, 0);
            for field in values {
                all &= is_quoted(field);
                any += 1;
            }
            (all && row.is_whole()).then_some(any)
        };
        let counts: Option<Vec<usize>> = self.rows.iter().skip(behind).map(quoted).collect();
        let first = self.rows.first().and_then(quoted).unwrap_or(0);
        counts.is_some_and(|counts| {
            let most = counts.iter().copied().max().unwrap_or(0);
            most > 1 || most == 1 && behind == 1 && first > 0
        })
    }

    /// Whether nearly all values of a column stand in quotes, and at least so many.
    pub fn has_quoted_column(&self, least: usize) -> bool {
        let rows = || self.rows.iter().skip(1).filter(|row| row.fields.len() == self.columns);
        (0..self.columns).any(|column| {
            let filled = rows().filter(|row| {
                let field = row.fields[column];
                is_quoted(&field) || field.start < field.end
            });
            let (mut values, mut quoted) = (0, 0);
            for row in filled {
                values += 1;
                quoted += usize::from(is_quoted(&row.fields[column]));
            }
            quoted >= least && quoted * 10 >= values * 9
        })
    }

    /// Rows that look as if the quote were none: it does not close, or text follows it, or it swallows lines of
    /// which each is a row by itself.
    pub fn unlikely_quotes(&self) -> usize {
        let unlikely = |row: &&Row<'_>| {
            row.fields.iter().any(|field| self.grammar.is_unterminated(row.content, field))
                || self.quote.is_some() && swallows_rows(&self.grammar, row.content, self.columns)
        };
        self.rows.iter().filter(unlikely).count()
    }
}

impl Trial<'_> {
    /// Whether most rows have values in quotes that close, or ten times as many as look as if the quote were none: then
    /// those are broken.
    pub fn mostly_closes(&self) -> bool {
        let unlikely = self.unlikely_quotes();
        let closes = |row: &&Row<'_>| {
            row.is_whole()
                && row.fields.iter().any(is_quoted)
                && !swallows_rows(&self.grammar, row.content, self.columns)
        };
        let closing = self.rows.iter().filter(closes).count();
        closing * 2 >= self.rows.len() || closing >= unlikely.saturating_mul(MANY_MORE)
    }
}

fn usual_width(rows: &[Row<'_>]) -> usize {
    let mut widths: Vec<usize> = Vec::new();
    let mut counts: Vec<usize> = Vec::new();
    for row in rows.iter().filter(|row| row.is_whole()) {
        match widths.iter().position(|width| *width == row.fields.len()) {
            Some(at) => counts[at] += 1,
            None => {
                widths.push(row.fields.len());
                counts.push(1);
            }
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    let at = counts.iter().position(|count| *count == most);
    at.map_or_else(|| rows.first().map_or(0, |row| row.fields.len()), |at| widths[at])
}

/// Whether a field of a row opens with this quote.
pub(super) fn opens_with(content: &[u8], fields: &[Field], quote: char) -> bool {
    let opens = |field: &Field| content.get(field.start as usize) == Some(&(quote as u8));
    fields.iter().any(|field| !is_quoted(field) && opens(field))
}

/// Whether a value of a row would be another one if its quotes were text: there is a delimiter or an escape in it. One
/// that goes on in another line may be several rows.
pub(super) fn holds_quotes(grammar: &Grammar, content: &[u8], fields: &[Field]) -> bool {
    fields.iter().filter(|field| is_quoted(field)).any(|field| {
        let text = &content[field.start as usize..field.end as usize];
        memchr::memchr2(b'\n', b'\r', text).is_none()
            && (field.kind == FieldKind::Escaped || grammar.has_delimiter(text))
    })
}

/// Whether each line of a row is as wide as a row, if quotes mean nothing.
pub(super) fn swallows_rows(grammar: &Grammar, content: &[u8], columns: usize) -> bool {
    let mut lines = 0;
    for line in content.split(|byte| *byte == b'\n') {
        if grammar.delimiters_within(line) + 1 != columns {
            return false;
        }
        lines += 1;
    }
    lines > 1 && columns > 1
}

/// Visits the start of each row of a sample and that of the next.
fn each_row(grammar: &Grammar, sample: &[u8], mut visit: impl FnMut(usize, usize)) {
    let mut memo = NoCloseMemo::default();
    let mut at = grammar.blank_lines(sample, true).unwrap_or(0);
    while at < sample.len() {
        let Some(span) = grammar.span(&sample[at..], true, &mut memo) else { break };
        memo.advance(span.next);
        visit(at, at + span.next);
        at += span.next;
    }
}

/// What ends the lines of a sample: a CR that no LF follows does if there is no LF but within quotes and at the
/// very end, or if rows come out where it is cut at more often than it tears one.
pub(super) fn line_end(dialect: &Dialect, sample: &[u8], complete: bool) -> LineEnd {
    if !has_lone_return(sample, complete) {
        return LineEnd::Lf;
    }
    let any = Dialect { line_end: LineEnd::Any, ..dialect.clone() };
    let trial = Trial::new(&any, None, sample, complete);
    let grammar = Grammar::new(&any, Blank::of(0), sample.len() as u64 + 1);
    let mut feeds = 0;
    each_row(&grammar, sample, |start, next| {
        let end = start + grammar.content(&sample[start..next]).len();
        feeds += usize::from(next < sample.len() && sample[end..next].first() == Some(&b'\n'));
    });
    if feeds == 0 {
        return LineEnd::Any;
    }
    let lines = Grammar::new(dialect, Blank::of(0), sample.len() as u64 + 1);
    let mut votes = Votes::default();
    each_row(&lines, sample, |start, next| {
        votes.row(&grammar, lines.content(&sample[start..next]), trial.columns);
    });
    if votes.are_for_any() { LineEnd::Any } else { LineEnd::Lf }
}

fn has_lone_return(sample: &[u8], complete: bool) -> bool {
    if complete && sample.ends_with(b"\r") && memchr::memchr(b'\n', sample).is_none() {
        return true;
    }
    memchr::memchr_iter(b'\r', sample)
        .any(|at| sample.get(at + 1).is_some_and(|next| !matches!(next, b'\r' | b'\n')))
}

/// Whether a CR alone ends lines, by what becomes of rows that have one.
#[derive(Debug, Default)]
pub(super) struct Votes {
    rows: usize,
    torn: usize,
    /// Whether a row would be torn that is a good one as it is: what is left of it would pass for all of it.
    good_torn: bool,
}

impl Votes {
    /// Looks at a row that ends in LF. `any` cuts at every CR as well.
    pub fn row(&mut self, any: &Grammar, content: &[u8], columns: usize) {
        if columns < 2 || memchr::memchr(b'\r', content).is_none() {
            return;
        }
        let (mut pieces, mut rows) = (0, 0);
        let mut fields = Vec::new();
        each_row(any, content, |start, next| {
            any.fields(any.content(&content[start..next]), &mut fields);
            pieces += 1;
            rows += usize::from(fields.len() == columns);
        });
        if pieces > 1 {
            self.rows += rows;
            self.torn += usize::from(rows < pieces);
            any.fields(content, &mut fields);
            self.good_torn |= rows < pieces && fields.len() == columns;
        }
    }

    /// Whether more rows come out than are torn, and no good one is.
    pub fn are_for_any(&self) -> bool {
        self.rows > self.torn && !self.good_torn
    }
}
