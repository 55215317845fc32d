//! Owns where a row ends.

use memchr::memchr2;

use super::lines::Found;
use super::near::find;
use super::{Grammar, MARK, NoCloseMemo};
use crate::sources::files::format::LineBreaks;
use crate::sources::formats::csv::params::StrayQuotes;

/// Where a quoted field closes.
pub(super) enum Close {
    /// At this quote; whether escapes were passed.
    At(usize, bool),
    /// Nowhere.
    Never,
    /// Nowhere, for a line ends behind its first stray quote; another field may close.
    Torn,
    /// Not before this offset; more bytes are needed to say more.
    NotBefore(usize),
}

impl Grammar {
    pub(super) fn row_end(
        &self,
        text: &[u8],
        complete: bool,
        memo: &mut NoCloseMemo,
    ) -> Option<usize> {
        let Some(quote) = self.quote else { return self.first_line(text, complete) };
        let (mut at, mut field) = (0, 0);
        loop {
            let Some(found) = self.quote_or_break(quote, &text[at..]) else {
                return complete.then_some(text.len());
            };
            at += found;
            if text[at] != quote {
                return self.behind_break(text, at, complete);
            }
            if !self.starts_field(text, at, &mut field) {
                at += 1;
                continue;
            }
            let opened = at;
            match self.close(text, opened + 1, complete, opened, *memo) {
                Close::At(quote, _) if quote < self.max_row => {
                    if self.belongs_to_another(text, opened, quote, complete)? {
                        return self.first_line(text, complete);
                    }
                    at = quote + 1;
                    field = at;
                }
                Close::At(quote, _) => {
                    memo.learn(opened, quote);
                    return self.first_line(text, complete);
                }
                Close::NotBefore(offset) if offset < self.max_row => {
                    memo.learn(opened, offset);
                    return None;
                }
                Close::NotBefore(offset) => {
                    memo.learn(opened, offset);
                    return self.first_line(text, complete);
                }
                Close::Never => {
                    memo.learn(opened, text.len());
                    return self.first_line(text, complete);
                }
                Close::Torn => return self.first_line(text, complete),
            }
        }
    }

    /// Whether the quote that would close the field opened at `opened` is rather the one that opens
    /// another field further down: lines apart, and text follows it. `None` when more bytes are
    /// needed.
    fn belongs_to_another(
        &self,
        text: &[u8],
        opened: usize,
        quote: usize,
        complete: bool,
    ) -> Option<bool> {
        if self.ends_field(text, quote + 1, complete)? {
            return Some(false);
        }
        Some(self.line_break(&text[opened..quote]).is_some())
    }

    /// Whether a field starts at `at`, where there is a quote. `known` is a place outside quotes
    /// that is known to be the start of a row or to follow a closing quote, and moves along.
    fn starts_field(&self, text: &[u8], at: usize, known: &mut usize) -> bool {
        if let [delimiter] = *self.delimiter {
            return at == 0
                || text[at - 1] == delimiter
                || at == MARK.len() && text.starts_with(MARK)
                || self.spaces && self.follows_spaces(text, at, delimiter);
        }
        // `a||||"` has two ways to see `||` in front of the quote; fields are cut from the left.
        let mut start = *known == 0;
        while let Some(found) = self.finder.find(&text[*known..at]) {
            *known += found + self.delimiter.len();
            start = true;
        }
        let mut rest = &text[*known..at];
        if *known == 0 {
            rest = rest.strip_prefix(MARK).unwrap_or(rest);
        }
        start && (rest.is_empty() || self.spaces && rest.iter().all(|byte| *byte == b' '))
    }

    /// Whether only spaces are between `at` and the delimiter or the start of the row in front of it.
    fn follows_spaces(&self, text: &[u8], at: usize, delimiter: u8) -> bool {
        let before = &text[..at];
        match before.iter().rposition(|byte| *byte != b' ') {
            None => true,
            Some(last) => before[last] == delimiter || before[..=last] == *MARK,
        }
    }

    /// Finds the quote that closes the field opened at `opened`, from `at` on.
    pub(super) fn close(
        &self,
        text: &[u8],
        mut at: usize,
        complete: bool,
        opened: usize,
        memo: NoCloseMemo,
    ) -> Close {
        let Some(quote) = self.quote else { return Close::Never };
        let separate_escape = self.escape.filter(|escape| *escape != quote);
        let mut escaped = false;
        // Behind the run of quotes that the field opens with, it reads on as any other field
        // that is open there: what is known of that one holds for this one.
        // Not with strays kept, of which it is to be known where the first is; there the next line ends the search.
        let known = self.stray != StrayQuotes::Keep && opened >= memo.from;
        // Behind the first stray quote: where the search for a line end goes on.
        let mut strayed = None;
        loop {
            if known && at < memo.until && text.get(at) != Some(&quote) {
                at = memo.until.min(text.len());
            }
            let found = match separate_escape {
                Some(escape) => memchr2(quote, escape, &text[at..]),
                None => find(quote, &text[at..]),
            };
            if let Some(from) = strayed {
                let passed = found.map_or(text.len(), |found| at + found);
                if self.line_break(&text[from..passed.max(from)]).is_some() {
                    return Close::Torn;
                }
                strayed = Some(passed);
            }
            let Some(found) = found else {
                return if complete { Close::Never } else { Close::NotBefore(text.len()) };
            };
            at += found;
            let next = text.get(at + 1).copied();
            if next.is_none() && !complete {
                return Close::NotBefore(at);
            }
            let takes_next = self.escape == Some(text[at]) && next.is_some();
            if takes_next && (next == Some(quote) || next == self.escape) {
                escaped = true;
                at += 2;
            } else if text[at] != quote {
                at += 1;
            } else if self.stray != StrayQuotes::Keep {
                return Close::At(at, escaped);
            } else {
                match self.ends_field(text, at + 1, complete) {
                    Some(true) => return Close::At(at, escaped),
                    Some(false) => {
                        at += 1;
                        strayed.get_or_insert(at);
                    }
                    None => return Close::NotBefore(at),
                }
            }
        }
    }

    /// Whether a field can end at `at`; `None` when more bytes are needed.
    fn ends_field(&self, text: &[u8], at: usize, complete: bool) -> Option<bool> {
        let rest = &text[at..];
        // Nearly all fields end so, and comparing a byte costs less than comparing slices.
        if let ([delimiter], Some(next)) = (&*self.delimiter, rest.first())
            && (next == delimiter || *next == b'\n')
        {
            return Some(true);
        }
        if rest.starts_with(&self.delimiter) {
            return Some(true);
        }
        match self.line_end_at(text, at, complete) {
            Found::Length(_) => return Some(true),
            // Alone it ends a line as well as with what may follow.
            Found::Unknown if self.breaks == LineBreaks::Any && !rest.is_empty() => {
                return Some(true);
            }
            Found::Unknown => return None,
            Found::Other => {}
        }
        if rest.len() < self.delimiter.len() && !complete && self.delimiter.starts_with(rest) {
            return None;
        }
        Some(rest.is_empty())
    }
}
