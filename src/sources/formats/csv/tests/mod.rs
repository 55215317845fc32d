//! What the kind does as a whole, on real files in temporary folders.

mod files;
mod kinds;
mod may_be_data;
mod properties;
mod put_together;
mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use super::*;
use crate::domain::file::{ChosenRows, FileStamp, KnownFile, Progress, RawBlock};
use crate::domain::reject::{ReasonCode, Reject};
use crate::domain::shape::Shape;
use crate::domain::task::Chunk;
use crate::sources::files::location::{Location, Setting};
use crate::sources::files::{Files, blocks};
use crate::sources::{AllowedRoots, FilePlan, FileScan, FileSource};
use crate::values::field::{Locator, RowPart};
use crate::values::row::Row;

const SETTING: Setting = Setting { table: "csv", extension: "csv" };

/// Parameters with nothing but defaults.
pub(super) fn params() -> CsvParams {
    serde_json::from_value(serde_json::json!({})).unwrap()
}

fn open(
    params: CsvParams,
    base_dir: &Path,
    paths: &[&str],
    wanted: Vec<Wanted>,
) -> Result<Files<Csv>, SourceError> {
    let entries = paths.iter().map(|path| (*path).to_owned()).collect();
    let location = Location { setting: SETTING, entries };
    Files::new(Csv::new(params, wanted)?, location, base_dir.to_owned(), AllowedRoots::default())
}

/// A folder with one file.
struct Bench {
    folder: TempDir,
    source: Files<Csv>,
}

/// Everything that reading a file gave.
#[derive(Debug, Default, PartialEq)]
struct Loaded {
    /// Number and cells of the good rows, as mapping sees them.
    rows: Vec<(i64, Vec<Option<String>>)>,
    rejects: Vec<Reject>,
    /// First row, first line, start and bytes of all rows.
    bytes: Vec<u8>,
    row_starts: Vec<u64>,
    total: i64,
    shape: Shape,
}

impl Bench {
    fn new(params: CsvParams, text: impl AsRef<[u8]>) -> Self {
        Self::wanting(params, text, &[])
    }

    fn wanting(params: CsvParams, text: impl AsRef<[u8]>, columns: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let wanted = columns
            .iter()
            .map(|name| Wanted {
                locator: Locator::Column(vec![(*name).to_owned()]),
                needed: true,
                key: false,
            })
            .collect();
        let source = open(params, folder.path(), &["*.csv"], wanted).unwrap();
        let bench = Self { folder, source };
        bench.write(text);
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file.csv")
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.path(), text).unwrap();
    }

    fn plan(&self, known: Option<&KnownFile>) -> FilePlan {
        self.source.plan(&self.path(), known, &mut |_| {}).unwrap()
    }

    fn plan_error(&self) -> String {
        self.source.plan(&self.path(), None, &mut |_| {}).unwrap_err().text()
    }

    fn whole(&self) -> FileScan {
        match self.plan(None) {
            FilePlan::Whole(scan) => scan,
            other => panic!("{other:?}"),
        }
    }

    fn reader(&self, scan: &FileScan) -> Arc<CsvReader> {
        self.source.reader("file.csv", &scan.layout).unwrap()
    }

    fn load(&self) -> Loaded {
        self.load_scan(&self.whole())
    }

    fn load_scan(&self, scan: &FileScan) -> Loaded {
        let planned = FileStamp { size: scan.size, modified: scan.modified };
        let reader = self.reader(scan);
        let mut loaded = Loaded::default();
        for chunk in &scan.chunks {
            let read = self.source.read(&self.path(), &planned, &scan.layout, chunk, 7, None);
            let parsed = read.unwrap();
            for block in &parsed.blocks {
                collect(&reader, block, &mut loaded);
            }
            loaded.total += parsed.rows;
            loaded.shape.merge(&parsed.shape);
        }
        loaded
    }
}

fn collect(reader: &CsvReader, block: &RawBlock, loaded: &mut Loaded) {
    loaded.bytes.extend_from_slice(&block.payload);
    let ends = block.row_ends.iter().map(|end| block.start + *end as u64);
    loaded.row_starts.extend(std::iter::once(block.start).chain(ends).take(block.row_ends.len()));
    blocks::rows(reader, block, &ChosenRows::All, |mut found, row| {
        match row {
            Ok(row) => {
                let text = |column| row.text(column).map(str::to_owned);
                loaded.rows.push((found.number, (0..row.len()).map(text).collect()));
            }
            Err(defects) => loaded.rejects.push(found.reject(defects)),
        }
        Ok::<(), ()>(())
    })
    .unwrap();
}

/// What a run that read all of `scan` would remember.
fn known(scan: &FileScan) -> KnownFile {
    KnownFile {
        width: scan.widths.map(|widths| widths.all),
        etag: scan.etag.clone(),
        size: scan.size,
        modified: scan.modified,
        hash: scan.hashes.content.into(),
        layout: scan.layout.clone(),
        end: scan.end,
    }
}

fn reasons(loaded: &Loaded) -> Vec<(i64, Vec<ReasonCode>)> {
    let codes = |reject: &Reject| reject.defects.iter().map(|defect| defect.reason).collect();
    loaded.rejects.iter().map(|reject| (reject.raw_row, codes(reject))).collect()
}

fn cells(loaded: &Loaded) -> Vec<Vec<&str>> {
    fn text(cell: &Option<String>) -> &str {
        cell.as_deref().unwrap_or("∅")
    }
    loaded.rows.iter().map(|(_, cells)| cells.iter().map(text).collect()).collect()
}
