//! Owns how one thing is shown: a headline, and below it a line for each thing that is known.

use super::table::{Cell, Style};
use super::wrap::fold;
use crate::domain::text::{printable, printable_lines};

/// What is known of a run, a source …
pub(super) struct Facts {
    head: String,
    state: Option<Cell>,
    facts: Vec<(&'static str, String)>,
}

/// Columns of the titles, with the spaces around them.
const TITLES: usize = 14;

impl Facts {
    /// Nothing is known but the name; `state` follows it.
    pub fn new(head: &str, state: Option<Cell>) -> Self {
        Self { head: printable(head).into_owned(), state, facts: Vec::new() }
    }

    /// Adds a fact, of several lines perhaps.
    pub fn say(&mut self, title: &'static str, text: impl Into<String>) {
        self.facts.push((title, text.into()));
    }

    /// The lines.
    pub fn render(&self, style: &Style) -> String {
        let state = self.state.as_ref().map(|state| state.shown(style)).unwrap_or_default();
        let mut lines = fold(&format!("{}{state}", self.head), style.width, 2);
        for (title, text) in &self.facts {
            let indent = style.width.map_or(TITLES, |width| TITLES.min(width / 3));
            let room = style.width.map(|width| width - indent);
            let texts = fold(&printable_lines(text), room, 0);
            for (at, text) in texts.iter().enumerate() {
                let title = if at == 0 { format!("  {title}") } else { String::new() };
                // In a narrow window a title takes a line of its own.
                if title.len() >= indent {
                    lines.push(title);
                    lines.push(format!("{:indent$}{text}", ""));
                } else {
                    lines.push(format!("{title:indent$}{text}"));
                }
            }
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stand_beside_their_titles_or_below_them_where_it_is_narrow() {
        let mut facts = Facts::new("run 7 of shop: ", Some(Cell::from("failed")));
        facts.say("rows", "400000 read, 2 inserted");
        facts.say("error", "first line\nsecond\u{1b} line");
        let wide = Style::default();
        assert_eq!(
            facts.render(&wide),
            "run 7 of shop: failed\n  rows        400000 read, 2 inserted\n  error       first line\n              \
             second\\u{1b} line\n"
        );
        let narrow = facts.render(&Style { width: Some(20), color: false });
        assert_eq!(
            narrow,
            "run 7 of shop:\n  failed\n  rows\n      400000 read, 2\n      inserted\n  error\n      first line\n      \
             second\\u{1b}\n      line\n"
        );
    }
}
