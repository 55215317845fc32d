//! Owns how a file stands: how many of its rows are in quarantine, and whether that is too many.

use super::number::grouped;
use super::remark::{Remark, few};
use super::text::{cut, visible};

/// The most bytes of a name that is shown.
const SHOWN: usize = 100;

/// What there is of a file in quarantine.
#[derive(Debug, Clone)]
pub struct FileStanding {
    /// Path or address.
    pub url: String,
    /// Rows that a run has read of it to the end.
    pub rows: i64,
    /// Those of them that are in quarantine.
    pub quarantined: i64,
    /// Whether a later version of the file was read.
    pub outdated: bool,
}

impl FileStanding {
    /// Whether more of its rows are in quarantine than may be, or all.
    pub fn is_bad(&self, max_quarantine_ratio: f64) -> bool {
        let ratio = self.quarantined as f64 / self.rows.max(1) as f64;
        !self.outdated
            && self.quarantined > 0
            && (self.quarantined >= self.rows || ratio > max_quarantine_ratio)
    }

    /// How many of its rows are in quarantine, in the words of `state`.
    pub fn quarantined_as(&self, state: &str) -> String {
        let number = |number: i64| grouped(number.unsigned_abs());
        let are = if self.quarantined == 1 { "is" } else { "are" };
        let quarantined = number(self.quarantined);
        match self.rows < self.quarantined {
            // It was not read to its end.
            true => format!("{quarantined} of its rows {are} {state}, as far as it was read"),
            false => format!("{quarantined} of its {} rows {are} {state}", number(self.rows)),
        }
    }
}

/// What makes a run degraded of files whose rows it has evaluated, when that is so of any.
pub fn remark(files: &[FileStanding], max_quarantine_ratio: f64) -> Option<Remark> {
    let bad = files.iter().filter(|file| file.is_bad(max_quarantine_ratio));
    let texts: Vec<_> = bad
        .map(|file| format!("{}: {}", shown(&file.url), file.quarantined_as("in quarantine")))
        .collect();
    (!texts.is_empty()).then(|| Remark::degrading(few(texts)))
}

/// The name of a file or a column, as a note shows it.
pub fn shown(name: &str) -> String {
    visible(&cut(name, SHOWN)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_badly_when_too_many_of_its_rows_or_all_are_in_quarantine() {
        let standing = |quarantined, rows| FileStanding {
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
            assert_eq!(standing(quarantined, rows).is_bad(max), bad, "{quarantined} of {rows}");
        }
        let said = remark(&[standing(1, 9), standing(2000, 2000)], 0.5).unwrap();
        assert_eq!(said.text, "a.csv: 2,000 of its 2,000 rows are in quarantine");
        assert!(said.degrades);
        let said = remark(&[standing(1, 0)], 0.5).unwrap();
        assert_eq!(said.text, "a.csv: 1 of its rows is in quarantine, as far as it was read");
        assert!(remark(&[standing(1, 9)], 0.5).is_none());
    }
}
