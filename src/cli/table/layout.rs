//! Owns how the columns of a table find room: which stand beside each other, how wide, and what goes below
//! a row.

use console::{measure_text_width, truncate_str};

use super::super::wrap::fold;
use super::{Cell, GAP, Kind, Style, Table, Tone, toned};

const SHORTEST_NAME: usize = 8;

impl Table {
    /// Which columns stand beside each other, how wide, where there are so many columns of text.
    pub(super) fn layout(&self, room: Option<usize>) -> Layout {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let beside: Vec<usize> = all
            .iter()
            .copied()
            .filter(|column| !matches!(self.columns[*column].1, Kind::Count | Kind::Text))
            .collect();
        let mut layout = self.natural(&all, room);
        let Some(room) = room else { return layout };
        if layout.total() > room && !beside.is_empty() {
            layout = self.natural(&beside, Some(room));
        }
        let is_name = |column: &usize| self.columns[*column].1 == Kind::Name;
        while layout.total() > room {
            // From the right: what names a row comes first, and people copy names.
            let others = layout.columns.iter().rposition(|column| !is_name(column));
            let widest = (0..layout.columns.len())
                .filter(|at| is_name(&layout.columns[*at]) && layout.widths[*at] > SHORTEST_NAME)
                .max_by_key(|at| layout.widths[*at]);
            match (others.filter(|at| *at > 0), widest) {
                (Some(at), _) => {
                    let mut keep = layout.columns.clone();
                    keep.remove(at);
                    layout = self.natural(&keep, Some(room));
                }
                (None, Some(at)) => layout.widths[at] -= 1,
                (None, None) if layout.columns.len() > 1 => {
                    let keep = layout.columns[..layout.columns.len() - 1].to_vec();
                    layout = self.natural(&keep, Some(room));
                }
                (None, None) => break,
            }
        }
        layout
    }

    /// As wide as their content, but a name takes no more than half of the room: a single long
    /// one moves nothing of the other rows.
    fn natural(&self, columns: &[usize], room: Option<usize>) -> Layout {
        let width = |column: &usize| {
            let cells = self.rows.iter().map(|row| measure_text_width(&row[*column].text));
            let widest = cells.max().unwrap_or(0).max(measure_text_width(self.columns[*column].0));
            match (room, self.columns[*column].1) {
                (Some(room), Kind::Name) => widest.min((room / 2).max(SHORTEST_NAME)),
                _ => widest,
            }
        };
        Layout { columns: columns.to_vec(), widths: columns.iter().map(width).collect() }
    }
}

pub(super) struct Layout {
    columns: Vec<usize>,
    widths: Vec<usize>,
}

impl Layout {
    fn total(&self) -> usize {
        self.widths.iter().sum::<usize>() + GAP.len() * self.widths.len().saturating_sub(1)
    }

    pub(super) fn lines(&self, table: &Table, style: &Style) -> Vec<String> {
        let header = |column: usize| Cell::from(table.columns[column].0);
        let mut lines = vec![self.line(table, header, style)];
        for row in &table.rows {
            lines.push(self.line(table, |column| row[column].clone(), style));
            lines.extend(self.below(table, row, style));
        }
        lines
    }

    fn line(&self, table: &Table, cell: impl Fn(usize) -> Cell, style: &Style) -> String {
        let cells = self.columns.iter().zip(&self.widths).map(|(column, width)| {
            let cell = cell(*column);
            let text = match table.columns[*column].1 {
                Kind::Name => truncate_str(&cell.text, *width, "…").into_owned(),
                _ => cell.text,
            };
            let space = " ".repeat(width.saturating_sub(measure_text_width(&text)));
            let shown = toned(&text, cell.tone, style);
            match table.columns[*column].1 {
                Kind::Id | Kind::Count => format!("{space}{shown}"),
                _ => format!("{shown}{space}"),
            }
        });
        cells.collect::<Vec<_>>().join(GAP)
    }

    /// The values that had no room, or not enough, under the second column.
    fn below(&self, table: &Table, row: &[Cell], style: &Style) -> Vec<String> {
        let mut parts = Vec::new();
        let (mut names, mut texts) = (Vec::new(), Vec::new());
        let mut counts = 0;
        for (column, (header, kind)) in table.columns.iter().enumerate() {
            let Cell { text, tone } = &row[column];
            let beside = self.columns.iter().position(|beside| *beside == column);
            let is_whole = beside.is_some_and(|at| measure_text_width(text) <= self.widths[at]);
            if is_whole || text.is_empty() {
                continue;
            }
            match kind {
                Kind::Text => texts.push((text.clone(), *tone)),
                // On a line of its own: it is copied.
                Kind::Name => names.push((format!("{header} {text}"), *tone)),
                Kind::Count => {
                    counts += 1;
                    // The first says that there was nothing.
                    if text != "0" || counts == 1 {
                        parts.push((format!("{text} {header}"), *tone));
                    }
                }
                _ => parts.push((format!("{header} {text}"), *tone)),
            }
        }
        // Under the second column, unless that is far.
        let indent = match self.widths.as_slice() {
            [first, _, ..] if *first < SHORTEST_NAME => first + GAP.len(),
            _ => GAP.len(),
        };
        let room = style.width.map(|width| width.saturating_sub(indent));
        let folded = |(text, tone): &(String, Tone), hang| {
            let lines = fold(text, room, hang).into_iter();
            lines.map(|line| toned(&line, *tone, style)).collect::<Vec<_>>()
        };
        let mut lines: Vec<String> =
            names.iter().flat_map(|name| folded(name, GAP.len())).collect();
        lines.extend(flowing(&parts, room, style));
        lines.extend(texts.iter().flat_map(|text| folded(text, 0)));
        lines.into_iter().map(|line| format!("{}{line}", " ".repeat(indent))).collect()
    }
}

/// Parts one after another, as many on a line as it has room for.
fn flowing(parts: &[(String, Tone)], room: Option<usize>, style: &Style) -> Vec<String> {
    // Each with its width; nothing goes behind a part that has lines of its own.
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, (part, tone)) in parts.iter().enumerate() {
        let comma = if at + 1 < parts.len() { "," } else { "" };
        let width = measure_text_width(part) + comma.len();
        let shown = format!("{}{comma}", toned(part, *tone, style));
        match lines.last_mut() {
            Some((used, line)) if room.is_none_or(|room| *used + 1 + width <= room) => {
                line.push(' ');
                line.push_str(&shown);
                *used += 1 + width;
            }
            _ if room.is_some_and(|room| width > room) => {
                let folded = fold(&format!("{part}{comma}"), room, GAP.len());
                let toned = folded.iter().map(|line| toned(line, *tone, style));
                lines.extend(toned.map(|line| (usize::MAX / 2, line)));
            }
            _ => lines.push((width, shown)),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}
