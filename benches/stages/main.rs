//! How fast the computing parts of the loading path are, each alone and on one thread:
//! `cargo bench --bench stages`. MB/s are of the file, also where less or more bytes go through.
//!
//! Owns the stages and their input. It must not know the database.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for developers: it prints, and panics when it cannot go on"
)]

#[path = "../support/products.rs"]
mod products;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use kasparro::db::pgcopy::CopyBuffer;
use kasparro::db::unified_records::encode_record;
use kasparro::domain::bloom_filter::BloomFilter;
use kasparro::domain::file::{ChosenRows, FileStamp};
use kasparro::domain::raw::RawRef;
use kasparro::domain::run::RunId;
use kasparro::job_file::Definition;
use kasparro::mapping::{Mapped, Mapping};
use kasparro::sources::files::Files;
use kasparro::sources::formats::csv::Csv;
use kasparro::sources::{
    AllowedRoots, BlockRows, FilePlan, FileScan, FileSource, ParsedChunk, kinds,
};
use kasparro::values::row::Row;

use products::{ProductFile, Written};

const ROWS: u64 = 50_000;
const FILE: i64 = 1;

/// An opened source and its file.
struct Input {
    path: PathBuf,
    written: Written,
    source: Files<Csv>,
    mapping: Mapping,
}

fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-stages");
    std::fs::create_dir_all(&folder).expect("a folder of the build");
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    for (name, dirty) in [("clean", false), ("dirty", true)] {
        let input = Input::new(&folder, dirty);
        measure(&mut criterion, name, &input);
    }
    criterion.final_summary();
    std::fs::remove_dir_all(&folder).expect("our own folder");
}

fn measure(criterion: &mut Criterion, name: &str, input: &Input) {
    let scan = input.split(&mut |_| {});
    let parsed = input.parse(&scan);
    let mapped = input.normalize(&scan, &parsed);
    input.check(&parsed, &mapped);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(input.written.bytes));
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("split", |b| b.iter(|| input.split(&mut |_| {})));
    group.bench_function("split, keys sieved", |b| b.iter(|| input.split_and_sieve()));
    group.bench_function("parse", |b| b.iter(|| input.parse(&scan)));
    group.bench_function("normalize", |b| b.iter(|| input.normalize(&scan, &parsed)));
    group.bench_function("encode", |b| b.iter(|| encode(&mapped)));
    group.finish();
}

impl Input {
    fn new(folder: &Path, dirty: bool) -> Self {
        let job = folder.join("products.toml");
        std::fs::write(&job, include_str!("../ingest/products.toml")).expect("a job file");
        let path = folder.join("products.csv");
        let file = ProductFile { rows: ROWS, changed: false, dirty, extra_columns: 0 };
        let written = file.write(&path).expect("a file of products");
        let definition = Definition::load(&job, kinds()).expect("a good job file");
        let source =
            Files::<Csv>::of(&definition, &AllowedRoots::default()).expect("good parameters");
        Self { path, written, source, mapping: Mapping::new(&definition, None) }
    }

    fn split(&self, visit: &mut dyn FnMut(&dyn Row)) -> FileScan {
        match self.source.plan(&self.path, None, visit) {
            Ok(FilePlan::Whole(scan)) => scan,
            other => panic!("{other:?}"),
        }
    }

    fn split_and_sieve(&self) -> BloomFilter {
        let mut filter = BloomFilter::for_bytes(self.written.bytes);
        let mut scratch = String::new();
        self.split(&mut |row| {
            if let Some(hash) = self.mapping.key_hash(row, &mut scratch) {
                filter.see(hash);
            }
        });
        filter
    }

    fn parse(&self, scan: &FileScan) -> Vec<ParsedChunk> {
        let stamp = FileStamp { size: scan.size, modified: scan.modified };
        let read = |chunk| self.source.read(&self.path, &stamp, &scan.layout, chunk, FILE, None);
        scan.chunks.iter().map(|chunk| read(chunk).expect("the file is as planned")).collect()
    }

    fn normalize(&self, scan: &FileScan, parsed: &[ParsedChunk]) -> Vec<Mapped> {
        let raw = RawRef::File(FILE);
        let map = |chunk: &ParsedChunk| {
            let mut mapped = Mapped::default();
            for block in &chunk.blocks {
                let (layout, chosen) = (&scan.layout, &ChosenRows::All);
                let rows = BlockRows { file: "bench", block, layout, chosen };
                self.source.map(rows, raw, &self.mapping, &mut mapped).expect("nothing is frozen");
            }
            mapped
        };
        parsed.iter().map(map).collect()
    }

    /// That the stages did what they are measured for.
    fn check(&self, parsed: &[ParsedChunk], mapped: &[Mapped]) {
        let rows: i64 = parsed.iter().map(|chunk| chunk.rows).sum();
        let records: usize = mapped.iter().map(|chunk| chunk.records.len()).sum();
        let rejects: usize = mapped.iter().map(|chunk| chunk.rejects.len()).sum();
        assert_eq!(rows, ROWS as i64);
        assert_eq!(rejects as u64, self.written.malformed);
        assert_eq!(records as u64, ROWS - self.written.malformed);
        assert_eq!(self.written.repeated > 0, self.written.malformed > 0);
    }
}

fn encode(mapped: &[Mapped]) -> usize {
    let raw_ref = RawRef::File(FILE).to_string();
    let mut bytes = 0;
    for chunk in mapped {
        let mut copy = CopyBuffer::new();
        for record in chunk.records.iter() {
            encode_record(&mut copy, "products", RunId(1), record, &raw_ref);
        }
        bytes += black_box(&copy).as_bytes().len();
    }
    bytes
}
