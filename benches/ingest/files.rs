//! The states of the product file, and the jobs folder that kasparro loads it from.
//!
//! Owns what lies in the folder of the benchmark. It must not know who loads what.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::lineup::{Contender, Size, Step};
use crate::products::{ProductFile, Written};
use crate::shipped;

/// The files of one size.
pub struct Files {
    folder: PathBuf,
    size: Size,
    clean: Written,
    dirty: Written,
}

impl Files {
    /// Writes what the contenders will load.
    pub fn write(
        folder: &Path,
        size: Size,
        first_only: bool,
        contenders: &[Contender],
    ) -> std::io::Result<Self> {
        let (rows, new) = (size.rows, size.new_rows());
        let base = ProductFile { rows, changed: false, dirty: false, extra_columns: size.columns };
        let write = |name: &str, file: ProductFile| file.write(&folder.join(name));
        let clean = write("base.csv", base)?;
        let mut dirty = Written::default();
        if contenders.contains(&Contender::Dirty) {
            dirty = write("dirty.csv", ProductFile { dirty: true, ..base })?;
        }
        if !first_only {
            write("appended.csv", ProductFile { rows: rows + new, ..base })?;
            write("changed.csv", ProductFile { rows: rows + 2 * new, changed: true, ..base })?;
        }
        let jobs = folder.join("jobs");
        std::fs::create_dir_all(&jobs)?;
        std::fs::write(jobs.join("products.toml"), job(size.columns))?;
        shipped::copy_to(&folder.join("shipped"))?;
        Ok(Self { folder: folder.to_owned(), size, clean, dirty })
    }

    /// The state of the file at a step.
    pub fn path(&self, step: Step) -> PathBuf {
        self.folder.join(match step {
            Step::First | Step::Untouched | Step::Full => "base.csv",
            Step::Appended => "appended.csv",
            Step::Changed => "changed.csv",
        })
    }

    /// The file with malformed rows.
    pub fn dirty_path(&self) -> PathBuf {
        self.folder.join("dirty.csv")
    }

    /// Makes a file the one that the job file names; only a link changes.
    pub fn show(&self, file: &Path) -> std::io::Result<()> {
        let (link, new) = (self.jobs().join("products.csv"), self.jobs().join("products.new"));
        symlink(file, &new)?;
        std::fs::rename(new, link)
    }

    /// The jobs folder.
    pub fn jobs(&self) -> PathBuf {
        self.folder.join("jobs")
    }

    /// A jobs folder with what kasparro ships.
    pub fn shipped_jobs(&self) -> PathBuf {
        self.folder.join("shipped")
    }

    /// A folder without settings to start programs in, and for what they say.
    pub fn working_folder(&self) -> &Path {
        &self.folder
    }

    /// How many rows and columns the files have.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Bytes of the file of the first load.
    pub fn bytes(&self) -> u64 {
        self.clean.bytes
    }

    /// What the dirty file holds.
    pub fn dirty(&self) -> Written {
        self.dirty
    }
}

fn job(extra_columns: usize) -> String {
    let mut text = include_str!("products.toml").to_owned();
    for column in 1..=extra_columns {
        text.push_str(&format!("extra_{column} = {{ column = \"extra_{column}\" }}\n"));
    }
    text
}
