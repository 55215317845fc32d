//! Owns what is noted of a file whose rows are lines of JSON: which of the mapped fields it has.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::layout::LinesLayout;
use super::reader::{LinesReader, Record};
use crate::domain::file::Layout;
use crate::sources::files::Wanted;
use crate::sources::files::format::{RowReader, Survey, Surveyed};
use crate::sources::rows::segments;
use crate::sources::{FirstRow, SourceError};
use crate::values::row::{Cell, Row};

/// Rows in which a key that was meant is looked for.
const LOOKED_THROUGH: usize = 5;

/// Looks for the mapped fields that no row has.
#[derive(Debug)]
pub struct LinesSurvey {
    /// Their numbers and names.
    absent: Vec<(usize, String)>,
    present: BTreeSet<String>,
    meant: BTreeMap<String, String>,
    looked_through: usize,
}

impl LinesSurvey {
    /// Looks for these: first in what the file says of its rows, if it does.
    pub fn new(wanted: &[Wanted], reader: &LinesReader) -> Self {
        let labels = wanted.iter().map(|wanted| wanted.locator.label());
        let labels = labels.enumerate().filter_map(|(at, label)| Some((at, label?.to_owned())));
        let mut survey = Self {
            absent: labels.collect(),
            present: BTreeSet::new(),
            meant: BTreeMap::new(),
            looked_through: 0,
        };
        if let Some(described) = &reader.described {
            survey.look(reader, described);
        }
        survey
    }

    /// Looks through a row for the fields that none had so far.
    fn look(&mut self, reader: &LinesReader, record: &Value) {
        let row = reader.rows.row(record);
        let Self { absent, present, .. } = self;
        absent.retain(|(at, label)| {
            let is_absent = row.cell(*at) == Cell::Missing;
            if !is_absent {
                present.insert(label.clone());
            }
            is_absent
        });
        if self.looked_through < LOOKED_THROUGH {
            self.looked_through += 1;
            for (_, label) in &self.absent {
                let path = match label.starts_with('$') {
                    true => Cow::Borrowed(label.as_str()),
                    false => Cow::Owned(format!("$['{label}']")),
                };
                if let Some(meant) = segments::meant(&path, record) {
                    let plain = meant.strip_prefix("$.").filter(|_| !label.starts_with('$'));
                    let meant = plain.unwrap_or(&meant).to_owned();
                    self.meant.entry(label.clone()).or_insert(meant);
                }
            }
        }
    }
}

impl Survey<LinesReader> for LinesSurvey {
    fn row(
        &mut self,
        reader: &LinesReader,
        content: &[u8],
        _: &[u8],
        buffer: &mut Record,
        visit: &mut dyn FnMut(&dyn Row),
    ) {
        if !self.absent.is_empty()
            && let Ok(record) = reader.record(content)
        {
            self.look(reader, &record);
        }
        if let Some(row) = reader.read_key(content, buffer) {
            visit(&row);
        }
    }

    fn known_end(&mut self) {}

    fn met(&self) -> Option<&BTreeSet<String>> {
        Some(&self.present)
    }

    fn finish(self, _: &str, _: i64, layout: Layout) -> Result<Surveyed, SourceError> {
        let mut layout = LinesLayout::load(&layout)?;
        // Of a file without a good row nobody can tell.
        if self.looked_through > 0 {
            let absent: BTreeSet<String> =
                self.absent.into_iter().map(|(_, label)| label).collect();
            layout.meant = self.meant;
            layout.meant.retain(|label, _| absent.contains(label));
            layout.present = Some(self.present);
        }
        Ok(Surveyed { layout: layout.store()?, widths: None, first_row: FirstRow::Data })
    }
}
