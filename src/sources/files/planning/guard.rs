//! Owns keeping files out that have lost something: with `missing_field = "guard"` a file is not read
//! when it has lost a mapped column, for its attribute would be lost in every record of it, with no
//! word; nor, unless it is `"evolve"`, when it has lost all its rows. And those whose path
//! is longer than can be kept.
//!
//! A column is lost when an earlier version of the file had it, or, of a file that is new, when all
//! files that the source had so far do. Where short rows are filled up, a file has a column when a row
//! of it reaches that far. What is kept out is not committed either: the next run looks at the file
//! again, and says so again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::lost;
use crate::domain::failure::{FailureClass, chain};
use crate::domain::file::{CommittedFile, KnownFile};
use crate::domain::file_note::not_loaded;
use crate::domain::file_standing::shown;
use crate::domain::remark::{Remark, few};
use crate::domain::text::{cut, visible};
use crate::job_file::Definition;
use crate::job_file::policy::Policy;
use crate::sources::{
    CommittedFiles, FilePlan, FileSource, FirstRow, FoundFile, LeftOut, Loss, SourceError,
    SourceErrorKind,
};

/// The most bytes of what is wrong with a file.
const MAX_REASON: usize = 500;
/// The most bytes of a path, relative to the job file if it is below its folder: paths are kept in an
/// index, whose entries have a bound.
const MAX_PATH: usize = 2_000;

/// The guard over the files of a run.
pub(super) struct FileGuard<'a> {
    files: &'a dyn FileSource,
    definition: &'a Definition,
    committed: &'a CommittedFiles,
    /// The mapped columns that one of the earlier files lacks, once it was asked for.
    lacking_before: Option<Option<BTreeSet<String>>>,
    kept_out: Vec<String>,
    too_long: Vec<String>,
    /// Files that cannot be read, and what the first of them says.
    unreadable: Vec<String>,
    first_error: Option<SourceError>,
    /// What patterns do not match, and may have been meant.
    besides: Vec<String>,
}

impl<'a> FileGuard<'a> {
    /// A guard that has seen nothing; `committed` is what earlier runs have read.
    pub fn new(
        files: &'a dyn FileSource,
        definition: &'a Definition,
        committed: &'a CommittedFiles,
    ) -> Self {
        Self {
            files,
            definition,
            committed,
            lacking_before: None,
            kept_out: Vec::new(),
            too_long: Vec::new(),
            unreadable: Vec::new(),
            first_error: None,
            besides: Vec::new(),
        }
    }

    /// Whether the file's path can be kept.
    pub fn can_keep(&mut self, url: &str) -> bool {
        let fits = url.len() <= MAX_PATH;
        if !fits {
            self.too_long.push(format!("{} ({} bytes)", shown(url), url.len()));
        }
        fits
    }

    /// Keeps a file out that cannot be read, whatever is done about the job file's guard: the others have
    /// nothing to do with it. What may pass by itself is handed back.
    pub fn keep_out(
        &mut self,
        path: &Path,
        url: &str,
        error: SourceError,
    ) -> Result<(), SourceError> {
        if error.class() != FailureClass::Permanent {
            return Err(error);
        }
        // Messages begin with the whole path.
        let text = chain(&error).replacen(&path.display().to_string(), url, 1);
        self.unreadable.push(visible(&cut(&text, MAX_REASON)).into_owned());
        self.first_error.get_or_insert(error);
        Ok(())
    }

    /// Keeps something out that was found and cannot be read or looked into.
    pub fn leave_out(&mut self, left: LeftOut) {
        let text = visible(&cut(&left.why, MAX_REASON)).into_owned();
        if left.loss == Loss::Nothing {
            self.besides.push(text);
        } else {
            self.first_error.get_or_insert_with(|| {
                SourceError::new(
                    SourceErrorKind::FileUnreadable,
                    format!("{}: {}", self.files.setting(), left.why),
                )
            });
            self.unreadable.push(text);
        }
    }

    /// Whether a file is kept out, for whatever reason.
    pub fn keeps_any_out(&self) -> bool {
        let Self { kept_out, too_long, unreadable, .. } = self;
        !(kept_out.is_empty() && too_long.is_empty() && unreadable.is_empty())
    }

    /// What is wrong with the first file that cannot be read: where no other is there either, that is
    /// what the run dies of.
    pub fn take_error(&mut self) -> Option<SourceError> {
        self.first_error.take()
    }

    /// Keeps a file out of which an earlier run has found that it cannot be read as it is.
    pub fn keep_out_again(&mut self, reason: &str) {
        let text = format!("{reason}. The file has not changed since, and was not read again");
        self.unreadable.push(text);
    }

    /// Whether the file may be read.
    pub fn admits(&mut self, found: &FoundFile) -> bool {
        let files = self.files;
        let FilePlan::Whole(scan) = &found.plan else { return true };
        let contract = self.definition.contract;
        // The table would keep its records and grow old, and nobody would know.
        let before = found.committed.as_ref().map_or(0, |committed| committed.known.end.rows);
        let name = shown(&found.url);
        if scan.end.rows == 0 && before > 0 && contract.missing_field != Policy::Evolve {
            let text = lost::rows(files, &scan.layout, before);
            self.kept_out.push(format!("{name} {text}"));
            return false;
        }
        if scan.first_row == FirstRow::OtherHeader && contract.missing_field != Policy::Evolve {
            self.kept_out.push(format!("{name}: {}", lost::OTHER_HEADER));
            return false;
        }
        if !contract.guards() || scan.end.rows == 0 {
            return true;
        }
        let width = scan.widths.map(|widths| widths.all);
        let absent = files.absent(&scan.layout, width).filter(|absent| !absent.is_empty());
        let Some(absent) = absent else { return true };
        let text = match &found.committed {
            Some(committed) => match lacking_of(files, &committed.known) {
                Some(before) => lost::columns(absent, &before, true),
                None => None,
            },
            None => match self.lacking() {
                Some(before) => lost::columns(absent, before, false),
                None => None,
            },
        };
        if let Some(text) = text {
            self.kept_out.push(format!("{name}: {text}"));
            return false;
        }
        true
    }

    /// What there is to say about the files that were kept out.
    pub fn remarks(self) -> Vec<Remark> {
        let mut remarks = Vec::new();
        if !self.kept_out.is_empty() {
            remarks.push(Remark::degrading(format!(
                "{}: {}. Fix the file or the job file; or write missing_field = \"evolve\" under \
                 [contract] to load such files, which empties what they filled",
                not_loaded(self.kept_out.len()),
                few(self.kept_out)
            )));
        }
        if !self.too_long.is_empty() {
            remarks.push(Remark::degrading(format!(
                "{}, since a path has at most {MAX_PATH} bytes: {}. Give shorter names",
                not_loaded(self.too_long.len()),
                few(self.too_long)
            )));
        }
        if !self.unreadable.is_empty() {
            let number = not_loaded(self.unreadable.len());
            remarks.push(Remark::degrading(format!("{number}: {}", few(self.unreadable))));
        }
        if !self.besides.is_empty() {
            remarks.push(Remark::note(few(self.besides)));
        }
        remarks
    }

    /// The mapped columns that one of the earlier files lacks; `None` if there were no files.
    pub fn lacking(&mut self) -> Option<&BTreeSet<String>> {
        let (files, committed) = (self.files, self.committed);
        self.lacking_before.get_or_insert_with(|| lacking(committed, files)).as_ref()
    }
}

fn lacking(committed: &CommittedFiles, files: &dyn FileSource) -> Option<BTreeSet<String>> {
    let absent = |file: &Arc<CommittedFile>| {
        let known = &file.known;
        // What has no rows reaches nowhere, and says nothing.
        files.absent(&known.layout, known.width.filter(|_| known.end.rows > 0))
    };
    // What empty files lacked is unknown.
    let mut told = committed.values().filter_map(absent).peekable();
    told.peek()?;
    Some(told.flatten().map(|absent| absent.column).collect())
}

/// The mapped columns that a file lacked; `None` where nobody can tell.
pub(super) fn lacking_of(files: &dyn FileSource, known: &KnownFile) -> Option<BTreeSet<String>> {
    let absent = files.absent(&known.layout, known.width)?;
    Some(absent.into_iter().map(|absent| absent.column).collect())
}
