//! What must hold of files in any format of rows: they are the same wherever a file is cut, their bytes are
//! the file's, each becomes one record or one reject, and planning has seen its key.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::check_mapped;
use crate::domain::bloom_filter::key_hash;
use crate::domain::failure::FailureClass;
use crate::domain::file::{ChosenRows, FileStamp, KnownFile};
use crate::domain::hash::ContentHash;
use crate::domain::raw::RawRef;
use crate::domain::reject::Reject;
use crate::mapping::{Mapped, Mapping};
use crate::sources::files::Files;
use crate::sources::files::format::RowFormat;
use crate::sources::files::location::{Location, Setting};
use crate::sources::{AllowedRoots, BlockRows, FilePlan, FileScan, FileSource};
use crate::values::row::Row;

const FILE: RawRef = RawRef::File(1);

/// Where the file is written, by each process its own.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder"));

/// How a file is read.
pub struct Case<M> {
    /// Makes the format that cuts chunks of so many bytes; `None` when its parameters do not go together.
    pub format: M,
    /// Makes records of the rows.
    pub mapping: &'static Mapping,
    /// Of the file's name.
    pub extension: &'static str,
    /// Into so many small chunks it is cut as well.
    pub chunks: usize,
    /// Of 256 parts of the file, those that are there at first.
    pub first: usize,
}

/// What reading a file gave.
#[derive(Default)]
struct Loaded {
    bytes: Vec<u8>,
    rows: usize,
    mapped: Mapped,
}

impl<F: RowFormat, M: Fn(u64) -> Option<F>> Case<M> {
    /// Checks what reading a file gives, and answers its rows; `None` when it cannot be read.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn check(&self, file: &[u8]) -> Option<usize> {
        std::fs::write(self.path(), file).expect("a file is written");
        let small_chunk = (file.len() / self.chunks).max(1) as u64;
        let (large, small) = (self.source(1 << 20)?, self.source(small_chunk)?);
        let mut keys = HashSet::new();
        let plan = self.plan(&large, None, &mut keys)?;
        let FilePlan::Whole(scan) = plan else { panic!("of a new file: {plan:?}") };
        let whole = self.load(&large, &scan);
        check_whole(file, &scan, &whole, &keys);
        let Some(FilePlan::Whole(cut)) = self.plan(&small, None, &mut HashSet::new()) else {
            panic!("the chunk size decides whether a file can be read")
        };
        assert_eq!(cut.end.rows, scan.end.rows);
        let parts = self.load(&small, &cut);
        assert_eq!(shown(&parts), shown(&whole), "chunks of {small_chunk}");
        assert_eq!(parts.bytes, whole.bytes, "chunks of {small_chunk}");
        self.check_appended(&small, file, &whole);
        Some(whole.rows)
    }

    /// A file that grew at its end gives the rows of the whole; blank lines between are nobody's.
    fn check_appended(&self, source: &Files<F>, file: &[u8], whole: &Loaded) {
        let first = &file[..file.len() * self.first / 256];
        if first.is_empty() {
            return;
        }
        std::fs::write(self.path(), first).expect("a file is written");
        let Some(FilePlan::Whole(before)) = self.plan(source, None, &mut HashSet::new()) else {
            return;
        };
        let mut loaded = self.load(source, &before);
        std::fs::write(self.path(), file).expect("a file is written");
        let FileScan { size, modified, hashes, layout, end, widths, etag, .. } = before;
        let width = widths.map(|widths| widths.all);
        let hash = hashes.content.into();
        let known = KnownFile { size, modified, hash, layout, end, width, etag };
        if let Some(FilePlan::Appended(scan)) = self.plan(source, Some(&known), &mut HashSet::new())
        {
            self.load_more(source, &scan, &mut loaded);
            assert_eq!(scan.end.rows, whole.rows as i64);
            assert_eq!(shown(&loaded), shown(whole), "appended behind {}", first.len());
        }
    }

    fn path(&self) -> PathBuf {
        FOLDER.path().join(self.name())
    }

    fn name(&self) -> String {
        format!("file.{}", self.extension)
    }

    fn source(&self, chunk_size: u64) -> Option<Files<F>> {
        let setting = Setting { table: "files", extension: self.extension };
        let location = Location { setting, entries: vec![self.name()] };
        let format = (self.format)(chunk_size)?;
        Files::new(format, location, FOLDER.path().to_owned(), AllowedRoots::default()).ok()
    }

    /// `None` when the file has no header that could be used, which is an error of its own.
    fn plan(
        &self,
        source: &Files<F>,
        known: Option<&KnownFile>,
        keys: &mut HashSet<u64>,
    ) -> Option<FilePlan> {
        let mut scratch = String::new();
        let mut visit = |row: &dyn Row| {
            keys.extend(self.mapping.key_hash(row, &mut scratch));
        };
        match source.plan(&self.path(), known, &mut visit) {
            // It begins like one that is packed.
            Ok(FilePlan::Landed) => None,
            Ok(plan) => Some(plan),
            Err(error) => {
                assert_eq!(error.class(), FailureClass::Permanent, "{error}");
                None
            }
        }
    }

    fn load(&self, source: &Files<F>, scan: &FileScan) -> Loaded {
        let mut loaded = Loaded::default();
        self.load_more(source, scan, &mut loaded);
        loaded
    }

    fn load_more(&self, source: &Files<F>, scan: &FileScan, loaded: &mut Loaded) {
        let stamp = FileStamp { size: scan.size, modified: scan.modified };
        for chunk in &scan.chunks {
            let parsed = source
                .read(&self.path(), &stamp, &scan.layout, chunk, 1, None)
                .expect("the file is as planned");
            loaded.rows += parsed.rows as usize;
            for block in &parsed.blocks {
                loaded.bytes.extend_from_slice(&block.payload);
                let all = ChosenRows::All;
                let (layout, chosen) = (&scan.layout, &all);
                let rows = BlockRows { file: "file", block, layout, chosen };
                source
                    .map(rows, FILE, self.mapping, &mut loaded.mapped)
                    .expect("nothing is frozen without a schema");
            }
        }
    }
}

fn check_whole(file: &[u8], scan: &FileScan, whole: &Loaded, keys: &HashSet<u64>) {
    assert_eq!((scan.size, scan.end.bytes), (file.len() as u64, file.len() as u64));
    assert_eq!(scan.end.rows, whole.rows as i64);
    assert!(file.ends_with(&whole.bytes), "the rows have other bytes than the file");
    let head = scan.chunks.first().map_or(file.len() as u64, |chunk| chunk.start);
    assert_eq!(head as usize + whole.bytes.len(), file.len(), "bytes are lost");
    check_mapped(whole.rows, &whole.mapped);
    for record in whole.mapped.records.iter() {
        let key = record.external_id();
        assert!(keys.contains(&key_hash(key)), "planning did not see {key:?}");
    }
}

/// Everything that two ways of reading have to agree on.
fn shown(loaded: &Loaded) -> (usize, Vec<(i64, String, ContentHash)>, Vec<Reject>) {
    let records =
        loaded.mapped.records.iter().map(|record| {
            (record.raw_row(), record.external_id().to_owned(), record.content_hash())
        });
    let rejects = loaded.mapped.rejects.iter().map(|(_, reject)| reject);
    (loaded.rows, records.collect(), rejects.collect())
}
