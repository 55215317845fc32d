//! Owns the remarks on the files of a run as they are, whether it reads them or passes over
//! them: that a file has no rows, that its rows are in quarantine, that it is not there any more. What
//! is wrong with an unchanged file stays wrong, so every run reports it until it is fixed.

use std::collections::{BTreeMap, HashSet};

use super::lost::emptiness;
use crate::domain::file_standing::{FileStanding, shown};
use crate::domain::number::grouped;
use crate::domain::remark::{Remark, few};
use crate::job_file::Definition;
use crate::job_file::policy::MissingAction;
use crate::sources::{CommittedFiles, FilePlan, FileSource, FirstRow, FoundFile};

/// The most things that are said of how files are understood.
const MOST_NOTES: usize = 20;
/// The most missing files that are named.
const MOST_NAMED: usize = 5;

/// Whether something that was decided is only told. What degrades the run comes first, so that it is always said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Plain(bool);

/// What was seen of the files so far.
pub(super) struct FileRemarks<'a> {
    files: &'a dyn FileSource,
    definition: &'a Definition,
    empty: Vec<String>,
    bad: Vec<String>,
    quarantined: Vec<String>,
    /// Rows that are odd.
    odd: Vec<String>,
    missing: Option<String>,
    /// What was decided of files that somebody may want otherwise, and of which.
    guessed: BTreeMap<(Plain, String), Vec<String>>,
}

impl<'a> FileRemarks<'a> {
    /// Nothing was seen yet.
    pub fn new(files: &'a dyn FileSource, definition: &'a Definition) -> Self {
        Self {
            files,
            definition,
            empty: Vec::new(),
            bad: Vec::new(),
            quarantined: Vec::new(),
            odd: Vec::new(),
            missing: None,
            guessed: BTreeMap::new(),
        }
    }

    /// Looks at a file that is not kept out.
    pub fn look_at(&mut self, found: &FoundFile) {
        let files = self.files;
        let name = shown(&found.url);
        if let FilePlan::Whole(scan) | FilePlan::Appended(scan) = &found.plan {
            for Remark { text, degrades } in files.notes(&scan.layout) {
                let key = (Plain(!degrades), text);
                self.guessed.entry(key).or_default().push(name.clone());
            }
        }
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
                self.empty.push(format!("{name} {}", emptiness(files, &scan.layout)));
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
                    FileStanding { url: found.url.clone(), rows, quarantined, outdated: false };
                let max = self.definition.checks.max_quarantine_ratio;
                let text = || {
                    let what = standing.quarantined_as("still in quarantine");
                    format!("{name} is unchanged since run {run}: {what}")
                };
                if standing.is_bad(max) {
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
    /// `everything` says that the run reads all rows there are, so that it may mark those as deleted that are not.
    pub fn look_for_missing(
        &mut self,
        committed: &CommittedFiles,
        found: &[String],
        everything: bool,
    ) {
        let found: HashSet<&str> = found.iter().map(String::as_str).collect();
        let is_missing = |url: &str| !found.contains(url);
        let missing = committed.values().filter(|file| !file.gone && is_missing(&file.url));
        let mut missing: Vec<&str> = missing.map(|file| file.url.as_str()).collect();
        missing.dedup();
        let files = missing.len();
        let more = files.saturating_sub(MOST_NAMED);
        let named = missing.into_iter().take(MOST_NAMED).map(shown);
        let named = named.collect::<Vec<_>>().join(", ");
        let looks = self.definition.missing.action == MissingAction::Tombstone;
        let fate = match everything && looks {
            true => "are missing, but for those that other files have",
            false => "stay",
        };
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.missing = match files {
            0 => None,
            1 => Some(format!("a file is not there any more: {named}; its records {fate}")),
            _ => Some(format!(
                "{files} files are not there any more: {named}{more}; their records {fate}"
            )),
        };
    }

    /// What there is to say.
    pub fn remarks(self) -> Vec<Remark> {
        let mut remarks = Vec::new();
        if !self.bad.is_empty() {
            let advice = format!(
                "fix the job file or the file, and `kasparro run {}`: it reads a file anew when \
                 either has changed",
                self.definition.source
            );
            remarks.push(Remark::degrading(format!("{}; {advice}", few(self.bad))));
        }
        let guessed = self.guessed.into_iter().take(MOST_NOTES);
        remarks.extend(guessed.map(|((Plain(plain), text), files)| Remark {
            text: format!("{}: {text}", few(files)),
            degrades: !plain,
        }));
        let notes = [self.odd, self.quarantined, self.empty];
        let notes = notes.into_iter().filter(|texts| !texts.is_empty()).map(few);
        remarks.extend(notes.chain(self.missing).map(Remark::note));
        remarks
    }
}

/// Whether a file has lost so many of its rows that somebody should look: half of them. Whether that is
/// wrong, only the job file knows, with `checks.min_rows`: a file may well hold what changed since last
/// time. A file without any rows is reported otherwise.
pub(super) fn has_shrunk(before: i64, now: i64) -> bool {
    before >= 10 && now > 0 && now <= before / 2
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
}
