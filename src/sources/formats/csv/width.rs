//! Owns how many columns there are when rows are wider than the header.

use super::grammar::{Field, FieldKind, Grammar, MAX_FIELDS, NoCloseMemo};
use super::layout::{CsvLayout, Extra};
use super::params::ExtraFields;
use crate::sources::SourceError;
use crate::sources::files::format::Memo;

/// The rows of the start of a file, by their width.
#[derive(Default)]
struct Widths {
    rows: usize,
    /// Rows that are wider than the header.
    wider: usize,
    /// Of those, the ones whose fields behind it are empty.
    empty: usize,
    /// How wide the wider ones are, and how many are so wide.
    found: Vec<(usize, usize)>,
    widest: usize,
}

/// Decides what becomes of fields that the header has no names for: what the job file says; otherwise, if
/// nearly all rows of the `sample` have such, they have columns.
pub(super) fn decide(
    given: Option<ExtraFields>,
    layout: &mut CsvLayout,
    sample: &[u8],
    complete: bool,
) -> Result<(), SourceError> {
    let named = layout.columns.len();
    let found = Widths::of(&layout.grammar(layout.encoding()?), named, sample, complete);
    let agree = found.wider > 0 && found.wider * 10 >= found.rows * 9;
    // One row has nobody to agree with.
    let several = found.wider > 1;
    let usual = found.found.iter().max_by_key(|(_, rows)| *rows).map_or(0, |(width, _)| *width);
    match given {
        Some(ExtraFields::Quarantine) => {}
        Some(ExtraFields::Drop) => layout.extra = Extra::Drop,
        Some(ExtraFields::Keep) => widen(layout, found.widest),
        None if agree && found.empty == found.wider => {
            layout.extra = Extra::DropEmpty;
            layout.notes.push(format!(
                "each row ends in {}, which is dropped; csv.extra_fields = \"quarantine\" sets such rows aside",
                if usual == named + 1 { "an empty field" } else { "empty fields" }
            ));
        }
        None if agree && several => {
            widen(layout, usual);
            layout.warnings.push(format!(
                "rows have {usual} fields, and the header {named}: {} named by {}. If the rows have a name in front that \
                 the header lacks, or a delimiter within a value, all values behind it are in the wrong columns: look at \
                 them. csv.extra_fields = \"keep\" says that they are right, \"quarantine\" sets such rows aside, \"drop\" \
                 reads them without",
                if usual == named + 1 { "the column behind it is" } else { "those behind it are" },
                if usual == named + 1 { "its number" } else { "their numbers" },
            ));
        }
        None => {}
    }
    Ok(())
}

/// Numbers the columns behind the header.
fn widen(layout: &mut CsvLayout, width: usize) {
    let named = layout.columns.len();
    layout.columns.extend((named + 1..=width.min(MAX_FIELDS)).map(|n| format!("column_{n}")));
    layout.named_columns = Some(named).filter(|named| *named < layout.columns.len());
}

impl Widths {
    fn of(grammar: &Grammar, named: usize, sample: &[u8], complete: bool) -> Self {
        let mut found = Self::default();
        let mut fields = Vec::new();
        let mut memo = NoCloseMemo::default();
        let mut at = grammar.blank_lines(sample, true).unwrap_or(0);
        while at < sample.len() {
            let Some(span) = grammar.span(&sample[at..], true, &mut memo) else { break };
            memo.advance(span.next);
            if at + span.next < sample.len() || complete {
                let content = grammar.content(&sample[at..at + span.next]);
                grammar.fields(content, &mut fields);
                found.row(named, &fields);
            }
            at += span.next;
        }
        found
    }

    fn row(&mut self, named: usize, fields: &[Field]) {
        let bad = |field: &Field| matches!(field.kind, FieldKind::Stray | FieldKind::Unclosed);
        if fields.iter().any(bad) {
            return;
        }
        self.rows += 1;
        self.widest = self.widest.max(fields.len());
        if fields.len() <= named {
            return;
        }
        self.wider += 1;
        self.empty += usize::from(fields[named..].iter().all(|field| field.start == field.end));
        match self.found.iter_mut().find(|(width, _)| *width == fields.len()) {
            Some((_, rows)) => *rows += 1,
            None => self.found.push((fields.len(), 1)),
        }
    }
}
