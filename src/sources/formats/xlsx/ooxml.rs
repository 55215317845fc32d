//! Owns workbooks of Excel since 2007 (.xlsx, .xlsm): where in the archive what is, and the sheets as they are written.
//!
//! Numbers stay as they are written: read as a binary fraction, `0.1` would be another number.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::book::{Book, Merged, SheetRows, Worksheet, damaged};
use super::cell::{Cell, MAX_COLUMNS, SheetRow, column_of, place};
use super::dates::{self, Shows};
use super::strings::Strings;
use super::xml::{Piece, Tag, Xml, unescaped};
use crate::sources::files::unpack::{Archive, Bytes};

/// The most merged cells that are looked at.
const MAX_MERGED: usize = 10_000;

/// Whether an archive is such a workbook.
pub(super) fn is_one(archive: &Archive) -> bool {
    archive.names().iter().any(|name| is_same(name, "xl/workbook.xml"))
        || archive.names().iter().any(|name| is_same(name, "[Content_Types].xml"))
            && !archive
                .names()
                .iter()
                .any(|name| name.ends_with(".bin") && name.contains("workbook"))
}

/// A workbook.
pub(super) struct Workbook {
    archive: Archive,
    sheets: Vec<Worksheet>,
    /// The member of each.
    parts: Vec<String>,
    known: Arc<Known>,
}

/// What cells are read by.
#[derive(Debug, Default)]
struct Known {
    strings: Strings,
    /// What the numbers of each style show.
    styles: Vec<Shows>,
    since_1904: bool,
}

/// A member that another one leads to.
struct Relation {
    kind: String,
    target: String,
}

impl Workbook {
    /// Reads all but the sheets.
    pub fn of(mut archive: Archive) -> io::Result<Self> {
        let roots = relations(&mut archive, "")?;
        let root = roots.values().find(|to| to.kind.ends_with("/officeDocument"));
        let root = root.map_or_else(|| "xl/workbook.xml".to_owned(), |to| to.target.clone());
        let related = relations(&mut archive, &root)?;
        let (mut sheets, mut parts, mut since_1904) = (Vec::new(), Vec::new(), false);
        let mut xml = Xml::of(
            member(&mut archive, &root)?.ok_or_else(|| damaged("it has no list of sheets"))?,
        );
        loop {
            match xml.next()? {
                Piece::Open(tag) if tag.name == "workbookPr" => {
                    since_1904 =
                        tag.get("date1904").is_some_and(|value| matches!(&*value, "1" | "true"));
                }
                Piece::Open(tag) if tag.name == "sheet" => {
                    let to = tag.get("id").and_then(|id| related.get(&id));
                    // A chart has no cells.
                    if let Some(to) = to.filter(|to| to.kind.ends_with("/worksheet")) {
                        let hidden = tag.get("state").is_some_and(|state| state != "visible");
                        let name = tag.get("name").unwrap_or_default();
                        sheets.push(Worksheet { name: unescaped(name), hidden });
                        parts.push(to.target.clone());
                    }
                }
                Piece::End => break,
                _ => {}
            }
        }
        let mut part = |kind: &str| -> io::Result<Option<Xml>> {
            let Some(to) = related.values().find(|to| to.kind.ends_with(kind)) else {
                return Ok(None);
            };
            Ok(member(&mut archive, &to.target)?.map(Xml::of))
        };
        let strings = part("/sharedStrings")?.map(Strings::of).transpose()?.unwrap_or_default();
        let styles = part("/styles")?.map(styles).transpose()?.unwrap_or_default();
        let known = Arc::new(Known { strings, styles, since_1904 });
        Ok(Self { archive, sheets, parts, known })
    }

    fn sheet(&mut self, sheet: usize) -> io::Result<Xml> {
        let part = self.parts.get(sheet).cloned().unwrap_or_default();
        let bytes = member(&mut self.archive, &part)?;
        bytes.map(Xml::of).ok_or_else(|| damaged("a sheet is not there"))
    }
}

impl Book for Workbook {
    fn sheets(&self) -> &[Worksheet] {
        &self.sheets
    }

    fn merged(&mut self, sheet: usize, rows: u32) -> io::Result<Vec<Merged>> {
        // They stand behind all cells.
        let mut xml = self.sheet(sheet)?;
        let mut found = Vec::new();
        loop {
            match xml.next()? {
                Piece::Open(tag) if tag.name == "mergeCell" => {
                    let reference = tag.get("ref").unwrap_or_default();
                    let merged = reference.split_once(':').and_then(|(first, last)| {
                        Some(Merged { first: place(first)?, last: place(last)? })
                    });
                    found.extend(merged.filter(|merged| merged.first.0 <= rows));
                    if found.len() > MAX_MERGED {
                        return Err(damaged("too many cells are merged"));
                    }
                }
                Piece::End => return Ok(found),
                _ => {}
            }
        }
    }

    fn open(&mut self, sheet: usize) -> io::Result<Box<dyn SheetRows>> {
        let (xml, known) = (self.sheet(sheet)?, Arc::clone(&self.known));
        Ok(Box::new(Rows { xml, known, row: 0 }))
    }
}

fn is_same(name: &str, wanted: &str) -> bool {
    name.replace('\\', "/").trim_start_matches('/').eq_ignore_ascii_case(wanted)
}

fn member(archive: &mut Archive, name: &str) -> io::Result<Option<Bytes>> {
    let at = archive.names().iter().position(|other| is_same(other, name));
    at.map(|at| archive.open(at)).transpose()
}

/// What a member leads to, by the ids that it uses.
fn relations(archive: &mut Archive, of: &str) -> io::Result<HashMap<String, Relation>> {
    let (folder, file) = of.rsplit_once('/').unwrap_or(("", of));
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut found = HashMap::new();
    let Some(bytes) = member(archive, &format!("{prefix}_rels/{file}.rels"))? else {
        return Ok(found);
    };
    let mut xml = Xml::of(bytes);
    loop {
        match xml.next()? {
            Piece::Open(tag) if tag.name == "Relationship" => {
                let (id, kind, target) = (tag.get("Id"), tag.get("Type"), tag.get("Target"));
                if let (Some(id), Some(kind), Some(target)) = (id, kind, target) {
                    let target = resolved(&prefix, &target);
                    found.insert(id, Relation { kind, target });
                }
            }
            Piece::End => return Ok(found),
            _ => {}
        }
    }
}

/// A target as a name in the archive.
fn resolved(prefix: &str, target: &str) -> String {
    let whole = match target.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("{prefix}{target}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What the numbers of each style show.
fn styles(mut xml: Xml) -> io::Result<Vec<Shows>> {
    let mut codes = HashMap::new();
    let (mut styles, mut within) = (Vec::new(), false);
    let id = |tag: &Tag| tag.get("numFmtId").and_then(|id| id.parse::<u32>().ok());
    loop {
        match xml.next()? {
            Piece::Open(tag) if tag.name == "numFmt" => {
                if let (Some(id), Some(code)) = (id(&tag), tag.get("formatCode")) {
                    codes.insert(id, dates::of_code(&code));
                }
            }
            Piece::Open(tag) if tag.name == "cellXfs" => within = true,
            Piece::Close(name) if name == "cellXfs" => within = false,
            Piece::Open(tag) if within && tag.name == "xf" => {
                let id = id(&tag).unwrap_or(0);
                styles.push(codes.get(&id).copied().unwrap_or_else(|| dates::of_builtin(id)));
            }
            Piece::End => return Ok(styles),
            _ => {}
        }
    }
}

/// The rows of a sheet.
struct Rows {
    xml: Xml,
    known: Arc<Known>,
    row: u32,
}

impl SheetRows for Rows {
    fn next(&mut self) -> io::Result<Option<SheetRow>> {
        loop {
            match self.xml.next()? {
                Piece::Open(tag) if tag.name == "row" => {
                    let number = match tag.get("r") {
                        Some(number) => {
                            number.parse().map_err(|_| damaged("a row has no number"))?
                        }
                        None => self.row.saturating_add(1),
                    };
                    if number <= self.row {
                        return Err(damaged("its rows are not in order"));
                    }
                    self.row = number;
                    let row = self.cells(number)?;
                    if !row.cells.is_empty() {
                        return Ok(Some(row));
                    }
                }
                Piece::Close(name) if name == "sheetData" => return Ok(None),
                Piece::End => return Ok(None),
                _ => {}
            }
        }
    }
}

impl Rows {
    fn cells(&mut self, number: u32) -> io::Result<SheetRow> {
        let mut row = SheetRow { number, cells: Vec::new() };
        let mut next = 0;
        loop {
            match self.xml.next()? {
                Piece::Open(tag) if tag.name == "c" => {
                    let column = match tag.get("r") {
                        Some(reference) => {
                            let letters = reference.trim_end_matches(|c: char| c.is_ascii_digit());
                            column_of(letters).ok_or_else(|| damaged("a cell is nowhere"))?
                        }
                        None => next,
                    };
                    if column < next || column >= MAX_COLUMNS {
                        return Err(damaged("the cells of a row are not in order"));
                    }
                    next = column + 1;
                    let cell = self.cell(&tag)?;
                    if cell != Cell::Blank {
                        row.cells.push((column, cell));
                    }
                }
                Piece::Close(name) if name == "row" => return Ok(row),
                Piece::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    fn cell(&mut self, tag: &Tag) -> io::Result<Cell> {
        let (mut value, mut formula, mut inline) = (None, None, None);
        loop {
            match self.xml.next()? {
                Piece::Open(tag) if tag.name == "v" => value = Some(self.xml.text("v")?),
                Piece::Open(tag) if tag.name == "f" => formula = Some(self.xml.text("f")?),
                Piece::Open(tag) if tag.name == "is" => inline = Some(self.xml.rich_text("is")?),
                Piece::Close(name) if name == "c" => break,
                Piece::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
        let kind = tag.get("t").unwrap_or_default();
        let value = match (value, inline) {
            (_, Some(text)) if kind == "inlineStr" => return Ok(text_cell(text)),
            (Some(value), _) => value,
            (None, _) => return Ok(formula.map_or(Cell::Blank, Cell::Formula)),
        };
        Ok(match kind.as_str() {
            "s" => text_cell(self.known.strings.get(&value)?.to_owned()),
            "str" | "inlineStr" => text_cell(unescaped(value)),
            "b" => Cell::Bool(value.trim() == "1" || value.trim().eq_ignore_ascii_case("true")),
            "e" => Cell::Error(value.trim().to_owned()),
            "d" => text_cell(value.trim().to_owned()),
            // LibreOffice writes a formula without a result so.
            _ if value.trim().is_empty() => formula.map_or(Cell::Blank, Cell::Formula),
            _ => self.number(tag, value.trim()),
        })
    }

    fn number(&self, tag: &Tag, text: &str) -> Cell {
        let style = tag.get("s").and_then(|style| style.parse::<usize>().ok()).unwrap_or(0);
        let shows = self.known.styles.get(style).copied().unwrap_or(Shows::Number);
        let date = match shows {
            Shows::Number => None,
            shows => text
                .parse()
                .ok()
                .and_then(|number| dates::shown(number, shows, self.known.since_1904)),
        };
        date.map_or_else(|| Cell::Number(text.to_owned()), Cell::Text)
    }
}

fn text_cell(text: String) -> Cell {
    if text.is_empty() { Cell::Blank } else { Cell::Text(text) }
}
