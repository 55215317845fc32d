//! Owns looking at every row for what shows a guess from the start of the file to be wrong.

use super::doubts;
use super::grammar::{Field, FieldKind, Grammar};
use super::params::{CsvParams, Given};
use super::row::CsvReader;
use super::trial::{MANY_MORE, Votes, holds_quotes, opens_with, swallows_rows};
use crate::sources::files::format::Doubts;

/// What is looked for, and what was found.
#[derive(Debug, Default)]
pub(super) struct GuessCheck {
    /// Whether a CR alone ends lines.
    votes: Votes,
    apostrophes: Check,
    quotes: Check,
    spaces: Check,
    /// Rows that have as many fields as columns with the space behind each delimiter.
    spaced: usize,
    rows: usize,
    /// Rows with a value in quotes that would be none the worse without.
    in_quotes: usize,
    fields: Vec<Field>,
}

/// Evidence for and against a part of the guess.
#[derive(Debug, Default)]
struct Check {
    looks: bool,
    speaks_for: usize,
    speaks_against: usize,
}

impl Check {
    fn of(looks: bool) -> Self {
        Self { looks, ..Self::default() }
    }
}

impl GuessCheck {
    /// Nothing was seen yet.
    pub fn new(params: &CsvParams, reader: &CsvReader) -> Self {
        let auto_quote = matches!(params.given_quote(), Ok(Given::Auto));
        let auto_delimiter = matches!(params.given_delimiter(), Ok(Given::Auto));
        let delimiter = reader.grammar.delimiter();
        let quote = reader.grammar.quote();
        let between_tabs = matches!(delimiter, b"\t" | b"|");
        Self {
            apostrophes: Check::of(auto_quote && quote == Some(b'\'')),
            quotes: Check::of(auto_quote && quote == Some(b'"') && between_tabs),
            spaces: Check::of(auto_delimiter && delimiter == b", "),
            ..Self::default()
        }
    }

    /// Looks at a row.
    pub fn row(&mut self, reader: &CsvReader, content: &[u8]) {
        let columns = reader.columns().len();
        self.rows += 1;
        if let Some(any) = &reader.any
            && memchr::memchr(b'\r', content).is_some()
        {
            self.votes.row(any, content, columns);
        }
        if self.apostrophes.looks {
            reader.grammar.fields(content, &mut self.fields);
            let quote = opens_with(content, &self.fields, '"');
            self.apostrophes.speaks_against += usize::from(quote);
        }
        if self.quotes.looks && memchr::memchr(b'"', content).is_some() {
            self.quoted_row(&reader.grammar, content, columns);
        }
        if self.spaces.looks && !content.is_empty() {
            let narrow = reader.grammar.delimiters_within(content) + 1 < columns;
            let commas = memchr::memchr_iter(b',', content).count() + 1;
            self.spaces.speaks_against += usize::from(narrow && commas == columns);
            self.spaced += usize::from(!narrow);
        }
    }

    fn quoted_row(&mut self, grammar: &Grammar, content: &[u8], columns: usize) {
        grammar.fields(content, &mut self.fields);
        let unlikely = self.fields.iter().any(|field| grammar.is_unterminated(content, field));
        let known = !self.fields.iter().any(|field| field.kind == FieldKind::Unclosed);
        if known && holds_quotes(grammar, content, &self.fields) {
            self.quotes.speaks_for += 1;
        } else if unlikely || swallows_rows(grammar, content, columns) {
            self.quotes.speaks_against += 1;
        } else if self.fields.iter().any(|field| field.kind == FieldKind::Quoted) {
            self.in_quotes += 1;
        }
    }

    /// What is wrong.
    pub fn doubts(&self) -> Doubts {
        let mut found = Doubts::default();
        if self.votes.are_for_any() {
            found = found.and(doubts::LONE_RETURNS);
        }
        // Where most rows have quotes, or many for each that does not close, those are broken.
        let closing = self.in_quotes + self.quotes.speaks_for;
        let mostly = closing * 2 >= self.rows.max(1)
            || closing >= self.quotes.speaks_against.saturating_mul(MANY_MORE);
        for (check, doubt) in [
            (&self.apostrophes, doubts::APOSTROPHES),
            (&self.quotes, doubts::QUOTES),
            (&self.spaces, doubts::SPACES),
        ] {
            // One row without a space does not take it from the keys of all others: it is set aside.
            let spaced = doubt == doubts::SPACES && self.spaced > check.speaks_against;
            let kept = match doubt {
                doubts::QUOTES => mostly,
                _ => check.speaks_for > 0 || spaced,
            };
            if check.looks && check.speaks_against > 0 && !kept {
                found = found.and(doubt);
            }
        }
        found
    }
}
