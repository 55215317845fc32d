//! Owns what is kept of a workbook: its columns, and how it was read.

use serde::{Deserialize, Serialize};

use super::params::TABLE;
use super::table::{ROW, SHEET, SheetColumns};
use crate::domain::file::Layout;
use crate::domain::text::quoted;
use crate::sources::files::Wanted;
use crate::sources::files::columns::{self, Unresolved};
use crate::sources::rows::lines::{Lines, LinesReader};
use crate::sources::{AbsentColumn, SourceError, SourceErrorKind};
use crate::values::field::Locator;

/// A decided layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct XlsxLayout {
    /// The columns as the headers call them.
    pub columns: Vec<String>,
    /// The columns of each sheet, where sheets differ in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sheets: Vec<SheetColumns>,
    /// What was decided that somebody may want otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The most bytes of a row.
    pub max_row_bytes: u64,
    /// Bytes after which a chunk ends at the next row.
    pub chunk_size: u64,
    /// The parameters under which it was read.
    pub declared: String,
}

impl XlsxLayout {
    /// The stored form.
    ///
    /// # Errors
    /// Never in practice: the layout has nothing that JSON lacks.
    pub fn store(&self) -> Result<Layout, SourceError> {
        serde_json::to_value(self).map(Layout::new).map_err(|error| {
            let message = format!("the layout of a workbook cannot be stored: {error}");
            SourceError::new(SourceErrorKind::Internal, message)
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When another version of kasparro wrote it.
    pub fn load(layout: &Layout) -> Result<Self, SourceError> {
        Self::deserialize(layout.value()).map_err(|error| {
            let message = format!(
                "the stored layout of a workbook is not one of this version of kasparro ({error})"
            );
            SourceError::new(SourceErrorKind::InvalidState, message)
                .advise("run the source with mode = full")
        })
    }

    /// Whether there is a table at all.
    pub fn has_table(&self) -> bool {
        self.columns.iter().any(|name| name != SHEET && name != ROW)
    }

    /// The mapped columns that the workbook lacks, or one of its sheets.
    pub fn lacking(&self, wanted: &[Wanted]) -> Vec<AbsentColumn> {
        let mut lacking = columns::lacking(&self.columns, wanted);
        for SheetColumns { sheet, columns } in &self.sheets {
            let part = Some(format!("the sheet {}", quoted(sheet)));
            for absent in columns::lacking(&with_place(columns), wanted) {
                if !lacking.iter().any(|known| known.column == absent.column) {
                    lacking.push(AbsentColumn { part: part.clone(), ..absent });
                }
            }
        }
        lacking
    }

    /// Says which sheets lack a mapped column that others have: their rows have no value for it.
    pub fn with_notes_of_sheets(mut self, wanted: &[Wanted]) -> Self {
        let of_sheets = self.lacking(wanted).into_iter().filter_map(|absent| {
            let part = absent.part?;
            Some(format!("{part} has no column {}, which others have", quoted(&absent.column)))
        });
        self.notes.extend(of_sheets.collect::<Vec<_>>());
        self
    }

    /// Refuses a sheet in which a field would be found under another name than in the others: its values would be lost.
    fn refuse_other_names(
        &self,
        file: &str,
        sheet: &SheetColumns,
        wanted: &[Wanted],
        found: &[Option<usize>],
    ) -> Result<(), SourceError> {
        let own = with_place(&sheet.columns);
        // Rows of a sheet that lacks a column are set aside, or have no value.
        let optional: Vec<_> =
            wanted.iter().map(|wanted| Wanted { needed: false, ..wanted.clone() }).collect();
        let there = columns::resolve(&own, &optional).map_err(|unresolved| {
            unresolved.in_file(&format!("{file}, sheet {}", sheet.sheet), &own)
        })?;
        let names = found
            .iter()
            .zip(there)
            .filter_map(|(all, there)| Some((&self.columns[(*all)?], own[there?].as_str())));
        match names.into_iter().find(|(all, there)| all != there) {
            None => Ok(()),
            Some((all, there)) => {
                let message = format!(
                    "{file}: the sheet {} calls a column {}, and others call it {}",
                    quoted(&sheet.sheet),
                    quoted(there),
                    quoted(all)
                );
                Err(SourceError::new(SourceErrorKind::InvalidFile, message).advise(
                    "give it one name in all sheets, or read them by two job files with xlsx.sheets",
                ))
            }
        }
    }

    /// Reads rows for the locators of a mapping: a column is the key of that name in a row.
    ///
    /// # Errors
    /// When a needed column is absent, or a name fits two columns.
    pub fn reader(&self, file: &str, wanted: &[Wanted]) -> Result<LinesReader, SourceError> {
        // An empty workbook has no columns to find.
        let wanted = if self.has_table() { wanted } else { &[] };
        let found = columns::resolve(&self.columns, wanted).map_err(|unresolved| match unresolved {
            Unresolved::Ambiguous(name, one, other) if self.columns[one] == self.columns[other] => {
                let message = format!("{file}: two columns are called {}, and it is mapped", quoted(name));
                SourceError::new(SourceErrorKind::InvalidFile, message)
                    .advise("leave one of them out with xlsx.columns, or give them different names in the workbook")
            }
            unresolved => unresolved.in_file(file, &self.columns),
        })?;
        for sheet in &self.sheets {
            self.refuse_other_names(file, sheet, wanted, &found)?;
        }
        let keys = columns::distinct(&self.columns);
        let named = |(wanted, column): (&Wanted, Option<usize>)| {
            let name = column.and_then(|at| keys.get(at)).cloned();
            let locator = match wanted.locator {
                Locator::Whole(part) => Locator::Whole(part),
                _ => name.map_or(Locator::Nowhere, Locator::Named),
            };
            Wanted { locator, ..wanted.clone() }
        };
        let wanted: Vec<Wanted> = wanted.iter().zip(found).map(named).collect();
        let lines = Lines {
            table: TABLE,
            max_row_bytes: self.max_row_bytes,
            transcoded: None,
            marked: true,
            place: &[SHEET, ROW],
        };
        LinesReader::new(&lines, &wanted)
    }
}

/// The columns of a sheet, with those that say where a row was.
fn with_place(columns: &[String]) -> Vec<String> {
    columns.iter().cloned().chain([SHEET.to_owned(), ROW.to_owned()]).collect()
}
