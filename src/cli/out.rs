//! Owns what is printed: results on standard output, remarks on standard error, and how both look.
//!
//! Printing never stops the work. A reader that has seen enough (`| head -1`) is no error; any other
//! loss of standard output is reported when the command ends, by [`failure`].

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use clap::ColorChoice;
use serde::Serialize;

use super::facts::Facts;
use super::table::{Style, Table};
use super::wrap::fold;
use crate::domain::text::{escape_in_json, printable, printable_lines};
use crate::telemetry::StepAside;

/// Why standard output cannot be written any more.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);
static COLOR: OnceLock<ColorChoice> = OnceLock::new();
/// How far the further lines of a long one hang in.
const HANG: usize = 2;
/// In a window that is narrower, the terminal breaks lines as it likes.
const NARROWEST: usize = 20;

/// What draws on the terminal.
static DRAWING: OnceLock<Box<dyn StepAside>> = OnceLock::new();

/// From now on this steps aside for each remark.
pub(super) fn set_drawing(drawing: impl StepAside) {
    let _ = DRAWING.set(Box::new(drawing));
}

/// Says what was asked for on the command line; to be called before anything is printed.
pub(super) fn set_color(choice: ColorChoice) {
    let _ = COLOR.set(choice);
}

/// A line of the result: one, whatever the text holds.
pub(super) fn line(text: impl Display) {
    text_hanging(&format!("{}\n", printable(&text.to_string())), HANG);
}

/// A line of the result that people copy: never broken.
pub(super) fn verbatim(text: impl Display) {
    raw(&format!("{}\n", printable_lines(&text.to_string())));
}

/// A table of the result, as wide as the terminal.
pub(super) fn table(table: &Table) {
    raw(&table.render(&style()));
}

/// The result as a document for programs.
pub(super) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    raw(&format!("{}\n", escape_in_json(&serde_json::to_string_pretty(document)?)));
    Ok(())
}

/// Lines of the result; those that are too long for the terminal go on further in.
pub(super) fn text_hanging(text: &str, hang: usize) {
    raw(&fold(&printable_lines(text), style().width, hang).join("\n"));
}

/// Lines of the result.
pub(super) fn text(text: &str) {
    text_hanging(text, HANG);
}

/// What is known of one thing.
pub(super) fn facts(facts: &Facts) {
    raw(&facts.render(&style()));
}

/// A part of the result, as it is.
pub(super) fn raw(text: &str) {
    let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    if lost.is_none() {
        let mut out = io::stdout().lock();
        *lost = out.write_all(text.as_bytes()).and_then(|()| out.flush()).err();
    }
}

/// A part of a result that may be large. Answers whether somebody still reads.
pub(super) fn bytes(bytes: &[u8]) -> bool {
    let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    if lost.is_none() {
        let mut out = io::stdout().lock();
        *lost = out.write_all(bytes).and_then(|()| out.flush()).err();
    }
    lost.is_none()
}

/// A remark beside the result. When it cannot be written, it is dropped.
pub(super) fn remark(text: impl Display) {
    let width = io::stderr().is_terminal().then(|| width(&console::Term::stderr()));
    let lines = fold(&printable_lines(&text.to_string()), width, HANG);
    let text = format!("{}\n", lines.join("\n"));
    let mut write = || io::stderr().lock().write_all(text.as_bytes());
    let _ = match DRAWING.get() {
        Some(drawing) => drawing.step_aside(&mut write),
        None => write(),
    };
}

/// Why part of the result is missing, unless its reader did not want it.
pub(super) fn failure() -> Option<io::Error> {
    let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
    lost.take().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// How standard output looks.
pub(super) fn style() -> Style {
    let terminal = io::stdout().is_terminal();
    Style { width: terminal.then(|| width(&console::Term::stdout())), color: is_colored(terminal) }
}

/// Whether log lines are coloured.
pub(super) fn colors_log() -> bool {
    is_colored(io::stderr().is_terminal())
}

/// Columns of a terminal; some do not say.
fn width(terminal: &console::Term) -> usize {
    let columns = terminal.size_checked().map_or(80, |(_, columns)| columns.into());
    columns.max(NARROWEST)
}

fn is_colored(terminal: bool) -> bool {
    let variable = |name: &str| std::env::var(name).ok();
    colored(COLOR.get().copied().unwrap_or_default(), terminal, variable)
}

/// The flag wins; then `NO_COLOR` and `CLICOLOR_FORCE` whatever reads, then a terminal that can.
fn colored(choice: ColorChoice, terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR").is_some() => false,
        ColorChoice::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        ColorChoice::Auto => {
            let forbidden = set("CLICOLOR").is_some_and(|value| value == "0")
                || set("TERM").is_some_and(|value| value == "dumb");
            terminal && !forbidden
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_the_flag_or_a_variable_says_otherwise() {
        let colored = |choice, terminal, given: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = given.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            colored(choice, terminal, variable)
        };
        let auto = ColorChoice::Auto;
        assert!(colored(auto, true, &[]) && !colored(auto, false, &[]));
        assert!(!colored(auto, true, &[("NO_COLOR", "1")]));
        assert!(colored(auto, true, &[("NO_COLOR", "")]), "an empty variable says nothing");
        assert!(!colored(auto, true, &[("CLICOLOR", "0")]));
        assert!(!colored(auto, true, &[("TERM", "dumb")]));
        assert!(colored(auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!colored(auto, false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
        assert!(colored(ColorChoice::Always, false, &[("NO_COLOR", "1")]));
        assert!(!colored(ColorChoice::Never, true, &[("CLICOLOR_FORCE", "1")]));
    }
}
