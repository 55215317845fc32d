//! Owns keeping files out that lack a column: with `missing_field = "guard"` a file is not read when it
//! has lost a mapped column, for its attribute would be lost in every record of it, without a word.
//!
//! A column is lost when an earlier version of the file had it, or, of a file that is new, when all
//! files that the source had so far do. What is kept out is not committed either: the next run looks
//! at the file again.

use std::collections::BTreeSet;

use super::plan_run::FoundFile;
use super::remark::{Remark, few};
use super::{TaskContext, TaskError};
use crate::db::source_files;
use crate::domain::file::Layout;
use crate::domain::text::{cut, printable};
use crate::sources::{AbsentColumn, FilePlan, FileSource, Source};

/// The most bytes of a name that is shown.
const SHOWN: usize = 100;

/// The guard over the files of a run.
#[derive(Debug, Default)]
pub(super) struct FileGuard {
    /// The mapped columns that one of the earlier files lacks, once it was asked for.
    lacking_before: Option<Before>,
    kept_out: Vec<String>,
}

/// What the files were that the source had so far.
#[derive(Debug)]
enum Before {
    /// There were none.
    Nothing,
    /// All had the mapped columns, but for these.
    Lacking(BTreeSet<String>),
}

impl FileGuard {
    /// Whether the file may be read.
    pub async fn admits(
        &mut self,
        context: &TaskContext,
        found: &FoundFile,
    ) -> Result<bool, TaskError> {
        let Source::Files(files) = &context.source.source else { return Ok(true) };
        let FilePlan::Whole(scan) = &found.plan else { return Ok(true) };
        if !context.source.definition.contract.guards() {
            return Ok(true);
        }
        let Some(absent) = files.absent(&scan.layout).filter(|absent| !absent.is_empty()) else {
            return Ok(true);
        };
        let (lost, whose) = match &found.committed {
            Some(committed) => {
                let Some(before) = files.absent(&committed.known.layout) else { return Ok(true) };
                let before = before.into_iter().map(|absent| absent.column).collect();
                (lost(absent, &before), "which its earlier version had")
            }
            None => match self.before(context, files.as_ref()).await? {
                Before::Nothing => return Ok(true),
                Before::Lacking(before) => {
                    (lost(absent, before), "which every earlier file of the source had")
                }
            },
        };
        if lost.is_empty() {
            return Ok(true);
        }
        let columns = few(lost.iter().map(shown_column).collect());
        self.kept_out.push(format!("{}: no column {columns}, {whose}", shown(&found.url)));
        Ok(false)
    }

    /// What there is to say about the files that were kept out.
    pub fn remarks(self) -> Vec<Remark> {
        if self.kept_out.is_empty() {
            return Vec::new();
        }
        let number = match self.kept_out.len() {
            1 => "a file was not loaded".to_owned(),
            number => format!("{number} files were not loaded"),
        };
        let text = format!(
            "{number}: {}. Mend the file or the job file; or write missing_field = \"evolve\" under \
             [contract] to load files without the column",
            few(self.kept_out)
        );
        vec![Remark::degrading(text)]
    }

    async fn before(
        &mut self,
        context: &TaskContext,
        files: &dyn FileSource,
    ) -> Result<&Before, TaskError> {
        let before = match self.lacking_before.take() {
            Some(before) => before,
            None => {
                let layouts = source_files::committed_layouts(&context.pool, &context.source_name);
                lacking(&layouts.await?, files)
            }
        };
        Ok(self.lacking_before.insert(before))
    }
}

fn lacking(layouts: &[Layout], files: &dyn FileSource) -> Before {
    // Of files without anything in them nobody can tell what they lacked.
    let mut told = layouts.iter().filter_map(|layout| files.absent(layout)).peekable();
    if told.peek().is_none() {
        return Before::Nothing;
    }
    Before::Lacking(told.flatten().map(|absent| absent.column).collect())
}

/// The columns that were there before.
fn lost(absent: Vec<AbsentColumn>, before: &BTreeSet<String>) -> Vec<AbsentColumn> {
    absent.into_iter().filter(|absent| !before.contains(&absent.column)).collect()
}

fn shown_column(AbsentColumn { column, nearest }: &AbsentColumn) -> String {
    match nearest {
        Some(nearest) => format!("`{}` (did you mean `{}`?)", shown(column), shown(nearest)),
        None => format!("`{}`", shown(column)),
    }
}

fn shown(name: &str) -> String {
    printable(&cut(name, SHOWN)).into_owned()
}
