//! Owns what a file has lost of what was there before: mapped columns, or all its rows. In sentences that do not
//! name the file.

use std::collections::BTreeSet;

use crate::domain::file::Layout;
use crate::domain::file_standing::shown;
use crate::domain::number::grouped;
use crate::domain::remark::few;
use crate::sources::{AbsentColumn, FileSource};

/// What a file is that has no rows.
pub(super) fn emptiness(files: &dyn FileSource, layout: &Layout) -> &'static str {
    match files.absent(layout, None) {
        Some(_) => "has a header and no rows",
        None => "is empty",
    }
}

/// A file without rows whose earlier version had so many.
pub(super) fn rows(files: &dyn FileSource, layout: &Layout, before: i64) -> String {
    let (what, before) = (emptiness(files, layout), grouped(before.unsigned_abs()));
    format!("{what}, and its earlier version had {before}")
}

/// A file whose columns stand in another order than the job file says.
pub(super) const OTHER_HEADER: &str =
    "its first row is a header, in another order than the job file names the columns";

/// The absent columns that were there before, if there are any. `lacking` is those that were not: of the file's earlier
/// version, or of any earlier file of the source.
pub(super) fn columns(
    absent: Vec<AbsentColumn>,
    lacking: &BTreeSet<String>,
    had_version: bool,
) -> Option<String> {
    let lost: Vec<_> =
        absent.into_iter().filter(|absent| !lacking.contains(&absent.column)).collect();
    if lost.is_empty() {
        return None;
    }
    let (unreached, named): (Vec<_>, Vec<_>) = lost.iter().partition(|lost| lost.unreached);
    let list = |columns: Vec<&AbsentColumn>| few(columns.into_iter().map(shown_column).collect());
    let mut texts = Vec::new();
    if !named.is_empty() {
        // Rows of some formats have fields, and a path that leads to each.
        let is_path = |lost: &&AbsentColumn| lost.column.starts_with('$');
        let what = if named.iter().all(is_path) { "field" } else { "column" };
        texts.push(format!("no {what} {}", list(named)));
    }
    if !unreached.is_empty() {
        texts.push(format!("no row reaches as far as the column {}", list(unreached)));
    }
    let whose = match had_version {
        true => "which its earlier version had",
        false => "which every earlier file of the source had",
    };
    Some(format!("{}, {whose}", texts.join(", and ")))
}

fn shown_column(AbsentColumn { column, nearest, part, .. }: &AbsentColumn) -> String {
    let part = part.as_ref().map(|part| format!(" in {}", shown(part))).unwrap_or_default();
    match nearest {
        Some(nearest) => format!("`{}`{part} (did you mean `{}`?)", shown(column), shown(nearest)),
        None => format!("`{}`{part}", shown(column)),
    }
}
