//! Owns the remarks on the files of a run as they are, whether it reads them or passes over
//! them: that a file has no rows, that its rows are in quarantine, that it is not there any more. What
//! is wrong with an unchanged file stays wrong, so every run reports it until it is fixed.

use super::file_guard::{emptiness, shown};
use super::plan_run::FoundFile;
use super::remark::{Remark, few};
use super::{TaskContext, TaskError};
use crate::db::source_files::{self, Standing};
use crate::domain::number::grouped;
use crate::sources::{FilePlan, FirstRow, Source};

/// The most missing files that are named.
const MOST_NAMED: i64 = 5;

/// What was seen of the files so far.
#[derive(Debug, Default)]
pub(super) struct FileRemarks {
    empty: Vec<String>,
    bad: Vec<String>,
    quarantined: Vec<String>,
    /// Rows that are odd.
    odd: Vec<String>,
    missing: Option<String>,
}

impl FileRemarks {
    /// Looks at a file that is not kept out.
    pub fn look_at(&mut self, context: &TaskContext, found: &FoundFile) {
        let Source::Files(files) = &context.source.source else { return };
        let name = shown(&found.url);
        if let (FilePlan::Whole(scan), Some(committed)) = (&found.plan, &found.committed)
            && has_shrunk(committed.known.end.rows, scan.end.rows)
        {
            let number = |rows: i64| grouped(rows.unsigned_abs());
            let (now, before) = (number(scan.end.rows), number(committed.known.end.rows));
            let rows = if scan.end.rows == 1 { "row" } else { "rows" };
            self.odd.push(format!("{name} has {now} {rows}; its earlier version had {before}"));
        }
        match (&found.plan, &found.committed) {
            (FilePlan::Whole(scan), _) if scan.end.rows == 0 => {
                self.empty.push(format!("{name} {}", emptiness(files.as_ref(), scan)));
            }
            (FilePlan::Whole(scan), _) if scan.first_row == FirstRow::Header => {
                self.odd.push(format!(
                    "the first row of {name} is a header, and is loaded as a row: csv.skip_lines = 1 \
                     skips it"
                ));
            }
            (FilePlan::Unchanged { .. }, Some(committed)) => {
                let (rows, run) = (committed.known.end.rows, committed.run);
                if rows == 0 {
                    self.empty.push(format!("{name} is unchanged since run {run} and has no rows"));
                }
                let quarantined = committed.quarantined;
                let standing =
                    Standing { url: found.url.clone(), rows, quarantined, outdated: false };
                let max = context.source.definition.checks.max_quarantine_ratio;
                let text = || {
                    let what = quarantined_of(quarantined, rows, "still in quarantine");
                    format!("{name} is unchanged since run {run}: {what}")
                };
                if is_bad(&standing, max) {
                    self.bad.push(text());
                } else if quarantined > 0 {
                    self.quarantined.push(text());
                }
            }
            (FilePlan::Appended(scan), Some(committed)) => {
                let new = scan.widths.map(|widths| widths.new);
                let absent = |width| files.absent(&scan.layout, width).unwrap_or_default();
                let before = absent(committed.known.width);
                let mut lost = absent(new);
                lost.retain(|lost| !before.contains(lost));
                if scan.end.rows > committed.known.end.rows && !lost.is_empty() {
                    let columns = lost.iter().map(|lost| format!("`{}`", shown(&lost.column)));
                    let columns = few(columns.collect());
                    self.odd.push(format!(
                        "no new row of {name} reaches as far as the column {columns}, which earlier \
                         rows have"
                    ));
                }
            }
            _ => {}
        }
    }

    /// Looks for files that earlier runs have read and that are not among these.
    pub async fn look_for_missing(
        &mut self,
        context: &TaskContext,
        found: &[String],
    ) -> Result<(), TaskError> {
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        let source = &context.source_name;
        let (named, files) =
            source_files::missing(&context.pool, source, &found, MOST_NAMED).await?;
        let more = usize::try_from(files).unwrap_or_default().saturating_sub(named.len());
        let named = named.iter().map(|url| shown(url)).collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.missing = match files {
            0 => None,
            1 => Some(format!("a file is not there any more: {named}; its records stay")),
            _ => Some(format!(
                "{files} files are not there any more: {named}{more}; their records stay"
            )),
        };
        Ok(())
    }

    /// What there is to say.
    pub fn remarks(self, context: &TaskContext) -> Vec<Remark> {
        let mut remarks = Vec::new();
        if !self.bad.is_empty() {
            let advice = format!(
                "fix the job file or the file, and `kasparro run {}`: it reads a file anew when \
                 either has changed",
                context.source_name
            );
            remarks.push(Remark::degrading(format!("{}; {advice}", few(self.bad))));
        }
        let notes = [self.odd, self.quarantined, self.empty];
        let notes = notes.into_iter().filter(|texts| !texts.is_empty()).map(few);
        remarks.extend(notes.chain(self.missing).map(Remark::note));
        remarks
    }
}

/// Whether a file has lost so many of its rows that somebody should look: half of them. Whether that is
/// wrong, only the job file knows, with `checks.min_rows`: a file may well hold what changed since last
/// time. A file without any rows is reported otherwise.
fn has_shrunk(before: i64, now: i64) -> bool {
    before >= 10 && now > 0 && now <= before / 2
}

/// What makes a run degraded of files whose rows it has evaluated, when that is so of any.
pub(super) fn standing_badly(files: &[Standing], max_quarantine_ratio: f64) -> Option<Remark> {
    let bad = files.iter().filter(|file| is_bad(file, max_quarantine_ratio));
    let texts: Vec<_> = bad
        .map(|file| {
            let what = quarantined_of(file.quarantined, file.rows, "in quarantine");
            format!("{}: {what}", shown(&file.url))
        })
        .collect();
    (!texts.is_empty()).then(|| Remark::degrading(few(texts)))
}

/// Whether more of its rows are in quarantine than may be, or all.
fn is_bad(file: &Standing, max_quarantine_ratio: f64) -> bool {
    let ratio = file.quarantined as f64 / file.rows.max(1) as f64;
    !file.outdated
        && file.quarantined > 0
        && (file.quarantined >= file.rows || ratio > max_quarantine_ratio)
}

fn quarantined_of(quarantined: i64, rows: i64, state: &str) -> String {
    let number = |number: i64| grouped(number.unsigned_abs());
    let are = if quarantined == 1 { "is" } else { "are" };
    format!("{} of its {} rows {are} {state}", number(quarantined), number(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_lost_half_of_its_rows_has_shrunk() {
        for (before, now, shrunk) in [
            (2000, 3, true),
            (10, 5, true),
            (11, 6, false),
            (9, 1, false),
            (2000, 0, false),
            (5, 9, false),
        ] {
            assert_eq!(has_shrunk(before, now), shrunk, "{before} {now}");
        }
    }

    #[test]
    fn a_file_stands_badly_when_too_many_of_its_rows_or_all_are_in_quarantine() {
        let standing = |quarantined, rows| Standing {
            url: "a.csv".to_owned(),
            rows,
            quarantined,
            outdated: false,
        };
        for (quarantined, rows, max, bad) in [
            (0, 0, 0.0, false),
            (0, 10, 0.0, false),
            (1, 10, 0.0, true),
            (5, 10, 0.5, false),
            (6, 10, 0.5, true),
            (9, 10, 1.0, false),
            (10, 10, 1.0, true),
        ] {
            assert_eq!(is_bad(&standing(quarantined, rows), max), bad, "{quarantined} of {rows}");
        }
        let said = standing_badly(&[standing(1, 9), standing(2000, 2000)], 0.5).unwrap();
        assert_eq!(said.text, "a.csv: 2,000 of its 2,000 rows are in quarantine");
        assert!(said.degrades);
        assert!(standing_badly(&[standing(1, 9)], 0.5).is_none());
    }
}
