//! Any file as JSON Lines: the rows are the same wherever the file is cut, their bytes are the file's, each
//! line that is not blank becomes one record or one reject, and planning has seen its key.
//!
//! An input is four bytes that choose the parameters ([`Case::of`]), and the file.

#![no_main]

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use kasparro_fuzz::check_mapped;
use kasparro_fuzz::domain::bloom_filter::key_hash;
use kasparro_fuzz::domain::failure::FailureClass;
use kasparro_fuzz::domain::file::{ChosenRows, FileStamp, KnownFile};
use kasparro_fuzz::domain::hash::ContentHash;
use kasparro_fuzz::domain::raw::RawRef;
use kasparro_fuzz::domain::reject::Reject;
use kasparro_fuzz::job_file::Definition;
use kasparro_fuzz::mapping::{Mapped, Mapping};
use kasparro_fuzz::sources::files::format::RowFormat;
use kasparro_fuzz::sources::files::location::{Location, Setting};
use kasparro_fuzz::sources::files::{Files, Wanted};
use kasparro_fuzz::sources::formats::jsonl::{Jsonl, JsonlParams};
use kasparro_fuzz::sources::{AllowedRoots, FilePlan, FileScan, FileSource};
use kasparro_fuzz::values::row::Row;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const FILE: RawRef = RawRef::File(1);

/// Where the file is written, by each process its own.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder"));

/// By keys that are found without parsing the whole line, and by one that is not.
static MAPPINGS: LazyLock<[(Definition, Mapping); 3]> = LazyLock::new(|| {
    ["a", "$.b.c", "$..c"].map(|key| {
        let definition = definition(key);
        let mapping = Mapping::new(&definition, None);
        (definition, mapping)
    })
});

fuzz_target!(|input: &[u8]| {
    if let Some((case, file)) = Case::of(input) {
        case.check(file);
    }
});

/// How a file is read.
struct Case {
    params: JsonlParams,
    definition: &'static Definition,
    mapping: &'static Mapping,
    path: PathBuf,
    /// Bytes of a small chunk.
    chunk_size: u64,
    /// Of 256 parts of the file, those that are there at first.
    first: usize,
}

/// What reading a file gave.
#[derive(Default)]
struct Loaded {
    bytes: Vec<u8>,
    rows: usize,
    mapped: Mapped,
}

impl Case {
    /// The parameters that the first four bytes choose; digits choose as they read.
    fn of(input: &[u8]) -> Option<(Self, &[u8])> {
        let (chosen, file) = input.split_at_checked(4)?;
        let pick = |at: usize, of: usize| usize::from(chosen[at].wrapping_sub(b'0')) % of;
        let (definition, mapping) = &MAPPINGS[pick(0, 3)];
        let max_row_bytes = [1 << 20, 4, 9, 40][pick(1, 4)];
        Some((
            Self {
                params: JsonlParams { max_row_bytes, ..JsonlParams::default() },
                definition,
                mapping,
                path: FOLDER.path().join("file.jsonl"),
                chunk_size: (file.len() / (1 + pick(2, 8))).max(1) as u64,
                first: pick(3, 256),
            },
            file,
        ))
    }

    fn check(&self, file: &[u8]) {
        std::fs::write(&self.path, file).expect("a file is written");
        let (large, small) = (self.source(1 << 20), self.source(self.chunk_size));
        let (Some(large), Some(small)) = (large, small) else { return };
        let mut keys = HashSet::new();
        let Some(plan) = self.plan(&large, None, &mut keys) else { return };
        let FilePlan::Whole(scan) = plan else { panic!("of a new file: {plan:?}") };
        let whole = self.load(&large, &scan);
        self.check_whole(file, &scan, &whole, &keys);
        let Some(FilePlan::Whole(cut)) = self.plan(&small, None, &mut HashSet::new()) else {
            panic!("the chunk size decides whether a file can be read")
        };
        assert_eq!(cut.end.rows, scan.end.rows);
        let parts = self.load(&small, &cut);
        assert_eq!(shown(&parts), shown(&whole), "chunks of {}", self.chunk_size);
        assert_eq!(parts.bytes, whole.bytes, "chunks of {}", self.chunk_size);
        self.check_appended(&small, file, &whole);
    }

    fn check_whole(&self, file: &[u8], scan: &FileScan, whole: &Loaded, keys: &HashSet<u64>) {
        assert_eq!((scan.size, scan.end.bytes), (file.len() as u64, file.len() as u64));
        assert_eq!(scan.end.rows, whole.rows as i64);
        assert!(file.ends_with(&whole.bytes), "the rows have other bytes than the file");
        let head = scan.chunks.first().map_or(file.len() as u64, |chunk| chunk.start);
        assert_eq!(head as usize + whole.bytes.len(), file.len(), "bytes are lost");
        let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let solid = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        assert_eq!(whole.rows, solid.count(), "a line is no row");
        check_mapped(whole.rows, &whole.mapped);
        for record in whole.mapped.records.iter() {
            let key = record.external_id();
            assert!(keys.contains(&key_hash(key)), "planning did not see {key:?}");
        }
    }

    /// A file that grew at its end gives the rows of the whole; blank lines between are nobody's.
    fn check_appended(&self, source: &Files<Jsonl>, file: &[u8], whole: &Loaded) {
        let first = &file[..file.len() * self.first / 256];
        if first.is_empty() {
            return;
        }
        std::fs::write(&self.path, first).expect("a file is written");
        let Some(FilePlan::Whole(before)) = self.plan(source, None, &mut HashSet::new()) else {
            return;
        };
        let mut loaded = self.load(source, &before);
        std::fs::write(&self.path, file).expect("a file is written");
        let FileScan { size, modified, hashes, layout, end, .. } = before;
        let hash = hashes.content.into();
        let known = KnownFile { size, modified, hash, layout, end, width: None };
        if let Some(FilePlan::Appended(scan)) = self.plan(source, Some(&known), &mut HashSet::new())
        {
            self.load_more(source, &scan, &mut loaded);
            assert_eq!(scan.end.rows, whole.rows as i64);
            assert_eq!(shown(&loaded), shown(whole), "appended behind {}", first.len());
        }
    }

    /// `None` when the parameters do not go together.
    fn source(&self, chunk_size: u64) -> Option<Files<Jsonl>> {
        let params = JsonlParams { chunk_size, ..self.params.clone() };
        let setting = Setting { table: "files", extension: "jsonl" };
        let location = Location { setting, entries: vec!["file.jsonl".to_owned()] };
        let format = Jsonl::new(params, Wanted::of(self.definition)).ok()?;
        Files::new(format, location, FOLDER.path().to_owned(), AllowedRoots::default()).ok()
    }

    /// `None` when the file has no header that could be used, which is an error of its own.
    fn plan(
        &self,
        source: &Files<Jsonl>,
        known: Option<&KnownFile>,
        keys: &mut HashSet<u64>,
    ) -> Option<FilePlan> {
        let mut scratch = String::new();
        let mut visit = |row: &dyn Row| {
            keys.extend(self.mapping.key_hash(row, &mut scratch));
        };
        match source.plan(&self.path, known, &mut visit) {
            Ok(plan) => Some(plan),
            Err(error) => {
                assert_eq!(error.class(), FailureClass::Permanent, "{error}");
                None
            }
        }
    }

    fn load(&self, source: &Files<Jsonl>, scan: &FileScan) -> Loaded {
        let mut loaded = Loaded::default();
        self.load_more(source, scan, &mut loaded);
        loaded
    }

    fn load_more(&self, source: &Files<Jsonl>, scan: &FileScan, loaded: &mut Loaded) {
        let stamp = FileStamp { size: scan.size, modified: scan.modified };
        for chunk in &scan.chunks {
            let parsed = source
                .read(&self.path, &stamp, &scan.layout, chunk, 1, None)
                .expect("the file is as planned");
            loaded.rows += parsed.rows as usize;
            for block in &parsed.blocks {
                loaded.bytes.extend_from_slice(&block.payload);
                let all = ChosenRows::All;
                source
                    .map(block, &scan.layout, FILE, &all, self.mapping, &mut loaded.mapped)
                    .expect("nothing is frozen without a schema");
            }
        }
    }
}

fn definition(key: &str) -> Definition {
    let text = format!(
        "kind = 'jsonl'\nprimary_key = ['{key}']\n[files]\npaths = ['file.jsonl']\n[fields]\n\
         name = {{ from = '$.b.c' }}\nprice = {{ from = '$..c', type = 'decimal' }}\n\
         c = {{ type = 'json' }}\n"
    );
    let source = "fuzzed".parse().expect("a source's name");
    Definition::parse(source, "fuzzed.toml".as_ref(), text, &["jsonl"]).expect("a job file")
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
