//! Owns the dialect of a file: what the job file gives, and for the rest the dialect under which
//! the start of the file makes the most sense. Sniffing reads the sample with the real grammar
//! under every candidate, so a sniffed dialect is one that was seen to work. Deterministic.
//!
//! What counts, in this order: how many of the mapped columns the header then has, how many rows are whole and
//! equally wide, how many columns there are, how many values lose their quotes. A quote needs evidence. What the
//! rest of the file shows to be wrong is a doubt, under which the guess is made again.

use super::dialect::{Dialect, LineEnd};
use super::doubts;
use super::params::{CsvParams, Given, unusable};
use super::trial::{Trial, line_end};
use crate::sources::SourceError;
use crate::sources::files::format::Doubts;

/// Bytes of a file that are looked at.
pub(super) const SAMPLE: usize = 64 << 10;
/// Delimiters that `"auto"` tries; the first wins when several fit equally well.
pub(super) const DELIMITERS: [&str; 4] = [",", ";", "\t", "|"];
/// Delimiters that are looked at when the mapped columns are not found with those.
const RARE_DELIMITERS: [&str; 6] = [":", "^", "~", "\u{1f}", "\u{1}", " "];
/// The quotes that `"auto"` tries.
const QUOTE: char = '"';
const APOSTROPHE: char = '\'';

/// What is known of a file besides its bytes.
pub(super) struct Known<'a> {
    /// How many of the mapped columns a header has, and whether those are among them without which no file is read.
    pub located: &'a dyn Fn(&[String]) -> (usize, bool),
    /// How many columns the job file names.
    pub columns: Option<usize>,
    /// What the rest of the file shows.
    pub doubts: Doubts,
}

/// A dialect, and what there is to say of it.
#[derive(Debug, Default)]
pub(super) struct Sniffed {
    /// The dialect.
    pub dialect: Dialect,
    /// What was guessed that is not plain.
    pub notes: Vec<String>,
}

/// How well a dialect fits; greater is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    located: usize,
    /// Tenths of the rows that are whole and equally wide. Tenths, because a
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
    known: &Known<'_>,
    sample: &[u8],
    complete: bool,
) -> Result<Sniffed, SourceError> {
    let complete = complete && sample.len() <= SAMPLE;
    let sample = &sample[..sample.len().min(SAMPLE)];
    let guess = Guess {
        params,
        known,
        sample,
        complete,
        auto_delimiter: matches!(params.given_delimiter().map_err(unusable)?, Given::Auto),
        auto_quote: matches!(params.given_quote().map_err(unusable)?, Given::Auto),
        auto_escape: matches!(params.given_escape().map_err(unusable)?, Given::Auto),
    };
    let mut best = guess.best(&DELIMITERS)?;
    if guess.auto_delimiter && best.as_ref().is_none_or(|(.., has_needed)| !has_needed) {
        let rare = guess.best(&RARE_DELIMITERS)?;
        // A title that names the columns is cut by them as well, and no row is.
        if let Some(rare) = rare.filter(|(fit, _, has_needed)| *has_needed && fit.tenths > 0) {
            best = Some(rare);
        }
    }
    let Some((_, mut dialect, _)) = best else { return Ok(Sniffed::default()) };
    let notes = guess.notes(&dialect);
    dialect.stray_quotes = params.stray_quotes;
    Ok(Sniffed { dialect, notes })
}

struct Guess<'a> {
    params: &'a CsvParams,
    known: &'a Known<'a>,
    sample: &'a [u8],
    complete: bool,
    auto_delimiter: bool,
    auto_quote: bool,
    auto_escape: bool,
}

type Best = Option<(Fit, Dialect, bool)>;

impl Guess<'_> {
    /// The dialect that fits best, the likeliest of those that fit equally well.
    fn best(&self, delimiters: &[&str]) -> Result<Best, SourceError> {
        let delimiters = match self.params.given_delimiter().map_err(unusable)? {
            Given::As(delimiter) => vec![delimiter],
            Given::Auto => delimiters.iter().map(|delimiter| (*delimiter).to_owned()).collect(),
        };
        let mut best: Best = None;
        for delimiter in &delimiters {
            for dialect in self.candidates(delimiter)? {
                let Some((fit, has_needed)) = self.fit(&dialect) else { continue };
                if best.as_ref().is_none_or(|(best, ..)| fit > *best) {
                    best = Some((fit, dialect, has_needed));
                }
            }
        }
        Ok(best.map(|best| self.with_space(best)))
    }

    /// Every dialect of a delimiter that the parameters allow, the likeliest first. Strays count as defects in
    /// all of them: they are what tells a wrong dialect.
    fn candidates(&self, delimiter: &str) -> Result<Vec<Dialect>, SourceError> {
        let quotes = match self.params.given_quote().map_err(unusable)? {
            Given::As(quote) => vec![quote],
            Given::Auto if self.known.doubts.has(doubts::QUOTES) => vec![None],
            Given::Auto if self.known.doubts.has(doubts::APOSTROPHES) => vec![Some(QUOTE)],
            Given::Auto => vec![Some(QUOTE), Some(APOSTROPHE)],
        };
        let mut found = Vec::new();
        for quote in quotes.into_iter().filter(|q| q.is_none_or(|q| !delimiter.contains(q))) {
            let escapes = match self.params.given_escape().map_err(unusable)? {
                Given::As(escape) => vec![escape],
                Given::Auto if quote.is_none() => vec![None],
                Given::Auto => vec![quote, Some('\\')],
            };
            for spaces_before_quotes in self.spaces(delimiter, quote) {
                for escape in &escapes {
                    let delimiter = delimiter.to_owned();
                    let mut dialect = Dialect {
                        delimiter,
                        quote,
                        escape: *escape,
                        spaces_before_quotes,
                        ..Dialect::default()
                    };
                    dialect.line_end = match self.known.doubts.has(doubts::LONE_RETURNS) {
                        true => LineEnd::Any,
                        false => line_end(&dialect, self.sample, self.complete),
                    };
                    found.push(dialect);
                }
            }
        }
        Ok(found)
    }

    /// Whether spaces in front of quotes may be passed over.
    fn spaces(&self, delimiter: &str, quote: Option<char>) -> Vec<bool> {
        match (self.params.skip_initial_space, quote) {
            (_, None) => vec![false],
            (Some(given), _) => vec![given],
            (None, Some(quote)) => {
                let pattern = format!("{delimiter} {quote}");
                match memchr::memmem::find(self.sample, pattern.as_bytes()) {
                    Some(_) => vec![false, true],
                    None => vec![false],
                }
            }
        }
    }

    /// How well a dialect fits; `None` when its quote is none.
    fn fit(&self, dialect: &Dialect) -> Option<(Fit, bool)> {
        let trial = Trial::new(dialect, self.known.columns, self.sample, self.complete);
        if self.auto_quote && !self.has_evidence(dialect, &trial) {
            return None;
        }
        let header = trial.header(self.params.header_rows as usize);
        let (located, has_needed) = (self.known.located)(&header);
        let Trial { tenths, columns, quoted, .. } = trial;
        Some((Fit { located, tenths, columns, quoted }, has_needed))
    }

    /// Whether there is evidence for the quote of a dialect.
    ///
    /// An apostrophe is one if it holds a value together, or a whole column or every value stands in it: one title in
    /// apostrophes does not make it one. It must not win because the real quotes of the file are broken either: it
    /// would hide the defect and leave the quotes in the values.
    fn has_evidence(&self, dialect: &Dialect, trial: &Trial) -> bool {
        match dialect.quote {
            Some(APOSTROPHE) => {
                (trial.holds_quotes() || trial.stands_in_quotes()) && !trial.opens_with(QUOTE)
            }
            _ => true,
        }
    }

    /// The same with the space behind each delimiter as part of it, if there is one behind each.
    fn with_space(&self, best: (Fit, Dialect, bool)) -> (Fit, Dialect, bool) {
        let (fit, dialect, has_needed) = &best;
        let tried = self.auto_delimiter && !self.known.doubts.has(doubts::SPACES);
        if !tried || dialect.delimiter != "," || fit.columns < 2 {
            return self.without_quotes(best);
        }
        let spaced =
            Dialect { delimiter: ", ".to_owned(), spaces_before_quotes: false, ..dialect.clone() };
        let trial = Trial::new(&spaced, self.known.columns, self.sample, self.complete);
        if trial.rows() > 1 && trial.columns == fit.columns && trial.tenths == 10 {
            return (*fit, spaced, *has_needed);
        }
        self.without_quotes(best)
    }

    /// The same without quotes, if the file never uses them and only looks as if some were open: fields between
    /// tabs or bars are mostly not quoted.
    fn without_quotes(&self, best: (Fit, Dialect, bool)) -> (Fit, Dialect, bool) {
        let (fit, dialect, has_needed) = &best;
        let may = self.auto_quote && matches!(dialect.delimiter.as_str(), "\t" | "|");
        if !may || dialect.quote.is_none() {
            return best;
        }
        let trial = Trial::new(dialect, self.known.columns, self.sample, self.complete);
        let holds = trial.holds_quotes();
        if trial.unlikely_quotes() == 0 || holds && trial.mostly_closes() {
            return best;
        }
        let plain = Dialect { quote: None, escape: None, ..dialect.clone() };
        let without = Trial::new(&plain, self.known.columns, self.sample, self.complete);
        // Where some hold a value together and others swallow rows, the rows count: what is torn is set aside, and seen.
        if holds || without.tenths >= fit.tenths { (*fit, plain, *has_needed) } else { best }
    }

    /// Whether the values of a column stand in apostrophes that are taken for text, since they are few.
    fn stands_in_apostrophes(&self, dialect: &Dialect) -> bool {
        if memchr::memchr(APOSTROPHE as u8, self.sample).is_none() {
            return false;
        }
        let other =
            Dialect { quote: Some(APOSTROPHE), escape: Some(APOSTROPHE), ..dialect.clone() };
        let trial = Trial::new(&other, self.known.columns, self.sample, self.complete);
        trial.has_quoted_column(1) && !trial.opens_with(QUOTE)
    }

    /// What is not plain about the guess.
    fn notes(&self, dialect: &Dialect) -> Vec<String> {
        let mut notes = Vec::new();
        if self.auto_delimiter && !DELIMITERS.contains(&dialect.delimiter.as_str()) {
            let delimiter = &dialect.delimiter;
            let why = if delimiter == ", " {
                "a space stands behind each comma"
            } else {
                "only so the mapped columns are found"
            };
            notes.push(format!(
                "fields are taken to be separated by {delimiter:?}, for {why}; csv.delimiter says it otherwise"
            ));
        }
        if self.auto_quote && dialect.quote == Some(APOSTROPHE) {
            notes.push(
                "apostrophes are taken for quotes, for values hold delimiters within them; if they belong to the \
                 values, set csv.quote = \"\\\"\""
                    .to_owned(),
            );
        }
        if self.auto_quote && dialect.quote == Some(QUOTE) && self.stands_in_apostrophes(dialect) {
            notes.push(
                "a column whose few values all stand in apostrophes keeps them; if they are quotes, set csv.quote = \"'\""
                    .to_owned(),
            );
        }
        if self.auto_quote && dialect.quote.is_none() {
            notes.push(
                "quotes are taken for text, for no value is held together by them, or they would swallow more rows; if \
                 they are quotes, set csv.quote = \"\\\"\""
                    .to_owned(),
            );
        }
        if self.auto_escape && dialect.escape == Some('\\') {
            notes.push(
                "a backslash is taken to mark quotes and backslashes within quotes; if it belongs to the values, set \
                 csv.escape = \"\\\"\""
                    .to_owned(),
            );
        }
        if dialect.spaces_before_quotes && self.params.skip_initial_space.is_none() {
            notes.push(
                "spaces in front of quotes are passed over; if they belong to the values, set \
                 csv.skip_initial_space = false"
                    .to_owned(),
            );
        }
        if dialect.line_end == LineEnd::Any && memchr::memchr(b'\n', self.sample).is_some() {
            notes.push(
                "lines end in CR, and some in LF: both are taken for line ends; a LF within a value has to be \
                 in quotes"
                    .to_owned(),
            );
        }
        notes
    }
}
