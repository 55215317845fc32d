//! Owns tables for people, at any width: a value is never broken over two lines.
//!
//! What does not fit beside the rest goes below its row; names are shortened last. Notes stand below
//! the table. Where nobody's window is known, as in a pipe, a row is one line however long it is.

mod layout;

use super::wrap::fold;
use crate::domain::text::printable;

/// How output looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Columns of the terminal, if there is one.
    pub width: Option<usize>,
    /// Whether there are colours.
    pub color: bool,
}

/// What a column holds, and so what may be done to it where there is little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A number that names or orders something.
    Id,
    /// A word, a time: whole or not at all.
    Word,
    /// A name, which people copy: shortened last, to 8 columns if need be, and then whole below.
    Name,
    /// A number of things; below the row where there is no room: `3 read, 2 inserted`.
    Count,
    /// Sentences; below the row where there is no room.
    Text,
}

/// How a value is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing to see.
    #[default]
    Plain,
    /// Look at it.
    Warning,
    /// Something is broken.
    Bad,
}

/// A value of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

/// Rows under headers, and notes below.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    columns: Vec<(&'static str, Kind)>,
    rows: Vec<Vec<Cell>>,
    notes: Vec<(String, Cell)>,
    empty: &'static str,
    few: bool,
}

const GAP: &str = "  ";
/// Lines that a note may take in a window, so that the notes of many runs leave room for their table.
const NOTE_LINES: usize = 4;
/// … and where the notes are what one waits for.
const NOTE_LINES_OF_FEW: usize = 24;

impl Cell {
    /// A value; control characters are shown, not sent to the terminal.
    pub(super) fn new(text: impl ToString, tone: Tone) -> Self {
        Self { text: printable(&text.to_string()).into_owned(), tone }
    }
}

impl Cell {
    /// The value outside of a table.
    pub(super) fn shown(&self, style: &Style) -> String {
        toned(&self.text, self.tone, style)
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl Table {
    /// A table that says `empty` when it has no rows.
    pub(super) fn new(empty: &'static str) -> Self {
        Self { empty, ..Self::default() }
    }

    /// Adds a column of numbers that name or order something.
    pub(super) fn id(self, header: &'static str) -> Self {
        self.column(header, Kind::Id)
    }

    /// Adds a column of words or times.
    pub(super) fn word(self, header: &'static str) -> Self {
        self.column(header, Kind::Word)
    }

    /// Adds a column of names.
    pub(super) fn name(self, header: &'static str) -> Self {
        self.column(header, Kind::Name)
    }

    /// Adds a column of numbers of things.
    pub(super) fn count(self, header: &'static str) -> Self {
        self.column(header, Kind::Count)
    }

    /// Adds a column of sentences.
    pub(super) fn text(self, header: &'static str) -> Self {
        self.column(header, Kind::Text)
    }

    fn column(mut self, header: &'static str, kind: Kind) -> Self {
        self.columns.push((header, kind));
        self
    }

    /// Adds a row, a value for each column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Adds a note below the table, about what `title` names.
    pub(super) fn note(&mut self, title: impl ToString, note: Cell) {
        self.notes.push((printable(&title.to_string()).into_owned(), note));
    }

    /// Gives the notes room to be read whole: they belong to what the person has just begun.
    pub(super) fn of_few(mut self) -> Self {
        self.few = true;
        self
    }

    /// The lines of the table.
    pub(super) fn render(&self, style: &Style) -> String {
        let mut lines = match self.rows.is_empty() {
            true => vec![self.empty.to_owned()],
            false => self.layout(style.width).lines(self, style),
        };
        for (title, note) in &self.notes {
            let most = if self.few { NOTE_LINES_OF_FEW } else { NOTE_LINES };
            lines.extend(note_lines(title, note, style, most));
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

fn note_lines(title: &str, note: &Cell, style: &Style, most: usize) -> Vec<String> {
    let mut lines = fold(&format!("{title}: {}", note.text), style.width, GAP.len());
    if let Some(width) = style.width
        && lines.len() > most
    {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            // Whole words: a number that is cut through reads as another.
            let kept = fold(last, Some(width.saturating_sub(2)), 0).swap_remove(0);
            *last = format!("{kept} …");
        }
    }
    lines.iter().map(|line| toned(line, note.tone, style)).collect()
}

fn toned(text: &str, tone: Tone, style: &Style) -> String {
    let painted = console::Style::new().force_styling(style.color);
    let painted = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Warning => painted.yellow(),
        Tone::Bad => painted.red(),
    };
    painted.apply_to(text).to_string()
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;
    use proptest::prelude::*;

    use super::*;

    fn people(rows: &[[&str; 6]]) -> Table {
        let mut table = Table::new("nobody")
            .id("run")
            .name("source")
            .word("status")
            .count("read")
            .count("quarantined")
            .text("description");
        for row in rows {
            table.row(row.map(Cell::from));
        }
        table
    }

    fn at(width: usize) -> Style {
        Style { width: Some(width), color: false }
    }

    #[test]
    fn what_fits_stands_in_columns_and_numbers_to_the_right() {
        let table = people(&[
            ["7", "shop", "success", "400000", "0", "A price list"],
            ["12", "vendors_csv", "failed", "3", "1", ""],
        ]);
        let expected = "\
run  source       status     read  quarantined  description
  7  shop         success  400000            0  A price list
 12  vendors_csv  failed        3            1
";
        assert_eq!(table.render(&Style::default()), expected);
        assert_eq!(table.render(&at(80)), table.render(&Style::default()));
    }

    #[test]
    fn what_does_not_fit_goes_below_its_row_and_names_are_shortened_last() {
        let table = people(&[["7", "a_very_long_name", "success", "400000", "1", "A price list"]]);
        let expected = "\
run  source            status
  7  a_very_long_name  success
     400000 read, 1 quarantined
     A price list
";
        assert_eq!(table.render(&at(40)), expected);
        let expected = "\
run  source
  7  a_very_lon…
     source
       a_very_long_name
     status success,
     400000 read,
     1 quarantined
     A price list
";
        assert_eq!(table.render(&at(23)), expected);
        let expected = "\
run  source
  7  a_very_lo…
     source
       a_very_long_
       name
     status success,
     400000 read,
     1 quarantined
     A price list
";
        assert_eq!(table.render(&at(20)), expected);
    }

    #[test]
    fn names_that_people_copy_are_whole_where_others_give_way() {
        let mut table = Table::new("")
            .id("rows")
            .name("source")
            .name("field")
            .word("reason")
            .word("fingerprint");
        let hash = "f8e807caf6884500ddb9c6b261742807";
        table.row(
            ["1", "products_of_vendors", "unit_price", "invalid_decimal", hash].map(Cell::from),
        );
        let shown = table.render(&at(80));
        assert!(shown.contains("products_of_vendors  unit_price"), "{shown}");
        assert!(shown.contains(&format!("fingerprint {hash}")), "{shown}");
        // A single long name moves nothing, and is whole all the same.
        let long = "x".repeat(70);
        table.row(["2", "shop", &long, "invalid_decimal", hash].map(Cell::from));
        let shown = table.render(&at(80));
        assert!(shown.contains(&format!("      {long}\n")), "{shown}");
        assert!(shown.contains("  unit_price"), "{shown}");
    }

    #[test]
    fn notes_stand_below_broken_between_words_and_end_somewhere() {
        let mut table = people(&[["7", "shop", "failed", "0", "0", ""]]);
        table.note("run 7", Cell::new("the file data/shop.csv cannot be read", Tone::Bad));
        let expected = "\
run 7: the file data/shop.csv
  cannot be read
";
        assert!(table.render(&at(30)).ends_with(expected), "{}", table.render(&at(30)));
        table.note("run 7", "word ".repeat(400).into());
        assert!(table.render(&at(80)).lines().count() <= 2 + 1 + NOTE_LINES);
        assert!(table.render(&at(80)).trim_end().ends_with('…'));
        let lines = table.clone().of_few().render(&at(80)).lines().count();
        assert!(lines > 2 + 1 + NOTE_LINES && lines <= 2 + 1 + NOTE_LINES_OF_FEW);
        assert_eq!(table.render(&Style::default()).lines().count(), 4, "a pipe has it whole");
    }

    #[test]
    fn colours_do_not_move_columns_and_escapes_of_others_are_shown() {
        let mut table = Table::new("").name("source").word("status");
        table.row([Cell::from("\u{1b}[2Jx"), Cell::new("failed", Tone::Bad)]);
        let plain = table.render(&at(80));
        assert!(plain.contains("\\u{1b}[2Jx") && !plain.contains('\u{1b}'), "{plain}");
        let colored = table.render(&Style { color: true, ..at(80) });
        assert!(colored.contains("\u{1b}[31mfailed\u{1b}[0m"), "{colored:?}");
        assert_eq!(console::strip_ansi_codes(&colored), plain);
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert_eq!(people(&[]).render(&at(80)), "nobody\n");
    }

    proptest! {
        /// 400,000 read as 40,000 is the worst that a table can do.
        #[test]
        fn numbers_and_words_are_whole_at_every_width(
            width in 1usize..220,
            numbers in prop::collection::vec((0u64..=u64::MAX, 0u64..=u64::MAX), 1..4),
            name in "[a-z_]{1,63}",
        ) {
            let mut table = people(&[]);
            for (id, count) in &numbers {
                table.row([
                    Cell::from(id),
                    Cell::from(&name),
                    Cell::from("success_with_duplicates"),
                    Cell::from(count),
                    Cell::from(count),
                    Cell::from("some words"),
                ]);
            }
            table.note("run 1", "more words, and a last one".into());
            let shown = table.render(&at(width));
            let words: Vec<&str> = shown.split([' ', '\n', ',']).collect();
            for (id, count) in &numbers {
                prop_assert!(words.contains(&id.to_string().as_str()), "{shown}");
                prop_assert!(words.contains(&count.to_string().as_str()), "{shown}");
            }
            // Narrower, the word alone is too long.
            prop_assert!(width < 30 || words.contains(&"success_with_duplicates"), "{shown}");
            // Below that a number and its word may be wider than the window.
            if width >= 60 {
                let widest = shown.lines().map(measure_text_width).max().unwrap_or(0);
                prop_assert!(widest <= width, "{widest} > {width}\n{shown}");
            }
        }
    }
}
